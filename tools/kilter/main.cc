// kilter: the library from the command line.  Exit codes are in command.h and in --help.
#include <fmt/core.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <new>

#include "kilter/command.h"

namespace kilter::cli {
namespace {

int report(const State& state, ExitCode code, const char* status, const std::string& message) {
  if (state.json) {
    Json error{{"command", state.command}, {"status", status}, {"exit_code", int(code)}, {"message", message}};
    print_json({{"error", error}});
  }
  fmt::print(stderr, "kilter{}{}: {}\n", state.command.empty() ? "" : " ", state.command, message);
  return code;
}

int usage_error(State& state, int argc, char** argv, const CLI::ParseError& error) {
  // Parsing stopped somewhere: what it had not reached yet still decides where the error goes.
  for (int i = 1; i < argc; ++i) state.json = state.json || std::strcmp(argv[i], "--json") == 0;
  std::string message = error.what();
  for (char& c : message)
    if (c == '\n') c = ' ';
  return report(state, kExitUsage, "USAGE", message + " (see --help)");
}

int run(int argc, char** argv) {
  State state;
  CLI::App app("kilter: normalization layers, forward and backward.");
  app.footer(
      "Exit codes: 0 ok, 2 usage, 3 bad input file, 4 unsupported, 5 check failed, 6 invalid argument,\n"
      "            7 I/O, device or memory, 8 internal.\n"
      "Example:\n  kilter run layer_norm --x x.npy --weight w.npy --bias b.npy --y y.npy");
  app.require_subcommand(1);
  app.set_version_flag("--version", [] {
    const int v = kilter_version();
    return fmt::format("kilter {}.{}.{}", v / 10000, v / 100 % 100, v % 100);
  });
  add_run(app, &state);
  add_check(app, &state);
  add_bench(app, &state);
  add_support(app, &state);
  add_explain(app, &state);
  add_info(app, &state);
  try {
    app.parse(argc, argv);
    // Output that did not arrive is no success.
    if (std::fflush(stdout) != 0)
      throw Error(kExitIo, KILTER_IO, fmt::format("stdout: expected room for the output, got: {}", std::strerror(errno)));
    return state.exit_code;
  } catch (const CLI::Success& success) {  // --help, --version
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    return usage_error(state, argc, argv, error);
  } catch (const Error& error) {
    return report(state, error.code, kilter_status_name(error.status), error.what());
  } catch (const std::bad_alloc&) {
    return report(state, kExitIo, "KILTER_OUT_OF_MEMORY", "out of memory");
  } catch (const std::exception& error) {
    return report(state, kExitInternal, "KILTER_INTERNAL", error.what());
  }
}

}  // namespace
}  // namespace kilter::cli

int main(int argc, char** argv) {
  try {
    return kilter::cli::run(argc, argv);
  } catch (...) {  // while reporting
    return kilter::cli::kExitInternal;
  }
}

// kilter: the library from the command line.  Exit codes are in error.h and in --help.
#include <fmt/core.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "kilter/command.h"

namespace kilter::cli {
namespace {

// Parsing stopped somewhere: what it had not reached yet still decides where the error goes.
void usage_error(State& state, int argc, char** argv, const CLI::ParseError& error) {
  for (int i = 1; i < argc; ++i) state.json = state.json || std::strcmp(argv[i], "--json") == 0;
  std::string message = error.what();
  for (char& c : message)
    if (c == '\n') c = ' ';
  report(state, kExitUsage, "USAGE", message + " (see --help)");
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
  add_schema(app, &state);
  return guarded(state, [&] {
    try {
      app.parse(argc, argv);
    } catch (const CLI::Success& success) {  // --help, --version
      state.exit_code = app.exit(success);
    } catch (const CLI::ParseError& error) {
      usage_error(state, argc, argv, error);
    }
    // Output that did not arrive is no success.
    if (std::fflush(stdout) != 0)
      throw Error(kExitIo, KILTER_IO, fmt::format("stdout: expected room for the output, got: {}", std::strerror(errno)));
  });
}

}  // namespace
}  // namespace kilter::cli

int main(int argc, char** argv) {
  try {
    return kilter::cli::run(argc, argv);
  } catch (...) {  // while setting up, or while reporting
    return kilter::cli::kExitInternal;
  }
}

#include "kilter/command.h"

#include <fmt/core.h>

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <new>
#include <system_error>

#include "check/call.h"

namespace kilter::cli {
namespace {

constexpr DType kTypes[] = {DType::f64, DType::f32, DType::f16, DType::bf16};

// A number of bytes from a file that holds "NAME: 123 kB" or just "123"; -1 if it cannot be had.
int64_t bytes_in(const char* path, const std::string& name) {
  std::ifstream file(path);
  std::string word;
  int64_t value = 0;
  if (name.empty()) return file >> value ? value : -1;
  while (file >> word)
    if (word == name && file >> value) return value * 1024;
  return -1;
}

int64_t available_memory() {
  int64_t available = bytes_in("/proc/meminfo", "MemAvailable:");
  const int64_t limit = bytes_in("/sys/fs/cgroup/memory.max", ""), used = bytes_in("/sys/fs/cgroup/memory.current", "");
  if (limit >= 0 && used >= 0 && (available < 0 || limit - used < available)) available = std::max<int64_t>(limit - used, 0);
  return available;
}

}  // namespace

ExitCode exit_code_of(kilter_status status) {
  switch (status) {
    case KILTER_OK:
      return kExitOk;
    case KILTER_INVALID_ARGUMENT:
    case KILTER_OVERLAP:
    case KILTER_WORKSPACE_TOO_SMALL:
      return kExitInvalidArgument;
    case KILTER_UNSUPPORTED:
      return kExitUnsupported;
    case KILTER_TRUNCATED:
    case KILTER_BAD_FORMAT:
      return kExitBadFile;
    case KILTER_OUT_OF_MEMORY:
    case KILTER_DEVICE_ERROR:
    case KILTER_PENDING_DEVICE_ERROR:
    case KILTER_IO:
      return kExitIo;
    case KILTER_INTERNAL:
      break;
  }
  return kExitInternal;
}

void report(State& state, ExitCode code, const char* status, const std::string& message) {
  state.exit_code = code;
  if (state.json) {
    const Json command = state.command.empty() ? Json(nullptr) : Json(state.command);
    try {
      print_json({{"error", {{"command", command}, {"status", status}, {"exit_code", int(code)}, {"message", message}}}});
    } catch (const std::system_error&) {  // stdout is what failed
    }
  }
  fmt::print(stderr, "kilter{}{}: {}\n", state.command.empty() ? "" : " ", state.command, message);
}

int guarded(State& state, const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    report(state, error.code, kilter_status_name(error.status), error.what());
  } catch (const std::bad_alloc&) {
    report(state, kExitIo, "KILTER_OUT_OF_MEMORY", "out of memory");
  } catch (const std::system_error& error) {  // fmt, once more is printed than a buffer holds
    report(state, kExitIo, "KILTER_IO", fmt::format("stdout: expected room for the output, got: {}", error.code().message()));
  } catch (const std::exception& error) {
    report(state, kExitInternal, "KILTER_INTERNAL", error.what());
  } catch (...) {
    report(state, kExitInternal, "KILTER_INTERNAL", "unexpected exception");
  }
  return state.exit_code;
}

void require(kilter_status status) {
  if (status != KILTER_OK) throw Error(exit_code_of(status), status, kilter_last_error());
}

void require_memory(int64_t bytes, const std::string& what) {
  const int64_t available = available_memory();
  if (bytes >= 0 && (available < 0 || bytes <= available)) return;
  const std::string need = bytes < 0 ? "more than 2^63 bytes" : fmt::format("{} bytes", bytes);
  throw Error(kExitIo, KILTER_OUT_OF_MEMORY, fmt::format("{}: expected memory for {}, got {} bytes available", what, need, available));
}

void print_json(const Json& json) {
  // Error texts may quote arguments that are no UTF-8.
  const std::string text = json.dump(2, ' ', false, Json::error_handler_t::replace);
  fmt::print("{}\n", text);
}

Json number(double v) {
  if (std::isfinite(v)) return v;
  return v != v ? "nan" : v > 0 ? "inf" : "-inf";
}

void add_op(CLI::App* command, OpOptions* options) {
  command->add_option("op", options->op, "The op")->required()->check(CLI::IsMember(check::op_names()));
  command->add_flag("--backward", options->backward, "The gradients instead of the forward pass");
}

CLI::Option* add_dtype(CLI::App* command, const std::string& names, DType* out, const std::string& help, bool or_none) {
  std::vector<std::string> allowed;
  for (DType t : kTypes) allowed.push_back(dtype_name(t));
  if (or_none) allowed.push_back("none");
  return command
      ->add_option_function<std::string>(
          names,
          [out](const std::string& name) {
            *out = DType::none;
            for (DType t : kTypes)
              if (name == dtype_name(t)) *out = t;
          },
          help)
      ->check(CLI::IsMember(allowed))
      ->type_name("TYPE");
}

std::string fits_int64(const std::string& text) {
  errno = 0;
  (void)std::strtoll(text.c_str(), nullptr, 10);
  return errno == ERANGE ? fmt::format("expected a number that fits 64 bits, got {}", text) : "";
}

std::string fits_uint64(const std::string& text) {
  errno = 0;
  (void)std::strtoull(text.c_str(), nullptr, 10);
  return errno == ERANGE ? fmt::format("expected a number that fits 64 bits, got {}", text) : "";
}

std::string option_names(const std::string& name) {
  std::string dashed = name;
  for (char& c : dashed)
    if (c == '_') c = '-';
  return dashed == name ? "--" + name : "--" + name + ",--" + dashed;
}

CLI::App* add_command(CLI::App& app, State* state, const std::string& name, const std::string& help, const std::string& example) {
  CLI::App* command = app.add_subcommand(name, help);
  command->add_flag("--json", state->json, "Print one JSON document on stdout, errors included");
  command->footer("Example:\n  " + example);
  command->preparse_callback([state, name](size_t) { state->command = name; });  // before its options: they may be wrong
  return command;
}

}  // namespace kilter::cli

#include "kilter/command.h"

#include <fmt/core.h>

#include <cctype>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <system_error>
#include <type_traits>

#include "check/arguments.h"
#include "kilter/memory.h"
#include "kilter/text.h"

namespace kilter::cli {

void throw_io(const std::string& tensor, const std::string& where, const std::string& expected, int error) {
  throw Error(kExitIo, KILTER_IO, fmt::format("{}: {}: expected {}, got: {}", tensor, where, expected, std::strerror(error)));
}

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

void report(State& state, ExitCode code, const char* status, const std::string& text) {
  const std::string message = printable(text);  // it may quote arguments
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

CLI::Option* add_dtype(CLI::App* command, const std::string& names, DType* out, const std::string& help, bool or_none,
                       std::span<const DType> types) {
  std::vector<std::string> allowed;
  for (DType t : types) allowed.push_back(dtype_name(t));
  if (or_none) allowed.push_back("none");
  return command
      ->add_option_function<std::string>(
          names,
          [out, types](const std::string& name) {
            *out = DType::none;
            for (DType t : types)
              if (name == dtype_name(t)) *out = t;
          },
          help)
      ->check(CLI::IsMember(allowed))
      ->type_name("TYPE");
}

template <class T>
std::string parse_number(const std::string& text, T* out) {
  if (text.empty()) return "expected a number, got an empty one";
  const char* const end = text.data() + text.size();
  if constexpr (std::is_integral_v<T>) {
    const auto [stop, error] = std::from_chars(text.data(), end, *out);
    if (error == std::errc::result_out_of_range && stop == end)
      return fmt::format("expected a number that fits {} bits, got {}", sizeof(T) * 8, text);
    if (error != std::errc() || stop != end)
      return fmt::format("expected a {}number, got '{}'", std::is_signed_v<T> ? "whole " : "whole, not negative ", text);
  } else {
    char* stop = nullptr;
    errno = 0;
    *out = std::strtod(text.c_str(), &stop);
    if (stop != end || std::isspace(static_cast<unsigned char>(text[0]))) return fmt::format("expected a number, got '{}'", text);
    if (errno == ERANGE && (*out == 0 || std::isinf(*out))) return fmt::format("expected a number that fits fp64, got {}", text);
  }
  return "";
}

template <class T>
CLI::Option* add_number(CLI::App* command, const std::string& names, T* out, const std::string& help) {
  return command
      ->add_option_function<std::string>(
          names, [out](const std::string& text) { (void)parse_number(text, out); }, help)
      ->check([](const std::string& text) {
        T ignored;
        return parse_number(text, &ignored);
      })
      ->default_str(fmt::format("{}", *out))
      ->type_name(std::is_integral_v<T> ? "INT" : "FLOAT");
}

template CLI::Option* add_number(CLI::App*, const std::string&, int*, const std::string&);
template CLI::Option* add_number(CLI::App*, const std::string&, int64_t*, const std::string&);
template CLI::Option* add_number(CLI::App*, const std::string&, uint64_t*, const std::string&);
template CLI::Option* add_number(CLI::App*, const std::string&, double*, const std::string&);

std::string names_something(const std::string& text) { return text.empty() ? "expected a name, got an empty one" : ""; }

std::string option_names(const std::string& name) {
  std::string dashed = name;
  for (char& c : dashed)
    if (c == '_') c = '-';
  return dashed == name ? "--" + name : "--" + name + ",--" + dashed;
}

CLI::App* add_command(CLI::App& app, State* state, const std::string& name, const std::string& help, const std::string& example,
                      const std::string& notes) {
  CLI::App* command = app.add_subcommand(name, help);
  command->add_flag("--json", state->json, "Print one JSON document on stdout, errors included");
  command->footer(notes + "Example:\n  " + example);
  command->preparse_callback([state, name](size_t) { state->command = name; });  // before its options: they may be wrong
  return command;
}

}  // namespace kilter::cli

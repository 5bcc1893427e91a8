// What the commands share: exit codes, errors, output.  Each command is one file with one add_*() that registers it.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "kilter/kilter.h"

namespace kilter::cli {

using Json = nlohmann::ordered_json;

enum ExitCode : int {
  kExitOk = 0,
  kExitUsage = 2,
  kExitBadFile = 3,
  kExitUnsupported = 4,
  kExitCheckFailed = 5,
  kExitInvalidArgument = 6,
  kExitIo = 7,  // or the device, or memory
  kExitInternal = 8
};

// Ends the command: one line on stderr (with --json: an object on stdout) and the exit code.
struct Error : std::runtime_error {
  Error(ExitCode code, kilter_status status, const std::string& message) : std::runtime_error(message), code(code), status(status) {}
  ExitCode code;
  kilter_status status;
};

ExitCode exit_code_of(kilter_status status);

// Throws kilter_last_error() unless KILTER_OK.
void require(kilter_status status);

// Throws KILTER_OUT_OF_MEMORY if this machine (or its memory limit) cannot hold that many bytes more.  Memory that is only
// promised would otherwise end in the kernel killing the process.
void require_memory(int64_t bytes, const std::string& what);

struct State {
  bool json = false;
  int exit_code = kExitOk;
  std::string command = {};  // its name, for errors; "" until one was read
};

// One line on stderr and with --json {"error": {"command", "status", "exit_code", "message"}} on stdout; command is null where none
// was named.  Leaves the code in state.
void report(State& state, ExitCode code, const char* status, const std::string& message);

// Runs body and returns the exit code: state's, or that of the exception that ended it, which is reported.
int guarded(State& state, const std::function<void()>& body);

// One JSON document on stdout.
void print_json(const Json& json);

// Non-finite numbers, which JSON lacks, as the strings "nan", "inf", "-inf".
Json number(double v);

// Shared options.  Values are checked while parsing: a wrong one is a usage error.
struct OpOptions {
  std::string op;
  bool backward = false;
};
void add_op(CLI::App* command, OpOptions* options);

// An element type by its name; "none" where that has a meaning.
CLI::Option* add_dtype(CLI::App* command, const std::string& names, DType* out, const std::string& help, bool or_none = false);

// "--residual_out,--residual-out" of "residual_out": tensors are named as in the ABI, dashes do as well.
std::string option_names(const std::string& name);

// A subcommand with --json, whose body runs after parsing, inside the error handling of main.
CLI::App* add_command(CLI::App& app, State* state, const std::string& name, const std::string& help, const std::string& example);

void add_run(CLI::App& app, State* state);
void add_check(CLI::App& app, State* state);
void add_bench(CLI::App& app, State* state);
void add_support(CLI::App& app, State* state);
void add_explain(CLI::App& app, State* state);
void add_info(CLI::App& app, State* state);

}  // namespace kilter::cli

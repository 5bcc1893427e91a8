// What the commands share: options, output, reports of errors.  Each command is one file with one add_*() that registers it.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/schema.h"
#include "kilter/error.h"

namespace kilter::cli {

using Json = nlohmann::ordered_json;

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

inline constexpr DType kTypes[] = {DType::f64, DType::f32, DType::f16, DType::bf16};
inline constexpr DType kLengthTypes[] = {DType::i32, DType::i64}, kBitTypes[] = {DType::u8};
// What a tensor's type may be, as far as its kind says.
inline std::span<const DType> types_of(const Field& f) {
  if (f.shapes[0].is_bits()) return kBitTypes;
  if (f.shapes[0].more >= 0) return kLengthTypes;
  return kTypes;
}

// An element type by its name; "none" where that has a meaning.
CLI::Option* add_dtype(CLI::App* command, const std::string& names, DType* out, const std::string& help, bool or_none = false,
                       std::span<const DType> types = kTypes);

// A number in decimal (a double also in C's hexadecimal): the whole text, in the range of its type.  CLI11 itself takes nothing
// for 0, a leading 0 for octal, and makes of what is too large the largest.  For int, int64_t, uint64_t and double.
template <class T>
CLI::Option* add_number(CLI::App* command, const std::string& names, T* out, const std::string& help);

// Validator: a variable that a script left unset is not the same as an option left out.
std::string names_something(const std::string& text);

// "--residual_out,--residual-out" of "residual_out": tensors are named as in the ABI, dashes do as well.
std::string option_names(const std::string& name);

// A subcommand with --json, whose body runs after parsing, inside the error handling of main.  notes: lines for --help.
CLI::App* add_command(CLI::App& app, State* state, const std::string& name, const std::string& help, const std::string& example,
                      const std::string& notes = "");

void add_run(CLI::App& app, State* state);
void add_check(CLI::App& app, State* state);
void add_bench(CLI::App& app, State* state);
void add_support(CLI::App& app, State* state);
void add_explain(CLI::App& app, State* state);
void add_info(CLI::App& app, State* state);
void add_schema(CLI::App& app, State* state);

}  // namespace kilter::cli

// An op as commands have it: a subcommand with options from the tables of its functions.
#pragma once

#include <deque>
#include <map>

#include "check/arguments.h"
#include "kilter/command.h"

namespace kilter::cli {

// A field by its name, which both functions may have.
struct OpField {
  const char* name;
  const Field* in[2];  // of the forward function, of the backward one; null: it has none
  const Field& any() const { return in[0] ? *in[0] : *in[1]; }
  bool is_output() const { return (in[0] && in[0]->output) || (in[1] && in[1]->output); }
  std::string help() const;
};
std::vector<OpField> fields_of(const std::string& op);  // as in the structs, each name once

// What of an op's fields was given.
struct OpCall {
  std::string op;
  bool backward = false;
  struct Number {
    const char* name;
    CLI::Option* option;
    double value;
    int64_t whole = 0;  // of an integer, as it is read
  };
  std::deque<Number> numbers;
  bool by_table = false;  // numbers that were not given: as the table has them, instead of as usual
  std::string backend = "cpu", impl;

  const Function& function() const { return *check::function_of(op, backward); }
  std::string what() const { return op + (backward ? " backward" : " forward"); }
  int64_t dim() const;                 // that is kept, if one is
  check::Arguments arguments() const;  // with the numbers and the implementation; refuses a number that the function lacks
};

[[noreturn]] void usage(const std::string& message);

// A subcommand per op; add gives it its options.
void add_ops(CLI::App* command, const std::function<void(CLI::App*, const std::string& op)>& add);

// --backward, --impl and an option per number; --backend.
void add_op_call(CLI::App* command, OpCall* call);
void add_backend(CLI::App* command, OpCall* call);

// An option for each size of both functions; values hold examples from the start.
using SizeOptions = std::map<std::string, int64_t>;
void add_sizes(CLI::App* command, const std::string& op, SizeOptions* values, const std::string& help);

// --layout, of planes.
CLI::Option* add_layout(CLI::App* command, Layout* layout);
bool has_planes(const std::string& op);

// The tensor whose type is T; --x-dtype is called after the forward function's.
std::string t_name(const std::string& op, bool backward = false);

// A call whose tensors have no memory.  Those that must be there, by the table or by the numbers, have their usual types.
class Question {
 public:
  Question(check::Arguments arguments, DType t, kilter_device device, const check::Sizes& sizes, Layout layout = kChannelsFirst);
  Question(const Question&) = delete;
  Question& operator=(const Question&) = delete;

  // Also the tensor without which this one must be absent.
  void add(const Field& field, kilter_dtype type);
  // What the numbers need that the table does not: running statistics for inference, saved ones for a backward in training,
  // which come in twos, one of which needs the other.
  void complete();
  check::Arguments& arguments() { return arguments_; }

 private:
  check::Arguments arguments_;
  kilter_device device_;
  check::Sizes sizes_;
  Layout layout_;
  std::deque<std::vector<int64_t>> shapes_, strides_;
  const Field* guessed_ = nullptr;  // the tensor that complete() added
};

struct Named {
  const char* name;
  int value;
};
inline constexpr Named kDevices[] = {{"cpu", KILTER_DEVICE_CPU}, {"cuda", KILTER_DEVICE_CUDA}, {"metal", KILTER_DEVICE_METAL}};

// Types of outputs that are planned, by their DLPack codes.
struct OutputKind {
  const char* name;
  kilter_dtype type;
};
inline constexpr OutputKind kOutputKinds[] = {{"fp8_e4m3", {10, 8, 1}}, {"fp8_e5m2", {12, 8, 1}}, {"int8", {0, 8, 1}}};
const Field* kind_field(const Schema& schema);  // the output that has a kind: the first that must be there; null: none

// What a number can ask for beside its neutral value: an offset, a rounding order, an activation.
struct Feature {
  std::string name;
  const Field* field;
  double value;
};
std::vector<Feature> features_of(const Schema& schema);

// Sizes for a question about any call.
constexpr int64_t kExampleRows = 64, kExampleLength = 1024;
int64_t example_size(const Size& size);
check::Sizes example_sizes(const Schema& schema);

// Element strides of [batch, channels, spatial...] with channels last.
std::vector<int64_t> channels_last_strides(const std::vector<int64_t>& shape);

}  // namespace kilter::cli

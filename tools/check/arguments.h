// A call of any function of the library, put together by the function's table: tools name no op and no tensor.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/dispatch.h"

namespace kilter::check {

std::vector<std::string> op_names();
const Function* function_of(std::string_view op, bool backward);  // null: there is none

const Field* field_of(const Schema& schema, std::string_view name);  // null: there is none
inline std::span<const Field> fields_of(const Function* f) { return {f->schema->fields, size_t(f->schema->count)}; }
inline bool is_tensor(const Field& f) { return f.kind == Kind::tensor; }
inline bool is_number(const Field& f) {
  return f.kind == Kind::real || f.kind == Kind::integer || f.kind == Kind::axis || f.kind == Kind::choice;
}
inline bool is_switch(const Field& f) { return f.kind == Kind::choice && std::string_view(f.words) == "no yes"; }

// A number where a tool is given none, unless it takes the table's: calls are those of training.
double usual_number(const Field& f);

inline bool is_shared(const Field& f) { return is_tensor(f) && f.shapes[0].is_shared(); }  // has a row for several of x's
inline bool like_x(const Field& f) {
  return f.shapes[0].any >= 0 && f.shapes[0].count > 1 && !is_shared(f);
}  // not one number per row, nor a vector

// An output with a type to choose for each of its rows is extra, and so are bits; the others are asked for unless a case says otherwise.
bool is_usual(const Field& f);

// The words of a text that a table has: of types ('|' between them), of a choice (' ').
std::vector<std::string> words_of(std::string_view text, char separator = ' ');

// The sizes of a call, as its tensors are found to have them.
class Sizes {
 public:
  explicit Sizes(const Schema& schema) : schema_(&schema) {}

  const Schema& schema() const { return *schema_; }
  void set(const Size& size, int64_t value);  // a product: "..." is one dimension, or two where neighbours share a row of scale
  bool by_lengths() const { return by_lengths_; }
  void set_by_lengths(bool by) { by_lengths_ = by; }  // whether the call has a tensor of lengths
  // From a tensor of this shape, what was unknown; nothing where no alternative of the field's has as many dimensions.
  void bind(const Field& field, const std::vector<int64_t>& shape);
  // The field's, in its first alternative that holds; unknown sizes are 0.
  std::vector<int64_t> shape_of(const Field& field) const;
  Layout layout = kChannelsFirst;                                          // of planes, which bits follow
  int64_t dim = 0;                                                         // that is kept
  Axis axis() const;                                                       // of what has T
  int64_t count(const Field& field) const { return values_[field.size]; }  // that a field gives

 private:
  int64_t bits() const;
  std::vector<int64_t> any() const;
  std::vector<int64_t> shared() const;

  const Schema* schema_;
  bool by_lengths_ = false;
  std::vector<int64_t> shared_;  // as a tensor has it; empty: not known
  bool known_[kMaxSizes] = {}, any_known_ = false;
  int64_t values_[kMaxSizes] = {};
  std::vector<int64_t> any_;
};

class Arguments {
 public:
  explicit Arguments(const Function& function);  // all tensors absent, numbers as usual, counts 1

  const Function& function() const { return *function_; }
  const Schema& schema() const { return *function_->schema; }
  kilter_tensor& tensor(const Field& f) { return member<kilter_tensor>(memory_.data(), f.at); }
  kilter_tensor& operator[](std::string_view name);  // throws std::logic_error where there is none
  void set(const Field& f, double value);            // a number, or bits
  void set_counts(const Sizes& sizes);               // the fields that give sizes
  void set_impl(const char* name);                   // null: any
  void set_workspace(void* data, size_t bytes);

  // The type of a field's tensor, none if absent; and those that the table allows it beside the tensors that are there.
  DType type_of(const Field& f) const { return dtype_of(member<kilter_tensor>(memory_.data(), f.at).dtype); }
  DType type_named(const std::string& word) const;  // "T", "stat", "f32", a field's name
  // For an output that nobody chose a type for: that of the first input in whose place it may be, if allowed; a sum over rows keeps
  // what it can; else the first.
  DType usual_type(const Field& f) const;

  [[nodiscard]] kilter_status ask(kilter_plan* plan) const;
  [[nodiscard]] kilter_status explain(std::vector<kilter_candidate>* list) const;
  [[nodiscard]] kilter_status call(kilter_stream stream = nullptr) const { return function_->run(memory_.data(), stream); }

 private:
  const Function* function_;
  std::vector<uint64_t> memory_;  // the struct
};

}  // namespace kilter::check

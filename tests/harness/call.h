// A call of any function, made from what the library lists of it alone: a new function is called, and called wrongly, by the suites
// that go over all of them without a line of its own.
//
//   Call call(KILTER_RMS_NORM_BACKWARD, {.t = DType::bf16, .types = {{"x", "f32"}}});
//   call["dx"].strides = strides;
//   call.at<double>("weight_offset") = 1;
//   EXPECT_EQ(call.run(), KILTER_OK);
//
// Every tensor is there, but for those that no implementation takes.  A name that is misspelled fails the test that has it.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "harness/matrix.h"
#include "harness/refused.h"

namespace kilter::test {

struct Making {
  DType t = DType::f32;                                        // where the function has it, else the first that it has
  std::vector<int64_t> any = {2, 3};                           // what "..." stands for
  int64_t size = 12;                                           // the first size that has a name; the others one less each, but for
  int64_t batch = 2;                                           // that of samples, where a sample is planes,
  std::map<std::string, int64_t> counts = {};                  // and counts: else a divisor of what they divide, near its square root
  std::map<std::string, int32_t> choices = {{"training", 1}};  // of those that have such a field; else 0, or what a mask needs
  bool channels_last = false;                                  // of planes
  int64_t dim = 0;                                             // that is kept, where one is
  size_t shape = 0;                                            // which alternative, where there are several
  bool lengths = true;                                         // tensors of cumulative lengths, and the alternatives by them
  std::map<std::string, std::string> types = {};               // a tensor's, in words of its own; else the first that it has
  std::set<std::string> without = {};                          // tensors to leave out
  std::map<std::string, Placed> placed = {};  // where a tensor lies; else plain.  Planes: pad and strides are those of samples
  const char* impl = nullptr;
};

// Words of a list as kilter_field has them.
std::vector<std::string> words_of(const char* text, char separator = ' ');

class Call {
 public:
  explicit Call(kilter_function function, const Making& making = {});
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  const char* op() const { return info_.op; }
  size_t args_size() const { return info_.args_size; }
  const std::vector<kilter_field>& fields() const { return fields_; }
  const kilter_field& field(const std::string& name) const;
  const std::string& t_field() const { return t_field_; }

  kilter_tensor& operator[](const std::string& name);  // as the call passes it; a tensor that it lacks gets memory
  template <class T>
  T& at(const std::string& name) {
    return *reinterpret_cast<T*>(args() + field(name).offset);
  }
  size_t& struct_size() { return *reinterpret_cast<size_t*>(args()); }
  char* args() { return reinterpret_cast<char*>(args_.data()); }  // with 64 bytes behind the struct

  bool has(const std::string& name) const { return memory_.count(name) != 0; }
  Matrix& memory(const std::string& name) { return memory_.at(name); }
  bool has_planes() const;
  bool has_any_rows() const;                          // "..." counts them, or places of planes
  int64_t size_named(const std::string& word) const;  // of a shape
  std::vector<int64_t> memory_shape(const std::string& name) const { return shape_of(field(name)); }
  DType type_of(const std::string& name) const;              // T where it is absent
  DType type_named(const std::string& word) const;           // "T", "stat", a field's, "f32"
  std::set<DType> allowed(const kilter_field& field) const;  // beside the others as they are

  void attach();  // every field as it was made
  kilter_status run() { return kilter_call(info_.function_, args(), nullptr); }
  kilter_status ask(kilter_plan* plan) { return kilter_ask(info_.function_, args(), plan); }
  // For those that expect it to run.
  kilter_plan plan();
  Snapshot snapshot() const;

 private:
  struct Info : kilter_function_info {
    kilter_function function_;
  };
  void give_memory(const kilter_field& field);
  void give_if(const kilter_field& field);
  bool is_answered();
  Placed place_of(const kilter_field& field, const std::vector<int64_t>& shape) const;
  std::string form_of(const kilter_field& field) const;  // the alternative that the call has
  std::vector<int64_t> shape_of(const kilter_field& field) const;
  int64_t bytes_of_bits() const;
  int64_t kept() const;

  Making making_;
  Info info_{};
  std::vector<kilter_field> fields_;
  std::string t_field_;
  std::vector<uint64_t> args_;
  std::map<std::string, Matrix> memory_, lent_;  // of the tensors that are there; of those that a test asked for
  std::unique_ptr<GuardedBuffer> workspace_;
};

// Every output of two calls, bit for bit.
::testing::AssertionResult same_outputs(Call& expected, Call& got);

// As a refusal names it, with what follows: ": weight.shape".
std::string named(const kilter_field& field, const std::string& part = "");

bool is_tensor(const kilter_field& field);
bool is_output(const kilter_field& field);
bool is_bits(const kilter_field& field);  // [batch, bytes]: a bit for each element of planes
bool is_count(const kilter_field& field);
bool is_lengths(const kilter_field& field);  // cumulative lengths, of segments that are some of the rows each
bool is_planes(const kilter_field& field);   // [batch, channels, spatial...]: dense in each sample, in one of two layouts

// All functions, and their names for TEST_P.
std::vector<kilter_function> all_functions();
std::string function_name(const ::testing::TestParamInfo<kilter_function>& info);

// Of calls of that function: channels first, and where there are planes last as well.
std::vector<bool> layouts_of(kilter_function function);

// The types that T may be.
std::vector<DType> types_of_t(kilter_function function);

}  // namespace kilter::test

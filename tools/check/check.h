// `kilter check` as a library: one case in, inputs made from its seed, one call of the C ABI, every output measured against
// the float64 reference (fp64 rows: wider) in the units of the numeric contract.
//
//   Case c;  c.op = "layer_norm";  c.rows = 7;  c.n = 4097;  c.x = DType::bf16;  c["weight"] = DType::f32;  c.fill = Fill::offset;  c.seed
//   = 3; Report r = run(c); EXPECT_TRUE(r.passed) << describe(c, r);   // prints the command line that repeats it
//
// Tests that lay out memory themselves (guard pages, strides, in place) use the steps: make_tensors, fill the layout from its
// buffers, call, put the results back, then find_op(...)->judge.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "check/arguments.h"
#include "check/buffer.h"
#include "check/fills.h"
#include "check/op.h"
#include "check/sharing.h"
#include "check/tolerances.h"

namespace kilter::check {

struct Case {
  std::string op = "layer_norm";
  bool backward = false;                                   // then forward runs first and hands over its inputs and outputs
  int64_t rows = 128, n = 768;                             // of an op whose tensors are rows
  std::map<std::string, int64_t, std::less<>> sizes = {};  // of others, by name, where they are not as usual
  Layout layout = kChannelsFirst;                          // of planes
  int64_t first_row = 0;                                   // rows (samples) first_row ... of the fill
  DType x = DType::f32;                                    // T
  // Of tensors, by name, where they are not as usual: an input that must be there has its first type, others are absent; outputs are
  // all asked for that have one type by the table, or sum over rows.  none: absent.
  std::map<std::string, DType, std::less<>> types = {};
  std::map<std::string, double, std::less<>> numbers = {};  // others than the table's
  Fill fill = Fill::normal;
  uint64_t seed = 0;
  std::string impl = {};    // "": the first that takes the call
  std::string target = {};  // "": the default; else kilter_set_cpu_target for the duration of the call
  int threads = 0;          // 0: the calling thread's setting

  DType& operator[](std::string_view tensor) { return types.try_emplace(std::string(tensor), DType::none).first->second; }
  bool has(std::string_view input) const { return type(input) != DType::none; }
  DType type(std::string_view input) const {
    const auto given = types.find(input);
    return given == types.end() ? DType::none : given->second;
  }
  double number(std::string_view name) const;  // as usual if not given, 0 if the forward table has none
  int64_t size(std::string_view name) const;
};

// What an op's T can be, the usual one first.
std::vector<DType> types_of_t(std::string_view op);
inline DType type_of_t(std::string_view op, DType wanted) {  // the usual one in the place of one that it cannot be
  const std::vector<DType> types = types_of_t(op);
  return std::find(types.begin(), types.end(), wanted) == types.end() ? types[0] : wanted;
}

// A size where none is given.
int64_t usual_size(std::string_view name);

// A function's, as the case has them; what of x shares statistics.
Sizes sizes_of(const Case& c, const Schema& schema);
Sharing sharing_of(const Case& c);

// Of a tensor of bits, an element's.
bool bit_at(const Case& c, const Buffer& bits, int64_t sample, int64_t channel, int64_t place);

// The line that repeats the case.
std::string command(const Case& c);

// All tensors of a case by name, contiguous; of what was not made, an absent one.
class Tensors {
 public:
  Buffer& operator[](std::string_view name) { return all.try_emplace(std::string(name)).first->second; }
  const Buffer& operator[](std::string_view name) const {
    static const Buffer absent;
    const auto found = all.find(name);
    return found == all.end() ? absent : found->second;
  }
  std::map<std::string, Buffer, std::less<>> all;
  std::vector<char> workspace;
};

// The worst element of one output.
struct Measure {
  std::string output;
  DType dtype = DType::none;
  bool sum = false;  // over all rows: there is no worst one
  double error = 0;  // in the bound's unit; infinity: wrong class (NaN, infinity, finite) or wrong where bits are defined
  double bound = 0;
  const char* unit = "";
  int64_t row = -1, index = -1;  // -1: nothing was compared
  double got = 0, expected = 0;
  bool passed() const { return error <= bound; }
};

struct Report {
  kilter_status status = KILTER_OK;  // of the calls; not OK: nothing was measured
  std::string message;               // kilter_last_error() then
  std::string impl, target;          // what ran
  std::vector<Measure> outputs;
  std::vector<std::string> problems;  // anything else that is wrong, a sentence each
  std::vector<std::string> notes;     // what was not judged, and why
  bool passed = false;
};

// What of the case's op is planes: samples of channels, in one of two layouts.
bool has_planes(const Schema& schema);

std::string sizes_text(const Schema& schema);  // "rows, n"

// Where a measure's element is, in words.
std::string where(const Case& c, const Measure& m);

// KILTER_INVALID_ARGUMENT in the status for a case that is none.  Throws std::bad_alloc only.
Report run(const Case& c);

// Several lines: each output's worst row, error, bound; the seed and the command that repeats the case (and its worst row).
std::string describe(const Case& c, const Report& r);

// ---- the steps of run()

// Bytes that run() allocates, about; -1 if that does not fit 63 bits or the case has negative sizes.
int64_t bytes_needed(const Case& c);

// Inputs filled, outputs allocated and holding a pattern.  clean: Fill::special without its NaN and infinities.
Tensors make_tensors(const Case& c, bool clean = false);

// The call of one direction, on t's memory; backward reads what forward wrote.
Arguments arguments(const Case& c, bool backward, Tensors& t);

// What a checked call of one direction is to an implementation: sizes, inputs and numbers (as the contract converts them), no outputs.
void set_problem(const Case& c, bool backward, const Tensors& t, void* problem);

// The calls of the ABI that the case describes, on t.
kilter_status call(const Case& c, Tensors& t);

}  // namespace kilter::check

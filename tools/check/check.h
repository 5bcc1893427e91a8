// `kilter check` as a library: one case in, inputs made from its seed, one call of the C ABI, every output measured against
// the float64 reference (fp64 rows: __float128) in the units of the numeric contract.
//
//   Case c;  c.op = "layer_norm";  c.rows = 7;  c.n = 4097;  c.x = DType::bf16;  c.fill = Fill::offset;  c.seed = 3;
//   Report r = run(c);
//   EXPECT_TRUE(r.passed) << describe(c, r);   // prints the command line that repeats it
//
// Tests that lay out memory themselves (guard pages, strides, in place) use the steps: make_tensors, fill the layout from its
// buffers, call, put the results back, then judge.
#pragma once

#include <string>
#include <vector>

#include "check/buffer.h"
#include "check/call.h"
#include "check/fills.h"
#include "check/tolerances.h"

namespace kilter::check {

struct Case {
  std::string op = "layer_norm";
  bool backward = false;  // then forward runs first and hands over mean, rstd and the residual sum
  int64_t rows = 128, n = 768;
  int64_t first_row = 0;       // rows first_row ... first_row + rows - 1 of the fill
  DType x = DType::f32;        // T
  DType weight = DType::none;  // none: no weight
  bool bias = false;           // in weight's type, or T without a weight; in backward: of the forward call before it
  DType residual = DType::none;
  DType post_residual = DType::none;
  double weight_offset = 0;
  bool round_then_multiply = false;
  double eps = KILTER_DEFAULT_EPS;
  Fill fill = Fill::normal;
  uint64_t seed = 0;
  std::string impl;    // "": the first that takes the call
  std::string target;  // "": the default; else kilter_set_cpu_target for the duration of the call
  int threads = 0;     // 0: the calling thread's setting
  // Backward only.
  DType dresidual_out = DType::none;  // input
  DType dresidual = DType::none;      // output
  DType dweight = DType::none;        // type of dweight and dbias; none: fp32 (fp64 rows: weight's type)
  bool want_dx = true, want_dweight = true, want_dbias = true;
};

// The line that repeats the case.
std::string command(const Case& c);

// All tensors of a case, contiguous.  Absent ones have dtype none.
struct Tensors {
  Buffer x, weight, bias, residual, post_residual, dy, dresidual_out;
  Buffer y, mean, rstd, residual_out, dx, dresidual, dweight, dbias;
  std::vector<char> workspace;
};

// The worst element of one output.
struct Measure {
  std::string output;
  DType dtype = DType::none;
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

// KILTER_INVALID_ARGUMENT in the status for a case that is none.  Throws std::bad_alloc only.
Report run(const Case& c);

// Several lines: each output's worst row, error, bound; the seed and the command that repeats the case (and its worst row).
std::string describe(const Case& c, const Report& r);

// ---- the steps of run()

// Bytes that run() allocates, about; -1 if that does not fit 63 bits or the case has negative sizes.
int64_t bytes_needed(const Case& c);

// Inputs filled, outputs allocated and holding a pattern.  clean: Fill::special without its NaN and infinities.
Tensors make_tensors(const Case& c, bool clean = false);

// The calls of the ABI that the case describes, on t.
kilter_status call(const Case& c, Tensors& t);

// Compares outputs with the reference.  Tensors that the case does not ask for are ignored.
void judge(const Case& c, const Tensors& t, Report* r);

}  // namespace kilter::check

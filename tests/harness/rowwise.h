// The row norms' calls, for what is true of them alone: with every tensor they can take, owned, in the layout that a test asks for.  What
// is true of every function is said with harness/call.h.
//
//   Forward<Op> f({.t = DType::bf16, .rows = 7, .n = 100, .weight = DType::f32});   // Op: LayerNorm or RmsNorm
//   f.args.eps = NAN;
//   EXPECT_EQ(f.run(), KILTER_INVALID_ARGUMENT);
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "harness/matrix.h"
#include "harness/refused.h"
#include "harness/threads.h"

namespace kilter::test {

struct LayerNorm {
  static constexpr const char* name = "layer_norm";
  static constexpr bool centered = true;
  using ForwardArgs = kilter_layer_norm_forward_args;
  using BackwardArgs = kilter_layer_norm_backward_args;
  static constexpr auto forward = kilter_layer_norm_forward;
  static constexpr auto backward = kilter_layer_norm_backward;
  static constexpr kilter_function kForward = KILTER_LAYER_NORM_FORWARD, kBackward = KILTER_LAYER_NORM_BACKWARD;
};

struct RmsNorm {
  static constexpr const char* name = "rms_norm";
  static constexpr bool centered = false;
  using ForwardArgs = kilter_rms_norm_forward_args;
  using BackwardArgs = kilter_rms_norm_backward_args;
  static constexpr auto forward = kilter_rms_norm_forward;
  static constexpr auto backward = kilter_rms_norm_backward;
  static constexpr kilter_function kForward = KILTER_RMS_NORM_FORWARD, kBackward = KILTER_RMS_NORM_BACKWARD;
};

using Ops = ::testing::Types<LayerNorm, RmsNorm>;
struct OpName {
  template <class Op>
  static std::string GetName(int) {
    return Op::name;
  }
};

struct Spec {
  DType t = DType::f32;
  int64_t rows = 5, n = 12;
  std::vector<int64_t> leading;  // all dimensions but the last; empty: {rows}
  DType weight = DType::none, bias = DType::none;
  DType residual = DType::none, post_residual = DType::none;
  bool residual_out = true;  // where there is a residual
  double eps = 1e-5, weight_offset = 0;
  int32_t rounding = KILTER_ROUND_ONCE;
  uint64_t seed = 1;
  Placed in, out;  // of the activations; vectors and statistics are plain
  // Backward only.
  DType dresidual_out = DType::none, dresidual = DType::none;
  DType stream = DType::none;  // x's type where it is not T
  DType dweight = DType::f32, dbias = DType::f32;
  bool want_dx = true;

  std::vector<int64_t> shape() const {
    std::vector<int64_t> s = leading.empty() ? std::vector<int64_t>{rows} : leading;
    s.push_back(n);
    return s;
  }
  std::vector<int64_t> per_row() const {
    std::vector<int64_t> s = shape();
    s.back() = 1;
    return s;
  }
  DType statistics() const { return t == DType::f64 ? DType::f64 : DType::f32; }
};

enum class Kind { rows, vector, per_row };

// A tensor of a call: its place in the argument structs and the memory it stands for.
struct NamedTensor {
  const char* name;
  kilter_tensor* tensor;
  Matrix* matrix;
  Kind kind;
  bool output, required;
};

// What kilter_ask says of a call that an implementation takes.
template <class Call>
kilter_plan asked(const Call& call) {
  kilter_plan plan{};
  plan.struct_size = sizeof plan;
  EXPECT_EQ(call.ask(&plan), KILTER_OK) << kilter_last_error();
  return plan;
}

template <class Op>
class Forward {
 public:
  using Operation = Op;
  static constexpr bool is_backward = false;
  static constexpr kilter_function kFunction = Op::kForward;
  Spec spec;
  Matrix x, weight, bias, residual, post_residual, y, residual_out, mean, rstd;
  typename Op::ForwardArgs args{};

  explicit Forward(const Spec& s) : spec(s) {
    x = Matrix(s.t, s.shape(), s.in);
    weight = Matrix(s.weight, {s.n});
    bias = Matrix(s.bias, {s.n});
    residual = Matrix(s.residual, s.shape(), s.in);
    post_residual = Matrix(s.post_residual, s.shape(), s.in);
    y = Matrix(s.t, s.shape(), s.out);
    if (s.residual_out) residual_out = Matrix(s.residual, s.shape(), s.out);
    if (Op::centered) mean = Matrix(s.statistics(), s.per_row());
    rstd = Matrix(s.statistics(), s.per_row());
    x.fill([&](int64_t r, int64_t i) { return noise(s.seed, r, i) + 0.25; });
    weight.fill([&](int64_t, int64_t i) { return 1 + noise(s.seed + 1, 0, i) / 4; });
    bias.fill([&](int64_t, int64_t i) { return noise(s.seed + 2, 0, i); });
    residual.fill([&](int64_t r, int64_t i) { return noise(s.seed + 3, r, i); });
    post_residual.fill([&](int64_t r, int64_t i) { return noise(s.seed + 4, r, i); });
    attach();
  }
  Forward(const Forward&) = delete;
  Forward& operator=(const Forward&) = delete;

  // Every field as the spec says.
  void attach() {
    args = {};
    args.struct_size = sizeof args;
    for (const NamedTensor& t : tensors()) *t.tensor = t.matrix->tensor();
    args.eps = spec.eps, args.weight_offset = spec.weight_offset, args.rounding = spec.rounding;
  }
  std::vector<NamedTensor> tensors() {
    std::vector<NamedTensor> list = {{"x", &args.x, &x, Kind::rows, false, true},
                                     {"weight", &args.weight, &weight, Kind::vector, false, false},
                                     {"bias", &args.bias, &bias, Kind::vector, false, false},
                                     {"y", &args.y, &y, Kind::rows, true, true},
                                     {"rstd", &args.rstd, &rstd, Kind::per_row, true, false},
                                     {"residual", &args.residual, &residual, Kind::rows, false, false},
                                     {"residual_out", &args.residual_out, &residual_out, Kind::rows, true, false},
                                     {"post_residual", &args.post_residual, &post_residual, Kind::rows, false, false}};
    if constexpr (Op::centered) list.push_back({"mean", &args.mean, &mean, Kind::per_row, true, false});
    return list;
  }
  kilter_status run() { return Op::forward(&args, nullptr); }
  static const char* op() { return Op::name; }
  kilter_status ask(kilter_plan* plan) const { return kilter_ask(kFunction, &args, plan); }
  Snapshot snapshot() {
    Snapshot all;
    for (const NamedTensor& t : tensors()) all.push_back(t.matrix->bytes());
    return all;
  }
  // What the norm read.
  const Matrix& normalized() const { return residual_out.present() ? residual_out : x; }
};

template <class Op>
class Backward {
 public:
  using Operation = Op;
  static constexpr bool is_backward = true;
  static constexpr kilter_function kFunction = Op::kBackward;
  Spec spec;
  Matrix x, weight, mean, rstd, dy, dresidual_out, dx, dresidual, dweight, dbias;
  std::unique_ptr<GuardedBuffer> workspace;
  typename Op::BackwardArgs args{};

  // x and the statistics come from a forward call: of plain noise, or of x as the test fills it, then prepare().
  explicit Backward(const Spec& s) : spec(s) {
    x = Matrix(s.stream == DType::none ? s.t : s.stream, s.shape(), s.in);
    weight = Matrix(s.weight, {s.n});
    if (Op::centered) mean = Matrix(s.statistics(), s.per_row());
    rstd = Matrix(s.statistics(), s.per_row());
    dy = Matrix(s.t, s.shape(), s.in);
    dresidual_out = Matrix(s.dresidual_out, s.shape(), s.in);
    if (s.want_dx) dx = Matrix(s.t, s.shape(), s.out);
    dresidual = Matrix(s.dresidual, s.shape(), s.out);
    dweight = Matrix(sum_type(s, s.dweight), {s.n});
    dbias = Matrix(sum_type(s, s.dbias), {s.n});
    x.fill([&](int64_t r, int64_t i) { return noise(s.seed, r, i) + 0.25; });
    weight.fill([&](int64_t, int64_t i) { return 1 + noise(s.seed + 1, 0, i) / 4; });
    dy.fill([&](int64_t r, int64_t i) { return noise(s.seed + 5, r, i); });
    dresidual_out.fill([&](int64_t r, int64_t i) { return noise(s.seed + 6, r, i); });
    prepare();
  }
  Backward(const Backward&) = delete;
  Backward& operator=(const Backward&) = delete;

  // Statistics of x as it is now, then every field as the spec says and the workspace that this thread's settings ask for.
  void prepare() {
    Spec s = spec;
    s.t = x.dtype(), s.weight = s.bias = s.residual = s.post_residual = DType::none, s.weight_offset = 0, s.in = s.out = {};
    Forward<Op> f(s);
    f.x.copy_from(x);
    EXPECT_EQ(f.run(), KILTER_OK) << kilter_last_error();
    rstd.copy_from(f.rstd);
    mean.copy_from(f.mean);
    attach();
    choose(nullptr);
  }
  // The implementation of that name (null: the usual one) and the workspace that it asks for.
  void choose(const char* impl) {
    args.impl = impl;
    workspace = std::make_unique<GuardedBuffer>(asked(*this).workspace_size);
    args.workspace = workspace->data(), args.workspace_size = workspace->size();
  }
  void attach() {
    args = {};
    args.struct_size = sizeof args;
    for (const NamedTensor& t : tensors()) *t.tensor = t.matrix->tensor();
    args.weight_offset = spec.weight_offset;
    if (workspace) args.workspace = workspace->data(), args.workspace_size = workspace->size();
  }
  std::vector<NamedTensor> tensors() {
    std::vector<NamedTensor> list = {{"x", &args.x, &x, Kind::rows, false, true},
                                     {"weight", &args.weight, &weight, Kind::vector, false, false},
                                     {"rstd", &args.rstd, &rstd, Kind::per_row, false, true},
                                     {"dy", &args.dy, &dy, Kind::rows, false, true},
                                     {"dresidual_out", &args.dresidual_out, &dresidual_out, Kind::rows, false, false},
                                     {"dx", &args.dx, &dx, Kind::rows, true, false},
                                     {"dresidual", &args.dresidual, &dresidual, Kind::rows, true, false},
                                     {"dweight", &args.dweight, &dweight, Kind::vector, true, false},
                                     {"dbias", &args.dbias, &dbias, Kind::vector, true, false}};
    if constexpr (Op::centered) list.push_back({"mean", &args.mean, &mean, Kind::per_row, false, true});
    return list;
  }
  kilter_status run() { return Op::backward(&args, nullptr); }
  static const char* op() { return Op::name; }
  kilter_status ask(kilter_plan* plan) const { return kilter_ask(kFunction, &args, plan); }
  Snapshot snapshot() {
    Snapshot all;
    for (const NamedTensor& t : tensors()) all.push_back(t.matrix->bytes());
    all.push_back(workspace->bytes());
    return all;
  }

 private:
  // fp64 rows: where an fp32 sum is asked for and the weight allows it, one in fp64.
  static DType sum_type(const Spec& s, DType asked) {
    return s.t == DType::f64 && asked == DType::f32 && s.weight != DType::f32 ? DType::f64 : asked;
  }
};

// Every output of two calls, bit for bit.
template <class Call>
::testing::AssertionResult same_outputs(Call& expected, Call& got) {
  const std::vector<NamedTensor> a = expected.tensors(), b = got.tensors();
  for (size_t i = 0; i < a.size(); ++i)
    if (a[i].output)
      if (auto result = same(*a[i].matrix, *b[i].matrix, a[i].name); !result) return result;
  return ::testing::AssertionSuccess();
}

}  // namespace kilter::test

// Calls of adaptive_layer_norm with the tensors that a test gives them, and with all of them, in each way in which rows share a row of
// scale.
#pragma once

#include <algorithm>
#include <functional>

#include "harness/call.h"
#include "harness/threads.h"

namespace kilter::test::adaptive {

constexpr kilter_function kForward = KILTER_ADAPTIVE_LAYER_NORM_FORWARD, kBackward = KILTER_ADAPTIVE_LAYER_NORM_BACKWARD;
constexpr DType kFloatTypes[] = {DType::f64, DType::f32, DType::f16, DType::bf16};

using Shape = std::vector<int64_t>;
using Values = std::vector<double>;

// A call with the tensors that a test gives it, by name.
template <class Args, kilter_status (*function)(const Args*, kilter_stream)>
class Given {
 public:
  Args args{};
  std::map<std::string, Matrix> memory;
  std::unique_ptr<GuardedBuffer> workspace;

  Given() { args.struct_size = sizeof args, args.scale_offset = 1; }

  Matrix& give(const std::string& name, kilter_tensor Args::*field, DType type, const Shape& shape, const Placed& placed = {}) {
    Matrix& m = memory[name] = Matrix(type, shape, placed);
    m.fill([&](int64_t r, int64_t i) { return noise(std::hash<std::string>()(name), r, i); });
    args.*field = m.tensor();
    return m;
  }
  Matrix& give(const std::string& name, kilter_tensor Args::*field, DType type, const Shape& shape, const Values& values) {
    Matrix& m = give(name, field, type, shape);
    m.fill([&](int64_t r, int64_t i) { return values[size_t(r * m.n() + i)]; });
    return m;
  }
  kilter_status run() { return function(&args, nullptr); }
  void expect_run() {
    if constexpr (requires { args.workspace; }) {
      kilter_plan plan{sizeof plan, nullptr, 0};
      ASSERT_EQ(kilter_ask(kBackward, &args, &plan), KILTER_OK) << kilter_last_error();
      workspace = std::make_unique<GuardedBuffer>(plan.workspace_size);
      args.workspace = workspace->data(), args.workspace_size = plan.workspace_size;
    }
    ASSERT_EQ(run(), KILTER_OK) << kilter_last_error();
  }
  void expect_refused(const std::string& text) {
    EXPECT_EQ(run(), KILTER_INVALID_ARGUMENT);
    EXPECT_EQ(kilter_last_error(), "adaptive_layer_norm: " + text);
  }
  Values values(const std::string& name) const {
    Values all;
    const Matrix& m = memory.at(name);
    for (int64_t r = 0; r < m.rows(); ++r)
      for (int64_t i = 0; i < m.n(); ++i) all.push_back(m.get(r, i));
    return all;
  }
};
using ForwardArgs = kilter_adaptive_layer_norm_forward_args;
using BackwardArgs = kilter_adaptive_layer_norm_backward_args;
using Forward = Given<ForwardArgs, kilter_adaptive_layer_norm_forward>;
using Backward = Given<BackwardArgs, kilter_adaptive_layer_norm_backward>;

// How rows share a row of scale.
enum class By { token, sample, segment };
constexpr By kBy[] = {By::token, By::sample, By::segment};
constexpr int64_t kBatch = 3, kTokens = 4;

inline Shape x_shape(int64_t n) { return {kBatch, kTokens, n}; }
inline Shape scale_shape(By by, int64_t n) {
  if (by == By::segment) return {5, n};
  return {kBatch, by == By::token ? kTokens : 1, n};
}
inline const Values kLengths = {0, 3, 3, 4, 4, 12};

template <class Call>
void give_lengths(Call& call, By by, DType type = DType::i64, const Values& lengths = kLengths) {
  if (by == By::segment)
    call.give("segments", &std::remove_reference_t<decltype(call.args)>::segments, type, {int64_t(lengths.size())}, lengths);
}

struct Both {
  Forward f;
  Backward b;
};

// Everything at once.  placed: of scale, shift and gate.
inline std::unique_ptr<Both> full_call(By by, DType t, DType modulation, int64_t n, bool rms, const Values& lengths = kLengths,
                                       const Placed& placed = {}, Shape shape = {}) {
  auto both = std::make_unique<Both>();
  auto& [f, b] = *both;
  if (shape.empty()) shape = x_shape(n);
  const int64_t rows = shape[0] * shape[1];
  const Shape scales = by == By::segment ? Shape{int64_t(lengths.size()) - 1, n} : by == By::sample ? Shape{shape[0], 1, n} : shape;
  const DType stat = t == DType::f64 ? t : DType::f32;
  f.args.eps = 1e-5, f.args.norm = rms, b.args.norm = rms;
  f.give("x", &ForwardArgs::x, t, shape);
  f.give("weight", &ForwardArgs::weight, t, {n});
  f.give("bias", &ForwardArgs::bias, t, {n});
  give_lengths(f, by, DType::i32, lengths);
  f.give("scale", &ForwardArgs::scale, modulation, scales, placed);
  f.give("shift", &ForwardArgs::shift, modulation, scales, placed);
  f.give("gate", &ForwardArgs::gate, modulation, scales, placed);
  // By row, whichever way rows share: the same numbers for a row of x.
  f.give("residual", &ForwardArgs::residual, t, shape);
  f.give("residual_out", &ForwardArgs::residual_out, t, shape);
  f.give("y", &ForwardArgs::y, t, shape);
  if (!rms) f.give("mean", &ForwardArgs::mean, stat, {shape[0], shape[1]});
  f.give("rstd", &ForwardArgs::rstd, stat, {shape[0], shape[1]});
  b.args.x = f.args.residual_out, b.args.weight = f.args.weight, b.args.bias = f.args.bias, b.args.segments = f.args.segments;
  b.args.scale = f.args.scale, b.args.gate = f.args.gate, b.args.branch = f.args.x, b.args.mean = f.args.mean, b.args.rstd = f.args.rstd;
  b.give("dy", &BackwardArgs::dy, t, shape);
  b.give("dresidual_out", &BackwardArgs::dresidual_out, t, shape);
  b.give("dx", &BackwardArgs::dx, t, shape);
  b.give("dresidual", &BackwardArgs::dresidual, t, shape);
  b.give("dgate", &BackwardArgs::dgate, modulation, scales);
  b.give("dscale", &BackwardArgs::dscale, modulation, scales);
  b.give("dshift", &BackwardArgs::dshift, modulation, scales);
  b.give("dweight", &BackwardArgs::dweight, t, {n});
  b.give("dbias", &BackwardArgs::dbias, t, {n});
  EXPECT_EQ(rows, f.memory.at("x").rows());
  return both;
}
inline void expect_run(Both& both) {
  both.f.expect_run();
  both.b.expect_run();
}
constexpr const char* kOutputs[] = {"y",     "residual_out", "mean",   "rstd",    "dx",   "dresidual",
                                    "dgate", "dscale",       "dshift", "dweight", "dbias"};
inline void expect_same(Both& want, Both& got, std::initializer_list<const char*> but = {}) {
  for (const char* name : kOutputs) {
    if (std::count_if(but.begin(), but.end(), [&](const char* other) { return std::string(other) == name; })) continue;
    const auto find = [&](Both& both) -> const Matrix* {
      if (const auto at = both.f.memory.find(name); at != both.f.memory.end()) return &at->second;
      const auto at = both.b.memory.find(name);
      return at != both.b.memory.end() ? &at->second : nullptr;
    };
    const Matrix *a = find(want), *b = find(got);
    ASSERT_EQ(a != nullptr, b != nullptr) << name;
    if (a) {
      EXPECT_TRUE(same(*a, *b, name));
    }
  }
}

}  // namespace kilter::test::adaptive

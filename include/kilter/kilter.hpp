/* kilter for C++20: kilter.h with types.  Header only; everything is a thin layer over the C functions, which document
 * shapes, types, aliasing and errors.  What this header adds:
 *
 *   - tensors (tensor.hpp) that carry their shape, made from a pointer, a span or a vector;
 *   - argument structs with default values, for designated initializers;
 *   - a failing call throws kilter::error.
 *
 *   kilter::layer_norm_forward({.x = {x, {rows, n}}, .weight = w, .y = {y, {rows, n}}, .eps = 1e-12});
 *
 * Nothing here allocates, except that throwing an error copies its text. */
#ifndef KILTER_KILTER_HPP_
#define KILTER_KILTER_HPP_

#include <cstddef>
#include <cstdint>
#include <span>

#include "kilter/kilter.h"
#include "kilter/tensor.hpp"

namespace kilter {

// ---------------------------------------------------------------- arguments

enum class rounding_order : int32_t { once = KILTER_ROUND_ONCE, then_multiply = KILTER_ROUND_THEN_MULTIPLY };

enum class activation_kind : int32_t {
  none = KILTER_ACTIVATION_NONE,
  silu = KILTER_ACTIVATION_SILU,
  gelu = KILTER_ACTIVATION_GELU,
  gelu_tanh = KILTER_ACTIVATION_GELU_TANH,
  relu = KILTER_ACTIVATION_RELU
};

enum class averaging_kind : int32_t { exponential = KILTER_AVERAGING_EXPONENTIAL, cumulative = KILTER_AVERAGING_CUMULATIVE };

namespace detail {

[[nodiscard]] inline size_t workspace_of(kilter_function function, const void* args) {
  kilter_plan plan = {};
  plan.struct_size = sizeof plan;
  check(kilter_ask(function, args, &plan));
  return plan.workspace_size;
}

}  // namespace detail

// The members are kilter.h's, in its order.  An activation needs its shape, {x, {rows, n}} or {x, {batch, channels, height, width}};
// a vector may go without.  c() is the C struct; it points into this one.  Calls throw kilter::error if they fail.

// from kilter schema --cpp derf dyt layer_norm rms_norm
struct derf_forward_args {
  const_tensor x = {};
  const_vector_tensor alpha = {};
  const_vector_tensor shift = {};
  const_vector_tensor weight = {};
  const_vector_tensor bias = {};
  const_tensor residual = {};
  tensor y = {};
  tensor residual_out = {};
  const char* impl = nullptr;
  uint64_t launch_flags = 0;  // KILTER_LAUNCH_...

  [[nodiscard]] kilter_derf_forward_args c() const {
    const char* const op = "derf";
    kilter_derf_forward_args a = {};
    a.struct_size = sizeof a;
    a.x = x.c(op, "x");
    a.alpha = alpha.c(op, "alpha");
    a.shift = shift.c(op, "shift");
    a.weight = weight.c(op, "weight");
    a.bias = bias.c(op, "bias");
    a.residual = residual.c(op, "residual");
    a.y = y.c(op, "y");
    a.residual_out = residual_out.c(op, "residual_out");
    a.impl = impl;
    a.launch_flags = launch_flags;
    return a;
  }
};

struct derf_backward_args {
  const_tensor x = {};
  const_vector_tensor alpha = {};
  const_vector_tensor shift = {};
  const_vector_tensor weight = {};
  const_tensor dy = {};
  const_tensor dresidual_out = {};
  tensor dx = {};
  tensor dresidual = {};
  vector_tensor dalpha = {};
  vector_tensor dshift = {};
  vector_tensor dweight = {};
  vector_tensor dbias = {};
  std::span<std::byte> workspace = {};
  const char* impl = nullptr;
  uint64_t launch_flags = 0;  // KILTER_LAUNCH_...

  [[nodiscard]] kilter_derf_backward_args c() const {
    const char* const op = "derf";
    kilter_derf_backward_args a = {};
    a.struct_size = sizeof a;
    a.x = x.c(op, "x");
    a.alpha = alpha.c(op, "alpha");
    a.shift = shift.c(op, "shift");
    a.weight = weight.c(op, "weight");
    a.dy = dy.c(op, "dy");
    a.dresidual_out = dresidual_out.c(op, "dresidual_out");
    a.dx = dx.c(op, "dx");
    a.dresidual = dresidual.c(op, "dresidual");
    a.dalpha = dalpha.c(op, "dalpha");
    a.dshift = dshift.c(op, "dshift");
    a.dweight = dweight.c(op, "dweight");
    a.dbias = dbias.c(op, "dbias");
    a.workspace = workspace.data();
    a.workspace_size = workspace.size();
    a.impl = impl;
    a.launch_flags = launch_flags;
    return a;
  }
};

struct dyt_forward_args {
  const_tensor x = {};
  const_vector_tensor alpha = {};
  const_vector_tensor weight = {};
  const_vector_tensor bias = {};
  const_tensor residual = {};
  tensor y = {};
  tensor residual_out = {};
  const char* impl = nullptr;
  uint64_t launch_flags = 0;  // KILTER_LAUNCH_...

  [[nodiscard]] kilter_dyt_forward_args c() const {
    const char* const op = "dyt";
    kilter_dyt_forward_args a = {};
    a.struct_size = sizeof a;
    a.x = x.c(op, "x");
    a.alpha = alpha.c(op, "alpha");
    a.weight = weight.c(op, "weight");
    a.bias = bias.c(op, "bias");
    a.residual = residual.c(op, "residual");
    a.y = y.c(op, "y");
    a.residual_out = residual_out.c(op, "residual_out");
    a.impl = impl;
    a.launch_flags = launch_flags;
    return a;
  }
};

struct dyt_backward_args {
  const_tensor x = {};
  const_vector_tensor alpha = {};
  const_vector_tensor weight = {};
  const_tensor dy = {};
  const_tensor dresidual_out = {};
  tensor dx = {};
  tensor dresidual = {};
  vector_tensor dalpha = {};
  vector_tensor dweight = {};
  vector_tensor dbias = {};
  std::span<std::byte> workspace = {};
  const char* impl = nullptr;
  uint64_t launch_flags = 0;  // KILTER_LAUNCH_...

  [[nodiscard]] kilter_dyt_backward_args c() const {
    const char* const op = "dyt";
    kilter_dyt_backward_args a = {};
    a.struct_size = sizeof a;
    a.x = x.c(op, "x");
    a.alpha = alpha.c(op, "alpha");
    a.weight = weight.c(op, "weight");
    a.dy = dy.c(op, "dy");
    a.dresidual_out = dresidual_out.c(op, "dresidual_out");
    a.dx = dx.c(op, "dx");
    a.dresidual = dresidual.c(op, "dresidual");
    a.dalpha = dalpha.c(op, "dalpha");
    a.dweight = dweight.c(op, "dweight");
    a.dbias = dbias.c(op, "dbias");
    a.workspace = workspace.data();
    a.workspace_size = workspace.size();
    a.impl = impl;
    a.launch_flags = launch_flags;
    return a;
  }
};

struct layer_norm_forward_args {
  const_tensor x = {};
  const_vector_tensor weight = {};
  const_vector_tensor bias = {};
  const_tensor residual = {};
  const_tensor gate = {};
  const_tensor post_residual = {};
  tensor y = {};
  tensor residual_out = {};
  vector_tensor mean = {};
  vector_tensor rstd = {};
  double eps = KILTER_DEFAULT_EPS;
  double weight_offset = 0;
  rounding_order rounding = rounding_order::once;
  activation_kind activation = activation_kind::none;
  const char* impl = nullptr;
  uint64_t launch_flags = 0;  // KILTER_LAUNCH_...

  [[nodiscard]] kilter_layer_norm_forward_args c() const {
    const char* const op = "layer_norm";
    kilter_layer_norm_forward_args a = {};
    a.struct_size = sizeof a;
    a.x = x.c(op, "x");
    a.weight = weight.c(op, "weight");
    a.bias = bias.c(op, "bias");
    a.residual = residual.c(op, "residual");
    a.gate = gate.c(op, "gate");
    a.post_residual = post_residual.c(op, "post_residual");
    a.y = y.c(op, "y");
    a.residual_out = residual_out.c(op, "residual_out");
    a.mean = mean.c(op, "mean");
    a.rstd = rstd.c(op, "rstd");
    a.eps = eps;
    a.weight_offset = weight_offset;
    a.rounding = int32_t(rounding);
    a.activation = int32_t(activation);
    a.impl = impl;
    a.launch_flags = launch_flags;
    return a;
  }
};

struct layer_norm_backward_args {
  const_tensor x = {};
  const_vector_tensor weight = {};
  const_vector_tensor mean = {};
  const_vector_tensor rstd = {};
  const_tensor dy = {};
  const_tensor dresidual_out = {};
  tensor dx = {};
  tensor dresidual = {};
  vector_tensor dweight = {};
  vector_tensor dbias = {};
  double weight_offset = 0;
  std::span<std::byte> workspace = {};
  const char* impl = nullptr;
  uint64_t launch_flags = 0;  // KILTER_LAUNCH_...

  [[nodiscard]] kilter_layer_norm_backward_args c() const {
    const char* const op = "layer_norm";
    kilter_layer_norm_backward_args a = {};
    a.struct_size = sizeof a;
    a.x = x.c(op, "x");
    a.weight = weight.c(op, "weight");
    a.mean = mean.c(op, "mean");
    a.rstd = rstd.c(op, "rstd");
    a.dy = dy.c(op, "dy");
    a.dresidual_out = dresidual_out.c(op, "dresidual_out");
    a.dx = dx.c(op, "dx");
    a.dresidual = dresidual.c(op, "dresidual");
    a.dweight = dweight.c(op, "dweight");
    a.dbias = dbias.c(op, "dbias");
    a.weight_offset = weight_offset;
    a.workspace = workspace.data();
    a.workspace_size = workspace.size();
    a.impl = impl;
    a.launch_flags = launch_flags;
    return a;
  }
};

struct rms_norm_forward_args {
  const_tensor x = {};
  const_vector_tensor weight = {};
  const_vector_tensor bias = {};
  const_tensor residual = {};
  const_tensor gate = {};
  const_tensor post_residual = {};
  tensor y = {};
  tensor residual_out = {};
  vector_tensor rstd = {};
  double eps = KILTER_DEFAULT_EPS;
  double weight_offset = 0;
  rounding_order rounding = rounding_order::once;
  activation_kind activation = activation_kind::none;
  const char* impl = nullptr;
  uint64_t launch_flags = 0;  // KILTER_LAUNCH_...

  [[nodiscard]] kilter_rms_norm_forward_args c() const {
    const char* const op = "rms_norm";
    kilter_rms_norm_forward_args a = {};
    a.struct_size = sizeof a;
    a.x = x.c(op, "x");
    a.weight = weight.c(op, "weight");
    a.bias = bias.c(op, "bias");
    a.residual = residual.c(op, "residual");
    a.gate = gate.c(op, "gate");
    a.post_residual = post_residual.c(op, "post_residual");
    a.y = y.c(op, "y");
    a.residual_out = residual_out.c(op, "residual_out");
    a.rstd = rstd.c(op, "rstd");
    a.eps = eps;
    a.weight_offset = weight_offset;
    a.rounding = int32_t(rounding);
    a.activation = int32_t(activation);
    a.impl = impl;
    a.launch_flags = launch_flags;
    return a;
  }
};

struct rms_norm_backward_args {
  const_tensor x = {};
  const_vector_tensor weight = {};
  const_vector_tensor rstd = {};
  const_tensor dy = {};
  const_tensor dresidual_out = {};
  tensor dx = {};
  tensor dresidual = {};
  vector_tensor dweight = {};
  vector_tensor dbias = {};
  double weight_offset = 0;
  std::span<std::byte> workspace = {};
  const char* impl = nullptr;
  uint64_t launch_flags = 0;  // KILTER_LAUNCH_...

  [[nodiscard]] kilter_rms_norm_backward_args c() const {
    const char* const op = "rms_norm";
    kilter_rms_norm_backward_args a = {};
    a.struct_size = sizeof a;
    a.x = x.c(op, "x");
    a.weight = weight.c(op, "weight");
    a.rstd = rstd.c(op, "rstd");
    a.dy = dy.c(op, "dy");
    a.dresidual_out = dresidual_out.c(op, "dresidual_out");
    a.dx = dx.c(op, "dx");
    a.dresidual = dresidual.c(op, "dresidual");
    a.dweight = dweight.c(op, "dweight");
    a.dbias = dbias.c(op, "dbias");
    a.weight_offset = weight_offset;
    a.workspace = workspace.data();
    a.workspace_size = workspace.size();
    a.impl = impl;
    a.launch_flags = launch_flags;
    return a;
  }
};

inline void derf_forward(const derf_forward_args& args, kilter_stream stream = nullptr) {
  const kilter_derf_forward_args call = args.c();
  check(kilter_derf_forward(&call, stream));
}

inline void derf_backward(const derf_backward_args& args, kilter_stream stream = nullptr) {
  const kilter_derf_backward_args call = args.c();
  check(kilter_derf_backward(&call, stream));
}

// Bytes of workspace for derf_backward with these arguments (their own is not looked at).
[[nodiscard]] inline size_t derf_backward_workspace(const derf_backward_args& args) {
  const kilter_derf_backward_args call = args.c();
  return detail::workspace_of(KILTER_DERF_BACKWARD, &call);
}

inline void dyt_forward(const dyt_forward_args& args, kilter_stream stream = nullptr) {
  const kilter_dyt_forward_args call = args.c();
  check(kilter_dyt_forward(&call, stream));
}

inline void dyt_backward(const dyt_backward_args& args, kilter_stream stream = nullptr) {
  const kilter_dyt_backward_args call = args.c();
  check(kilter_dyt_backward(&call, stream));
}

// Bytes of workspace for dyt_backward with these arguments (their own is not looked at).
[[nodiscard]] inline size_t dyt_backward_workspace(const dyt_backward_args& args) {
  const kilter_dyt_backward_args call = args.c();
  return detail::workspace_of(KILTER_DYT_BACKWARD, &call);
}

inline void layer_norm_forward(const layer_norm_forward_args& args, kilter_stream stream = nullptr) {
  const kilter_layer_norm_forward_args call = args.c();
  check(kilter_layer_norm_forward(&call, stream));
}

inline void layer_norm_backward(const layer_norm_backward_args& args, kilter_stream stream = nullptr) {
  const kilter_layer_norm_backward_args call = args.c();
  check(kilter_layer_norm_backward(&call, stream));
}

// Bytes of workspace for layer_norm_backward with these arguments (their own is not looked at).
[[nodiscard]] inline size_t layer_norm_backward_workspace(const layer_norm_backward_args& args) {
  const kilter_layer_norm_backward_args call = args.c();
  return detail::workspace_of(KILTER_LAYER_NORM_BACKWARD, &call);
}

inline void rms_norm_forward(const rms_norm_forward_args& args, kilter_stream stream = nullptr) {
  const kilter_rms_norm_forward_args call = args.c();
  check(kilter_rms_norm_forward(&call, stream));
}

inline void rms_norm_backward(const rms_norm_backward_args& args, kilter_stream stream = nullptr) {
  const kilter_rms_norm_backward_args call = args.c();
  check(kilter_rms_norm_backward(&call, stream));
}

// Bytes of workspace for rms_norm_backward with these arguments (their own is not looked at).
[[nodiscard]] inline size_t rms_norm_backward_workspace(const rms_norm_backward_args& args) {
  const kilter_rms_norm_backward_args call = args.c();
  return detail::workspace_of(KILTER_RMS_NORM_BACKWARD, &call);
}

// end

// Threads that later calls from this thread may use; 0: what OpenMP would take.
inline void set_num_threads(int threads) { check(kilter_set_num_threads(threads)); }

// The most that a call from any thread of the process may use; 0: KILTER_NUM_THREADS, or none.
inline void set_thread_limit(int threads) { check(kilter_set_thread_limit(threads)); }

}  // namespace kilter

#include "kilter/adaptive.hpp"  // adaptive_layer_norm
#include "kilter/batch_norm.hpp"
#include "kilter/planewise.hpp"  // group_norm, instance_norm
#include "kilter/weights.hpp"    // weight_norm

#endif  // KILTER_KILTER_HPP_

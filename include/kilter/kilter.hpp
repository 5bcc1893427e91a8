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
  gelu_tanh = KILTER_ACTIVATION_GELU_TANH
};

enum class output_kind : int32_t {
  plain = KILTER_OUTPUT_PLAIN,
  fp8_e4m3 = KILTER_OUTPUT_FP8_E4M3,
  fp8_e5m2 = KILTER_OUTPUT_FP8_E5M2,
  int8 = KILTER_OUTPUT_INT8
};

// The members are kilter.h's, those of prologue, epilogue and quantization among them; order as there.  An activation needs its
// shape, {x, {rows, n}}; a vector may go without.
struct layer_norm_forward_args {
  const_tensor x = {};
  const_vector_tensor weight = {};
  const_vector_tensor bias = {};
  tensor y = {};
  vector_tensor mean = {};
  vector_tensor rstd = {};
  double eps = KILTER_DEFAULT_EPS;
  double weight_offset = 0;
  rounding_order rounding = rounding_order::once;
  const_tensor residual = {};
  tensor residual_out = {};
  const_tensor gate = {};
  activation_kind activation = activation_kind::none;
  const_tensor post_residual = {};
  output_kind output = output_kind::plain;
  bool from_fp32 = false;
  tensor scale = {};
  const char* impl = nullptr;
  uint64_t launch_flags = 0;  // KILTER_LAUNCH_...
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
};

struct rms_norm_forward_args {
  const_tensor x = {};
  const_vector_tensor weight = {};
  const_vector_tensor bias = {};
  tensor y = {};
  vector_tensor rstd = {};
  double eps = KILTER_DEFAULT_EPS;
  double weight_offset = 0;
  rounding_order rounding = rounding_order::once;
  const_tensor residual = {};
  tensor residual_out = {};
  const_tensor gate = {};
  activation_kind activation = activation_kind::none;
  const_tensor post_residual = {};
  output_kind output = output_kind::plain;
  bool from_fp32 = false;
  tensor scale = {};
  const char* impl = nullptr;
  uint64_t launch_flags = 0;  // KILTER_LAUNCH_...
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
};

namespace detail {

// A forward call's C struct together with the structs that it points to.
template <class C>
class forward_call {
 public:
  template <class Args>
  forward_call(const char* op, const Args& a) {
    c_.struct_size = sizeof c_;
    c_.x = a.x.c(op, "x");
    c_.weight = a.weight.c(op, "weight");
    c_.bias = a.bias.c(op, "bias");
    c_.y = a.y.c(op, "y");
    if constexpr (requires { a.mean; }) c_.mean = a.mean.c(op, "mean");
    c_.rstd = a.rstd.c(op, "rstd");
    c_.eps = a.eps;
    c_.weight_offset = a.weight_offset;
    c_.rounding = int32_t(a.rounding);
    c_.impl = a.impl;
    c_.launch_flags = a.launch_flags;
    if (!a.residual.absent() || !a.residual_out.absent() || !a.gate.absent()) {
      prologue_ = {sizeof prologue_, a.residual.c(op, "residual"), a.residual_out.c(op, "residual_out"), a.gate.c(op, "gate")};
      c_.prologue = &prologue_;
    }
    if (a.activation != activation_kind::none || !a.post_residual.absent()) {
      epilogue_ = {sizeof epilogue_, int32_t(a.activation), a.post_residual.c(op, "post_residual")};
      c_.epilogue = &epilogue_;
    }
    if (a.output != output_kind::plain || a.from_fp32 || !a.scale.absent()) {
      quantization_ = {sizeof quantization_, int32_t(a.output), a.from_fp32, a.scale.c(op, "scale")};
      c_.quantization = &quantization_;
    }
  }
  forward_call(const forward_call&) = delete;
  forward_call& operator=(const forward_call&) = delete;
  [[nodiscard]] const C* get() const noexcept { return &c_; }

 private:
  kilter_prologue prologue_ = {};
  kilter_epilogue epilogue_ = {};
  kilter_quantization quantization_ = {};
  C c_ = {};
};

template <class C, class Args>
[[nodiscard]] C backward_call(const char* op, const Args& a) {
  C c = {};
  c.struct_size = sizeof c;
  c.x = a.x.c(op, "x");
  c.weight = a.weight.c(op, "weight");
  if constexpr (requires { a.mean; }) c.mean = a.mean.c(op, "mean");
  c.rstd = a.rstd.c(op, "rstd");
  c.dy = a.dy.c(op, "dy");
  c.dresidual_out = a.dresidual_out.c(op, "dresidual_out");
  c.dx = a.dx.c(op, "dx");
  c.dresidual = a.dresidual.c(op, "dresidual");
  c.dweight = a.dweight.c(op, "dweight");
  c.dbias = a.dbias.c(op, "dbias");
  c.weight_offset = a.weight_offset;
  c.workspace = a.workspace.data();
  c.workspace_size = a.workspace.size();
  c.impl = a.impl;
  c.launch_flags = a.launch_flags;
  return c;
}

}  // namespace detail

// ---------------------------------------------------------------- calls; each throws kilter::error if it fails

inline void layer_norm_forward(const layer_norm_forward_args& args, kilter_stream stream = nullptr) {
  check(kilter_layer_norm_forward(detail::forward_call<kilter_layer_norm_forward_args>("layer_norm", args).get(), stream));
}

inline void layer_norm_backward(const layer_norm_backward_args& args, kilter_stream stream = nullptr) {
  const auto call = detail::backward_call<kilter_layer_norm_backward_args>("layer_norm", args);
  check(kilter_layer_norm_backward(&call, stream));
}

// Bytes of workspace for layer_norm_backward with these arguments (their workspace is not looked at).
[[nodiscard]] inline size_t layer_norm_backward_workspace(const layer_norm_backward_args& args) {
  const auto call = detail::backward_call<kilter_layer_norm_backward_args>("layer_norm", args);
  size_t bytes = 0;
  check(kilter_layer_norm_backward_workspace(&call, &bytes));
  return bytes;
}

inline void rms_norm_forward(const rms_norm_forward_args& args, kilter_stream stream = nullptr) {
  check(kilter_rms_norm_forward(detail::forward_call<kilter_rms_norm_forward_args>("rms_norm", args).get(), stream));
}

inline void rms_norm_backward(const rms_norm_backward_args& args, kilter_stream stream = nullptr) {
  const auto call = detail::backward_call<kilter_rms_norm_backward_args>("rms_norm", args);
  check(kilter_rms_norm_backward(&call, stream));
}

[[nodiscard]] inline size_t rms_norm_backward_workspace(const rms_norm_backward_args& args) {
  const auto call = detail::backward_call<kilter_rms_norm_backward_args>("rms_norm", args);
  size_t bytes = 0;
  check(kilter_rms_norm_backward_workspace(&call, &bytes));
  return bytes;
}

// Threads that later calls from this thread may use; 0: what OpenMP would take.
inline void set_num_threads(int threads) { check(kilter_set_num_threads(threads)); }

// The most that a call from any thread of the process may use; 0: KILTER_NUM_THREADS, or none.
inline void set_thread_limit(int threads) { check(kilter_set_thread_limit(threads)); }

}  // namespace kilter

#endif  // KILTER_KILTER_HPP_

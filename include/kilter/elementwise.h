/* The functions in place of a norm: dyt, derf.  A part of kilter.h, which includes it where its types are known. */
#if !defined(KILTER_KILTER_H_)
#include "kilter/kilter.h"
#elif !defined(KILTER_ELEMENTWISE_H_)
#define KILTER_ELEMENTWISE_H_

/* ---------------------------------------------------------------- dyt
 *
 * Dynamic Tanh (Zhu, Chen, He, LeCun, Liu 2025, arXiv:2503.10622), in place of a norm, element by element:
 *   y = tanh(alpha * x) * weight + bias,  x of rows of n, alpha one value, weight and bias of n.
 * Backward, with g = dy * weight and t = tanh(alpha * x):
 *   dx = g * (1 - t^2) * alpha + dresidual_out,  dalpha = sum of g * (1 - t^2) * x,
 *   dweight = sum over rows of dy * t,  dbias = sum over rows of dy.
 * residual, residual_out, dresidual, types, strides, aliasing and workspace as in layer_norm; alpha has x's type or fp32, dalpha
 * alpha's or fp32.  Computed in
 * fp32 (fp64 rows: fp64).  NaN stays in its element of y and dx; every sum that it is part of is NaN.  Equal bits from run to run, for
 * every thread count, SIMD target and GPU of one architecture; the CPU's and a GPU's differ within the bounds of docs/numerics.md. */

typedef struct kilter_dyt_forward_args {
  size_t struct_size;
  kilter_tensor x;
  kilter_tensor alpha;
  kilter_tensor weight;
  kilter_tensor bias;
  kilter_tensor residual;
  kilter_tensor y;
  kilter_tensor residual_out;
  const char* impl;
  uint64_t launch_flags;
} kilter_dyt_forward_args;

typedef struct kilter_dyt_backward_args {
  size_t struct_size;
  kilter_tensor x;
  kilter_tensor alpha;
  kilter_tensor weight;
  kilter_tensor dy;
  kilter_tensor dresidual_out;
  kilter_tensor dx;
  kilter_tensor dresidual;
  kilter_tensor dalpha;
  kilter_tensor dweight;
  kilter_tensor dbias;
  void* workspace;
  size_t workspace_size;
  const char* impl;
  uint64_t launch_flags;
} kilter_dyt_backward_args;

KILTER_NODISCARD KILTER_API kilter_status kilter_dyt_forward(const kilter_dyt_forward_args* args, kilter_stream stream) KILTER_NOEXCEPT;
KILTER_NODISCARD KILTER_API kilter_status kilter_dyt_backward(const kilter_dyt_backward_args* args, kilter_stream stream) KILTER_NOEXCEPT;

/* ---------------------------------------------------------------- derf
 *
 * Derf (2025, arXiv:2512.10938), in place of a norm, element by element:
 *   y = erf(alpha * x + shift) * weight + bias,  alpha and shift one value each.
 * Backward, with g = dy * weight and k = 2 / sqrt(pi) * exp(-(alpha * x + shift)^2):
 *   dx = g * k * alpha + dresidual_out,  dalpha = sum of g * k * x,  dshift = sum of g * k,
 *   dweight = sum over rows of dy * erf(alpha * x + shift),  dbias = sum over rows of dy.
 * An absent shift is 0; it has x's type or fp32, dshift alpha's type or fp32.  All else as in dyt. */

typedef struct kilter_derf_forward_args {
  size_t struct_size;
  kilter_tensor x;
  kilter_tensor alpha;
  kilter_tensor shift;
  kilter_tensor weight;
  kilter_tensor bias;
  kilter_tensor residual;
  kilter_tensor y;
  kilter_tensor residual_out;
  const char* impl;
  uint64_t launch_flags;
} kilter_derf_forward_args;

typedef struct kilter_derf_backward_args {
  size_t struct_size;
  kilter_tensor x;
  kilter_tensor alpha;
  kilter_tensor shift;
  kilter_tensor weight;
  kilter_tensor dy;
  kilter_tensor dresidual_out;
  kilter_tensor dx;
  kilter_tensor dresidual;
  kilter_tensor dalpha;
  kilter_tensor dshift;
  kilter_tensor dweight;
  kilter_tensor dbias;
  void* workspace;
  size_t workspace_size;
  const char* impl;
  uint64_t launch_flags;
} kilter_derf_backward_args;

KILTER_NODISCARD KILTER_API kilter_status kilter_derf_forward(const kilter_derf_forward_args* args, kilter_stream stream) KILTER_NOEXCEPT;
KILTER_NODISCARD KILTER_API kilter_status kilter_derf_backward(const kilter_derf_backward_args* args, kilter_stream stream) KILTER_NOEXCEPT;

#endif /* KILTER_ELEMENTWISE_H_ */

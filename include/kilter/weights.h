/* Weights that are a length times a direction: weight_norm.  A part of kilter.h, which includes it where its types are known. */
#if !defined(KILTER_KILTER_H_)
#include "kilter/kilter.h"
#elif !defined(KILTER_WEIGHTS_H_)
#define KILTER_WEIGHTS_H_

/* ---------------------------------------------------------------- weight_norm
 *
 * Weight normalization (Salimans, Kingma 2016, arXiv:1602.07868), as torch.nn.utils.parametrizations.weight_norm has it:
 *   w = g * v / |v|,  |v| the root of the sum of squares over a slice: all elements of v that have one index of the kept dimension.
 * v has any shape of one dimension or more; g and norm have one number for each slice, shape [kept] (PyTorch's [out, 1, 1] without its
 * ones).  Backward, with h = v / |v| and d = the sum of dw * h over the slice:
 *   dg = d,  dv = g / |v| * (dw - h * d).
 *
 * dim is the kept dimension: 0 the first, -1 the last.  KILTER_DIM_NONE keeps none: all of v is one slice, g and norm have shape [1].
 * (PyTorch's older weight_norm writes that as -1; its parametrization as None.)
 *
 * Outputs are optional.  Without w, forward gives the norm alone: g = norm makes w = v, which is how a layer begins.  w may be v; dv may be
 * v or dw.  norm is fp32 (fp64 rows: fp64); backward needs it.  g has v's type or fp32, dg g's or fp32.
 * A slice of zeros has norm 0, and NaN in its w, dv and dg; NaN and infinities as well stay in their slice.  A slice without elements has
 * norm 0 and dg 0.  No slice overflows or underflows: v of 1e30 or 1e-40 is as good as any. Leading strides are arbitrary, the last
 * dimension is contiguous; dense tensors are fastest.  Workspace: where a slice is large, or dim is not the first; ask.  Computed in fp32
 * (fp64 rows: fp64).  Equal bits from run to run, for every thread count, SIMD target and GPU of one architecture; the CPU's and a GPU's
 * differ within the bounds of docs/numerics.md. */

#define KILTER_DIM_NONE INT64_MIN

typedef struct kilter_weight_norm_forward_args {
  size_t struct_size;
  kilter_tensor v;
  kilter_tensor g;
  kilter_tensor w;
  kilter_tensor norm;
  int64_t dim;
  void* workspace;
  size_t workspace_size;
  const char* impl;
  uint64_t launch_flags;
} kilter_weight_norm_forward_args;

typedef struct kilter_weight_norm_backward_args {
  size_t struct_size;
  kilter_tensor v;
  kilter_tensor g;
  kilter_tensor norm;
  kilter_tensor dw;
  kilter_tensor dv;
  kilter_tensor dg;
  int64_t dim;
  void* workspace;
  size_t workspace_size;
  const char* impl;
  uint64_t launch_flags;
} kilter_weight_norm_backward_args;

KILTER_NODISCARD KILTER_API kilter_status kilter_weight_norm_forward(const kilter_weight_norm_forward_args* args,
                                                                     kilter_stream stream) KILTER_NOEXCEPT;
KILTER_NODISCARD KILTER_API kilter_status kilter_weight_norm_backward(const kilter_weight_norm_backward_args* args,
                                                                      kilter_stream stream) KILTER_NOEXCEPT;

#endif

/* The norms of planes: group_norm.  A part of kilter.h, which includes it where its types are known.
 *
 * x is [batch, channels, spatial...], with any number of spatial dimensions, none included.  Samples may lie anywhere (any batch stride
 * of inputs, zero and negative included); what a sample holds is dense, channels first (PyTorch's contiguous) or channels last (its
 * channels_last, whose shape is the same), else KILTER_UNSUPPORTED.  All tensors of x's shape lie alike.  Statistics, sums and products
 * are computed in fp32 (fp64 when T is fp64), sums over a plane or over samples beyond some tens of terms in a wider type.
 * Equal bits from run to run, for every thread count, SIMD target and GPU of one architecture, any batch stride and alignment; the CPU's
 * and a GPU's, and those of the two layouts, differ within the bounds of docs/numerics.md. */
#if !defined(KILTER_KILTER_H_)
#include "kilter/kilter.h"
#elif !defined(KILTER_PLANEWISE_H_)
#define KILTER_PLANEWISE_H_

/* ---------------------------------------------------------------- group_norm
 *
 * Group Normalization (Wu, He 2018, arXiv:1803.08494, equations 1 to 7) of each sample's groups of channels / groups neighbouring
 * channels, biased variance over a group's channels and places:
 *   s = x + residual (rounded to residual's type),  xhat = (s - mean) * rstd,  rstd = 1 / sqrt(var + eps),
 *   z = xhat * weight + bias,  v = z * (scale_offset + scale) + shift,  y = activation(v),
 * weight and bias by channel, scale and shift by sample and channel.  With groups = 1 it is the layer norm of whole samples, with
 * groups = channels the instance norm.  Backward, with u = dy * activation'(v), f = scale_offset + scale, g = u * f * weight and sums
 * over a group of m elements:
 *   dx = rstd * (g - sum(g) / m - xhat * sum(g * xhat) / m) + dresidual_out,
 *   dweight = sum of u * f * xhat,  dbias = sum of u * f  over samples and places,  dscale = sum of u * z,  dshift = sum of u  over places.
 * A sample's y, mean, rstd, dx, dscale and dshift do not depend on the other samples.  NaN and infinities stay in their group. */

typedef struct kilter_group_norm_forward_args {
  size_t struct_size;
  kilter_tensor x;            /* input */
  kilter_tensor weight;       /* input, optional, [channels], type T or fp32 */
  kilter_tensor bias;         /* input, optional, [channels], type T or fp32 */
  kilter_tensor residual;     /* input, optional, x's shape, type T or fp32 */
  kilter_tensor scale;        /* input, optional, [batch, channels], type T or fp32 */
  kilter_tensor shift;        /* input, optional, [batch, channels], type T or fp32 */
  kilter_tensor y;            /* output, type T; may be x or residual (same type) */
  kilter_tensor residual_out; /* output, optional: s, in residual's type; may be x (same type) or residual */
  kilter_tensor mean;         /* output, optional, [batch, groups], fp32 (fp64 if T is fp64) */
  kilter_tensor rstd;         /* output, optional, [batch, groups], fp32 (fp64 if T is fp64) */
  int64_t groups;             /* at least 1, a divisor of channels */
  double eps;                 /* as in layer_norm */
  double scale_offset;        /* finite; added to scale in fp32: 1 for models whose y is z * (1 + scale) + shift; needs scale unless 0 */
  int32_t activation;         /* kilter_activation, of the fp32 value, behind everything else */
  int32_t reserved;           /* 0 */
  void* workspace;       /* scratch on the tensors' device, the caller's, apart from all tensors (unchecked); kilter_ask says how much */
  size_t workspace_size; /* bytes */
  const char* impl;
  uint64_t launch_flags;
} kilter_group_norm_forward_args;

typedef struct kilter_group_norm_backward_args {
  size_t struct_size;
  kilter_tensor x;             /* input: what was normalized (residual_out if a residual was added); T, or fp32 */
  kilter_tensor weight;        /* input, optional, as in forward */
  kilter_tensor bias;          /* input, optional, as in forward; read where there is an activation or a dscale */
  kilter_tensor scale;         /* input, optional, as in forward */
  kilter_tensor shift;         /* input, optional, as in forward; read where there is an activation */
  kilter_tensor mean;          /* input, as forward wrote it */
  kilter_tensor rstd;          /* input, as forward wrote it */
  kilter_tensor dy;            /* input, type T */
  kilter_tensor dresidual_out; /* input, optional, x's shape, type T or fp32: gradient that reaches residual_out from elsewhere */
  kilter_tensor dx;            /* output, optional, type T; may be x, dy or dresidual_out (same type) */
  kilter_tensor dresidual;     /* output, optional: dx's value in type T or fp32; may be x, dy or dresidual_out (same type) */
  kilter_tensor dweight;       /* output, optional, [channels], fp32 or weight's type (T if weight is absent) */
  kilter_tensor dbias;         /* output, optional, [channels], fp32 or weight's type (T if weight is absent) */
  kilter_tensor dscale;        /* output, optional, [batch, channels], fp32 or scale's type (T if scale is absent) */
  kilter_tensor dshift;        /* output, optional, [batch, channels], fp32 or scale's type (T if scale is absent) */
  int64_t groups;              /* as in forward */
  double scale_offset;         /* as in forward */
  int32_t activation;          /* as in forward */
  int32_t reserved;            /* 0 */
  void* workspace;             /* as in forward */
  size_t workspace_size;
  const char* impl;
  uint64_t launch_flags;
} kilter_group_norm_backward_args;

KILTER_NODISCARD KILTER_API kilter_status kilter_group_norm_forward(const kilter_group_norm_forward_args* args,
                                                                    kilter_stream stream) KILTER_NOEXCEPT;
KILTER_NODISCARD KILTER_API kilter_status kilter_group_norm_backward(const kilter_group_norm_backward_args* args,
                                                                     kilter_stream stream) KILTER_NOEXCEPT;

#endif /* KILTER_PLANEWISE_H_ */

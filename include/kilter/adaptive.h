/* Norms whose scale and shift are activations: adaptive_layer_norm.  A part of kilter.h, which includes it where its types are known. */
#if !defined(KILTER_KILTER_H_)
#include "kilter/kilter.h"
#elif !defined(KILTER_ADAPTIVE_H_)
#define KILTER_ADAPTIVE_H_

typedef enum kilter_norm { KILTER_NORM_LAYER = 0, KILTER_NORM_RMS = 1 } kilter_norm;

/* ---------------------------------------------------------------- adaptive_layer_norm
 *
 * The norm of diffusion transformers (Peebles, Xie 2022, arXiv:2212.09748, section 3.2), per row:
 *   s = x, or R(residual + gate * x), R rounding to residual's type (gate 1 where absent),
 *   z = norm(s) * weight + bias,  y = z * (scale_offset + scale) + shift,
 * norm(s) being the xhat of layer_norm or rms_norm, weight and bias optional.
 *
 * scale has a row of n elements for every row of x, or one for several:
 *   x [batch, tokens, n], scale [batch, 1, n]       one per sample
 *   x [batch, tokens, n], scale [batch, tokens, n]  one per token; so too x [rows, n], scale [rows, n]
 *   x [..., n], scale [segments, n]                 with segments, [segments + 1] cumulative lengths from 0 to the number of rows: row
 *                                                   s of scale is that of rows segments[s] to segments[s + 1] - 1, perhaps none.
 * In words: without segments scale has x's rank and x's sizes, the last of which (that of the rows always excepted) may be 1 instead.
 * shift and gate have scale's shape.  All three may be strided views of one tensor, [batch, 6, n], and have any leading strides.
 *
 * Backward, with f = scale_offset + scale, g = dy * f * weight and d the gradient of s:
 *   d = rstd * (g - sum(g) / n - xhat * sum(g * xhat) / n) + dresidual_out  (norm rms: without sum(g) / n),
 *   dresidual = d,  dx = d, or gate * d,
 *   dweight = sum over rows of dy * f * xhat,  dbias = sum over rows of dy * f,
 *   and over the rows that share a row of scale:  dscale = sum of dy * z,  dshift = sum of dy,  dgate = sum of d * x.
 * Deterministic as layer_norm.  With scale_offset = 1 and scale and shift of zeros, y has the bits of layer_norm's or rms_norm's with
 * a bias, which is one of zeros where bias is absent. */

typedef struct kilter_adaptive_layer_norm_forward_args {
  size_t struct_size;
  kilter_tensor x;            /* input */
  kilter_tensor weight;       /* input, optional, [n], type T or fp32 */
  kilter_tensor bias;         /* input, optional, [n], type T or fp32 */
  kilter_tensor segments;     /* input, optional, [segments + 1], int32 or int64: cumulative lengths, the first 0, none below the one
                                 before, the last the number of rows.  On the CPU others are KILTER_INVALID_ARGUMENT; on a device nobody
                                 looks */
  kilter_tensor scale;        /* input, type T or fp32 */
  kilter_tensor shift;        /* input, optional, scale's shape, type T or fp32 */
  kilter_tensor residual;     /* input, optional, x's shape, type T or fp32 */
  kilter_tensor gate;         /* input, optional, scale's shape and type; needs residual */
  kilter_tensor y;            /* output, type T; may be x or residual (same type) */
  kilter_tensor residual_out; /* output, optional: s, in residual's type; may be x (same type) or residual */
  kilter_tensor mean;         /* output, optional, as of layer_norm; absent with KILTER_NORM_RMS */
  kilter_tensor rstd;         /* output, optional, as of layer_norm */
  double eps;                 /* as in layer_norm */
  double scale_offset;        /* finite; added to scale in fp32; usually 1, which is what ..._defaults() has */
  int32_t norm;               /* kilter_norm */
  int32_t reserved;           /* 0 */
  const char* impl;
  uint64_t launch_flags;
} kilter_adaptive_layer_norm_forward_args;

typedef struct kilter_adaptive_layer_norm_backward_args {
  size_t struct_size;
  kilter_tensor x;             /* input: what the norm normalized, s: forward's residual_out if a residual was added; T, or fp32 */
  kilter_tensor weight;        /* input, optional, as in forward */
  kilter_tensor bias;          /* input, optional, as in forward; read for dscale */
  kilter_tensor segments;      /* input, optional, as in forward */
  kilter_tensor scale;         /* input, as in forward */
  kilter_tensor gate;          /* input, optional, as in forward */
  kilter_tensor branch;        /* input, optional, x's shape, type T: what gate was multiplied with, forward's x; for dgate */
  kilter_tensor mean;          /* input, as forward wrote it; absent with KILTER_NORM_RMS */
  kilter_tensor rstd;          /* input, as forward wrote it */
  kilter_tensor dy;            /* input, type T */
  kilter_tensor dresidual_out; /* input, optional, x's shape, type T or fp32: gradient that reaches residual_out from elsewhere */
  kilter_tensor dx;            /* output, optional, type T: of forward's x, the branch; may be x, branch, dy or dresidual_out (same type) */
  kilter_tensor dresidual;     /* output, optional, type T or fp32: d; may be x, branch, dy or dresidual_out (same type) */
  kilter_tensor dgate;         /* output, optional, scale's shape, fp32 or gate's type; needs branch */
  kilter_tensor dscale;        /* output, optional, scale's shape, fp32 or scale's type */
  kilter_tensor dshift;        /* output, optional, scale's shape, fp32 or scale's type */
  kilter_tensor dweight;       /* output, optional, [n], fp32 or weight's type (T if weight is absent) */
  kilter_tensor dbias;         /* output, optional, [n], fp32 or weight's type (T if weight is absent) */
  double scale_offset;         /* as in forward */
  int32_t norm;                /* as in forward */
  int32_t reserved;            /* 0 */
  void* workspace;       /* scratch on the tensors' device, the caller's, apart from all tensors (unchecked); kilter_ask says how much */
  size_t workspace_size; /* bytes */
  const char* impl;
  uint64_t launch_flags;
} kilter_adaptive_layer_norm_backward_args;

KILTER_NODISCARD KILTER_API kilter_status kilter_adaptive_layer_norm_forward(const kilter_adaptive_layer_norm_forward_args* args,
                                                                             kilter_stream stream) KILTER_NOEXCEPT;
KILTER_NODISCARD KILTER_API kilter_status kilter_adaptive_layer_norm_backward(const kilter_adaptive_layer_norm_backward_args* args,
                                                                              kilter_stream stream) KILTER_NOEXCEPT;

#endif /* KILTER_ADAPTIVE_H_ */

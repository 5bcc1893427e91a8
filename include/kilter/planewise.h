/* The norms of planes: group_norm, instance_norm, batch_norm.  A part of kilter.h, which includes it where its types are known.
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

/* ---------------------------------------------------------------- instance_norm
 *
 * Instance Normalization (Ulyanov, Vedaldi, Lempitsky 2016, arXiv:1607.08022): the group_norm of groups = channels, whose fields, formulas
 * and promises it has.  With scale and shift by sample it is adaptive (Huang, Belongie 2017, arXiv:1703.06868).
 *
 * Running statistics are batch_norm's, of which a batch's mean and unbiased variance are the means over its samples of theirs; with
 * inference they take the place of each sample's, in backward too, and x moves neither.  To write them where a plane has one value is
 * KILTER_INVALID_ARGUMENT. */

typedef struct kilter_instance_norm_forward_args {
  size_t struct_size;
  kilter_tensor x;
  kilter_tensor weight;
  kilter_tensor bias;
  kilter_tensor residual;
  kilter_tensor scale;
  kilter_tensor shift;
  kilter_tensor running_mean; /* input, optional unless inference, [channels], type T or fp32 */
  kilter_tensor running_var;  /* input, there where running_mean is, likewise */
  kilter_tensor y;
  kilter_tensor residual_out;
  kilter_tensor mean;             /* output, optional, [batch, channels], fp32 (fp64 if T is fp64) */
  kilter_tensor rstd;             /* output, optional, [batch, channels], fp32 (fp64 if T is fp64) */
  kilter_tensor running_mean_out; /* output, optional, not in inference, running_mean's type; may be running_mean */
  kilter_tensor running_var_out;  /* output, optional, not in inference, running_var's type; may be running_var */
  double eps;
  double scale_offset;
  double momentum;         /* finite */
  int64_t batches_tracked; /* at least 0: batches before this one, for averaging cumulative */
  int32_t activation;
  int32_t inference; /* 0: each sample's statistics; 1: running_mean and running_var */
  int32_t averaging; /* kilter_averaging */
  int32_t reserved;  /* 0 */
  void* workspace;
  size_t workspace_size;
  const char* impl;
  uint64_t launch_flags;
} kilter_instance_norm_forward_args;

typedef struct kilter_instance_norm_backward_args {
  size_t struct_size;
  kilter_tensor x;
  kilter_tensor weight;
  kilter_tensor bias;
  kilter_tensor scale;
  kilter_tensor shift;
  kilter_tensor running_mean; /* input, as in forward; read in inference */
  kilter_tensor running_var;  /* input, as in forward; read in inference */
  kilter_tensor mean;         /* input, as forward wrote it; read unless in inference */
  kilter_tensor rstd;         /* input, as forward wrote it; read unless in inference */
  kilter_tensor dy;
  kilter_tensor dresidual_out;
  kilter_tensor dx;
  kilter_tensor dresidual;
  kilter_tensor dweight;
  kilter_tensor dbias;
  kilter_tensor dscale;
  kilter_tensor dshift;
  double eps; /* as in forward; read in inference */
  double scale_offset;
  int32_t activation;
  int32_t inference; /* as in forward */
  void* workspace;
  size_t workspace_size;
  const char* impl;
  uint64_t launch_flags;
} kilter_instance_norm_backward_args;

KILTER_NODISCARD KILTER_API kilter_status kilter_instance_norm_forward(const kilter_instance_norm_forward_args* args,
                                                                       kilter_stream stream) KILTER_NOEXCEPT;
KILTER_NODISCARD KILTER_API kilter_status kilter_instance_norm_backward(const kilter_instance_norm_backward_args* args,
                                                                        kilter_stream stream) KILTER_NOEXCEPT;

/* ---------------------------------------------------------------- batch_norm
 *
 * Batch Normalization (Ioffe, Szegedy 2015, arXiv:1502.03167, algorithm 1), by channel over all samples and places, of which a channel has
 * m = batch * spatial:
 *   mean, var: biased, of the batch (training), or running_mean, running_var (training = 0),
 *   rstd = 1 / sqrt(var + eps),  xhat = (x - mean) * rstd,  v = xhat * weight + bias + residual,  y = activation(v).
 * Running statistics, in training: running_mean_out = (1 - momentum) * running_mean + momentum * mean, running_var_out likewise with the
 * unbiased variance var * m / (m - 1): momentum is the weight of the new value.  With averaging cumulative it is 1 / (batches_tracked + 1).
 * Backward, with u = dy * activation'(v) and sums over the channel:
 *   dx = rstd * weight * (u - sum(u) / m - xhat * sum(u * xhat) / m), or rstd * weight * u where running statistics were used,
 *   dresidual = u,  dweight = sum of u * xhat,  dbias = sum of u.
 * A mask is relu's derivative in bits, 1 where v is above 0 or NaN, of v as forward computes it; backward takes it in the place of v, and
 * bias and residual are not read then.  [batch, bytes], uint8: channels first the bits of a sample's elements in their order in memory,
 * channels * spatial bits in whole bytes; channels last those of a place's channels, each place in whole bytes.  Element i has bit i % 8
 * (of value 1 << i % 8) of byte i / 8; what is left of a last byte is zero.  (With one channel, or one place, a sample is channels first.)
 * In training one value per channel is KILTER_INVALID_ARGUMENT; none leave running statistics as they are.  NaN and infinities stay in
 * their channel. */

typedef struct kilter_batch_norm_forward_args {
  size_t struct_size;
  kilter_tensor x;                /* input */
  kilter_tensor weight;           /* input, optional, [channels], type T or fp32 */
  kilter_tensor bias;             /* input, optional, [channels], type T or fp32 */
  kilter_tensor residual;         /* input, optional, x's shape, type T or fp32: is added behind the affine, before the activation */
  kilter_tensor running_mean;     /* input, optional in training, [channels], type T or fp32 */
  kilter_tensor running_var;      /* input, there where running_mean is, likewise */
  kilter_tensor y;                /* output, type T; may be x or residual (same type) */
  kilter_tensor mean;             /* output, optional, [channels], fp32 (fp64 if T is fp64) */
  kilter_tensor rstd;             /* output, optional, [channels], fp32 (fp64 if T is fp64) */
  kilter_tensor running_mean_out; /* output, optional, in training only, running_mean's type; may be running_mean */
  kilter_tensor running_var_out;  /* output, optional, in training only, running_var's type; may be running_var */
  kilter_tensor mask;             /* output, optional, with activation relu only, uint8 */
  double eps;                     /* as in layer_norm */
  double momentum;                /* finite */
  int64_t batches_tracked;        /* at least 0: batches before this one, for averaging cumulative */
  int32_t training;               /* 1: the batch's statistics; 0: running_mean and running_var */
  int32_t activation;             /* kilter_activation */
  int32_t averaging;              /* kilter_averaging */
  int32_t reserved;               /* 0 */
  void* workspace;                /* as in group_norm */
  size_t workspace_size;
  const char* impl;
  uint64_t launch_flags;
} kilter_batch_norm_forward_args;

typedef struct kilter_batch_norm_backward_args {
  size_t struct_size;
  kilter_tensor x;            /* input; T, or fp32 */
  kilter_tensor weight;       /* input, optional, as in forward */
  kilter_tensor bias;         /* input, optional, as in forward; read where there is an activation and no mask */
  kilter_tensor residual;     /* input, optional, as in forward; read where there is an activation and no mask */
  kilter_tensor running_mean; /* input, as in forward; read where training is 0 */
  kilter_tensor running_var;  /* input, as in forward; read where training is 0 */
  kilter_tensor mean;         /* input, as forward wrote it; read in training */
  kilter_tensor rstd;         /* input, as forward wrote it; read in training */
  kilter_tensor mask;         /* input, optional, with activation relu only, as forward wrote it */
  kilter_tensor dy;           /* input, type T */
  kilter_tensor dx;           /* output, optional, type T; may be x, residual or dy (same type) */
  kilter_tensor dresidual;    /* output, optional, type T or fp32; may be x, residual or dy (same type) */
  kilter_tensor dweight;      /* output, optional, [channels], fp32 or weight's type (T if weight is absent) */
  kilter_tensor dbias;        /* output, optional, [channels], fp32 or weight's type (T if weight is absent) */
  double eps;                 /* as in forward; read where training is 0 */
  int32_t training;           /* as in forward */
  int32_t activation;         /* as in forward */
  void* workspace;            /* as in group_norm */
  size_t workspace_size;
  const char* impl;
  uint64_t launch_flags;
} kilter_batch_norm_backward_args;

KILTER_NODISCARD KILTER_API kilter_status kilter_batch_norm_forward(const kilter_batch_norm_forward_args* args,
                                                                    kilter_stream stream) KILTER_NOEXCEPT;
KILTER_NODISCARD KILTER_API kilter_status kilter_batch_norm_backward(const kilter_batch_norm_backward_args* args,
                                                                     kilter_stream stream) KILTER_NOEXCEPT;

/* ---------------------------------------------------------------- batch_norm in steps
 *
 * What batch_norm does in training, as steps between which anything may happen to the statistics: synchronized batch norm, whose
 * channels' values lie with several ranks, is
 *   forward:   statistics of each rank's samples, gathered from all ranks; batch_norm_combine; apply,
 *   backward:  sums over each rank's samples, gathered; batch_norm_combine; apply,
 * and equals, within batch_norm's bounds, one rank with all samples.  Statistics and sums are fp64, so that none is lost between steps;
 * they are added in the order of the ranks.  A rank without samples (batch = 0) has a count and sums of 0, and its mean and m2 are 0.
 * Formulas, types, layouts and promises are batch_norm's.
 *
 * batch_norm_statistics: forward count, mean and m2, the sum of (x - mean)^2, of each channel of this rank's samples; backward, with all
 * ranks' mean and rstd, this rank's sums of u and u * xhat, and with them its part of dweight and dbias. */

typedef struct kilter_batch_norm_statistics_forward_args {
  size_t struct_size;
  kilter_tensor x;     /* input */
  kilter_tensor count; /* output, [1], fp64: batch * spatial */
  kilter_tensor mean;  /* output, [channels], fp64 */
  kilter_tensor m2;    /* output, [channels], fp64 */
  void* workspace;     /* as in group_norm */
  size_t workspace_size;
  const char* impl;
  uint64_t launch_flags;
} kilter_batch_norm_statistics_forward_args;

typedef struct kilter_batch_norm_statistics_backward_args {
  size_t struct_size;
  kilter_tensor x;          /* input; T, or fp32 */
  kilter_tensor weight;     /* input, optional, as in batch_norm_apply; read where there is an activation */
  kilter_tensor bias;       /* input, optional, as in batch_norm_apply; read where there is an activation */
  kilter_tensor residual;   /* input, optional, as in batch_norm_apply; read where there is an activation */
  kilter_tensor mean;       /* input, [channels], fp64 */
  kilter_tensor rstd;       /* input, [channels], fp64 */
  kilter_tensor dy;         /* input, type T */
  kilter_tensor sum_u;      /* output, [channels], fp64 */
  kilter_tensor sum_u_xhat; /* output, [channels], fp64 */
  kilter_tensor dweight;    /* output, optional, [channels], fp32 or weight's type (T if weight is absent) */
  kilter_tensor dbias;      /* output, optional, [channels], fp32 or weight's type (T if weight is absent) */
  int32_t activation;       /* as in batch_norm_apply */
  int32_t reserved;         /* 0 */
  void* workspace;          /* as in group_norm */
  size_t workspace_size;
  const char* impl;
  uint64_t launch_flags;
} kilter_batch_norm_statistics_backward_args;

KILTER_NODISCARD KILTER_API kilter_status kilter_batch_norm_statistics_forward(const kilter_batch_norm_statistics_forward_args* args,
                                                                               kilter_stream stream) KILTER_NOEXCEPT;
KILTER_NODISCARD KILTER_API kilter_status kilter_batch_norm_statistics_backward(const kilter_batch_norm_statistics_backward_args* args,
                                                                                kilter_stream stream) KILTER_NOEXCEPT;

/* batch_norm_combine: of the ranks' statistics, forward makes those of all samples (Chan, Golub, LeVeque 1983, equations 2.1, weighted by
 * counts; ranks whose count is 0 do not matter, whatever their mean says) and, in a call of its own, backward the ranks' sums into one.
 * Running statistics follow as in batch_norm; counts of 0 or 1 in all leave them as they are.  No count at all: mean and rstd are NaN. */

typedef struct kilter_batch_norm_combine_forward_args {
  size_t struct_size;
  kilter_tensor means;            /* input, [ranks, channels], fp64; any stride between ranks */
  kilter_tensor m2s;              /* input, [ranks, channels], fp64; any stride between ranks */
  kilter_tensor counts;           /* input, [ranks], fp64 */
  kilter_tensor running_mean;     /* input, optional, [channels], fp64, fp32, fp16 or bf16 */
  kilter_tensor running_var;      /* input, there where running_mean is, likewise */
  kilter_tensor count;            /* output, [1], fp64: the sum of counts */
  kilter_tensor mean;             /* output, [channels], fp64 */
  kilter_tensor rstd;             /* output, [channels], fp64 */
  kilter_tensor running_mean_out; /* output, optional, running_mean's type; may be running_mean */
  kilter_tensor running_var_out;  /* output, optional, running_var's type; may be running_var */
  double eps;                     /* as in batch_norm */
  double momentum;                /* as in batch_norm */
  int64_t batches_tracked;        /* as in batch_norm */
  int32_t averaging;              /* as in batch_norm */
  int32_t reserved;               /* 0 */
  void* workspace;                /* as in group_norm */
  size_t workspace_size;
  const char* impl;
  uint64_t launch_flags;
} kilter_batch_norm_combine_forward_args;

typedef struct kilter_batch_norm_combine_backward_args {
  size_t struct_size;
  kilter_tensor sums_u;      /* input, [ranks, channels], fp64; any stride between ranks */
  kilter_tensor sums_u_xhat; /* input, [ranks, channels], fp64; any stride between ranks */
  kilter_tensor sum_u;       /* output, [channels], fp64 */
  kilter_tensor sum_u_xhat;  /* output, [channels], fp64 */
  void* workspace;           /* as in group_norm */
  size_t workspace_size;
  const char* impl;
  uint64_t launch_flags;
} kilter_batch_norm_combine_backward_args;

KILTER_NODISCARD KILTER_API kilter_status kilter_batch_norm_combine_forward(const kilter_batch_norm_combine_forward_args* args,
                                                                            kilter_stream stream) KILTER_NOEXCEPT;
KILTER_NODISCARD KILTER_API kilter_status kilter_batch_norm_combine_backward(const kilter_batch_norm_combine_backward_args* args,
                                                                             kilter_stream stream) KILTER_NOEXCEPT;

/* batch_norm_apply: forward y from all ranks' mean and rstd; backward dx and dresidual from all ranks' count and sums. */

typedef struct kilter_batch_norm_apply_forward_args {
  size_t struct_size;
  kilter_tensor x;        /* input */
  kilter_tensor weight;   /* input, optional, [channels], type T or fp32 */
  kilter_tensor bias;     /* input, optional, [channels], type T or fp32 */
  kilter_tensor residual; /* input, optional, x's shape, type T or fp32: is added behind the affine, before the activation */
  kilter_tensor mean;     /* input, [channels], fp64 */
  kilter_tensor rstd;     /* input, [channels], fp64 */
  kilter_tensor y;        /* output, type T; may be x or residual (same type) */
  int32_t activation;     /* kilter_activation */
  int32_t reserved;       /* 0 */
  void* workspace;        /* as in group_norm */
  size_t workspace_size;
  const char* impl;
  uint64_t launch_flags;
} kilter_batch_norm_apply_forward_args;

typedef struct kilter_batch_norm_apply_backward_args {
  size_t struct_size;
  kilter_tensor x;          /* input; T, or fp32 */
  kilter_tensor weight;     /* input, optional, as in forward */
  kilter_tensor bias;       /* input, optional, as in forward; read where there is an activation */
  kilter_tensor residual;   /* input, optional, as in forward; read where there is an activation */
  kilter_tensor mean;       /* input, [channels], fp64 */
  kilter_tensor rstd;       /* input, [channels], fp64 */
  kilter_tensor count;      /* input, [1], fp64: of all ranks */
  kilter_tensor sum_u;      /* input, [channels], fp64: of all ranks */
  kilter_tensor sum_u_xhat; /* input, [channels], fp64: of all ranks */
  kilter_tensor dy;         /* input, type T */
  kilter_tensor dx;         /* output, optional, type T; may be x, residual or dy (same type) */
  kilter_tensor dresidual;  /* output, optional, type T or fp32; may be x, residual or dy (same type) */
  int32_t activation;       /* as in forward */
  int32_t reserved;         /* 0 */
  void* workspace;          /* as in group_norm */
  size_t workspace_size;
  const char* impl;
  uint64_t launch_flags;
} kilter_batch_norm_apply_backward_args;

KILTER_NODISCARD KILTER_API kilter_status kilter_batch_norm_apply_forward(const kilter_batch_norm_apply_forward_args* args,
                                                                          kilter_stream stream) KILTER_NOEXCEPT;
KILTER_NODISCARD KILTER_API kilter_status kilter_batch_norm_apply_backward(const kilter_batch_norm_apply_backward_args* args,
                                                                           kilter_stream stream) KILTER_NOEXCEPT;

#endif /* KILTER_PLANEWISE_H_ */

/* Tensors and arguments in one line each, for C; kilter.h includes this, after the types.  Nothing here is part of the library's binary. */
#ifndef KILTER_HELPERS_H_
#define KILTER_HELPERS_H_

#include <string.h>

#include "kilter/kilter.h"

static const kilter_dtype KILTER_FP64 = {KILTER_FLOAT, 64, 1};
static const kilter_dtype KILTER_FP32 = {KILTER_FLOAT, 32, 1};
static const kilter_dtype KILTER_FP16 = {KILTER_FLOAT, 16, 1};
static const kilter_dtype KILTER_BF16 = {KILTER_BFLOAT, 16, 1};
static const kilter_dtype KILTER_UINT8 = {KILTER_UINT, 8, 1};
static const kilter_dtype KILTER_INT32 = {KILTER_INT, 32, 1};
static const kilter_dtype KILTER_INT64 = {KILTER_INT, 64, 1};

/* A row-major tensor in host memory.  It points to shape, which must stay where it is until the call.  data is what the struct has,
 * void*, for inputs too: under const, compilers complain of the fresh memory of an output. */
static inline kilter_tensor kilter_cpu_tensor(void* data, kilter_dtype dtype, int32_t ndim, const int64_t* shape) {
  kilter_tensor t;
  memset(&t, 0, sizeof t);
  memcpy(&t.shape, &shape, sizeof t.shape); /* only read; a cast would warn under -Wcast-qual or -Wold-style-cast */
  t.data = data;
  t.device.type = KILTER_DEVICE_CPU;
  t.ndim = ndim;
  t.dtype = dtype;
  return t;
}

/* Arguments to begin with: struct_size, eps (KILTER_DEFAULT_EPS), momentum (KILTER_DEFAULT_MOMENTUM) and adaptive_layer_norm's scale_offset
 * (1) are set, all else is absent or neutral.  A group_norm needs its groups as well, a batch_norm that trains its training. */
static inline kilter_layer_norm_forward_args kilter_layer_norm_forward_defaults(void) {
  kilter_layer_norm_forward_args a;
  memset(&a, 0, sizeof a);
  a.struct_size = sizeof a;
  a.eps = KILTER_DEFAULT_EPS;
  return a;
}

static inline kilter_layer_norm_backward_args kilter_layer_norm_backward_defaults(void) {
  kilter_layer_norm_backward_args a;
  memset(&a, 0, sizeof a);
  a.struct_size = sizeof a;
  return a;
}

static inline kilter_rms_norm_forward_args kilter_rms_norm_forward_defaults(void) {
  kilter_rms_norm_forward_args a;
  memset(&a, 0, sizeof a);
  a.struct_size = sizeof a;
  a.eps = KILTER_DEFAULT_EPS;
  return a;
}

static inline kilter_rms_norm_backward_args kilter_rms_norm_backward_defaults(void) {
  kilter_rms_norm_backward_args a;
  memset(&a, 0, sizeof a);
  a.struct_size = sizeof a;
  return a;
}

static inline kilter_adaptive_layer_norm_forward_args kilter_adaptive_layer_norm_forward_defaults(void) {
  kilter_adaptive_layer_norm_forward_args a;
  memset(&a, 0, sizeof a);
  a.struct_size = sizeof a;
  a.eps = KILTER_DEFAULT_EPS;
  a.scale_offset = 1;
  return a;
}

static inline kilter_adaptive_layer_norm_backward_args kilter_adaptive_layer_norm_backward_defaults(void) {
  kilter_adaptive_layer_norm_backward_args a;
  memset(&a, 0, sizeof a);
  a.struct_size = sizeof a;
  a.scale_offset = 1;
  return a;
}

static inline kilter_dyt_forward_args kilter_dyt_forward_defaults(void) {
  kilter_dyt_forward_args a;
  memset(&a, 0, sizeof a);
  a.struct_size = sizeof a;
  return a;
}

static inline kilter_dyt_backward_args kilter_dyt_backward_defaults(void) {
  kilter_dyt_backward_args a;
  memset(&a, 0, sizeof a);
  a.struct_size = sizeof a;
  return a;
}

static inline kilter_derf_forward_args kilter_derf_forward_defaults(void) {
  kilter_derf_forward_args a;
  memset(&a, 0, sizeof a);
  a.struct_size = sizeof a;
  return a;
}

static inline kilter_derf_backward_args kilter_derf_backward_defaults(void) {
  kilter_derf_backward_args a;
  memset(&a, 0, sizeof a);
  a.struct_size = sizeof a;
  return a;
}

static inline kilter_group_norm_forward_args kilter_group_norm_forward_defaults(void) {
  kilter_group_norm_forward_args a;
  memset(&a, 0, sizeof a);
  a.struct_size = sizeof a;
  a.eps = KILTER_DEFAULT_EPS;
  return a;
}

static inline kilter_group_norm_backward_args kilter_group_norm_backward_defaults(void) {
  kilter_group_norm_backward_args a;
  memset(&a, 0, sizeof a);
  a.struct_size = sizeof a;
  return a;
}

static inline kilter_instance_norm_forward_args kilter_instance_norm_forward_defaults(void) {
  kilter_instance_norm_forward_args a;
  memset(&a, 0, sizeof a);
  a.struct_size = sizeof a;
  a.eps = KILTER_DEFAULT_EPS;
  a.momentum = KILTER_DEFAULT_MOMENTUM;
  return a;
}

static inline kilter_instance_norm_backward_args kilter_instance_norm_backward_defaults(void) {
  kilter_instance_norm_backward_args a;
  memset(&a, 0, sizeof a);
  a.struct_size = sizeof a;
  a.eps = KILTER_DEFAULT_EPS;
  return a;
}

static inline kilter_batch_norm_forward_args kilter_batch_norm_forward_defaults(void) {
  kilter_batch_norm_forward_args a;
  memset(&a, 0, sizeof a);
  a.struct_size = sizeof a;
  a.eps = KILTER_DEFAULT_EPS;
  a.momentum = KILTER_DEFAULT_MOMENTUM;
  return a;
}

static inline kilter_batch_norm_backward_args kilter_batch_norm_backward_defaults(void) {
  kilter_batch_norm_backward_args a;
  memset(&a, 0, sizeof a);
  a.struct_size = sizeof a;
  a.eps = KILTER_DEFAULT_EPS;
  return a;
}

static inline kilter_batch_norm_statistics_forward_args kilter_batch_norm_statistics_forward_defaults(void) {
  kilter_batch_norm_statistics_forward_args a;
  memset(&a, 0, sizeof a);
  a.struct_size = sizeof a;
  return a;
}

static inline kilter_batch_norm_statistics_backward_args kilter_batch_norm_statistics_backward_defaults(void) {
  kilter_batch_norm_statistics_backward_args a;
  memset(&a, 0, sizeof a);
  a.struct_size = sizeof a;
  return a;
}

static inline kilter_weight_norm_forward_args kilter_weight_norm_forward_defaults(void) {
  kilter_weight_norm_forward_args a;
  memset(&a, 0, sizeof a);
  a.struct_size = sizeof a;
  return a;
}

static inline kilter_weight_norm_backward_args kilter_weight_norm_backward_defaults(void) {
  kilter_weight_norm_backward_args a;
  memset(&a, 0, sizeof a);
  a.struct_size = sizeof a;
  return a;
}

static inline kilter_batch_norm_combine_forward_args kilter_batch_norm_combine_forward_defaults(void) {
  kilter_batch_norm_combine_forward_args a;
  memset(&a, 0, sizeof a);
  a.struct_size = sizeof a;
  a.eps = KILTER_DEFAULT_EPS;
  a.momentum = KILTER_DEFAULT_MOMENTUM;
  return a;
}

static inline kilter_batch_norm_combine_backward_args kilter_batch_norm_combine_backward_defaults(void) {
  kilter_batch_norm_combine_backward_args a;
  memset(&a, 0, sizeof a);
  a.struct_size = sizeof a;
  return a;
}

static inline kilter_batch_norm_apply_forward_args kilter_batch_norm_apply_forward_defaults(void) {
  kilter_batch_norm_apply_forward_args a;
  memset(&a, 0, sizeof a);
  a.struct_size = sizeof a;
  return a;
}

static inline kilter_batch_norm_apply_backward_args kilter_batch_norm_apply_backward_defaults(void) {
  kilter_batch_norm_apply_backward_args a;
  memset(&a, 0, sizeof a);
  a.struct_size = sizeof a;
  return a;
}

#endif /* KILTER_HELPERS_H_ */

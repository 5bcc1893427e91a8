// The scalar formulas of a row (kilter/device/row_formulas.h) in few instructions and without a branch: division and square root
// by the steps that IEEE's take for ordinary operands, which give the same bits.  What those steps are not good for counts as
// rare, and rare rows take the formulas as written (families/rowwise/cuda/forward_rare.cuh).
#pragma once

#include "cuda/ptx.cuh"
#include "kilter/device/row_formulas.h"

namespace kilter::cuda {

// a / n for an integer n and inverse = 1 / n, rounded; right for every a that is zero or in size at least kLeastSum.  Two steps
// of Markstein's: the first gives a neighbour of the quotient, the second the quotient.
constexpr float kLeastSum = 0x1p-100f;
__device__ __forceinline__ float divide(float a, float n, float inverse) {
  float q = a * inverse;
  q = __fmaf_rn(__fmaf_rn(-q, n, a), inverse, q);
  return __fmaf_rn(__fmaf_rn(-q, n, a), inverse, q);
}
__device__ __forceinline__ bool is_small(float a) { return fabsf(a) < kLeastSum && a != 0; }

// 1 / sqrt(v), each step rounded; right for v in [kLeastVariance, FLT_MAX].
constexpr float kLeastVariance = 0x1p-100f;
__device__ __forceinline__ float quick_inverse_root(float v) {
  const float r = approximate_inverse_root(v);
  float root = v * r;
  root = __fmaf_rn(__fmaf_rn(-root, root, v), 0.5f * r, root);
  const float i = approximate_inverse(root);
  return __fmaf_rn(__fmaf_rn(-i, root, 1.0f), i, i);
}

template <bool kCentered>
struct QuickStatistics {
  float mean, lo, rstd;
  bool is_rare;

  __device__ __forceinline__ void set_mean(float sum, float n, float inverse) {
    mean = divide(sum, n, inverse);
    is_rare = is_small(sum);
  }
  // RMSNorm: sum is not read.
  __device__ __forceinline__ void complete(float sum, float sum_of_squares, float n, float inverse, float eps) {
    const float moment = divide(sum_of_squares, n, inverse);
    float variance = moment;
    if constexpr (kCentered) {
      lo = divide(sum, n, inverse);
      const float square = lo * lo;
      variance = moment - square;
      is_rare = is_rare || is_small(sum) || square > variance * 0.25f;
    } else {
      mean = lo = 0;
      is_rare = false;
    }
    const float v = variance + eps;
    is_rare = is_rare || !(moment >= Limits<float>::moment_min && moment <= Limits<float>::moment_max) ||
              !(v >= kLeastVariance && v <= 0x1.fffffep127f);
    rstd = quick_inverse_root(v);
  }
  __device__ __forceinline__ float saved_mean() const { return mean + lo; }
};

}  // namespace kilter::cuda

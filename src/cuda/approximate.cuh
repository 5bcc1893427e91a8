// A device's arithmetic for formulas that take one as a template argument: fused multiply-add, the hardware's 2^v and 1 / v.
#pragma once

#include "cuda/ptx.cuh"

namespace kilter::cuda {

// Errors of an ulp or so, the same on every GPU of an architecture.
struct Approximate {
  __device__ __forceinline__ static float mad(float a, float b, float c) { return __fmaf_rn(a, b, c); }
  __device__ __forceinline__ static double mad(double a, double b, double c) { return a * b + c; }
  __device__ __forceinline__ static float select(bool is, float a, float b) { return is ? a : b; }
  __device__ __forceinline__ static float inverse(float v) { return approximate_inverse(v); }
  __device__ __forceinline__ static float exp2(float v) { return approximate_exp2(v); }
};

}  // namespace kilter::cuda

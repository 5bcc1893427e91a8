// Elements of any type in and out of memory, one at a time, in the compute type C (fp32, or fp64 for fp64 rows).
#pragma once

#include "core/view.h"

namespace kilter::cuda {

template <class C>
__device__ __forceinline__ C load_element(DType type, const char* p, int64_t i) {
  switch (type) {
    case DType::f64:
      return C(reinterpret_cast<const double*>(p)[i]);
    case DType::f32:
      return C(reinterpret_cast<const float*>(p)[i]);
    case DType::f16:
      return C(half_to_float(reinterpret_cast<const uint16_t*>(p)[i]));
    case DType::bf16:
      return C(bf16_to_float(reinterpret_cast<const uint16_t*>(p)[i]));
    case DType::u8:
    case DType::i32:
    case DType::i64:
    case DType::none:
      break;
  }
  return C(0);
}

// value as `type` holds it, rounded once
template <class C>
__device__ __forceinline__ C rounded_to(DType type, C value) {
  switch (type) {
    case DType::f32:
      return C(float(value));
    case DType::f16:
      return C(half_to_float(float_to_half(float(value))));
    case DType::bf16:
      return C(bf16_to_float(float_to_bf16(float(value))));
    default:
      return value;
  }
}

// Rounds once.  fp64 values are stored as fp64 or fp32 only.
template <class C>
__device__ __forceinline__ void store_element(DType type, char* p, int64_t i, C value) {
  switch (type) {
    case DType::f64:
      reinterpret_cast<double*>(p)[i] = double(value);
      break;
    case DType::f32:
      reinterpret_cast<float*>(p)[i] = float(value);
      break;
    case DType::f16:
      reinterpret_cast<uint16_t*>(p)[i] = float_to_half(float(value));
      break;
    case DType::bf16:
      reinterpret_cast<uint16_t*>(p)[i] = float_to_bf16(float(value));
      break;
    case DType::u8:
    case DType::i32:
    case DType::i64:
    case DType::none:
      break;
  }
}

}  // namespace kilter::cuda

// Elements in words of 4 bytes, of any type: fp32 and fp64 numbers, Bf16, Half.
#pragma once

#include "cuda/packed.cuh"

namespace kilter::cuda {

template <class E>
struct Stored;  // element type in memory
template <>
struct Stored<float> {
  using type = uint32_t;
  __device__ __forceinline__ static float value(uint32_t v) { return __uint_as_float(v); }
  __device__ __forceinline__ static uint32_t of(float v) { return __float_as_uint(v); }
};
template <>
struct Stored<Bf16> {
  using type = uint16_t;
  __device__ __forceinline__ static float value(uint16_t v) { return __uint_as_float(uint32_t(v) << 16); }
  __device__ __forceinline__ static uint16_t of(float v) { return uint16_t(bf16_pair(v, 0)); }
};
template <>
struct Stored<Half> {
  using type = uint16_t;
  __device__ __forceinline__ static float value(uint16_t v) { return half_value(v); }
  __device__ __forceinline__ static uint16_t of(float v) { return uint16_t(half_pair(v, 0)); }
};
template <>
struct Stored<double> {
  using type = uint64_t;
  __device__ __forceinline__ static double value(uint64_t v) { return __builtin_bit_cast(double, v); }
  __device__ __forceinline__ static uint64_t of(double v) { return __builtin_bit_cast(uint64_t, v); }
};

// Words of 4 bytes that hold elements of E.
template <class E>
__device__ __forceinline__ auto value_in(const uint32_t* words, int j) {
  if constexpr (sizeof(typename Stored<E>::type) == 8)
    return Stored<E>::value(uint64_t(words[2 * j]) | uint64_t(words[2 * j + 1]) << 32);
  else if constexpr (sizeof(typename Stored<E>::type) == 4)
    return Stored<E>::value(words[j]);
  else
    return j & 1 ? E::upper(words[j / 2]) : E::lower(words[j / 2]);
}
template <class E, class C>
__device__ __forceinline__ void put_in(uint32_t* words, int j, C a, C b) {  // elements j and j + 1, j even
  if constexpr (sizeof(typename Stored<E>::type) == 8) {
    const uint64_t low = Stored<E>::of(a), high = Stored<E>::of(b);
    words[2 * j] = uint32_t(low), words[2 * j + 1] = uint32_t(low >> 32);
    words[2 * j + 2] = uint32_t(high), words[2 * j + 3] = uint32_t(high >> 32);
  } else if constexpr (sizeof(typename Stored<E>::type) == 4) {
    words[j] = Stored<E>::of(float(a)), words[j + 1] = Stored<E>::of(float(b));
  } else {
    words[j / 2] = E::pair(a, b);
  }
}

// A number's quotient by another and what is left, in 32 bits where they suffice.
struct Quotient {
  int64_t whole, rest;
};
__device__ __forceinline__ Quotient divided(int64_t a, int64_t b) {
  if (uint64_t(a | b) >> 32 == 0) {
    const uint32_t q = uint32_t(a) / uint32_t(b);
    return {int64_t(q), int64_t(uint32_t(a) - q * uint32_t(b))};
  }
  const int64_t q = a / b;
  return {q, a - q * b};
}

}  // namespace kilter::cuda

// Elements one at a time, of a type known at run time only and in any place: what packed.cuh cannot take 16 bytes at a time.
//
// A thread holds its eight lanes of a stripe in fp32, as neighbours (NearSingles: forward's short rows) or as many apart as threads share
// the stripe (FarSingles: of 32 threads, whose accesses are runs of 32 elements).
#pragma once

#include <type_traits>

#include "cuda/packed.cuh"

namespace kilter::cuda {

template <bool kNear>
struct Singles {};
using NearSingles = Singles<true>;
using FarSingles = Singles<false>;

template <class T>
constexpr bool kIsSingles = false;
template <bool kNear>
constexpr bool kIsSingles<Singles<kNear>> = true;

template <bool kNear>
struct Packed<Singles<kNear>> {
  static constexpr int kItem = 4, kWidth = 1, kParts = 8;
  float part[8];
  __device__ __forceinline__ float operator[](int j) const { return part[j]; }
  __device__ __forceinline__ static float pack(const float* v) { return *v; }
};

template <>
constexpr int kLaneRuns<NearSingles> = 1;
template <>
__device__ __forceinline__ constexpr int thread_place<NearSingles>(int t) {
  return 8 * t;
}
template <>
__device__ __forceinline__ constexpr int part_place<NearSingles>(int part) {
  return part;
}
template <>
__device__ __forceinline__ constexpr int part_place<FarSingles>(int part) {
  return 32 * part;
}

// f(E{}) with the element type E that `type` names: float, Bf16 or Half.
template <class F>
__device__ __forceinline__ void with_type(DType type, F f) {
  if (type == DType::bf16)
    f(Bf16{});
  else if (type == DType::f16)
    f(Half{});
  else
    f(float{});
}

template <class E>
constexpr int kElementSize = Packed<E>::kItem;

// As it lies in memory, in the low bits; zero if it is not there.
template <class E>
__device__ __forceinline__ uint32_t single_bits(const char* at, bool is = true) {
  uint32_t bits = 0;
  if (is) {
    if constexpr (kElementSize<E> == 4)
      bits = *reinterpret_cast<const uint32_t*>(at);
    else
      bits = *reinterpret_cast<const uint16_t*>(at);
  }
  return bits;
}
template <class E>
__device__ __forceinline__ float single_value(uint32_t bits) {
  if constexpr (kElementSize<E> == 4)
    return __uint_as_float(bits);
  else
    return E::lower(bits);
}
template <class E>
__device__ __forceinline__ float load_single(const char* at) {
  return single_value<E>(single_bits<E>(at));
}
template <class E>
__device__ __forceinline__ void store_single(char* at, float v) {
  if constexpr (kElementSize<E> == 4)
    *reinterpret_cast<float*>(at) = v;
  else
    *reinterpret_cast<uint16_t*>(at) = uint16_t(E::pair(v, 0.0f));
}
// v as E holds it.
template <class E>
__device__ __forceinline__ float single_rounded(float v) {
  if constexpr (kElementSize<E> == 4)
    return v;
  else
    return E::lower(E::pair(v, 0.0f));
}

// f(true) if no place lies beyond the row, which then needs no test for each, else f(false).  Near ones are short rows: most end inside.
template <class T, class F>
__device__ __forceinline__ void with_whole(bool whole, F f) {
  if (!std::is_same_v<T, NearSingles> && whole)
    f(std::true_type{});
  else
    f(std::false_type{});
}

// Elements of stripe k; `at`: this thread's first of stripe 0.  Places of the row are below `left`, all of them if it is whole; those
// beyond are zero, or not written.  Bits first, values once all loads are under way.
template <class T, class E>
__device__ __forceinline__ Packed<T> read_bits(const char* at, int k, int left, bool whole) {
  Packed<T> v;
  with_whole<T>(whole, [&](auto is_whole) {
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const int place = k * 256 + part_place<T>(j);
      v.part[j] = __uint_as_float(single_bits<E>(at + place * kElementSize<E>, is_whole() || place < left));
    }
  });
  return v;
}
template <class E, class T>
__device__ __forceinline__ void bits_to_values(Packed<T>& v) {
#pragma unroll
  for (int j = 0; j < 8; ++j) v.part[j] = single_value<E>(__float_as_uint(v.part[j]));
}
template <class T, class E>
__device__ __forceinline__ void write_singles(char* at, int k, int left, bool whole, const float (&v)[8]) {
  with_whole<T>(whole, [&](auto is_whole) {
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const int place = k * 256 + part_place<T>(j);
      if (is_whole() || place < left) store_single<E>(at + place * kElementSize<E>, v[j]);
    }
  });
}

}  // namespace kilter::cuda

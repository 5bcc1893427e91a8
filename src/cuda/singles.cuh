// Elements one at a time, of a type known at run time only and in any place: what packed.cuh cannot take 16 bytes at a time.
//
// A thread holds its eight lanes of a stripe in fp32, as neighbours (NearSingles: short rows) or 32 apart (FarSingles: of 32 threads,
// whose accesses are runs of 32 elements).
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

// Zero if it is not there: its bits are, so that no load waits to be judged.
template <class E>
__device__ __forceinline__ float load_single(const char* at, bool is = true) {
  if constexpr (kElementSize<E> == 4) {
    float v = 0;
    if (is) v = *reinterpret_cast<const float*>(at);
    return v;
  } else {
    uint32_t bits = 0;
    if (is) bits = *reinterpret_cast<const uint16_t*>(at);
    return E::lower(bits);
  }
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

// f(true) if all of a thread's places lie in the row, which needs no test for each, else f(false).
template <class F>
__device__ __forceinline__ void with_whole(bool whole, F f) {
  if (whole)
    f(std::true_type{});
  else
    f(std::false_type{});
}

// Elements of stripe k; `at`: this thread's first of stripe 0.  Places of the row are below `left`; those beyond are zero, or not written.
template <class T, class E, bool kWhole>
__device__ __forceinline__ Packed<T> read_singles(const char* at, int k, int left) {
  Packed<T> v;
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const int place = k * 256 + part_place<T>(j);
    v.part[j] = load_single<E>(at + place * kElementSize<E>, kWhole || place < left);
  }
  return v;
}
template <class T, class E, bool kWhole>
__device__ __forceinline__ void write_singles(char* at, int k, int left, const float (&v)[8]) {
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const int place = k * 256 + part_place<T>(j);
    if (kWhole || place < left) store_single<E>(at + place * kElementSize<E>, v[j]);
  }
}

}  // namespace kilter::cuda

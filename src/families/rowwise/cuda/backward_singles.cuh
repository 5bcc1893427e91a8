// What backward's kernels need for rows of any type and place (singles.cuh): copies of the 16 bytes units that cover a row, and a
// thread's eight elements of a row as it lies in shared memory then.
#pragma once

#include <type_traits>

#include "cuda/row_address.h"
#include "cuda/singles.cuh"

namespace kilter::cuda {

// Of rows of up to 128 elements: sixteen threads, whose elements are so many apart.
struct HalfWarpSingles {};
template <>
constexpr bool kIsSingles<HalfWarpSingles> = true;
template <>
struct Packed<HalfWarpSingles> : Packed<FarSingles> {};
template <>
__device__ __forceinline__ constexpr int part_place<HalfWarpSingles>(int part) {
  return 16 * part;
}

template <class T, int kThreads>
using SinglesOf = std::conditional_t<kIsSingles<T> && kThreads == 16, HalfWarpSingles, T>;

__device__ __forceinline__ int misalignment(const char* p) { return int(reinterpret_cast<uintptr_t>(p) & 15); }

// Behind the last element of a tensor's rows, whichever of them lies last.
__device__ __forceinline__ const char* end_of(const RowAddress& a, int64_t rows, int64_t row_bytes) {
  return a.data + (a.stride > 0 ? (rows - 1) * a.stride : 0) + row_bytes;
}
// Of the units that cover `bytes` from `from` on, those that may be read: none reaches beyond `end`.
__device__ __forceinline__ int covered_bytes(const char* from, int bytes, const char* end) {
  const int all = (misalignment(from) + bytes + 15) & ~15;
  return from - misalignment(from) + all > end ? all - 16 : all;
}

// `bytes` of a tensor to `to` + misalignment(from).  The tensor's last bytes, if they fill no unit, come by this thread's own stores.
__device__ __forceinline__ void copy_cover(uint32_t to, const char* from, int bytes, const char* end, uint32_t barrier) {
  const int skip = misalignment(from), units = covered_bytes(from, bytes, end);
  if (units > 0) {
    barrier_expect(barrier, units);
    copy_bulk(to, from - skip, units, barrier);
  }
  if (units >= skip + bytes) return;
  const int first = units > skip ? units - skip : 0;
  uint32_t last[7] = {};
#pragma unroll
  for (int k = 0; k < 7; ++k)
    if (first + 2 * k < bytes) last[k] = *reinterpret_cast<const uint16_t*>(from + first + 2 * k);
#pragma unroll
  for (int k = 0; k < 7; ++k)
    if (first + 2 * k < bytes) store_shared_half(to + skip + first + 2 * k, uint16_t(last[k]));
  stores_before_copies();
}
__device__ __forceinline__ void prefetch_cover(const char* from, int bytes, const char* end) {
  const int units = covered_bytes(from, bytes, end);
  if (units > 0) prefetch_bulk(from - misalignment(from), units);
}

// f(j, place) for a thread's elements of stripe k.
template <class T, class F>
__device__ __forceinline__ void each_single(int k, F f) {
#pragma unroll
  for (int j = 0; j < 8; ++j) f(j, k * 256 + part_place<T>(j));
}

template <class E>
__device__ __forceinline__ float load_shared_single(uint32_t a) {
  if constexpr (kElementSize<E> == 4)
    return load_shared_float(a);
  else
    return E::lower(load_shared_half(a));
}
// From the shared memory of another block.
template <class E>
__device__ __forceinline__ float load_remote_single(uint32_t a, int rank) {
  const uint32_t word = load_remote_word(remote_address(a & ~3u, rank));
  if constexpr (kElementSize<E> == 4)
    return __uint_as_float(word);
  else
    return E::lower(a & 2 ? word >> 16 : word & 0xFFFF);
}

// A thread's elements of stripe k of a row in shared memory, its first at `column`.  What lies beyond the row is read as well.
template <class T>
__device__ __forceinline__ Packed<T> shared_singles(DType type, uint32_t row, int column, int k) {
  Packed<T> v;
  with_type(type, [&](auto element) {
    using E = decltype(element);
    const uint32_t at = row + column * kElementSize<E>;
    each_single<T>(k, [&](int j, int place) { v.part[j] = load_shared_single<E>(at + place * kElementSize<E>); });
  });
  return v;
}
// Only what lies in the row, else zeros; kRemote: of block `rank`.
template <class T, bool kRemote>
__device__ __forceinline__ Packed<T> shared_singles_if(DType type, uint32_t row, int column, int k, int left, int rank) {
  Packed<T> v;
  with_type(type, [&](auto element) {
    using E = decltype(element);
    const uint32_t at = row + column * kElementSize<E>;
    each_single<T>(k, [&](int j, int place) {
      const uint32_t from = at + place * kElementSize<E>;
      v.part[j] = 0;
      if (place < left) v.part[j] = kRemote ? load_remote_single<E>(from, rank) : load_shared_single<E>(from);
    });
  });
  return v;
}

// Bits as they lie in device memory, for convert_bits when they are needed: whoever converts at once waits for them at once.
template <class T>
__device__ __forceinline__ Packed<T> read_bits(DType type, const char* at, int left) {
  Packed<T> v = {};
  if (type == DType::f32)
    each_single<T>(0, [&](int j, int place) {
      if (place < left) v.part[j] = load_single<float>(at + place * 4);
    });
  else
    each_single<T>(0, [&](int j, int place) {
      if (place < left) v.part[j] = __uint_as_float(*reinterpret_cast<const uint16_t*>(at + place * 2));
    });
  return v;
}
template <class T>
__device__ __forceinline__ void convert_bits(DType type, Packed<T>& v) {
  with_type(type, [&](auto element) {
    using E = decltype(element);
    if constexpr (kElementSize<E> == 2) each_single<T>(0, [&](int j, int) { v.part[j] = E::lower(__float_as_uint(v.part[j])); });
  });
}

// In device memory, the thread's first element at `at`.
template <class T>
__device__ __forceinline__ void write_singles(DType type, char* at, int left, const float (&v)[8]) {
  const bool whole = left + int(threadIdx.x % 32) >= 256;  // the warp's stripe
  with_type(type, [&](auto element) { write_singles<T, decltype(element)>(at, 0, left, whole, v); });
}

}  // namespace kilter::cuda

// Eight elements of a thread as they lie in memory, read and written 16 bytes at a time.
//
// A stripe is 256 consecutive elements, one per lane of the row tree, and the eight of thread t in it are its lanes: 8t ... 8t + 7
// for 16-bit types; 4t ... 4t + 3 and those 128 further for fp32, so that a warp's access is one run of 512 bytes.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "cuda/ptx.cuh"

namespace kilter::cuda {

template <class T>
struct Packed;

template <>
struct Packed<float> {
  static constexpr DType type = DType::f32;
  static constexpr int kItem = 4, kWidth = 4, kParts = 2;  // elements per access; accesses per stripe
  uint4 part[2];
  __device__ __forceinline__ float operator[](int j) const {
    const uint4& v = part[j / 4];
    return __uint_as_float(j % 4 == 0 ? v.x : j % 4 == 1 ? v.y : j % 4 == 2 ? v.z : v.w);
  }
  __device__ __forceinline__ static uint4 pack(const float* v) {
    return make_uint4(__float_as_uint(v[0]), __float_as_uint(v[1]), __float_as_uint(v[2]), __float_as_uint(v[3]));
  }
};

// 16-bit types: two elements a word.
template <class Convert>
struct PackedPairs {
  static constexpr int kItem = 2, kWidth = 8, kParts = 1;
  uint4 part[1];
  __device__ __forceinline__ float operator[](int j) const {
    const uint4& v = part[0];
    const uint32_t word = j / 2 == 0 ? v.x : j / 2 == 1 ? v.y : j / 2 == 2 ? v.z : v.w;
    return j & 1 ? Convert::upper(word) : Convert::lower(word);
  }
  __device__ __forceinline__ static uint4 pack(const float* v) {
    return make_uint4(Convert::pair(v[0], v[1]), Convert::pair(v[2], v[3]), Convert::pair(v[4], v[5]), Convert::pair(v[6], v[7]));
  }
};

struct Bf16 {
  __device__ __forceinline__ static float lower(uint32_t word) { return __uint_as_float(word << 16); }
  __device__ __forceinline__ static float upper(uint32_t word) { return __uint_as_float(word & 0xFFFF0000u); }
  __device__ __forceinline__ static uint32_t pair(float low, float high) { return bf16_pair(low, high); }
};

struct Half {
  __device__ __forceinline__ static float lower(uint32_t word) { return half_value(word & 0xFFFF); }
  __device__ __forceinline__ static float upper(uint32_t word) { return half_value(word >> 16); }
  __device__ __forceinline__ static uint32_t pair(float low, float high) { return half_pair(low, high); }
};

template <>
struct Packed<Bf16> : PackedPairs<Bf16> {
  static constexpr DType type = DType::bf16;
};
template <>
struct Packed<Half> : PackedPairs<Half> {
  static constexpr DType type = DType::f16;
};

// Runs of neighbouring lanes that a thread owns, and where in a stripe its accesses lie: the first one of thread t, the others from there.
template <class T>
constexpr int kLaneRuns = Packed<T>::kParts;
template <class T>
__device__ __forceinline__ constexpr int thread_place(int t) {
  return t * Packed<T>::kWidth;
}
template <class T>
__device__ __forceinline__ constexpr int part_place(int part) {
  return part * 128;
}

// Elements of stripe k of those that start at `at`, this thread's first; `left`: of the row's elements from there on.  Those
// beyond the row are zero, or not written.
template <class T>
__device__ __forceinline__ Packed<T> read_stripe(const char* at, int k, int left) {
  Packed<T> v = {};
#pragma unroll
  for (int q = 0; q < Packed<T>::kParts; ++q)
    if (k * 256 + q * 128 < left) v.part[q] = *reinterpret_cast<const uint4*>(at + (k * 256 + q * 128) * Packed<T>::kItem);
  return v;
}
// The same of memory that nobody reads again soon: what is read again, weights, keeps the first cache.
template <class T>
__device__ __forceinline__ Packed<T> stream_stripe(const char* at, int k, int left) {
  Packed<T> v = {};
#pragma unroll
  for (int q = 0; q < Packed<T>::kParts; ++q)
    if (k * 256 + q * 128 < left) v.part[q] = load_streaming(at + (k * 256 + q * 128) * Packed<T>::kItem);
  return v;
}
// And of memory that no kernel under way writes.
template <class T>
__device__ __forceinline__ Packed<T> constant_stripe(const char* at, int k, int left) {
  Packed<T> v = {};
#pragma unroll
  for (int q = 0; q < Packed<T>::kParts; ++q)
    if (k * 256 + q * 128 < left) v.part[q] = __ldg(reinterpret_cast<const uint4*>(at + (k * 256 + q * 128) * Packed<T>::kItem));
  return v;
}
template <class T>
__device__ __forceinline__ void write_stripe(char* at, int k, int left, const float (&v)[8]) {
#pragma unroll
  for (int q = 0; q < Packed<T>::kParts; ++q) {
    const uint4 packed = Packed<T>::pack(v + q * Packed<T>::kWidth);  // by all: no branch around it
    if (k * 256 + q * 128 < left) *reinterpret_cast<uint4*>(at + (k * 256 + q * 128) * Packed<T>::kItem) = packed;
  }
}
// Around the first cache, if `streams`.
template <class T>
__device__ __forceinline__ void stream_stripe(char* at, int k, int left, const float (&v)[8], bool streams) {
#pragma unroll
  for (int q = 0; q < Packed<T>::kParts; ++q) {
    const uint4 packed = Packed<T>::pack(v + q * Packed<T>::kWidth);
    if (k * 256 + q * 128 < left) store_streaming_if(at + (k * 256 + q * 128) * Packed<T>::kItem, packed, streams);
  }
}

// Bytes from this thread's first of a row on that begins anywhere (cuda/shifted.cuh).
template <class T>
__device__ __forceinline__ uint4& vector_of(Packed<T>* stripes, int i) {
  return stripes[i / Packed<T>::kParts].part[i % Packed<T>::kParts];
}

// v as T holds it.
template <class T, int N>
__device__ __forceinline__ void round_to(float (&v)[N]) {
  if constexpr (Packed<T>::kItem == 2)
#pragma unroll
    for (int j = 0; j < N; j += 2) {
      const uint32_t word = T::pair(v[j], j + 1 < N ? v[j + 1] : 0.0f);
      v[j] = T::lower(word);
      if (j + 1 < N) v[j + 1] = T::upper(word);
    }
}

// The same columns of a vector that is fp32 whatever T is.
template <class T>
__device__ __forceinline__ void read_floats(const char* at, int k, int left, float (&v)[8]) {
#pragma unroll
  for (int q = 0; q < 2; ++q) {
    const int i = k * 256 + (Packed<T>::kParts == 2 ? q * 128 : 0);
    float4 f = {};
    if (i < left) f = *reinterpret_cast<const float4*>(at + (Packed<T>::kParts == 2 ? i : i + q * 4) * 4);
    v[4 * q] = f.x, v[4 * q + 1] = f.y, v[4 * q + 2] = f.z, v[4 * q + 3] = f.w;
  }
}

}  // namespace kilter::cuda

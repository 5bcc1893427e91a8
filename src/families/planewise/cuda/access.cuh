// How the kernels of planes read and write: an access is kWidth elements, 16 bytes of T, of a tensor of T or fp32.  Where samples lie
// at multiples of 16 bytes, in vectors; else element by element, the same elements by the same thread.  Loads of all of a thread's
// accesses are under way before the first is used.
#pragma once

#include "cuda/approximate.cuh"
#include "cuda/element.cuh"
#include "cuda/packed.cuh"
#include "cuda/words.cuh"
#include "families/planewise/cuda/parameters.h"

namespace kilter::cuda {

// Where an access lies in a sample, in elements, and which of its elements count: those whose number first + j * step is in [from, to).
struct Place {
  int64_t sample, element;
  int first, from, to;
  __device__ __forceinline__ bool any(int width, int step) const { return first < to && first + (width - 1) * step >= from; }
  __device__ __forceinline__ bool has(int j, int step) const { return first + j * step >= from && first + j * step < to; }
  __device__ __forceinline__ int count(int width) const {  // of neighbours
    const int begin = from > first ? from - first : 0, end = to - first < width ? to - first : width;
    return end > begin ? end - begin : 0;
  }
};

template <class T>
struct PlaneAccess {
  using C = float;
  static constexpr DType type = Packed<T>::type;
  static constexpr int kWidth = Packed<T>::kWidth, kSlots = kPlaneSlots, kEntries = plane_entries(type), kTile = kMostTile;
  static constexpr int kBlocks = 2;  // of a multiprocessor at least, of kernels that hold many values
};
template <>
struct PlaneAccess<double> {
  using C = double;
  static constexpr DType type = DType::f64;
  static constexpr int kWidth = 2, kSlots = kPlaneSlots, kEntries = plane_entries(type), kTile = 2 * kPlaneThreads;
  static constexpr int kBlocks = 1;
};

template <class E, class A, bool kVectors, int N, class At>
__device__ __forceinline__ void load_as(const PlaneTensor& t, int step, At at, typename A::C (&v)[N][A::kWidth]) {
  using S = typename Stored<E>::type;
  constexpr int kWords = int(A::kWidth * sizeof(S) / 4);
  uint32_t words[kVectors ? N : 1][kWords];
#pragma unroll
  for (int k = 0; k < N; ++k) {
    const Place place = at(k);
    const bool any = place.any(A::kWidth, step);
    const S* const from = reinterpret_cast<const S*>(t.sample(place.sample)) + place.element;
    if constexpr (kVectors) {
      if constexpr (kWords % 4 == 0) {
#pragma unroll
        for (int q = 0; q < kWords / 4; ++q) {
          const uint4 w = any ? reinterpret_cast<const uint4*>(from)[q] : uint4{};
          words[k][4 * q] = w.x, words[k][4 * q + 1] = w.y, words[k][4 * q + 2] = w.z, words[k][4 * q + 3] = w.w;
        }
      } else {
        const uint2 w = any ? *reinterpret_cast<const uint2*>(from) : uint2{};
        words[k][0] = w.x, words[k][1] = w.y;
      }
    } else {
#pragma unroll
      for (int j = 0; j < A::kWidth; ++j) v[k][j] = place.has(j, step) ? typename A::C(Stored<E>::value(from[j * step])) : 0;
    }
  }
  if constexpr (kVectors) {
#pragma unroll
    for (int k = 0; k < N; ++k)
#pragma unroll
      for (int j = 0; j < A::kWidth; ++j) v[k][j] = typename A::C(value_in<E>(words[k], j));
  }
}

// v[k][j]: element j of the access at at(k).  Vectors bring what does not count too; without them it is 0.
template <class T, int N, class At>
__device__ __forceinline__ void load(const PlaneTensor& t, bool vectors, int step, At at,
                                     typename PlaneAccess<T>::C (&v)[N][PlaneAccess<T>::kWidth]) {
  using A = PlaneAccess<T>;
  if (t.type == A::type)
    vectors ? load_as<T, A, true>(t, step, at, v) : load_as<T, A, false>(t, step, at, v);
  else
    vectors ? load_as<float, A, true>(t, step, at, v) : load_as<float, A, false>(t, step, at, v);
}

template <class E, class A>
__device__ __forceinline__ void store_as(const PlaneTensor& t, bool vectors, int step, const Place& place, const typename A::C* v) {
  using S = typename Stored<E>::type;
  constexpr int kWords = int(A::kWidth * sizeof(S) / 4);
  S* const to = reinterpret_cast<S*>(t.sample(place.sample)) + place.element;
  if (vectors && place.has(0, step) && place.has(A::kWidth - 1, step)) {
    uint32_t words[kWords];
#pragma unroll
    for (int j = 0; j < A::kWidth; j += 2) put_in<E>(words, j, v[j], v[j + 1]);
    if constexpr (kWords % 4 == 0) {
#pragma unroll
      for (int q = 0; q < kWords / 4; ++q)
        reinterpret_cast<uint4*>(to)[q] = make_uint4(words[4 * q], words[4 * q + 1], words[4 * q + 2], words[4 * q + 3]);
    } else {
      *reinterpret_cast<uint2*>(to) = make_uint2(words[0], words[1]);
    }
  } else {
#pragma unroll
    for (int j = 0; j < A::kWidth; ++j)
      if (place.has(j, step)) to[j * step] = Stored<E>::of(typename A::C(v[j]));
  }
}
template <class T>
__device__ __forceinline__ void store(const PlaneTensor& t, bool vectors, int step, const Place& place,
                                      const typename PlaneAccess<T>::C (&v)[PlaneAccess<T>::kWidth]) {
  using A = PlaneAccess<T>;
  if (t.type == A::type)
    store_as<T, A>(t, vectors, step, place, v);
  else
    store_as<float, A>(t, vectors, step, place, v);
}

// v + residual, rounded to the residual's type.
template <class T, int N>
__device__ __forceinline__ void add_residual(const PlaneTensor& residual, const typename PlaneAccess<T>::C (&r)[N],
                                             typename PlaneAccess<T>::C (&v)[N]) {
#pragma unroll
  for (int j = 0; j < N; ++j) v[j] = v[j] + r[j];
  if constexpr (sizeof(typename PlaneAccess<T>::C) == 8) {
    if (residual.type == DType::f32)
#pragma unroll
      for (int j = 0; j < N; ++j) v[j] = double(float(v[j]));
  } else if (residual.type == PlaneAccess<T>::type) {
    round_to<T>(v);
  }
}
// One access of a tensor that few calls have: the registers for several would be everyone's.
template <class T>
__device__ __forceinline__ void load_one(const PlaneTensor& t, bool vectors, int step, const Place& place,
                                         typename PlaneAccess<T>::C (&v)[PlaneAccess<T>::kWidth]) {
  load<T>(
      t, vectors, step, [&](int) { return place; }, reinterpret_cast<typename PlaneAccess<T>::C(&)[1][PlaneAccess<T>::kWidth]>(v));
}

// A batch of accesses on its way, while the one before it is computed with.
template <class T, int N>
class Stream {
 public:
  using A = PlaneAccess<T>;
  __device__ __forceinline__ Stream(const PlaneTensor& t, bool vectors, int step) : tensor_(&t), vectors_(vectors), step_(step) {}
  template <class At>
  __device__ __forceinline__ void fetch(At at) {
    if (!packed()) return;
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const Place place = at(k);
      const char* const from = tensor_->sample(place.sample) + place.element * item_size(A::type);
      words_[k] = place.any(A::kWidth, step_) ? *reinterpret_cast<const uint4*>(from) : uint4{};
    }
  }
  // Access k, whose place it is; of what is no vector of T, only now.
  __device__ __forceinline__ void value(int k, const Place& place, typename A::C (&v)[A::kWidth]) const {
    if (!packed()) return load_one<T>(*tensor_, vectors_, step_, place, v);
    const uint32_t words[4] = {words_[k].x, words_[k].y, words_[k].z, words_[k].w};
#pragma unroll
    for (int j = 0; j < A::kWidth; ++j) v[j] = value_in<T>(words, j);
  }

 private:
  __device__ __forceinline__ bool packed() const { return vectors_ && tensor_->type == A::type; }
  const PlaneTensor* tensor_;
  uint4 words_[N] = {};
  bool vectors_;
  int step_;
};
template <class T, int N>
struct StreamPair {
  Stream<T, N> x, dy;
  template <class At>
  __device__ __forceinline__ void fetch(At at) {
    x.fetch(at), dy.fetch(at);
  }
};
// f(batch, its accesses) for a thread's batches 0 to count - 1, whose places at(batch)(k) says.
template <class S, class At, class F>
__device__ __forceinline__ void each_fetched(S held, int count, At at, F f) {
  if (count > 0) held.fetch(at(0));
  for (int batch = 0; batch < count; ++batch) {
    S next = held;
    if (batch + 1 < count) next.fetch(at(batch + 1));
    f(batch, held);
    held = next;
  }
}

template <class C>
__device__ __forceinline__ C load_of(const PlaneTensor& t, int64_t n, int64_t i, C absent) {
  return t.data ? load_element<C>(t.type, t.sample(n), i) : absent;
}
template <class C>
__device__ __forceinline__ void store_of(const PlaneTensor& t, int64_t n, int64_t i, C v) {
  if (t.data) store_element<C>(t.type, t.sample(n), i, v);
}

// Where an element of a sample has its bit.
struct BitPlace {
  uint8_t* byte;
  int bit;
};
__device__ __forceinline__ BitPlace bit_place(const PlaneBits& bits, int64_t sample, int64_t element) {
  uint8_t* const first = reinterpret_cast<uint8_t*>(bits.bytes.sample(sample));
  if (bits.row % 8 == 0) return {first + element / 8, int(element % 8)};
  const Quotient by_row = divided(element, bits.row);
  return {first + by_row.whole * ceil_div(bits.row, 8) + by_row.rest / 8, int(by_row.rest % 8)};
}
// Bit j: element j of an access.  Those of neighbours are in one byte.
template <int W>
__device__ __forceinline__ unsigned load_bits(const PlaneBits& bits, int step, const Place& place) {
  if (!place.any(W, step)) return 0;
  const BitPlace at = bit_place(bits, place.sample, place.element);
  if (step == 1) return *at.byte >> at.bit;
  unsigned all = 0;
#pragma unroll 1
  for (int j = 0; j < W; ++j)
    if (place.has(j, step)) {
      const BitPlace own = bit_place(bits, place.sample, place.element + j * step);
      all |= (*own.byte >> own.bit & 1u) << j;
    }
  return all;
}
// By all threads of each eight that have neighbouring accesses, of which the first one's begins a byte: one of them writes it.
template <int W>
__device__ __forceinline__ void store_bits(const PlaneBits& bits, int step, const Place& place, unsigned all) {
  const int lane = threadIdx.x % 32;
  if (step == 1) {
    constexpr int kSharers = 8 / W;  // of a byte
    const int part = lane % kSharers;
    all <<= part * W;
#pragma unroll
    for (int other = 1; other < kSharers; other *= 2) all |= __shfl_xor_sync(((1u << kSharers) - 1) << (lane - part), all, other);
    if (part == 0 && place.any(W, 1)) *bit_place(bits, place.sample, place.element).byte = uint8_t(all);
    return;
  }
#pragma unroll
  for (int j = 0; j < W; ++j) {
    const unsigned byte = __ballot_sync(0xFFu << (lane & 24), all >> j & 1) >> (lane & 24) & 0xFF;
    if (lane % 8 == 0 && place.has(j, step)) *bit_place(bits, place.sample, place.element + j * step).byte = uint8_t(byte);
  }
}

// Channels last: access `across` of a tile, of place `place`.  Without vectors neighbours have neighbouring channels.
template <class A>
__device__ __forceinline__ Place tile_place(const PlaneShape& shape, const TilePlan& tiles, int64_t sample, int64_t tile, int across,
                                            int64_t place, bool inside) {
  const int64_t begin = tile * tiles.channels(), left = shape.channels - begin;
  const int first = shape.vectors ? across * A::kWidth : across, have = left < tiles.channels() ? int(left) : tiles.channels();
  if (shape.in_sample < shape.spatial) {
    const Quotient at = shape.in_sample == 1 ? Quotient{place, 0} : divided(place, shape.in_sample);
    sample = at.whole, place = at.rest;
  }
  return {sample, place * shape.channels + begin + first, first, 0, inside ? have : 0};
}

}  // namespace kilter::cuda

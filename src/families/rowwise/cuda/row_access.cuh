// A thread's stripes of a row in and out of memory: 16 bytes at a time in the rows' own type T, or singles of each tensor's type.
#pragma once

#include "cuda/row_address.h"
#include "cuda/shifted.cuh"
#include "cuda/singles.cuh"
#include "families/rowwise/cuda/modulation.cuh"
#include "families/rowwise/cuda/parameters.h"
#include "families/rowwise/cuda/team.cuh"

namespace kilter::cuda {

// f(E{}) with the type E of a tensor's elements: T, but of singles what `type` names.
template <class T, class F>
__device__ __forceinline__ void with_element(DType type, F f) {
  if constexpr (kIsSingles<T>)
    with_type(type, f);
  else
    f(T{});
}

template <class E, class C>
__device__ __forceinline__ C* element_at(C* row, int column) {
  return row + int64_t(column) * kElementSize<E>;
}

// Where row r finds its weight and its bias.
struct RowWeights {
  const char *weight, *bias;
  __device__ __forceinline__ RowWeights(const RowForwardParameters& p, uint32_t flags, int64_t r) : weight(p.weight), bias(p.bias) {
    if (!(flags & kModulated)) return;
    const int64_t m = modulation_of(p.modulation, r);
    weight += m * p.weight_stride, bias += m * p.bias_stride;
  }
};

// Stripe k of a row; `at`: this thread's first element of stripe 0.
template <class T, class E>
__device__ __forceinline__ Packed<T> read_elements(const char* at, int k, int left, bool whole) {
  if constexpr (kIsSingles<T>) {
    Packed<T> v = read_bits<T, E>(at, k, left, whole);
    bits_to_values<E>(v);
    return v;
  } else {
    return read_stripe<T>(at, k, left);
  }
}
template <class T, class E>
__device__ __forceinline__ void write_elements(char* at, int k, int left, bool whole, const float (&v)[8]) {
  if constexpr (kIsSingles<T>)
    write_singles<T, E>(at, k, left, whole, v);
  else
    write_stripe<T>(at, k, left, v);
}
// v as E holds it, to be held by a thread.
template <class T, class E>
__device__ __forceinline__ Packed<T> held_as(const float (&v)[8]) {
  Packed<T> held;
#pragma unroll
  for (int q = 0; q < Packed<T>::kParts; ++q) {
    if constexpr (kIsSingles<T>)
      held.part[q] = single_rounded<E>(v[q]);
    else
      held.part[q] = Packed<T>::pack(v + q * Packed<T>::kWidth);
  }
  return held;
}

// ---- rows of type T that begin anywhere

// Of several rows in flight they would take too many registers.
template <class T, class S, bool kPlain>
constexpr bool kCanShift = !kIsSingles<T> && !kPlain && S::kRows == 1;
// A thread's vectors of a row, and those that go together: more take too many registers.
template <class T, class S>
constexpr int kRowVectors = S::kHeld* Packed<T>::kParts;
template <class T, class S>
constexpr int kVectorBatch = kRowVectors<T, S> < 4 ? kRowVectors<T, S> : 4;

// f(k, vector k) for a thread's vectors of row r of `rows`, from `column` on, where `left` elements are left.
template <class T, class S, class F>
__device__ __forceinline__ void read_shifted(const RowAddress& rows, int64_t r, int64_t last_row, const RowTeam<T, S>& team, int left,
                                             F f) {
  constexpr int kItem = Packed<T>::kItem, kBatch = kVectorBatch<T, S>;
  const bool is_last = r == (rows.stride < 0 ? 0 : last_row);
#pragma unroll
  for (int k = 0; k < kRowVectors<T, S>; k += kBatch) {
    ShiftedVectors<kItem, kBatch> v;
    const char* const at = rows.data + r * rows.stride + int64_t(team.column) * kItem + k * kVectorStep;
    const int bytes = left * kItem - k * kVectorStep;
    v.load(at, bytes, is_last);
    v.place(at, bytes, bytes + team.t * kUnit);
#pragma unroll
    for (int i = 0; i < kBatch; ++i) f(k + i, v.low[i]);
  }
}
// is_row: else nothing is written.
template <class T, class S>
__device__ __forceinline__ void write_shifted(const RowAddress& rows, int64_t r, bool is_row, const RowTeam<T, S>& team, int left,
                                              Packed<T>* held) {
  constexpr int kItem = Packed<T>::kItem, kBatch = kVectorBatch<T, S>;
  char* const row = rows.data + r * rows.stride + int64_t(team.column) * kItem;
  const int bytes = is_row ? left * kItem : -kRowVectors<T, S> * kVectorStep;
#pragma unroll
  for (int k = 0; k < kRowVectors<T, S>; k += kBatch) {
    uint4 v[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) v[i] = vector_of(held, k + i);
    write_shifted<kItem>(row + k * kVectorStep, bytes - k * kVectorStep, team.t, v);
  }
}

}  // namespace kilter::cuda

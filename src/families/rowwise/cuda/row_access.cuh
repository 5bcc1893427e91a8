// A thread's stripes of a row in and out of memory: 16 bytes at a time in the rows' own type T, or singles of each tensor's type.
#pragma once

#include "cuda/singles.cuh"

namespace kilter::cuda {

// f(E{}) with the type of a tensor's elements: T, but of singles what `type` names.
template <class T, class F>
__device__ __forceinline__ void with_element(DType type, F f) {
  if constexpr (kIsSingles<T>)
    with_type(type, f);
  else
    f(T{});
}

// Stripe k of the row that begins at `row`, this thread's first element at `column`; kStream: around the first cache.
template <class T, class E, bool kStream = false>
__device__ __forceinline__ Packed<T> read_elements(const char* row, int column, int k, int left) {
  if constexpr (kIsSingles<T>)
    return read_singles<T, E>(row, column, k, left);
  else if constexpr (kStream)
    return stream_stripe<T>(row + int64_t(column) * Packed<T>::kItem, k, left);
  else
    return read_stripe<T>(row + int64_t(column) * Packed<T>::kItem, k, left);
}
template <class T, class E>
__device__ __forceinline__ void write_elements(char* row, int column, int k, int left, const float (&v)[8]) {
  if constexpr (kIsSingles<T>)
    write_singles<T, E>(row, column, k, left, v);
  else
    write_stripe<T>(row + int64_t(column) * Packed<T>::kItem, k, left, v);
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

}  // namespace kilter::cuda

// A thread's stripes of a row in and out of memory: 16 bytes at a time in the rows' own type T, or singles of each tensor's type.
#pragma once

#include "cuda/singles.cuh"

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

}  // namespace kilter::cuda

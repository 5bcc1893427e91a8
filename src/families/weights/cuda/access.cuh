// How the kernels of weight_norm read, write and add up.
//
// An access is 16 bytes of elements, that many neighbours of a row where all rows lie at multiples of 16 bytes; else the same elements one
// at a time, neighbours by neighbouring threads.
#pragma once

#include "core/wide_sum.h"
#include "cuda/dependent_launch.cuh"
#include "cuda/element.cuh"
#include "cuda/words.cuh"
#include "families/weights/cuda/parameters.h"

namespace kilter::cuda {

template <class T>
using ComputeOf = decltype(Stored<T>::value(0));
template <class T>
constexpr int kAccessWidth = 16 / int(sizeof(typename Stored<T>::type));

struct Words {
  uint32_t w[4];
};
__device__ __forceinline__ Words to_words(const uint4& v) { return {v.x, v.y, v.z, v.w}; }
template <class T>
__device__ __forceinline__ void put_bits(Words& words, int j, typename Stored<T>::type bits) {
  if constexpr (sizeof bits == 8)
    words.w[2 * j] = uint32_t(bits), words.w[2 * j + 1] = uint32_t(bits >> 32);
  else if constexpr (sizeof bits == 4)
    words.w[j] = bits;
  else
    words.w[j / 2] |= uint32_t(bits) << 16 * (j & 1);
}

// An access: elements at, at + step, ... of a row, of which those below `length` count; the others are 0.
struct Place {
  int64_t row, at, length;
  int step;
  __device__ __forceinline__ bool has(int j) const { return at + j * step < length; }
};
// Of a tensor whose rows lie apart.
__device__ __noinline__ char* far_element(const WeightsTensor& v, int64_t row_length, int64_t element, int item) {
  const Quotient at = divided(element, row_length);
  return v.data + at.whole * v.stride + at.rest * item;
}
template <class T>
__device__ __forceinline__ Words load_access(const WeightsParameters& p, const WeightsTensor& v, const Place& place) {
  using S = typename Stored<T>::type;
  const int64_t first = place.row * p.slices.n + place.at;
  const S* const from = reinterpret_cast<const S*>(v.data) + first;
  if (p.vectors) return to_words(place.has(0) ? *reinterpret_cast<const uint4*>(from) : uint4{});
  Words words = {};
#pragma unroll
  for (int j = 0; j < kAccessWidth<T>; ++j)
    if (place.has(j))
      put_bits<T>(words, j,
                  p.flat ? from[j * place.step]
                         : *reinterpret_cast<const S*>(far_element(v, p.slices.row_length, first + j * place.step, int(sizeof(S)))));
  return words;
}
template <class T>
__device__ __forceinline__ void store_access(const WeightsParameters& p, const WeightsTensor& v, const Place& place,
                                             const ComputeOf<T> (&values)[kAccessWidth<T>]) {
  using S = typename Stored<T>::type;
  const int64_t first = place.row * p.slices.n + place.at;
  S* const to = reinterpret_cast<S*>(v.data) + first;
  if (p.vectors) {
    Words words;
#pragma unroll
    for (int j = 0; j < kAccessWidth<T>; j += 2) put_in<T>(words.w, j, values[j], values[j + 1]);
    if (place.has(0)) *reinterpret_cast<uint4*>(to) = make_uint4(words.w[0], words.w[1], words.w[2], words.w[3]);
    return;
  }
#pragma unroll
  for (int j = 0; j < kAccessWidth<T>; ++j)
    if (place.has(j))
      *(p.flat ? to + j * place.step : reinterpret_cast<S*>(far_element(v, p.slices.row_length, first + j * place.step, int(sizeof(S))))) =
          Stored<T>::of(values[j]);
}

// Access k of thread t of a slice's team.
template <class T>
__device__ __forceinline__ Place slice_place(const WeightsParameters& p, int64_t slice, int64_t k, int t, int team) {
  constexpr int W = kAccessWidth<T>;
  const Slices& s = p.slices;
  const int64_t length = slice < s.kept ? s.n : 0;
  if (p.runs == 1) return {slice, p.vectors ? (k * team + t) * W : k * team * W + t, length, p.vectors ? 1 : team};
  const Quotient at = divided(k * team + t, p.accesses);
  return {at.whole * s.kept + slice, at.rest * W, at.whole < p.runs ? length : 0, 1};
}

// ---- sums

template <class C>
__device__ __forceinline__ Squares<C> no_squares() {
  if constexpr (sizeof(C) == 8)
    return {0, 0, 1};
  else
    return {0};
}
__device__ __forceinline__ void add(Squares<float>& sum, Squares<float> v) { sum.hi = sum.hi + v.hi; }
__device__ __forceinline__ void add(Squares<double>& sum, Squares<double> v) {
  if (sum.scale != v.scale) {  // the larger numbers', whose scale is the smaller, unless there are none
    const bool first = v.hi == 0 || (sum.hi != 0 && sum.scale < v.scale);
    Squares<double>& other = first ? v : sum;
    const double scale = first ? sum.scale : v.scale, ratio = scale / other.scale;
    other.hi = other.hi * ratio * ratio, other.lo = other.lo * ratio * ratio, other.scale = scale;
  }
  Twofold t = {sum.hi, sum.lo};
  add_to(t, Twofold{v.hi, v.lo});
  sum.hi = t.hi, sum.lo = t.lo;
}
template <class C>
__device__ __forceinline__ void add_chain(Squares<C>& sum, C chain) {
  if constexpr (sizeof(C) == 8) {
    Twofold t = {sum.hi, sum.lo};
    add_to(t, Twofold{chain, 0});
    sum.hi = t.hi, sum.lo = t.lo;
  } else {
    sum.hi = sum.hi + double(chain);
  }
}
template <class C>
__device__ __forceinline__ double value_of(const Squares<C>& sum) {
  if constexpr (sizeof(C) == 8)
    return kilter::value_of(Twofold{sum.hi, sum.lo});
  else
    return sum.hi;
}

// Of an access: v^2, or dw * h, h = v * scale * inverse.
template <class T, class C>
__device__ __forceinline__ void add_squares(Squares<C>& sum, const Words& v) {
  constexpr int W = kAccessWidth<T>, kLength = W < kChain ? W : kChain;
#pragma unroll
  for (int j = 0; j < W; j += kLength) {
    C chain = value_in<T>(v.w, j) * value_in<T>(v.w, j);
#pragma unroll
    for (int i = 1; i < kLength; ++i) chain = chain + value_in<T>(v.w, j + i) * value_in<T>(v.w, j + i);
    add_chain(sum, chain);
  }
}
template <class T, class C>
__device__ __forceinline__ void add_products(Squares<C>& sum, const Words& v, const Words& dw, C scale, C inverse) {
  constexpr int W = kAccessWidth<T>, kLength = W < kChain ? W : kChain;
  const auto term = [&](int j) { return value_in<T>(dw.w, j) * ((value_in<T>(v.w, j) * scale) * inverse); };
#pragma unroll
  for (int j = 0; j < W; j += kLength) {
    C chain = term(j);
#pragma unroll
    for (int i = 1; i < kLength; ++i) chain = chain + term(j + i);
    add_chain(sum, chain);
  }
}

// A thread's squares once more if their sum is out of the ordinary: access(k), k < count, brings its elements.
template <class T, class C, class Access>
__device__ __forceinline__ void mend(Squares<C>& sum, int64_t count, Access access) {
  if (is_ordinary(value_of(sum))) return;
  sum = no_squares<C>();
  if constexpr (sizeof(C) == 8) {
    double most = 0;
#pragma unroll 1
    for (int64_t k = 0; k < count; ++k) {
      const Words v = access(k);
#pragma unroll
      for (int j = 0; j < kAccessWidth<T>; ++j) most = fmax(most, fabs(value_in<T>(v.w, j)));
    }
    sum.scale = scale_for<double>(most);
  }
#pragma unroll 1
  for (int64_t k = 0; k < count; ++k) {
    const Words v = access(k);
#pragma unroll
    for (int j = 0; j < kAccessWidth<T>; ++j) {
      double x = value_in<T>(v.w, j);
      if constexpr (sizeof(C) == 8) x = x * sum.scale;
      if constexpr (sizeof(C) == 8)
        add_chain(sum, x * x);
      else
        sum.hi = sum.hi + x * x;
    }
  }
}

template <class C>
__device__ __forceinline__ Squares<C> exchanged(const Squares<C>& v, int bit) {
  Squares<C> other;
  other.hi = __shfl_xor_sync(0xFFFFFFFFu, v.hi, bit);
  if constexpr (sizeof(C) == 8)
    other.lo = __shfl_xor_sync(0xFFFFFFFFu, v.lo, bit), other.scale = __shfl_xor_sync(0xFFFFFFFFu, v.scale, bit);
  return other;
}
// By all threads of a block, once; a team is a power of two, and the block if it is more than a warp.  All of its threads receive it.
template <class C>
__device__ __forceinline__ Squares<C> team_sum(Squares<C> sum, int team, Squares<C>* warps) {
  for (int bit = 1; bit < team && bit < 32; bit *= 2) add(sum, exchanged(sum, bit));
  if (team <= 32) return sum;
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = sum;
  __syncthreads();
  sum = warps[0];
  for (int w = 1; w < team / 32; ++w) add(sum, warps[w]);
  return sum;
}

// ---- what a slice's elements are multiplied by

template <class C>
__device__ __forceinline__ C load_number(const SliceNumbers& n, int64_t slice) {
  return n.data ? load_element<C>(n.type, n.data, slice) : C(0);
}

// Of any slice: its norm in `root`.
template <class C>
__device__ __noinline__ SliceFactors<C> any_forward_factors(Squares<C> sum, C g, double* root) {
  double scaled = sqrt(value_of(sum)), scale = 1;
  if constexpr (sizeof(C) == 8)
    scale = sum.scale;
  else if (!is_ordinary(sum.hi))
    scale = scale_for<float>(scaled), scaled = scaled * scale;
  *root = scaled / scale;
  const ForwardFactors<C> f(scaled, C(scale), g);
  return {f.scale, C(0), f.factor, f.rest, C(0)};
}
template <class C>
__device__ __noinline__ SliceFactors<C> any_backward_factors(C norm, C g) {
  const BackwardFactors<C> f(norm, g);
  return {f.scale, f.inverse, f.factor, f.rest, C(0)};
}
__device__ __forceinline__ bool is_moderate(float g) { return fabsf(g) <= 0x1p64f && fabsf(g) >= 0x1p-64f; }

// Forward's, and the norm if `writes`.  fp32: root and quotient nearly as fp64 has them, which takes long where few units compute in fp64.
template <class C>
__device__ __forceinline__ SliceFactors<C> forward_factors(const WeightsParameters& p, int64_t slice, const Squares<C>& sum, bool writes) {
  const C g = load_number<C>(p.g, slice);
  SliceFactors<C> f;
  double root = 0;
  bool is_any = true;
  if constexpr (sizeof(C) == 4) is_any = !is_ordinary(sum.hi) || !is_moderate(g);
  if (is_any) {
    f = any_forward_factors<C>(sum, g, &root);
  } else if constexpr (sizeof(C) == 4) {
    const float near = sqrtf(float(sum.hi)), inverse = 1.0f / near, q = g * inverse;
    root = double(near) + (sum.hi - double(near) * double(near)) * double(0.5f * inverse);
    f = {1, 0, float(double(q) + (double(g) - double(q) * root) * double(inverse)), 1, 0};
  }
  if (writes && p.result.data) store_element<C>(p.result.type, p.result.data, slice, C(root));
  return f;
}
template <class C>
__device__ __forceinline__ SliceFactors<C> backward_factors(const WeightsParameters& p, int64_t slice) {
  const C norm = load_number<C>(p.norm, slice), g = load_number<C>(p.g, slice);
  if constexpr (sizeof(C) == 4)
    if (norm >= 0x1p-48f && norm <= 0x1p48f && is_moderate(g)) return {1, 1 / norm, g / norm, 1, 0};
  return any_backward_factors<C>(norm, g);
}
template <class C>
__device__ __forceinline__ void set_sum(const WeightsParameters& p, int64_t slice, const Squares<C>& sum, bool writes, SliceFactors<C>* f) {
  f->d = C(value_of(sum));
  if (writes && p.result.data) store_element<C>(p.result.type, p.result.data, slice, f->d);
}

template <class C>
__device__ __forceinline__ C forward_value(C v, const SliceFactors<C>& f) {
  return ((v * f.scale) * f.factor) * f.rest;
}
template <class C>
__device__ __forceinline__ C backward_value(C v, C dw, const SliceFactors<C>& f) {
  return (((dw - ((v * f.scale) * f.inverse) * f.d) * f.factor) * f.scale) * f.rest;
}

}  // namespace kilter::cuda

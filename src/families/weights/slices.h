// Where a slice's elements are, what of it adds up together, and what its norm is in numbers that neither overflow nor underflow: the
// same on the host and on devices.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/view.h"
#include "core/wide_sum.h"

namespace kilter {

// Terms that add up in the compute type before they are widened: where all round alike, 2.25 of 2^-24 are lost.
constexpr int kChain = 4;

// The elements, one after another, as rows that the kernels go through.  By columns: element i of row r is of slice i / inner % kept, and
// rows are as many of the tensor's as make a row long enough.  Else a row is a run of one slice: row o * kept + k of slice k.
struct Slices {
  bool columns = false;
  int64_t kept = 0, outer = 0, inner = 1;  // inner: neighbours of a slice, by columns
  int64_t rows = 0, n = 0;
  int64_t last = 0;        // elements of the last row, which may be shorter by columns
  int64_t row_length = 0;  // of the tensors' own rows, where they do not lie one after another

  Slices() = default;
  Slices(const Axis& axis, int64_t row_length, bool empty);

  bool empty() const { return rows == 0; }
  KILTER_INLINE int64_t rows_of_slice() const { return columns ? rows : outer; }
  KILTER_INLINE int64_t row(int64_t slice, int64_t j) const { return j * kept + slice; }
  KILTER_INLINE int64_t length(int64_t r) const { return r == rows - 1 ? last : n; }
};

// A slice's norm is 2^-k * root: k is 0 unless its squares' sum is out of [2^-96, 2^96].
template <class C>
struct Limit;
template <>
struct Limit<float> {
  static constexpr int most = 126;  // 2^k is a normal number
};
template <>
struct Limit<double> {
  static constexpr int most = 1022;
};
constexpr double kLeastSquares = 0x1p-96, kMostSquares = 0x1p96;
KILTER_INLINE bool is_ordinary(double squares) { return squares >= kLeastSquares && squares <= kMostSquares; }

// The power of two that brings a number near 1: 2^-exponent.  0, infinity and NaN are left as they are.
template <class C>
KILTER_INLINE C scale_for(double v) {
  if (!(v > 0) || !(v - v == 0)) return 1;
  int k = -::ilogb(v);
  if (k > Limit<C>::most) k = Limit<C>::most;
  if (k < -Limit<C>::most) k = -Limit<C>::most;
  return C(::ldexp(1.0, k));
}

// g as a number near enough to 1 that g / |v| neither overflows nor underflows, and what is left of it.
template <class C>
struct Factor {
  C g, rest;
  KILTER_INLINE explicit Factor(C value) : g(value), rest(1) {
    const C a = value < 0 ? -value : value;
    if (a <= C(0x1p64) && (a >= C(0x1p-64) || a == 0)) return;
    const C scale = scale_for<C>(a);
    g = value * scale, rest = 1 / scale;
  }
};

// w = v * scale * factor * rest.
template <class C>
struct ForwardFactors {
  C scale, factor, rest;
  ForwardFactors() = default;
  // root: of the sum of the scaled squares, wider than C where C is fp32.
  KILTER_INLINE ForwardFactors(double root, C scaled_by, C g) : scale(scaled_by) {
    const Factor<C> f(g);
    factor = C(double(f.g) / root), rest = f.rest;
  }
};

// h = v * scale * inverse, dv = (dw - h * d) * factor * scale * rest, from the norm that forward saved.
template <class C>
struct BackwardFactors {
  C scale, inverse, factor, rest;
  KILTER_INLINE BackwardFactors(C norm, C g) : scale(1) {
    if (!(norm >= C(0x1p-48) && norm <= C(0x1p48))) scale = scale_for<C>(norm);
    const C root = norm * scale;
    const Factor<C> f(g);
    inverse = 1 / root, factor = f.g / root, rest = f.rest;
  }
};

}  // namespace kilter

// Where a slice's elements are, what of it adds up together, and what its norm is in numbers that neither overflow nor underflow: the
// same on the host and on devices.
#pragma once

#include <cmath>
#include <cstdint>
#include <span>

#include "core/view.h"
#include "core/wide_sum.h"

namespace kilter {

// Terms that add up in the compute type before they are widened: where all round alike, 2.25 of 2^-24 are lost.
constexpr int kChain = 4;

// The elements as rows, as the kernels go through them.  By columns: element i of row r is of slice i / inner % kept.  Else a slice's rows
// are `outer` groups of `rest` neighbours: row (o * kept + k) * rest + q.  Dense tensors may have been given other rows than those that
// their shape has: one for each index of outer and kept, or of outer, or longer ones.
struct Slices {
  bool columns = false;
  int64_t kept = 0, outer = 0, rest = 1, inner = 1;  // inner: of columns
  int64_t rows = 0, n = 0;                           // of each tensor
  int64_t last = 0;                                  // of columns: elements of the last row, which may be shorter

  Slices() = default;
  Slices(const Axis& axis, int64_t tensor_rows, int64_t tensor_n, std::span<View* const> tensors);

  bool empty() const { return rows == 0 || n == 0; }
  // Rows of a slice.
  KILTER_INLINE int64_t rows_of_slice() const { return columns ? rows : outer * rest; }
  KILTER_INLINE int64_t row(int64_t slice, int64_t j) const { return (j / rest * kept + slice) * rest + j % rest; }
  KILTER_INLINE int64_t slice_of(int64_t column) const { return inner == 1 ? column % kept : column / inner % kept; }
  KILTER_INLINE int64_t length(int64_t r) const { return columns && r == rows - 1 ? last : n; }
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
KILTER_INLINE C scale_for(C v) {
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
    const C scale = scale_for(a);
    g = value * scale, rest = 1 / scale;
  }
};

// w = v * scale * factor * rest.
template <class C>
struct ForwardFactors {
  C scale, factor, rest;
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
    if (!(norm >= C(0x1p-48) && norm <= C(0x1p48))) scale = scale_for(norm);
    const C root = norm * scale;
    const Factor<C> f(g);
    inverse = 1 / root, factor = f.g / root, rest = f.rest;
  }
};

}  // namespace kilter

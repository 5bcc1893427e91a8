// Units in the last place of the element types.
#pragma once

#include <algorithm>
#include <cmath>

#include "core/dtype.h"

namespace kilter::check {

struct Format {
  int precision;                   // bits of the significand, the hidden one included
  int min_exponent, max_exponent;  // of normal numbers, as ilogb gives them
};

constexpr Format format_of(DType t) {
  switch (t) {
    case DType::f64:
      return {53, -1022, 1023};
    case DType::f16:
      return {11, -14, 15};
    case DType::bf16:
      return {8, -126, 127};
    default:
      return {24, -126, 127};
  }
}

// The distance of neighbours at |v|: never below the smallest subnormal; beyond the type's range, as if its exponent went on.
inline double ulp(DType t, long double v) {
  const Format f = format_of(t);
  const int e = v == 0 || v != v ? f.min_exponent : std::isinf(v) ? f.max_exponent : std::ilogb(v);
  return std::ldexp(1.0, std::max(e, f.min_exponent) - (f.precision - 1));
}

inline double max_of(DType t) {
  const Format f = format_of(t);
  return std::ldexp(2 - std::ldexp(1.0, 1 - f.precision), f.max_exponent);
}

}  // namespace kilter::check

// Sums over rows, for dweight and dbias (docs/numerics.md): what all backends share.
#pragma once

#include "core/inline.h"

namespace kilter {

// A sum over rows in more precision than its terms: fp64 for fp32 terms, an unevaluated sum of two fp64 for fp64 terms.
struct Twofold {
  double hi = 0, lo = 0;
};
template <class C>
struct WideOf {
  using type = double;
};
template <>
struct WideOf<double> {
  using type = Twofold;
};
template <class C>
using Wide = typename WideOf<C>::type;

KILTER_INLINE void add_to(double& sum, double v) { sum = sum + v; }
KILTER_INLINE void add_to(Twofold& sum, Twofold v) {  // Knuth, TAOCP vol. 2, 4.2.2, theorem B
  const double hi = sum.hi + v.hi, taken = hi - sum.hi;
  const double lost = (sum.hi - (hi - taken)) + (v.hi - taken);
  sum = {hi, (sum.lo + v.lo) + lost};
}
KILTER_INLINE double widen(float v) { return v; }
KILTER_INLINE Twofold widen(double v) { return {v, 0}; }
KILTER_INLINE double scaled(double sum, double by) { return sum * by; }
KILTER_INLINE Twofold scaled(Twofold sum, double by) { return {sum.hi * by, sum.lo * by}; }
KILTER_INLINE double value_of(double v) { return v; }
KILTER_INLINE double value_of(Twofold v) { return v.hi - v.hi == 0 ? v.hi + v.lo : v.hi; }  // lo is NaN beside an infinity

}  // namespace kilter

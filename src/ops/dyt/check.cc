// How dyt is judged.
#include "families/elementwise/check/check.h"

#include <cmath>

namespace kilter::check {

static FunctionSizes sizes(double u) {
  const double t = std::fabs(std::tanh(u)), e = std::exp(-2 * std::fabs(u));
  return {t, 4 * e / ((1 + e) * (1 + e)), 2 * t};
}

static constexpr Elementwise kOp = {dyt_reference_forward, dyt_reference_backward, sizes};
extern const Op dyt_check;
const Op dyt_check = elementwise<kOp>("dyt", "weight bias");

}  // namespace kilter::check

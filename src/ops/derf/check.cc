// How derf is judged.
#include "families/elementwise/check/check.h"

#include <cmath>

namespace kilter::check {

static FunctionSizes sizes(double u) { return {std::fabs(std::erf(u)), 1.1283791670955126 * std::exp(-u * u), 2 * std::fabs(u)}; }

static constexpr Elementwise kOp = {derf_reference_forward, derf_reference_backward, sizes};
extern const Op derf_check;
const Op derf_check = elementwise<kOp>("derf", "shift weight bias");

}  // namespace kilter::check

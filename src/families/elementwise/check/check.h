// How the elementwise ops are judged: what ops/<op>/check.cc of this family puts together.
#pragma once

#include "check/check.h"
#include "families/elementwise/problem.h"
#include "families/elementwise/reference.h"

namespace kilter::check {

extern const Bounds elementwise_bounds;

// For the units: |f|, f' and |f'' / f'|.
struct FunctionSizes {
  double f, slope, bend;
};

struct Elementwise {
  kilter_status (*forward)(const ElementwiseForward&, kilter_stream);
  kilter_status (*backward)(const ElementwiseBackward&, kilter_stream);
  FunctionSizes (*sizes)(double u);
};
void judge_elementwise(const Elementwise& op, const Case& c, const Tensors& t, Report* r);
void vary_elementwise(Case* c, int variant);

template <const Elementwise& kOp>
constexpr Op elementwise(const char* name, const char* usual) {
  return {name,
          &elementwise_bounds,
          usual,
          false,
          true,
          [](const Case& c, const Tensors& t, Report* r) { judge_elementwise(kOp, c, t, r); },
          vary_elementwise};
}

}  // namespace kilter::check

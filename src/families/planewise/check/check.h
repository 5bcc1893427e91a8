// How the norms of planes are judged: what ops/<op>/check.cc of this family puts together.
#pragma once

#include "check/check.h"
#include "families/planewise/problem.h"
#include "families/planewise/reference.h"

namespace kilter::check {

extern const Bounds planewise_bounds;

// When a bound applies.
constexpr const char* kWithActivation = "with an activation";
constexpr const char* kMostlyNew = "momentum above 1/2";

// For the units: an activation's slope at v, the largest of its second derivative at distances from 0 of at least |v| - around (never
// less than the truth), and whether the slope jumps within `around`.
struct ActivationSizes {
  long double slope = 1, bend = 0;
  bool jumps = false;
};
ActivationSizes activation_sizes(int32_t activation, long double v, long double around);

struct PlaneNorm {
  kilter_status (*forward)(const PlaneForward&, kilter_stream);
  kilter_status (*backward)(const PlaneBackward&, kilter_stream);
  kilter_status (*finish_forward)(PlaneForward*);
  kilter_status (*finish_backward)(PlaneBackward*);
};
void judge_planewise(const PlaneNorm& op, const Case& c, const Tensors& t, Report* r);
void vary_planewise(Case* c, int variant);
DType planewise_type(const Case& c, const Field& f, DType usual);
bool has_field(const Case& c, const char* name);  // of the forward function
bool trains(const Case& c);                       // else running statistics take the place of the planes'

template <const PlaneNorm& kOp>
constexpr Op planewise(const char* name, const char* usual, void (*share)(const Case&, Sharing*)) {
  return {name,           &planewise_bounds,
          usual,          false,
          false,          [](const Case& c, const Tensors& t, Report* r) { judge_planewise(kOp, c, t, r); },
          vary_planewise, share,
          planewise_type};
}

}  // namespace kilter::check

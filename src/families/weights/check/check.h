// How weight_norm is judged.
#pragma once

#include "check/check.h"

namespace kilter::check {

extern const Bounds weights_bounds;

void judge_weights(const Case& c, const Tensors& t, Report* r);
void vary_weights(Case* c, int variant);

}  // namespace kilter::check

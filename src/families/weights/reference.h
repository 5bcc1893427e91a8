// The float64 reference of weight_norm (fp64 rows: wider), the obvious way.
#pragma once

#include "core/status.h"
#include "families/weights/problem.h"

namespace kilter {

[[nodiscard]] kilter_status weight_norm_reference_forward(const WeightsForward& problem, kilter_stream);
[[nodiscard]] kilter_status weight_norm_reference_backward(const WeightsBackward& problem, kilter_stream);

}  // namespace kilter

// Backward with sums by modulation: blocks of rows to threads, then the sums that lie in several blocks.
#pragma once

#include "families/rowwise/cpu/plan.h"

namespace kilter {

bool has_sums(const RowNormBackward& p);  // asked for
ModulationPlan modulation_plan_of(const RowNormBackward& p, int threads);

template <class C>
[[nodiscard]] kilter_status modulated_backward(const RowNormBackward& p, const RowBackwardKernels<C>& kernels, int threads,
                                               bool past_caches);

}  // namespace kilter

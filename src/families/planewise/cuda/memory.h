// How a call's kernels share its workspace: a pure function of the call.
#pragma once

#include "families/planewise/cuda/plan.h"

namespace kilter::cuda {

// Beyond any memory, and short of an overflow.
template <class Problem>
bool is_too_large(const Problem& p) {
  constexpr int64_t kMost = int64_t(1) << 56;
  return !p.empty() && (p.batch > kMost / p.channels || p.batch * p.channels > kMost / p.spatial);
}
inline size_t compute_size(DType t) { return t == DType::f64 ? sizeof(double) : sizeof(float); }

struct ForwardMemory {
  Arena arena;
  CellPlan plan;
  StatisticsMemory statistics;
  explicit ForwardMemory(const PlaneForward& p)
      : plan(statistics_plan(p.channels, p.spatial, p.groups, p.x.layout, p.x.dtype)),
        statistics(arena, plan.cells(p.batch, p.channels), p.batch * p.groups, compute_size(p.x.dtype)) {}
};
struct BackwardMemory {
  Arena arena;
  bool again;  // what the saved mean lost has to be known beforehand: an activation's slope depends on it
  CellPlan statistics_plan, sums_plan;
  StatisticsMemory statistics;
  SumsMemory sums;
  explicit BackwardMemory(const PlaneBackward& p)
      : again(p.activation != KILTER_ACTIVATION_NONE),
        statistics_plan(cuda::statistics_plan(p.channels, p.spatial, p.groups, p.x.layout, p.x.dtype)),
        sums_plan(cuda::sums_plan(p.channels, p.spatial, p.groups, p.dy.layout, p.dy.dtype)),
        statistics(arena, again ? statistics_plan.cells(p.batch, p.channels) : 0, again ? p.batch * p.groups : 0, compute_size(p.x.dtype)),
        sums(arena, sums_plan.cells(p.batch, p.channels), p.batch * p.channels, p.batch * p.groups, compute_size(p.dy.dtype)) {}
};

constexpr size_t kWorkspaceAlignment = 16;

}  // namespace kilter::cuda

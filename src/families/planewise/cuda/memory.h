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

inline bool is_asked(const View& v) { return v.dtype != DType::none; }

// Statistics that the call brings: running ones, or all ranks'.
template <class Problem>
bool are_given(const Problem& p) {
  return p.step == PlaneStep::whole ? !p.training : p.step == PlaneStep::apply;
}

struct ForwardMemory {
  Arena arena;
  bool given, listed;  // listed: the workspace has the planes' statistics, else each block reads the given ones by itself
  bool summed;         // the kernel of statistics writes residual_out, whatever the cells are for
  CellPlan plan;
  StatisticsMemory statistics;
  explicit ForwardMemory(const PlaneForward& p)
      : given(are_given(p)),
        listed(!given || (p.step == PlaneStep::whole && (is_asked(p.mean) || is_asked(p.rstd)))),
        summed(is_asked(p.residual_out)),
        plan(statistics_plan(p)),
        statistics(arena, given && !summed ? 0 : plan.cells, listed ? sets_of(p) * p.groups : 0,
                   !p.over_batch && (is_asked(p.running_mean_out) || is_asked(p.running_var_out)) ? sets_of(p) * p.groups : 0,
                   compute_size(p.x.dtype)) {}
};
struct BackwardMemory {
  Arena arena;
  bool given;
  bool again;   // what the saved mean lost has to be known beforehand: an activation's slope depends on it
  bool summed;  // else no output needs sums of this call
  CellPlan statistics_plan, sums_plan;
  StatisticsMemory statistics;
  size_t given_mean, given_rstd;  // by channel, in the type that is computed in
  SumsMemory sums;
  explicit BackwardMemory(const PlaneBackward& p)
      : given(p.step != PlaneStep::whole || !p.training),
        again(p.activation != KILTER_ACTIVATION_NONE && !is_asked(p.mask) && !given),
        summed(p.step == PlaneStep::whole
                   ? p.training || is_asked(p.dweight) || is_asked(p.dbias) || is_asked(p.dscale) || is_asked(p.dshift)
                   : p.step == PlaneStep::statistics),
        statistics_plan(cuda::statistics_plan(p)),
        sums_plan(cuda::sums_plan(p)),
        statistics(arena, again ? statistics_plan.cells : 0,
                   given   ? p.channels
                   : again ? sets_of(p) * p.groups
                           : 0,
                   0, compute_size(p.x.dtype)),
        given_mean(arena.take(given ? p.channels : 0, compute_size(p.dy.dtype))),
        given_rstd(arena.take(given ? p.channels : 0, compute_size(p.dy.dtype))),
        sums(arena, summed ? sums_plan.cells : 0, summed ? sets_of(p) * p.channels : 0, summed ? sets_of(p) * p.groups : 0,
             compute_size(p.dy.dtype)) {}
};

constexpr size_t kWorkspaceAlignment = 16;

}  // namespace kilter::cuda

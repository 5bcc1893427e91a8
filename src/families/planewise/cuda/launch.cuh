// What the launches of both directions share.
#pragma once

#include "cuda/launch.h"
#include "cuda/runtime.h"
#include "families/planewise/cuda/memory.h"
#include "families/planewise/cuda/merge.cuh"
#include "families/planewise/cuda/run.h"

namespace kilter::cuda {

// f(type) with a value of the type that T is: float, Bf16, Half or double.
template <class F>
void with_type(DType t, F f) {
  switch (t) {
    case DType::f64:
      return f(double());
    case DType::f16:
      return f(Half());
    case DType::bf16:
      return f(Bf16());
    default:
      return f(float());
  }
}

template <class Problem>
bool is_dependent(const Problem& p) {
  return (p.launch_flags & KILTER_LAUNCH_DEPENDENT) && traits_of(p.device.id).has_dependent_launch();
}

// Whether all samples of all tensors of x's shape lie at multiples of 16 bytes, and channels last the channels of every place.
inline bool has_vectors(int64_t batch, int64_t channels, int64_t spatial, bool first, DType t, std::initializer_list<const View*> views) {
  if ((first ? channels * spatial : channels) % plane_width(t) != 0) return false;
  uint64_t bits = 0;
  for (const View* v : views) {
    const PlaneTensor tensor(*v);
    bits |= reinterpret_cast<uintptr_t>(tensor.data) | (batch > 1 ? uint64_t(tensor.stride) : 0);
  }
  return bits % 16 == 0;
}

template <class Problem>
kilter_status take_workspace(const Problem& p, char** aligned) {
  const size_t need = planewise_cuda_workspace(p);
  if (need >= kWorkspaceAlignment && (!p.workspace || p.workspace_size < need))
    return fail(KILTER_WORKSPACE_TOO_SMALL, p.op, "workspace: expected %zu bytes, got %zu", need, p.workspace ? p.workspace_size : 0);
  *aligned = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(p.workspace) + kWorkspaceAlignment - 1) & ~(kWorkspaceAlignment - 1));
  return KILTER_OK;
}

// The statistics of (sample, group) planes: of x + residual, which is written if residual_out is there.
template <class C>
struct StatisticsCall {
  CellPlan plan;
  StatisticsMemory memory;
  char* workspace;
  PlaneShape shape;
  int64_t groups;
  DType x_type;
  PlaneTensor x, residual, residual_out;
  PlaneResults<C> results;
  bool dependent;
};
void launch_statistics(const StatisticsCall<float>& call, cudaStream_t stream);
void launch_statistics(const StatisticsCall<double>& call, cudaStream_t stream);

}  // namespace kilter::cuda

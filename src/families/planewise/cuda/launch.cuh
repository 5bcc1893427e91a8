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

// Samples as a kernel sees them, whose tensors of x's shape are `views`.
template <class Problem>
PlaneShape shape_of(const Problem& p, bool first, DType t, std::initializer_list<const View*> views) {
  uint64_t bits = 0;
  bool dense = true;
  for (const View* v : views) {
    const PlaneTensor tensor(*v);
    bits |= reinterpret_cast<uintptr_t>(tensor.data) | (p.batch > 1 ? uint64_t(tensor.stride) : 0);
    dense = dense && (!tensor.data || p.batch <= 1 || tensor.stride == p.channels * p.spatial * item_size(tensor.type));
  }
  const PlaneTensor mask(p.mask);
  dense = dense && (!mask.data || p.batch <= 1 || mask.stride == bytes_of_bits(p.channels, p.spatial, p.x.layout));
  const bool vectors = bits % 16 == 0 && (first ? p.channels * p.spatial : p.channels) % plane_width(t) == 0;
  if (first) return {p.batch, p.channels, p.spatial, p.spatial, vectors};
  const int64_t places = places_of_set(p);
  return {sets_of(p), p.channels, places, dense ? places : p.spatial, vectors};
}
template <class Problem>
PlaneBits bits_of_mask(const Problem& p, bool first) {
  return {PlaneTensor(p.mask), first ? 0 : p.channels};
}
// Planes as cells and sums have them.
template <class Problem>
PlanesOf planes_of(const Problem& p) {
  return {p.over_batch ? 0 : p.groups, p.channels / p.groups};
}
template <class Problem>
int64_t planes_in(const Problem& p) {
  return sets_of(p) * planes_of_set(p);
}

template <class Problem>
kilter_status take_workspace(const Problem& p, char** aligned) {
  const size_t need = planewise_cuda_workspace(p);
  if (need >= kWorkspaceAlignment && (!p.workspace || p.workspace_size < need))
    return fail(KILTER_WORKSPACE_TOO_SMALL, p.op, "workspace: expected %zu bytes, got %zu", need, p.workspace ? p.workspace_size : 0);
  *aligned = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(p.workspace) + kWorkspaceAlignment - 1) & ~(kWorkspaceAlignment - 1));
  return KILTER_OK;
}

// The statistics of planes: of x + residual, which is written if residual_out is there.
template <class C>
struct StatisticsCall {
  CellPlan plan;
  StatisticsMemory memory;
  char* workspace;
  PlaneShape shape;
  PlanesOf planes_of;
  int64_t planes, samples;  // samples: that share planes
  double elements;          // of a plane
  DType x_type;
  PlaneTensor x, residual, residual_out;
  PlaneResults<C> results;
  PlaneMoments moments;
  bool dependent;
  template <class Problem>
  StatisticsCall(const Problem& p, const CellPlan& cells, const StatisticsMemory& at, char* aligned)
      : plan(cells),
        memory(at),
        workspace(aligned),
        shape(),
        planes_of(cuda::planes_of(p)),
        planes(planes_in(p)),
        samples(samples_of_set(p)),
        elements(double(samples) * double(planes_of.width) * double(p.spatial)),
        x_type(p.x.dtype),
        x(p.x),
        results(),
        moments(),
        dependent(is_dependent(p)) {}
};
void launch_statistics(const StatisticsCall<float>& call, cudaStream_t stream);
void launch_statistics(const StatisticsCall<double>& call, cudaStream_t stream);

// A list of given statistics.
template <class C>
struct GivenCall {
  GivenStatistics given;
  PlaneResults<C> results;
  PlanesOf planes_of;
  int64_t planes;
  bool dependent;
};
void launch_given(const GivenCall<float>& call, cudaStream_t stream);
void launch_given(const GivenCall<double>& call, cudaStream_t stream);

void launch_finish(const SumsFinishParameters<float>& parameters, cudaStream_t stream);
void launch_finish(const SumsFinishParameters<double>& parameters, cudaStream_t stream);

template <class C, class Problem>
GivenStatistics given_statistics(const Problem& p) {
  if (p.step != PlaneStep::whole) return {PlaneTensor(p.mean), PlaneTensor(p.rstd), {}, 0};
  return {PlaneTensor(p.running_mean), {}, PlaneTensor(p.running_var), double(C(p.eps))};
}

}  // namespace kilter::cuda

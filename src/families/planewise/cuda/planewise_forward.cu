// Launches of the norms of planes on CUDA devices: forward, and the statistics that both directions take.
#include "families/planewise/cuda/forward.cuh"
#include "families/planewise/cuda/launch.cuh"
#include "families/planewise/cuda/run_statistics.cuh"

namespace kilter {
namespace cuda {
namespace {

template <class C>
void launch(const StatisticsCall<C>& c, cudaStream_t stream) {
  const CellPlan& plan = c.plan;
  StatisticsParameters<C> o = {};
  o.shape = c.shape, o.runs = plan.runs, o.tiles = plan.tiles, o.dependent = c.dependent;
  o.x = c.x, o.residual = c.residual, o.residual_out = c.residual_out;
  o.cells = {reinterpret_cast<C*>(c.workspace + c.memory.mean), reinterpret_cast<C*>(c.workspace + c.memory.lo),
             reinterpret_cast<double*>(c.workspace + c.memory.square)};
  const bool complete = plan.first && plan.runs.chunks == 1;
  if (complete) o.results = c.results;
  with_type(c.x_type, [&](auto t) {
    using T = decltype(t);
    if constexpr (sizeof(typename PlaneAccess<T>::C) == sizeof(C)) {
      if (plan.first && plan.runs.chunks > 0)
        Launch(plan.runs.blocks(c.shape.batch), kPlaneThreads, stream).dependent(c.dependent)(&run_statistics_kernel<T>, o);
      else if (!plan.first && plan.tiles.chunks > 0)
        Launch(plan.tiles.blocks(c.shape.batch), plan.tiles.threads(), stream).dependent(c.dependent)(&tile_statistics_kernel<T>, o);
    }
  });
  if (complete) return;
  MergeParameters<C> m = {};
  m.shape = c.shape, m.runs = plan.runs, m.tiles = plan.tiles, m.cells = o.cells, m.results = c.results;
  const int64_t width = c.shape.channels / c.groups;
  m.planes_of = {c.groups, width}, m.planes = c.shape.batch * c.groups;
  if (plan.first)
    m.walk = {true, 1, plan.runs.chunks, 0, c.groups * plan.runs.chunks, plan.runs.chunks, plan.runs.chunks};
  else
    m.walk = {false, plan.tiles.chunks, width, c.shape.channels, plan.tiles.chunks * c.shape.channels, width, plan.tiles.chunks};
  m.team = m.walk.outer * m.walk.inner > 256 ? kPlaneThreads : 32;
  Launch(ceil_div(m.planes, kPlaneThreads / m.team), kPlaneThreads, stream).dependent(true)(&statistics_merge_kernel<C>, m);
}

template <class C>
void forward(const PlaneForward& p, char* workspace, cudaStream_t stream) {
  const ForwardMemory memory(p);
  const View& s = p.residual_out.present() ? p.residual_out : p.x;
  const bool first = writes_lie_first(p.x.layout, p.spatial);
  StatisticsCall<C> c = {memory.plan,
                         memory.statistics,
                         workspace,
                         {p.batch, p.channels, p.spatial, false},
                         p.groups,
                         p.x.dtype,
                         PlaneTensor(p.x),
                         PlaneTensor(p.residual),
                         PlaneTensor(p.residual_out),
                         {},
                         is_dependent(p)};
  c.shape.vectors = has_vectors(p.batch, p.channels, p.spatial, first, p.x.dtype, {&p.x, &p.residual, &p.residual_out, &p.y});
  c.results = {reinterpret_cast<C*>(workspace + memory.statistics.planes), PlaneTensor(p.mean), PlaneTensor(p.rstd), PlaneTensor(), p.eps};
  launch(c, stream);
  if (p.empty()) return;
  ApplyParameters<C> o = {};
  o.shape = c.shape, o.planes_of = {p.groups, p.channels / p.groups};
  o.x = PlaneTensor(s);
  if (!p.residual_out.present()) o.residual = PlaneTensor(p.residual);
  o.weight = PlaneTensor(p.weight), o.bias = PlaneTensor(p.bias), o.scale = PlaneTensor(p.scale), o.shift = PlaneTensor(p.shift);
  o.y = PlaneTensor(p.y), o.statistics = c.results.planes, o.scale_offset = C(p.scale_offset), o.activation = p.activation;
  if (first)
    o.slabs = slab_plan(p.channels, p.spatial, p.x.dtype);
  else
    o.tiles = tile_plan(p.channels, p.spatial, p.x.dtype, kBatchesOfSample);
  with_type(p.x.dtype, [&](auto t) {
    using T = decltype(t);
    if constexpr (sizeof(typename PlaneAccess<T>::C) == sizeof(C)) {
      if (first)
        Launch(p.batch * o.slabs.slabs, kPlaneThreads, stream).dependent(true)(&slab_apply_kernel<T>, o);
      else
        Launch(o.tiles.blocks(p.batch), o.tiles.threads(), stream).dependent(true)(&tile_apply_kernel<T>, o);
    }
  });
}

}  // namespace

void launch_statistics(const StatisticsCall<float>& call, cudaStream_t stream) { launch(call, stream); }
void launch_statistics(const StatisticsCall<double>& call, cudaStream_t stream) { launch(call, stream); }

}  // namespace cuda

kilter_status planewise_cuda_forward(const PlaneForward& p, kilter_stream stream) {
  if (p.batch == 0) return KILTER_OK;
  char* workspace = nullptr;
  KILTER_RETURN_IF_ERROR(cuda::take_workspace(p, &workspace));
  cuda::DeviceCall call(p.op, p.device);
  KILTER_RETURN_IF_ERROR(call.begin());
  const cudaStream_t queue = static_cast<cudaStream_t>(stream);
  p.x.dtype == DType::f64 ? cuda::forward<double>(p, workspace, queue) : cuda::forward<float>(p, workspace, queue);
  return call.finish();
}

}  // namespace kilter

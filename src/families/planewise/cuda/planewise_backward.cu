// Launches of the norms of planes on CUDA devices: backward.
#include "families/planewise/cuda/backward.cuh"
#include "families/planewise/cuda/launch.cuh"
#include "families/planewise/cuda/sums_merge.cuh"

namespace kilter {
namespace cuda {
namespace {

template <class C>
void backward(const PlaneBackward& p, char* workspace, cudaStream_t stream) {
  const BackwardMemory memory(p);
  const int64_t width = p.channels / p.groups;
  PlaneShape shape = {p.batch, p.channels, p.spatial, false};
  const DType t = p.dy.dtype;
  const PlaneTensor x(p.x), dy(p.dy), mean(p.mean), rstd(p.rstd), weight(p.weight), bias(p.bias), scale(p.scale), shift(p.shift);
  const C* statistics = nullptr;
  bool dependent = is_dependent(p);
  if (memory.again && !p.empty()) {
    shape.vectors = has_vectors(p.batch, p.channels, p.spatial, sums_lie_first(p.x.layout), p.x.dtype, {&p.x});
    StatisticsCall<C> c = {memory.statistics_plan, memory.statistics, workspace, shape, p.groups, p.x.dtype, x, {}, {}, {}, dependent};
    c.results = {reinterpret_cast<C*>(workspace + memory.statistics.planes), {}, {}, mean, 0};
    launch_statistics(c, stream);
    statistics = c.results.planes, dependent = true;
  }
  const CellPlan& plan = memory.sums_plan;
  shape.vectors = has_vectors(p.batch, p.channels, p.spatial, plan.first, t, {&p.x, &p.dy, &p.dresidual_out, &p.dx, &p.dresidual});
  SumsParameters<C> s = {};
  s.shape = shape, s.runs = plan.runs, s.tiles = plan.tiles, s.planes_of = {p.groups, width};
  s.x = x, s.dy = dy, s.mean = mean, s.rstd = rstd, s.weight = weight, s.bias = bias, s.scale = scale, s.shift = shift;
  s.statistics = statistics, s.scale_offset = C(p.scale_offset), s.activation = p.activation;
  s.cells = reinterpret_cast<C*>(workspace + memory.sums.cells), s.cell_count = plan.cells(p.batch, p.channels);
  GradientParameters<C> g = {};
  g.shape = shape, g.planes_of = s.planes_of;
  g.x = x, g.dy = dy, g.mean = mean, g.rstd = rstd, g.weight = weight, g.bias = bias, g.scale = scale, g.shift = shift;
  g.dresidual_out = PlaneTensor(p.dresidual_out), g.dx = PlaneTensor(p.dx), g.dresidual = PlaneTensor(p.dresidual);
  g.planes = reinterpret_cast<C*>(workspace + memory.sums.planes), g.scale_offset = s.scale_offset, g.activation = p.activation;
  if (plan.first)
    g.slabs = slab_plan(p.channels, p.spatial, t);
  else
    g.tiles = plan.tiles;

  const auto with = [&](auto f) {
    with_type(t, [&](auto type) {
      if constexpr (sizeof(typename PlaneAccess<decltype(type)>::C) == sizeof(C)) f(type);
    });
  };
  if (!p.empty())
    with([&](auto type) {
      using T = decltype(type);
      if (plan.first)
        Launch(plan.runs.blocks(p.batch), kPlaneThreads, stream).dependent(dependent)(&run_sums_kernel<T>, s);
      else
        Launch(plan.tiles.blocks(p.batch), plan.tiles.threads(), stream).dependent(dependent)(&tile_sums_kernel<T>, s);
    });
  SumsMergeParameters<C> m = {};
  m.shape = shape, m.planes_of = s.planes_of, m.first = plan.first, m.chunks = plan.first ? plan.runs.chunks : plan.tiles.chunks;
  m.planes = p.batch * p.groups, m.plane_samples = 1, m.cells = s.cells, m.cell_count = s.cell_count;
  m.sharers = m.chunks < 32 ? power_of_two(m.chunks) : 32, m.team = width * m.sharers > 64 ? kPlaneThreads : 32;
  m.weight = weight, m.bias = bias, m.scale = scale, m.dscale = PlaneTensor(p.dscale), m.dshift = PlaneTensor(p.dshift);
  m.scale_offset = s.scale_offset, m.channels = reinterpret_cast<double*>(workspace + memory.sums.channels);
  m.planes_out = reinterpret_cast<C*>(workspace + memory.sums.planes);
  if (m.planes > 0 && p.channels > 0)
    Launch(ceil_div(m.planes, kPlaneThreads / m.team), kPlaneThreads, stream).dependent(true)(&sums_merge_kernel<C>, m);
  if ((p.dx.present() || p.dresidual.present()) && !p.empty())
    with([&](auto type) {
      using T = decltype(type);
      if (plan.first)
        Launch(p.batch * g.slabs.slabs, kPlaneThreads, stream).dependent(true)(&slab_gradient_kernel<T>, g);
      else
        Launch(g.tiles.blocks(p.batch), g.tiles.threads(), stream).dependent(true)(&tile_gradient_kernel<T>, g);
    });
  if ((p.dweight.present() || p.dbias.present()) && p.channels > 0) {
    const SumsFinishParameters<C> f = {shape, m.channels, scale, s.scale_offset, PlaneTensor(p.dweight), PlaneTensor(p.dbias)};
    Launch(ceil_div(p.channels, kColumnsAcross), kColumnsAcross * kColumnsRuns, stream).dependent(true)(&sums_finish_kernel<C>, f);
  }
}

}  // namespace
}  // namespace cuda

kilter_status planewise_cuda_backward(const PlaneBackward& p, kilter_stream stream) {
  char* workspace = nullptr;
  KILTER_RETURN_IF_ERROR(cuda::take_workspace(p, &workspace));
  cuda::DeviceCall call(p.op, p.device);
  KILTER_RETURN_IF_ERROR(call.begin());
  const cudaStream_t queue = static_cast<cudaStream_t>(stream);
  p.dy.dtype == DType::f64 ? cuda::backward<double>(p, workspace, queue) : cuda::backward<float>(p, workspace, queue);
  return call.finish();
}

}  // namespace kilter

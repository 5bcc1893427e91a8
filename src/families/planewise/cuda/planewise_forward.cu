// Launches of the norms of planes on CUDA devices: forward, and the statistics that both directions take.
#include "families/planewise/cuda/forward.cuh"
#include "families/planewise/cuda/launch.cuh"
#include "families/planewise/cuda/run_statistics.cuh"

namespace kilter {
namespace cuda {
namespace {

// Whether a kernel that merges cells was the last, before which all of x has been read.
template <class C>
bool launch(const StatisticsCall<C>& c, cudaStream_t stream) {
  const CellPlan& plan = c.plan;
  StatisticsParameters<C> o = {};
  o.shape = c.shape, o.runs = plan.runs, o.tiles = plan.tiles, o.strides = plan.strides, o.dependent = c.dependent;
  o.x = c.x, o.residual = c.residual, o.residual_out = c.residual_out;
  o.cells = reinterpret_cast<Cell<C>*>(c.workspace + c.memory.cells), o.planes_of = c.planes_of;
  const bool complete = plan.first && plan.parts == 1 && c.planes_of.sample_planes && !c.moments.moments;
  if (complete) o.results = c.results;
  with_type(c.x_type, [&](auto t) {
    using T = decltype(t);
    if constexpr (sizeof(typename PlaneAccess<T>::C) == sizeof(C)) {
      if (plan.first && plan.cells > 0)
        Launch(plan.runs.blocks(c.shape.batch), kPlaneThreads, stream).dependent(c.dependent)(&run_statistics_kernel<T>, o);
      else if (!plan.first && plan.cells > 0)
        Launch(plan.tiles.blocks(c.shape.batch), plan.tiles.threads(), stream).dependent(c.dependent)(&tile_statistics_kernel<T>, o);
    }
  });
  if (complete || (c.planes == 0 && !c.moments.count.data)) return false;
  MergeParameters<C> m = {};
  m.shape = c.shape, m.runs = plan.runs, m.tiles = plan.tiles, m.cells = o.cells, m.results = c.results, m.moments = c.moments;
  m.planes_of = c.planes_of, m.planes = c.planes, m.samples = c.samples, m.elements = c.elements;
  m.strides = plan.strides, m.first = plan.first;
  const int64_t tiles = plan.first ? 1 : ceil_div(c.planes_of.width, plan.tiles.channels()) + 1;  // of a plane at most
  m.team = plan.parts * tiles > 128 ? kPlaneThreads : 32;
  const int64_t blocks = ceil_div(m.planes, kPlaneThreads / m.team);
  Launch(blocks > 0 ? blocks : 1, kPlaneThreads, stream).dependent(plan.cells > 0 || c.dependent)(&statistics_merge_kernel<C>, m);
  return true;
}
template <class C>
void launch(const GivenCall<C>& c, cudaStream_t stream) {
  MergeParameters<C> m = {};
  m.planes_of = c.planes_of, m.planes = c.planes, m.team = 1, m.given = c.given, m.results = c.results;
  Launch(ceil_div(m.planes, kPlaneThreads), kPlaneThreads, stream).dependent(c.dependent)(&statistics_merge_kernel<C>, m);
}

template <class C>
PlaneMoments moments_of(const PlaneForward& p, const StatisticsMemory& memory, char* workspace) {
  PlaneMoments m = {};
  if (p.step == PlaneStep::statistics) m.count = PlaneTensor(p.count), m.mean = PlaneTensor(p.mean), m.m2 = PlaneTensor(p.m2);
  if (p.running_mean_out.present()) m.running_mean = {PlaneTensor(p.running_mean), PlaneTensor(p.running_mean_out)};
  if (p.running_var_out.present()) m.running_var = {PlaneTensor(p.running_var), PlaneTensor(p.running_var_out)};
  m.momentum = p.averaging == KILTER_AVERAGING_CUMULATIVE ? 1 / (double(p.batches_tracked) + 1) : p.momentum;
  if (!p.over_batch && (m.running_mean.out.data || m.running_var.out.data))
    m.moments = reinterpret_cast<double*>(workspace + memory.moments);
  return m;
}

// What is known of the planes before anything is written: their statistics, or where they are given.  Returns what launch does.
template <class C>
bool statistics(const PlaneForward& p, const ForwardMemory& memory, char* workspace, cudaStream_t stream) {
  PlaneResults<C> results = {reinterpret_cast<C*>(workspace + memory.statistics.planes), {}, {}, {}, p.eps};
  if (p.step == PlaneStep::whole) results.mean = PlaneTensor(p.mean), results.rstd = PlaneTensor(p.rstd);
  StatisticsCall<C> c(p, memory.plan, memory.statistics, workspace);
  const View none = {};
  const View& residual = p.residual_behind ? none : p.residual;
  c.shape = shape_of(p, memory.plan.first, p.x.dtype, {&p.x, &residual, &p.residual_out});
  c.residual = PlaneTensor(residual), c.residual_out = PlaneTensor(p.residual_out);
  if (memory.given) {
    if (memory.listed && c.planes > 0) launch(GivenCall<C>{given_statistics<C>(p), results, c.planes_of, c.planes, c.dependent}, stream);
    c.planes = 0, c.dependent = c.dependent || memory.listed;
    if (memory.summed && !p.empty()) launch(c, stream);
    return false;
  }
  PlaneMoments moments = moments_of<C>(p, memory.statistics, workspace);
  const Running mean = moments.running_mean, var = moments.running_var;
  if (!p.over_batch) moments.running_mean = moments.running_var = {};
  c.results = results, c.moments = moments;
  const bool merged = launch(c, stream);
  if (moments.moments && p.channels > 0)
    launch_finish(SumsFinishParameters<C>{p.empty() ? 0 : p.batch, p.channels, moments.moments, {}, C(1), {mean, var}, moments.momentum},
                  stream);
  return merged;
}

template <class C>
void forward(const PlaneForward& p, char* workspace, cudaStream_t stream) {
  const ForwardMemory memory(p);
  const bool merged = statistics<C>(p, memory, workspace, stream);
  if (p.empty() || p.step == PlaneStep::statistics) return;
  const View& s = p.residual_out.present() ? p.residual_out : p.x;
  const bool first = writes_lie_first(p);
  ApplyParameters<C> o = {};
  o.shape = shape_of(p, first, p.x.dtype, {&s, &p.residual, &p.y}), o.planes_of = planes_of(p);
  o.x = PlaneTensor(s);
  if (!p.residual_out.present()) o.residual = PlaneTensor(p.residual);
  o.weight = PlaneTensor(p.weight), o.bias = PlaneTensor(p.bias), o.scale = PlaneTensor(p.scale), o.shift = PlaneTensor(p.shift);
  o.mask = bits_of_mask(p, first);
  o.y = PlaneTensor(p.y), o.scale_offset = C(p.scale_offset), o.activation = p.activation, o.residual_behind = p.residual_behind;
  if (memory.listed)
    o.statistics = reinterpret_cast<C*>(workspace + memory.statistics.planes);
  else
    o.given = given_statistics<C>(p), o.planes_of = {0, 1};
  if (first)
    o.slabs = slab_plan(p.channels, p.spatial, p.x.dtype, p.batch);
  else
    o.tiles = write_tiles(p, p.x.dtype);
  const bool dependent = memory.listed || memory.summed || is_dependent(p);
  o.early = merged && !p.residual_out.present();
  with_type(p.x.dtype, [&](auto t) {
    using T = decltype(t);
    if constexpr (sizeof(typename PlaneAccess<T>::C) == sizeof(C)) {
      if (first)
        Launch(p.batch * o.slabs.slabs, kPlaneThreads, stream).dependent(dependent)(&slab_apply_kernel<T>, o);
      else
        Launch(o.tiles.blocks(o.shape.batch), o.tiles.threads(), stream).dependent(dependent)(&tile_apply_kernel<T>, o);
    }
  });
}

}  // namespace

void launch_statistics(const StatisticsCall<float>& call, cudaStream_t stream) { launch(call, stream); }
void launch_statistics(const StatisticsCall<double>& call, cudaStream_t stream) { launch(call, stream); }
void launch_given(const GivenCall<float>& call, cudaStream_t stream) { launch(call, stream); }
void launch_given(const GivenCall<double>& call, cudaStream_t stream) { launch(call, stream); }

}  // namespace cuda

kilter_status planewise_cuda_forward(const PlaneForward& p, kilter_stream stream) {
  char* workspace = nullptr;
  KILTER_RETURN_IF_ERROR(cuda::take_workspace(p, &workspace));
  cuda::DeviceCall call(p.op, p.device);
  KILTER_RETURN_IF_ERROR(call.begin());
  const cudaStream_t queue = static_cast<cudaStream_t>(stream);
  p.x.dtype == DType::f64 ? cuda::forward<double>(p, workspace, queue) : cuda::forward<float>(p, workspace, queue);
  return call.finish();
}

}  // namespace kilter

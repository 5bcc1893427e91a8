// Launches of the norms of planes on CUDA devices: backward.
#include "families/planewise/cuda/backward.cuh"
#include "families/planewise/cuda/launch.cuh"
#include "families/planewise/cuda/sums_merge.cuh"

namespace kilter {
namespace cuda {
namespace {

template <class C, class F>
void with_type_of(const PlaneBackward& p, F f) {
  with_type(p.dy.dtype, [&](auto type) {
    if constexpr (sizeof(typename PlaneAccess<decltype(type)>::C) == sizeof(C)) f(type);
  });
}

// What is known of the planes before the sums are: in s and its successors.
template <class C>
void statistics(const PlaneBackward& p, const BackwardMemory& memory, char* workspace, SumsParameters<C>* s, cudaStream_t stream) {
  PlaneResults<C> results = {reinterpret_cast<C*>(workspace + memory.statistics.planes), {}, {}, {}, 0};
  s->planes_of = planes_of(p), s->mean = PlaneTensor(p.mean), s->rstd = PlaneTensor(p.rstd);
  if (p.empty()) return;
  if (memory.given) {
    s->planes_of = {0, 1};
    s->mean.data = workspace + memory.given_mean, s->rstd.data = workspace + memory.given_rstd;
    s->mean.type = s->rstd.type = sizeof(C) == sizeof(double) ? DType::f64 : DType::f32, s->mean.stride = s->rstd.stride = 0;
    results.mean = s->mean, results.rstd = s->rstd;
    launch_given(GivenCall<C>{given_statistics<C>(p), results, s->planes_of, p.channels, is_dependent(p)}, stream);
  } else if (memory.again) {
    StatisticsCall<C> c(p, memory.statistics_plan, memory.statistics, workspace);
    c.shape = shape_of(p, memory.statistics_plan.first, p.x.dtype, {&p.x});
    c.results = results, c.results.saved_mean = s->mean;
    launch_statistics(c, stream);
  } else {
    return;
  }
  s->statistics = results.planes;
}

template <class C>
void merge(const PlaneBackward& p, const BackwardMemory& memory, char* workspace, const SumsParameters<C>& s, cudaStream_t stream) {
  const CellPlan& plan = memory.sums_plan;
  SumsMergeParameters<C> m = {};
  m.shape = s.shape, m.shape.batch = sets_of(p), m.planes_of = planes_of(p), m.chunks = plan.parts, m.planes = planes_in(p);
  m.elements = double(samples_of_set(p)) * double(m.planes_of.width) * double(p.spatial);
  m.cells = s.cells, m.strides = s.strides;
  m.sharers = m.chunks > 256 && m.planes_of.width == 1 ? kPlaneThreads : int(between(power_of_two(ceil_div(m.chunks, 8)), 1, 32));
  m.team = m.planes_of.width * m.sharers > 64 ? kPlaneThreads : 32;
  m.rounded = m.moves = p.training && p.step == PlaneStep::whole;
  if (!m.rounded) m.statistics = s.statistics;
  m.rstd = s.rstd, m.weight = s.weight, m.bias = s.bias, m.scale = s.scale;
  m.dscale = PlaneTensor(p.dscale), m.dshift = PlaneTensor(p.dshift);
  if (p.over_batch) m.dweight = PlaneTensor(p.dweight), m.dbias = PlaneTensor(p.dbias);
  if (p.step == PlaneStep::statistics) m.sum_u = PlaneTensor(p.sum_u), m.sum_uh = PlaneTensor(p.sum_u_xhat);
  m.scale_offset = s.scale_offset, m.channels = reinterpret_cast<double*>(workspace + memory.sums.channels);
  m.planes_out = reinterpret_cast<C*>(workspace + memory.sums.planes);
  if (m.planes > 0 && p.channels > 0)
    Launch(ceil_div(m.planes, kPlaneThreads / m.team), kPlaneThreads, stream)
        .dependent(!p.empty() || is_dependent(p))(&sums_merge_kernel<C>, m);
}

template <class C>
void gradient(const PlaneBackward& p, const BackwardMemory& memory, char* workspace, const SumsParameters<C>& s, cudaStream_t stream) {
  const CellPlan& plan = memory.sums_plan;
  GradientParameters<C> g = {};
  g.shape = s.shape, g.planes_of = s.planes_of;
  g.x = s.x, g.dy = s.dy, g.mean = s.mean, g.rstd = s.rstd, g.weight = s.weight, g.bias = s.bias, g.scale = s.scale, g.shift = s.shift;
  g.residual = s.residual, g.dresidual_out = PlaneTensor(p.dresidual_out), g.dx = PlaneTensor(p.dx);
  g.dresidual = PlaneTensor(p.dresidual), g.statistics = s.statistics, g.scale_offset = s.scale_offset, g.activation = s.activation,
  g.mask = s.mask;
  g.residual_behind = p.residual_behind, g.early = memory.summed;
  if (p.step == PlaneStep::apply)
    g.count = PlaneTensor(p.count), g.sum_u = PlaneTensor(p.sum_u), g.sum_uh = PlaneTensor(p.sum_u_xhat);
  else if (p.training)
    g.planes = reinterpret_cast<C*>(workspace + memory.sums.planes), g.lone = samples_of_set(p) * g.planes_of.width * p.spatial == 1;
  if (plan.first)
    g.slabs = slab_plan(p.channels, p.spatial, p.dy.dtype, p.batch);
  else
    g.tiles = write_tiles(p, p.dy.dtype);
  with_type_of<C>(p, [&](auto type) {
    using T = decltype(type);
    if (plan.first)
      Launch(p.batch * g.slabs.slabs, kPlaneThreads, stream).dependent(true)(&slab_gradient_kernel<T>, g);
    else
      Launch(g.tiles.blocks(g.shape.batch), g.tiles.threads(), stream).dependent(true)(&tile_gradient_kernel<T>, g);
  });
}

template <class C>
void backward(const PlaneBackward& p, char* workspace, cudaStream_t stream) {
  const BackwardMemory memory(p);
  const CellPlan& plan = memory.sums_plan;
  const View none = {};
  const int32_t activation = p.mask.present() ? int32_t(KILTER_ACTIVATION_NONE) : p.activation;
  const View& residual = activation != KILTER_ACTIVATION_NONE && p.residual_behind ? p.residual : none;
  SumsParameters<C> s = {};
  s.shape = shape_of(p, plan.first, p.dy.dtype, {&p.x, &residual, &p.dy, &p.dresidual_out, &p.dx, &p.dresidual});
  s.runs = plan.runs, s.tiles = plan.tiles, s.x = PlaneTensor(p.x), s.dy = PlaneTensor(p.dy), s.residual = PlaneTensor(residual);
  s.weight = PlaneTensor(p.weight), s.bias = PlaneTensor(p.bias), s.scale = PlaneTensor(p.scale), s.shift = PlaneTensor(p.shift);
  s.scale_offset = C(p.scale_offset), s.activation = activation, s.mask = bits_of_mask(p, plan.first);
  s.cells = reinterpret_cast<SumsCell<C>*>(workspace + memory.sums.cells), s.strides = plan.strides;
  statistics(p, memory, workspace, &s, stream);
  if (memory.summed && !p.empty())
    with_type_of<C>(p, [&](auto type) {
      using T = decltype(type);
      const bool dependent = s.statistics || is_dependent(p);
      if (plan.first)
        Launch(plan.runs.blocks(p.batch), kPlaneThreads, stream).dependent(dependent)(&run_sums_kernel<T>, s);
      else
        Launch(plan.tiles.blocks(s.shape.batch), plan.tiles.threads(), stream).dependent(dependent)(&tile_sums_kernel<T>, s);
    });
  if (memory.summed) merge(p, memory, workspace, s, stream);
  if ((p.dx.present() || p.dresidual.present()) && !p.empty()) gradient(p, memory, workspace, s, stream);
  if ((p.dweight.present() || p.dbias.present()) && p.channels > 0 && !p.over_batch)
    launch_finish(SumsFinishParameters<C>{p.batch,
                                          p.channels,
                                          reinterpret_cast<double*>(workspace + memory.sums.channels),
                                          s.scale,
                                          s.scale_offset,
                                          {{{}, PlaneTensor(p.dweight)}, {{}, PlaneTensor(p.dbias)}},
                                          0},
                  stream);
}

template <class C>
void finish(const SumsFinishParameters<C>& f, cudaStream_t stream) {
  Launch(ceil_div(f.channels, kColumnsAcross), kColumnsAcross * kColumnsRuns, stream).dependent(true)(&sums_finish_kernel<C>, f);
}

}  // namespace

void launch_finish(const SumsFinishParameters<float>& parameters, cudaStream_t stream) { finish(parameters, stream); }
void launch_finish(const SumsFinishParameters<double>& parameters, cudaStream_t stream) { finish(parameters, stream); }

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

// Launches of weight_norm on CUDA devices.
#include "cuda/launch.h"
#include "cuda/runtime.h"
#include "families/weights/cuda/columns.cuh"
#include "families/weights/cuda/run.h"
#include "families/weights/cuda/slices.cuh"

namespace kilter {
namespace cuda {
namespace {

template <class F>
void with_stored_type(DType t, F f) {
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

template <class T>
constexpr DType type_of = sizeof(ComputeOf<T>) == 8 ? DType::f64 : DType::f32;
template <>
constexpr DType type_of<Half> = DType::f16;
template <>
constexpr DType type_of<Bf16> = DType::bf16;

bool lies_in_vectors(const Slices& s, const WeightsTensor& v, int item) {
  return !v.data || (v.flat && (reinterpret_cast<uintptr_t>(v.data) | uint64_t(s.n * item) | uint64_t(s.last * item)) % 16 == 0);
}

WeightsParameters parameters_of(const WeightsForward& p) {
  WeightsParameters o = {};
  o.slices = p.slices, o.v = WeightsTensor(p.v, p.n), o.out = WeightsTensor(p.w, p.n), o.g = SliceNumbers(p.g),
  o.result = SliceNumbers(p.norm);
  return o;
}
WeightsParameters parameters_of(const WeightsBackward& p) {
  WeightsParameters o = {};
  o.slices = p.slices, o.v = WeightsTensor(p.v, p.n), o.dw = WeightsTensor(p.dw, p.n), o.out = WeightsTensor(p.dv, p.n),
  o.g = SliceNumbers(p.g), o.norm = SliceNumbers(p.norm);
  o.result = SliceNumbers(p.dg), o.backward = true;
  return o;
}

template <class T>
void launch_slices(WeightsParameters& o, int team, cudaStream_t stream) {
  if constexpr (sizeof(ComputeOf<T>) == 4) {
    o.team = team, o.count = int(parts_of(o.runs * o.accesses, team));
    const int threads = team > 32 ? team : kWeightsThreads;
    Launch at(parts_of(o.slices.kept, threads / team), threads, stream);
    at.dependent(o.dependent);
    o.backward ? at(&slice_kernel<T, true>, o) : at(&slice_kernel<T, false>, o);
  }
}

template <class T>
void launch_parts(WeightsParameters& o, cudaStream_t stream) {
  const PartPlan plan(o.slices, type_of<T>);
  o.parts = plan.parts, o.tiles = plan.tiles;
  Launch(o.slices.kept * o.parts, kWeightsThreads, stream).dependent(o.dependent)(&part_sums_kernel<T>, o);
  Launch(o.slices.kept * (o.out.data ? o.parts : 1), kWeightsThreads, stream).dependent(true)(&part_apply_kernel<T>, o);
}

template <class T>
void launch_columns(WeightsParameters& o, cudaStream_t stream) {
  using C = ComputeOf<T>;
  const ColumnPlan plan(o.slices, type_of<T>);
  o.chunks = plan.chunks, o.rows = plan.rows;
  o.factors = static_cast<Squares<C>*>(o.sums) + o.chunks * o.slices.n;
  Launch(plan.tiles * o.chunks, kWeightsThreads, stream).dependent(o.dependent)(&column_sums_kernel<T>, o);
  Launch(parts_of(o.slices.kept, kColumnsAcross), kWeightsThreads, stream).dependent(true)(&column_merge_kernel<C>, o);
  if (o.out.data) Launch(plan.tiles * o.chunks, kWeightsThreads, stream).dependent(true)(&column_apply_kernel<T>, o);
}

template <class Problem>
kilter_status run(const Problem& p, kilter_stream stream) {
  const Slices& s = p.slices;
  WeightsParameters o = parameters_of(p);
  if (s.kept == 0 || (!o.out.data && !o.result.data)) return KILTER_OK;
  const size_t need = weights_cuda_workspace(p);
  if (need && (!p.workspace || p.workspace_size < need))
    return fail(KILTER_WORKSPACE_TOO_SMALL, p.op, "workspace: expected %zu bytes, got %zu", need, p.workspace ? p.workspace_size : 0);
  DeviceCall call(p.op, p.device);
  KILTER_RETURN_IF_ERROR(call.begin());
  const cudaStream_t queue = static_cast<cudaStream_t>(stream);
  const DType t = p.v.dtype;
  o.runs = s.rows_of_slice(), o.accesses = parts_of(s.n, access_width(t));
  o.sums = reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(p.workspace) + 15) & ~uintptr_t(15));
  const int item = item_size(t);
  o.vectors = lies_in_vectors(s, o.v, item) && lies_in_vectors(s, o.dw, item) && lies_in_vectors(s, o.out, item);
  o.flat = o.v.flat && o.dw.flat && o.out.flat;
  o.dependent = (p.launch_flags & KILTER_LAUNCH_DEPENDENT) && traits_of(p.device.id).has_dependent_launch();
  const int team = s.empty() ? 1 : slice_team(s, t);
  with_stored_type(s.empty() && t == DType::f64 ? DType::f32 : t, [&](auto type) {
    using T = decltype(type);
    if (s.columns)
      launch_columns<T>(o, queue);
    else if (team)
      launch_slices<T>(o, team, queue);
    else
      launch_parts<T>(o, queue);
  });
  return call.finish();
}

}  // namespace
}  // namespace cuda

kilter_status weights_cuda_forward(const WeightsForward& p, kilter_stream stream) { return cuda::run(p, stream); }
kilter_status weights_cuda_backward(const WeightsBackward& p, kilter_stream stream) { return cuda::run(p, stream); }

}  // namespace kilter

// Launches of the row norms on CUDA devices; included by ops/<op>/<op>.cu.
#pragma once

#include "cuda/launch.h"
#include "cuda/runtime.h"
#include "families/rowwise/cuda/backward.cuh"
#include "families/rowwise/cuda/backward_finish.cuh"
#include "families/rowwise/cuda/forward.cuh"
#include "families/rowwise/cuda/forward_spread.cuh"
#include "families/rowwise/cuda/general_modulated.cuh"
#include "families/rowwise/cuda/plan.h"
#include "families/rowwise/cuda/run.h"

namespace kilter::cuda {

// The device as these kernels know it: code for an older architecture lacks what a newer one could do.
inline DeviceTraits kernel_traits(int device) {
  DeviceTraits traits = traits_of(device);
  int compiled = 0;
  for (const int architecture : {__CUDA_ARCH_LIST__})
    if (architecture / 10 <= traits.architecture && architecture / 10 > compiled) compiled = architecture / 10;
  if (compiled) traits.architecture = compiled;
  return traits;
}

template <class C, bool kCentered>
void launch_general_forward(const RowNormForward& p, cudaStream_t stream) {
  if (p.n == 0)
    Launch(grid_for((p.rows + 255) / 256), 256, stream)(&empty_statistics_kernel<C>, p);
  else
    Launch(grid_for(p.rows), kBlockThreads, stream)(&general_forward_kernel<C, kCentered>, p);
}

template <class T, bool kCentered, class S, bool kPlain>
void launch_rows(const RowForwardPlan& plan, RowForwardParameters p, cudaStream_t stream) {
  int bytes = 0;
  if (plan.streams) p.flags |= kStreams;
  if (!kIsSingles<T> && plan.early && !(p.flags & (kFloatWeight | kFloatBias)) && (S::kRows == 1 || !(p.flags & kModulated))) {
    p.flags |= kEarlyWeights;
    bytes = EarlyWeights<T, S>::kVector * (p.flags & kHasBias ? 2 : p.flags & kHasWeight ? 1 : 0);
  }
  Launch(plan.blocks, plan.block, stream)
      .shared(bytes)
      .cluster(plan.cluster)
      .dependent(p.flags & kDependent)(&forward_kernel<T, kCentered, S, kPlain>, p);
}

template <class T, int kWarps>
void launch_spread(const RowForwardPlan& plan, const RowForwardParameters& p, cudaStream_t stream) {
  const int bytes = plan.block / 64 * kSegmentLength * Packed<T>::kItem;  // a rare row
  Launch(plan.blocks, plan.block, stream)
      .shared(bytes)
      .dependent(p.flags & kDependent)(p.is_plain(false) ? &spread_kernel<T, kWarps, true> : &spread_kernel<T, kWarps, false>, p);
}

// Launches the compiled kernel that the plan names; false if there is none.
template <class T, bool kCentered>
bool launch_rows(const RowForwardPlan& plan, const RowForwardParameters& p, cudaStream_t stream) {
  constexpr bool kSpreads = !kCentered && Packed<T>::kItem == 2;
#define KILTER_ROW_SPREAD(w) \
  if constexpr (kSpreads)    \
    if (plan.spread) return launch_spread<T, w>(plan, p, stream), true;
#define KILTER_ROW_FORWARD(t, w, g, v, r, c)                                                                                  \
  if constexpr (!kSpreads || (v) < 4 || (w) == 1 || (w) > 4)                                                                  \
    if (plan.is(t, w, g, v, r, c)) {                                                                                          \
      if constexpr (!kSpreads || (v) < 4 || (w) > 4)                                                                          \
        if (p.is_plain(kCentered)) return launch_rows<T, kCentered, RowShape<t, w, g, v, r, c>, true>(plan, p, stream), true; \
      return launch_rows<T, kCentered, RowShape<t, w, g, v, r, c>, false>(plan, p, stream), true;                             \
    }
#include "families/rowwise/cuda/instances.def"
#undef KILTER_ROW_FORWARD
#undef KILTER_ROW_SPREAD
  return false;
}

template <bool kCentered>
bool launch_singles(const RowForwardPlan& plan, const RowForwardParameters& p, cudaStream_t stream) {
#define KILTER_ROW_SINGLES(lanes, t, w, g, v, r, c) \
  if (plan.is(t, w, g, v, r, c)) return launch_rows<lanes##Singles, kCentered, RowShape<t, w, g, v, r, c>, false>(plan, p, stream), true;
#include "families/rowwise/cuda/instances.def"
#undef KILTER_ROW_SINGLES
  return false;
}

template <bool kCentered>
RowForwardPlan plan_of(const RowNormForward& p, RowAccess access) {
  const DeviceTraits device = kernel_traits(p.device.id);
  RowForwardParameters fast;
  const bool shifted = compact(p, &fast) != RowAccess::any && (fast.flags & (access == RowAccess::singles ? kShifted : kModulated));
  return access == RowAccess::vectors || shifted ? plan_forward(p.rows, p.n, item_size(p.x.dtype), kCentered, device, shifted)
                                                 : plan_singles(p.rows, p.n, device);
}

// What a call has to be for the fast kernels: rows one stride apart (forward: or two); for those of vectors, rows that begin at multiples
// of 16 bytes, as weight and bias do, all of one type (weight and bias: or fp32).
template <bool kCentered>
const char* fast_kernels_refuse(const RowNormForward& p, RowAccess access) {
  if (const char* const reason = cuda_refuses(p)) return reason;
  if (p.x.dtype == DType::f64) return "x.dtype: expected fp32, fp16 or bf16";
  if (plan_of<kCentered>(p, access).general) return "n: expected a length that the fast kernels have";
  RowForwardParameters fast;
  const RowAccess needed = compact(p, &fast);
  if (needed == RowAccess::any) return "x.strides: expected rows of at most two strides";
  if (needed > access) return "x.strides: expected rows at multiples of 16 bytes, all of one type, got a tensor without";
  return nullptr;
}

template <bool kCentered>
kilter_status row_norm_forward(const RowNormForward& p, kilter_stream stream, RowAccess access) {
  if (p.rows == 0) return KILTER_OK;
  DeviceCall call(p.op, p.device);
  KILTER_RETURN_IF_ERROR(call.begin());
  const cudaStream_t queue = static_cast<cudaStream_t>(stream);
  const RowForwardPlan plan = plan_of<kCentered>(p, access);
  RowForwardParameters fast;
  compact(p, &fast);
  if (!kernel_traits(p.device.id).has_dependent_launch()) fast.flags &= ~uint32_t(kDependent);
  const bool launched = plan.singles               ? launch_singles<kCentered>(plan, fast, queue)
                        : p.x.dtype == DType::f32  ? launch_rows<float, kCentered>(plan, fast, queue)
                        : p.x.dtype == DType::bf16 ? launch_rows<Bf16, kCentered>(plan, fast, queue)
                                                   : launch_rows<Half, kCentered>(plan, fast, queue);
  return launched ? call.finish() : no_kernel(p.op);
}

template <bool kCentered>
kilter_status general_forward(const RowNormForward& p, kilter_stream stream) {
  if (p.rows == 0) return KILTER_OK;
  DeviceCall call(p.op, p.device);
  KILTER_RETURN_IF_ERROR(call.begin());
  const cudaStream_t queue = static_cast<cudaStream_t>(stream);
  if (p.x.dtype == DType::f64)
    launch_general_forward<double, kCentered>(p, queue);
  else
    launch_general_forward<float, kCentered>(p, queue);
  return call.finish();
}

template <class C, bool kCentered>
void launch_modulated_sums(const RowNormBackward& p, const BackwardMemory<C>& m, cudaStream_t stream) {
  const bool by_modulation = p.dscale.present() || p.dshift.present() || p.dgate.present(), all = p.dweight.present() || p.dbias.present();
  if (!by_modulation && !all) return;
  constexpr int64_t kMost = 65535;  // of a grid's second dimension
  const auto grid = [&p](int64_t count) { return dim3(grid_for((p.n + 127) / 128), unsigned(count < kMost ? count : kMost)); };
  if (p.rows > 0) Launch(grid((p.rows + m.block_rows - 1) / m.block_rows), 128, stream)(&modulated_columns_kernel<C, kCentered>, p, m);
  if (by_modulation && p.modulation.count > 0) Launch(grid(p.modulation.count), 128, stream)(&modulated_finish_kernel<C>, p, m);
  if (all) Launch(grid(1), 128, stream)(&modulated_weights_kernel<C>, p, m);
}

template <class C, bool kCentered>
void launch_general_backward(const RowNormBackward& p, cudaStream_t stream) {
  BackwardMemory<C> m;
  m.partition = row_partition(p.rows, p.n);
  char* at = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(p.workspace) + 15) & ~uintptr_t(15));
  const auto take = [&](int64_t bytes) {
    char* const memory = at;
    at += (bytes + 15) / 16 * 16;
    return memory;
  };
  m.rows = reinterpret_cast<RowGradient<C>*>(take(p.rows * int64_t(sizeof(RowGradient<C>))));
  const View* const sums[] = {&p.dweight, &p.dbias};
  const int64_t chunk_bytes = m.partition.chunks * p.n * int64_t(sizeof(Wide<C>));
  const bool modulated = p.scale.present();
  for (int k = 0; k < 2; ++k) m.chunks[k] = sums[k]->present() && !modulated ? reinterpret_cast<Wide<C>*>(take(chunk_bytes)) : nullptr;
  const bool columns = m.chunks[0] || m.chunks[1];
  m.block_rows = modulation_block(p.rows), m.slots = modulation_slots(p);
  m.modulated = modulated ? reinterpret_cast<Wide<C>*>(take(3 * m.slots * p.n * int64_t(sizeof(Wide<C>)))) : nullptr;
  if (p.rows > 0) {
    Launch(grid_for(p.rows), kBlockThreads, stream)(&general_row_sums_kernel<C, kCentered>, p, m);
    const dim3 grid(grid_for((p.n + 127) / 128), unsigned(m.partition.chunks));
    if (columns) Launch(grid, 128, stream)(&general_columns_kernel<C, kCentered>, p, m);
  }
  if (columns) Launch(grid_for((p.n + 127) / 128), 128, stream)(&general_finish_kernel<C>, p, m);
  if (modulated) launch_modulated_sums<C, kCentered>(p, m, stream);
  if (p.rows > 0 && (p.dx.present() || p.dresidual.present()))
    Launch(grid_for(p.rows), kBlockThreads, stream)(&general_dx_kernel<C, kCentered>, p, m);
}

inline void launch_finish(const FinishParameters& p, int planes, int64_t batches, cudaStream_t stream) {
  const dim3 blocks(unsigned((p.n + kFinishColumns - 1) / kFinishColumns), unsigned(planes), unsigned(batches));
  Launch(blocks, kFinishColumns * kFinishRuns, stream).dependent(true)(&finish_kernel, p);  // it waits for the sums itself
}

template <class T, bool kCentered, class S>
void launch_groups(const RowBackwardPlan& plan, const RowBackwardParameters& p, cudaStream_t stream) {
  Launch(dim3(unsigned(plan.blocks), unsigned(p.batches)), plan.block, stream)
      .shared(p.at.total)
      .cluster(plan.cluster)
      .dependent(p.flags & kDependent)(&backward_kernel<T, kCentered, S>, p);
}

template <class T, bool kCentered>
bool launch_groups(const RowBackwardPlan& plan, const RowBackwardParameters& p, cudaStream_t stream) {
#define KILTER_ROW_BACKWARD(t, v, c)                                     \
  if (plan.threads == t && plan.stripes == v && (plan.cluster > 1) == c) \
    return launch_groups<SinglesOf<T, t>, kCentered, BackwardShape<t, v, c>>(plan, p, stream), true;
#include "families/rowwise/cuda/instances.def"
#undef KILTER_ROW_BACKWARD
  return false;
}

// One pass over x and dy, then a kernel for the sums of chunks if there are several teams.
inline RowBackwardPlan plan_of(const RowNormBackward& p, RowAccess access) {
  const int x = item_size(p.x.dtype), dy = item_size(p.dy.dtype);
  const int64_t batches = p.scale.present() && p.modulation.count > 0 ? p.modulation.count : 1;
  return plan_backward(p.rows / batches, p.n, x > dy ? x : dy, kernel_traits(p.device.id), access == RowAccess::singles, batches);
}

template <bool kCentered>
[[nodiscard]] bool launch_fused_backward(const RowNormBackward& p, const RowBackwardPlan& plan, RowBackwardParameters* fast,
                                         cudaStream_t stream) {
  fast->slots = plan.slots, fast->slot_threads = plan.slot_threads, fast->block_segments = plan.block_segments;
  fast->segments = int((p.n + kSegmentLength - 1) / kSegmentLength), fast->padded = 1;
  while (fast->padded < fast->segments) fast->padded *= 2;
  const int x_item = item_size(p.x.dtype), dy_item = item_size(p.dy.dtype);
  const int columns = plan.cluster > 1 ? plan.block_segments * kSegmentLength : int(p.n);
  const int x_bytes = plan.singles ? columns * x_item : plan.row_bytes, dy_bytes = plan.singles ? columns * dy_item : plan.row_bytes;
  const bool dense = plan.cluster == 1 && fast->x.stride == x_bytes && fast->dy.stride == dy_bytes;
  if (dense) fast->flags |= kDense;
  const StageLayout stage = plan.singles ? single_stage(x_bytes, dy_bytes, plan.slots, dense) : vector_stage(plan.row_bytes, plan.slots);
  fast->at = backward_layout(stage, plan.slot_threads * 8, plan.slots, fast->padded);
  fast->chunks = int(plan.partition.chunks), fast->steps = int(plan.partition.steps());
  fast->wide = plan.partition.steps() > kBlockGroups;
  char* at = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(p.workspace) + 15) & ~uintptr_t(15));
  const int64_t teams = plan.blocks / plan.cluster;
  FinishParameters finish = {{}, {}, teams, int(p.n), fast->wide || plan.slots > 1};
  int planes = 0;
  const View* const outputs[] = {p.scale.present() ? &p.dscale : &p.dweight, p.scale.present() ? &p.dshift : &p.dbias};
  for (int k = 0; k < 2; ++k) {
    fast->partial[k] = nullptr, fast->out[k] = nullptr;
    if (!outputs[k]->present()) continue;
    fast->partial[k] = at;
    if (teams == 1) fast->out[k] = outputs[k]->data, fast->out_types[k] = outputs[k]->dtype;
    fast->out_stride[k] = outputs[k]->map.ndim > 0 ? outputs[k]->map.stride[0] * item_size(outputs[k]->dtype) : 0;
    finish.partial[planes] = at, finish.out[planes] = *outputs[k], ++planes;
    at += (fast->batches * teams * p.n * 8 + 15) / 16 * 16;
    fast->wide_sums[k] = reinterpret_cast<double*>(at);
    if (fast->wide) at += (fast->batches * plan.partition.chunks * p.n * 8 + 15) / 16 * 16;
  }
  const bool launched = plan.singles                ? launch_groups<FarSingles, kCentered>(plan, *fast, stream)
                        : p.dy.dtype == DType::f32  ? launch_groups<float, kCentered>(plan, *fast, stream)
                        : p.dy.dtype == DType::bf16 ? launch_groups<Bf16, kCentered>(plan, *fast, stream)
                                                    : launch_groups<Half, kCentered>(plan, *fast, stream);
  if (launched && planes > 0 && teams > 1) launch_finish(finish, planes, fast->batches, stream);
  return launched;
}

template <bool kCentered>
const char* fast_kernels_refuse(const RowNormBackward& p, RowAccess access) {
  if (const char* const reason = cuda_refuses(p)) return reason;
  if (p.dy.dtype == DType::f64) return "dy.dtype: expected fp32, fp16 or bf16";
  if (plan_of(p, access).general) return "n: expected a length that the fast kernels have";
  if (!kCentered && access == RowAccess::vectors && (p.dbias.present() || p.dshift.present()))
    return "dbias, dshift: expected none, which an RMSNorm's kernels for aligned rows lack";
  RowBackwardParameters fast;
  const RowAccess needed = compact(p, &fast);
  if (needed == RowAccess::any)
    return "dy.strides: expected rows one stride apart, and of modulations scale and shift alone, of four rows at least";
  if (needed > access) return "dy.strides: expected rows at multiples of 16 bytes, all of one type, got a tensor without";
  return nullptr;
}

// Runs launches, which say whether there were any, with the workspace and the device seen to.
template <class F>
kilter_status backward_call(const RowNormBackward& p, kilter_stream stream, F launches) {
  if (p.n == 0 || (p.rows == 0 && !p.dweight.present() && !p.dbias.present() && !p.scale.present())) return KILTER_OK;
  const size_t need = row_norm_cuda_workspace(p);
  if (need && (!p.workspace || p.workspace_size < need))
    return fail(KILTER_WORKSPACE_TOO_SMALL, p.op, "workspace: expected %zu bytes, got %zu", need, p.workspace ? p.workspace_size : 0);
  DeviceCall call(p.op, p.device);
  KILTER_RETURN_IF_ERROR(call.begin());
  return launches(static_cast<cudaStream_t>(stream)) ? call.finish() : no_kernel(p.op);
}

template <bool kCentered>
kilter_status row_norm_backward(const RowNormBackward& p, kilter_stream stream, RowAccess access) {
  return backward_call(p, stream, [&](cudaStream_t queue) {
    RowBackwardParameters fast;
    compact(p, &fast);
    return launch_fused_backward<kCentered>(p, plan_of(p, access), &fast, queue);
  });
}

template <bool kCentered>
kilter_status general_backward(const RowNormBackward& p, kilter_stream stream) {
  return backward_call(p, stream, [&](cudaStream_t queue) {
    if (p.dy.dtype == DType::f64)
      launch_general_backward<double, kCentered>(p, queue);
    else
      launch_general_backward<float, kCentered>(p, queue);
    return true;
  });
}

}  // namespace kilter::cuda

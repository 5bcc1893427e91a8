// Launches of the elementwise ops on CUDA devices; included by ops/<op>/<op>.cu.
#pragma once

#include "cuda/launch.h"
#include "cuda/runtime.h"
#include "families/elementwise/cuda/backward.cuh"
#include "families/elementwise/cuda/run.h"

namespace kilter::cuda {

// False: kernels with these Rows do not take the call.
template <class Rows>
bool to_parameters(const ElementwiseForward& p, ElementwiseForwardParameters<Rows>* o) {
  o->rows = p.rows, o->n = p.n;
  o->alpha = Column(p.alpha), o->shift = Column(p.shift), o->weight = Column(p.weight), o->bias = Column(p.bias);
  return Rows::take(p.weight) && Rows::take(p.bias) && Rows::take(p.x, &o->x) && Rows::take(p.residual, &o->residual) &&
         Rows::take(p.y, &o->y) && Rows::take(p.residual_out, &o->residual_out);
}
template <class Rows>
bool to_parameters(const ElementwiseBackward& p, ElementwiseBackwardParameters<Rows>* o) {
  o->rows = p.rows, o->n = p.n;
  o->alpha = Column(p.alpha), o->shift = Column(p.shift), o->weight = Column(p.weight);
  return Rows::take(p.weight) && Rows::take(p.x, &o->x) && Rows::take(p.dy, &o->dy) && Rows::take(p.dresidual_out, &o->dresidual_out) &&
         Rows::take(p.dx, &o->dx) && Rows::take(p.dresidual, &o->dresidual);
}

template <class Problem>
bool is_dependent(const Problem& p) {
  return (p.launch_flags & KILTER_LAUNCH_DEPENDENT) && traits_of(p.device.id).has_dependent_launch();
}

template <class F, class Rows>
bool launch(const ElementwiseForward& p, cudaStream_t stream) {
  ElementwiseForwardParameters<Rows> o;
  if (!to_parameters<Rows>(p, &o)) return false;
  o.dependent = is_dependent(p);
  o.tile = elementwise_tile(p.n, Rows::kWidth, p.rows);
  o.rows_of_a_thread = elementwise_rows(p.rows, o.tile, traits_of(p.device.id).multiprocessors);
  const int64_t of_a_block = int64_t(o.tile.down) * o.rows_of_a_thread, blocks = (p.rows + of_a_block - 1) / of_a_block;
  // Blocks of one dimension are at most 65535 where tiles are the other.
  for (int64_t done = 0; done < blocks; done += 65535) {
    const dim3 grid(grid_for(o.tile.tiles), unsigned(blocks - done < 65535 ? blocks - done : 65535));
    o.first_block = done;
    Launch(grid, o.tile.across * o.tile.down, stream).dependent(o.dependent)(&elementwise_forward_kernel<Rows, F>, o);
  }
  return true;
}

template <class F, class Rows>
bool launch(const ElementwiseBackward& p, cudaStream_t stream) {
  using C = typename Rows::C;
  ElementwiseBackwardParameters<Rows> o;
  if (!to_parameters<Rows>(p, &o)) return false;
  o.dependent = is_dependent(p);
  o.partition = elementwise_partition(p.rows, p.n, Rows::kWidth);
  o.tile = elementwise_tile(p.n, Rows::kWidth, o.partition.steps());
  o.columns = o.scalars = nullptr;
  if (p.has_sums()) {
    o.columns = reinterpret_cast<C*>((reinterpret_cast<uintptr_t>(p.workspace) + 15) & ~uintptr_t(15));
    o.scalars = o.columns + 2 * o.partition.chunks * p.n;
  }
  if (p.rows > 0) {
    const dim3 grid(grid_for(o.tile.tiles), unsigned(o.partition.chunks));
    Launch(grid, o.tile.across * o.tile.down, stream).dependent(o.dependent)(&elementwise_backward_kernel<Rows, F>, o);
  }
  if (p.has_sums()) {
    const ElementwiseFinishParameters f = {p.n,     o.partition.chunks, o.tile.tiles, o.columns, o.scalars, p.dweight,
                                           p.dbias, p.dalpha,           p.dshift};
    const dim3 grid(grid_for((p.n + kFinishAcross - 1) / kFinishAcross + 1), 2);
    Launch(grid, kFinishAcross * kFinishRuns, stream).dependent(true)(&elementwise_finish_kernel<C>, f);  // it waits for the sums itself
  }
  return true;
}

// Rows of one type at multiples of 16 bytes.
template <class F, class Problem>
bool launch_vectors(const Problem& p, DType t, cudaStream_t stream) {
  if (t == DType::f32) return launch<F, VectorRows<float>>(p, stream);
  return t == DType::bf16 ? launch<F, VectorRows<Bf16>>(p, stream) : launch<F, VectorRows<Half>>(p, stream);
}
template <class F, class Problem>
bool launch_elements(const Problem& p, DType t, cudaStream_t stream) {
  return t == DType::f64 ? launch<F, ElementRows<double>>(p, stream) : launch<F, ElementRows<float>>(p, stream);
}

template <class Type>
bool take_vectors(const ElementwiseForward& p) {
  ElementwiseForwardParameters<VectorRows<Type>> o;
  return to_parameters(p, &o);
}
template <class Type>
bool take_vectors(const ElementwiseBackward& p) {
  ElementwiseBackwardParameters<VectorRows<Type>> o;
  return to_parameters(p, &o);
}
// Null: launch_vectors takes the call.
inline const char* vectors_refuse(const ElementwiseForward& p) {
  if (const char* const reason = cuda_refuses_device(p.device)) return reason;
  if (p.x.dtype == DType::f64) return "x.dtype: expected fp32, fp16 or bf16";
  if (p.n * item_size(p.x.dtype) % 16 != 0) return "n: expected a multiple of 16 bytes";
  const bool is = p.x.dtype == DType::f32    ? take_vectors<float>(p)
                  : p.x.dtype == DType::bf16 ? take_vectors<Bf16>(p)
                                             : take_vectors<Half>(p);
  return is ? nullptr : "x.strides: expected rows of one stride at multiples of 16 bytes, all of one type, got a tensor without";
}
inline const char* vectors_refuse(const ElementwiseBackward& p) {
  if (const char* const reason = cuda_refuses_device(p.device)) return reason;
  if (p.dy.dtype == DType::f64) return "dy.dtype: expected fp32, fp16 or bf16";
  if (p.n * item_size(p.dy.dtype) % 16 != 0) return "n: expected a multiple of 16 bytes";
  const bool is = p.dy.dtype == DType::f32    ? take_vectors<float>(p)
                  : p.dy.dtype == DType::bf16 ? take_vectors<Bf16>(p)
                                              : take_vectors<Half>(p);
  return is ? nullptr : "dy.strides: expected rows of one stride at multiples of 16 bytes, all of one type, got a tensor without";
}

// Launches with the workspace and the device seen to: of the kernels for aligned rows, or of those for any.
template <class F, bool kVectors>
kilter_status run(const ElementwiseForward& p, kilter_stream stream) {
  if (p.rows == 0) return KILTER_OK;
  DeviceCall call(p.op, p.device);
  KILTER_RETURN_IF_ERROR(call.begin());
  const cudaStream_t queue = static_cast<cudaStream_t>(stream);
  const bool launched = kVectors ? launch_vectors<F>(p, p.x.dtype, queue) : launch_elements<F>(p, p.x.dtype, queue);
  return launched ? call.finish() : no_kernel(p.op);
}
template <class F, bool kVectors>
kilter_status run(const ElementwiseBackward& p, kilter_stream stream) {
  if (p.n == 0 && !p.has_sums()) return KILTER_OK;
  const size_t need = elementwise_cuda_workspace(p);
  if (need && (!p.workspace || p.workspace_size < need))
    return fail(KILTER_WORKSPACE_TOO_SMALL, p.op, "workspace: expected %zu bytes, got %zu", need, p.workspace ? p.workspace_size : 0);
  DeviceCall call(p.op, p.device);
  KILTER_RETURN_IF_ERROR(call.begin());
  const cudaStream_t queue = static_cast<cudaStream_t>(stream);
  const bool launched = kVectors ? launch_vectors<F>(p, p.dy.dtype, queue) : launch_elements<F>(p, p.dy.dtype, queue);
  return launched ? call.finish() : no_kernel(p.op);
}

// The functions that run.h declares, of an op whose function is F.
#define KILTER_ELEMENTWISE_FUNCTIONS(op, F)                                                                                             \
  const char* op##_cuda_refuses(const ElementwiseForward& p) { return cuda::vectors_refuse(p); }                                        \
  const char* op##_cuda_refuses(const ElementwiseBackward& p) { return cuda::vectors_refuse(p); }                                       \
  kilter_status op##_cuda_forward(const ElementwiseForward& p, kilter_stream stream) { return cuda::run<F, true>(p, stream); }          \
  kilter_status op##_cuda_general_forward(const ElementwiseForward& p, kilter_stream stream) { return cuda::run<F, false>(p, stream); } \
  kilter_status op##_cuda_backward(const ElementwiseBackward& p, kilter_stream stream) { return cuda::run<F, true>(p, stream); }        \
  kilter_status op##_cuda_general_backward(const ElementwiseBackward& p, kilter_stream stream) { return cuda::run<F, false>(p, stream); }

}  // namespace kilter::cuda

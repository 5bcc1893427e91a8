// The row norms on the CPU: who does which rows, where scratch lies.  The row passes themselves are row_norm_cpu.inl.h.
#pragma once

#include "families/rowwise/row_norm.h"

namespace kilter {

// Sums over rows for dweight and dbias: G accumulators of n (null where not asked for), row r goes to r mod G.
template <class C>
struct Accumulators {
  C* weight = nullptr;
  C* bias = nullptr;
  int64_t stride = 0;  // elements from one accumulator to the next
  int count = 1;
  bool pairs = false;  // columns of a segment in pairs order (cpu/vec_io.inl.h): even ones first, then odd ones
};

// Where column i of n stands in pairs order.
int64_t pairs_index(int64_t i, int64_t n);

// One op's row passes for one SIMD target, rows [begin, end).  past_caches: streaming stores.
struct RowNormKernels {
  void (*forward_f32)(const RowNormForward&, int64_t begin, int64_t end, bool past_caches);
  void (*forward_f64)(const RowNormForward&, int64_t begin, int64_t end, bool past_caches);
  void (*backward_f32)(const RowNormBackward&, int64_t begin, int64_t end, const Accumulators<float>&, bool past_caches);
  void (*backward_f64)(const RowNormBackward&, int64_t begin, int64_t end, const Accumulators<double>&, bool past_caches);
};

[[nodiscard]] kilter_status row_norm_cpu_forward(const RowNormForward& problem, const RowNormKernels& kernels);
[[nodiscard]] kilter_status row_norm_cpu_backward(const RowNormBackward& problem, const RowNormKernels& kernels);

// Bytes of workspace with which row_norm_cpu_backward uses that many threads.
size_t row_norm_cpu_workspace(const RowNormBackward& problem, int threads);

}  // namespace kilter

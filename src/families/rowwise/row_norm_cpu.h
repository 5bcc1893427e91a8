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
};

// One op's row passes for one SIMD target, rows [begin, end).  stream: write past the caches.
struct RowNormKernels {
  void (*forward_f32)(const RowNormForward&, int64_t begin, int64_t end, bool stream);
  void (*forward_f64)(const RowNormForward&, int64_t begin, int64_t end, bool stream);
  void (*backward_f32)(const RowNormBackward&, int64_t begin, int64_t end, const Accumulators<float>&, bool stream);
  void (*backward_f64)(const RowNormBackward&, int64_t begin, int64_t end, const Accumulators<double>&, bool stream);
};

[[nodiscard]] kilter_status row_norm_cpu_forward(const RowNormForward& problem, const RowNormKernels& kernels);
[[nodiscard]] kilter_status row_norm_cpu_backward(const RowNormBackward& problem, const RowNormKernels& kernels);

// Bytes of workspace with which row_norm_cpu_backward uses that many threads.
size_t row_norm_cpu_workspace(const RowNormBackward& problem, int threads);

}  // namespace kilter

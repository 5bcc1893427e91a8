// dweight and dbias from the sums of chunks of rows: the tree over chunks of docs/numerics.md.
//
// A block takes 32 columns; eight of its warps' threads share a column, each a run of consecutive chunks.  One barrier.
#pragma once

#include "core/view.h"
#include "cuda/element.cuh"

namespace kilter::cuda {

struct FinishParameters {
  const void* partial[2];
  View out[2];
  int64_t chunks;
  int n;
  bool wide;
};

constexpr int kFinishColumns = 32, kFinishRuns = 8;

// Sums of kFinishRuns * run chunks, run a power of two; absent ones are +0.0, which a sum that started at +0.0 does not notice.
static __global__ void __launch_bounds__(kFinishColumns* kFinishRuns) finish_kernel(const __grid_constant__ FinishParameters p) {
  __shared__ double sums[kFinishRuns][kFinishColumns];
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
  const int column = blockIdx.x * kFinishColumns + threadIdx.x % kFinishColumns, mine = threadIdx.x / kFinishColumns, plane = blockIdx.y;
  int64_t run = 1;
  while (run * kFinishRuns < p.chunks) run *= 2;
  const auto at = [&](int64_t c) -> double {
    if (c >= p.chunks || column >= p.n) return 0;
    const int64_t i = c * p.n + column;
    return p.wide ? static_cast<const double*>(p.partial[plane])[i] : double(static_cast<const float*>(p.partial[plane])[i]);
  };
  double sum = 0;
  if (run <= 16) {
    double v[16];
#pragma unroll
    for (int i = 0; i < 16; ++i) v[i] = i < run ? at(mine * run + i) : 0;
#pragma unroll
    for (int step = 1; step < 16; step *= 2)
#pragma unroll
      for (int i = 0; i < 16; i += 2 * step) v[i] = v[i] + v[i + step];
    sum = v[0];
  } else {
    double level[10];  // of trees of 16 chunks
    for (int64_t first = 0; first < run; first += 16) {
      double v[16];
#pragma unroll
      for (int i = 0; i < 16; ++i) v[i] = at(mine * run + first + i);
#pragma unroll
      for (int step = 1; step < 16; step *= 2)
#pragma unroll
        for (int i = 0; i < 16; i += 2 * step) v[i] = v[i] + v[i + step];
      sum = v[0];
      int b = 0;
      for (int64_t c = first / 16; c & 1; c >>= 1, ++b) sum = level[b] + sum;
      level[b] = sum;
    }
  }
  sums[mine][threadIdx.x % kFinishColumns] = sum;
  __syncthreads();
  if (mine != 0 || column >= p.n) return;
  double v[kFinishRuns];
#pragma unroll
  for (int i = 0; i < kFinishRuns; ++i) v[i] = sums[i][threadIdx.x];
  const View& out = p.out[plane];
  store_element<float>(out.dtype, out.data, column, float(((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]))));
}

}  // namespace kilter::cuda

// dweight and dbias from what the blocks of backward.cuh leave: the tree over chunks of docs/numerics.md, or its upper part
// where a block has added up the chunks of its slots.
//
// A block takes 32 columns; sixteen threads share a column, each a run of consecutive sums, sixteen of which it loads at once.
// One barrier.
#pragma once

#include "core/view.h"
#include "cuda/dependent_launch.cuh"
#include "cuda/element.cuh"

namespace kilter::cuda {

struct FinishParameters {
  const void* partial[2];  // rows of n sums
  View out[2];             // a row for each batch
  int64_t chunks;          // rows of each partial: chunks, or blocks' slots together
  int n;
  bool wide;  // partial is fp64, else fp32
};

constexpr int kFinishColumns = 32, kFinishRuns = 16, kFinishBatch = 16;

template <class P>
__device__ __forceinline__ double finish_run(const P* sums, int64_t first, int64_t run, int64_t chunks, int64_t n) {
  double level[8];  // a binary counter of trees over batches
  double sum = 0;
  for (int64_t batch = 0; batch < run; batch += kFinishBatch) {
    double v[kFinishBatch];
    P loaded[kFinishBatch];
#pragma unroll
    for (int i = 0; i < kFinishBatch; ++i) {  // no branch around a load: all of them are under way together
      const int64_t c = first + batch + i;
      loaded[i] = sums[(c < chunks ? c : chunks - 1) * n];
    }
#pragma unroll
    for (int i = 0; i < kFinishBatch; ++i) v[i] = batch + i < run && first + batch + i < chunks ? double(loaded[i]) : 0.0;
#pragma unroll
    for (int step = 1; step < kFinishBatch; step *= 2)
#pragma unroll
      for (int i = 0; i < kFinishBatch; i += 2 * step) v[i] = v[i] + v[i + step];
    sum = v[0];
    if (run <= kFinishBatch) return sum;
    int b = 0;
    for (int64_t c = batch / kFinishBatch; c & 1; c >>= 1, ++b) sum = level[b] + sum;
    level[b] = sum;
  }
  return sum;
}

// Runs are powers of two; absent sums are +0.0, which a sum that started at +0.0 does not notice.
static __global__ void __launch_bounds__(kFinishColumns* kFinishRuns) finish_kernel(const __grid_constant__ FinishParameters p) {
  __shared__ double sums[kFinishRuns][kFinishColumns];
  wait_for_predecessor(true);
  const int column = blockIdx.x * kFinishColumns + threadIdx.x % kFinishColumns, mine = threadIdx.x / kFinishColumns, plane = blockIdx.y;
  const int64_t batch = blockIdx.z;
  const int read = column < p.n ? column : p.n - 1;
  int64_t run = 1;
  while (run * kFinishRuns < p.chunks) run *= 2;
  const double sum =
      p.wide ? finish_run(static_cast<const double*>(p.partial[plane]) + batch * p.chunks * p.n + read, mine * run, run, p.chunks, p.n)
             : finish_run(static_cast<const float*>(p.partial[plane]) + batch * p.chunks * p.n + read, mine * run, run, p.chunks, p.n);
  sums[mine][threadIdx.x % kFinishColumns] = sum;
  __syncthreads();
  if (mine != 0 || column >= p.n) return;
  double v[kFinishRuns];
#pragma unroll
  for (int i = 0; i < kFinishRuns; ++i) v[i] = sums[i][threadIdx.x];
#pragma unroll
  for (int step = 1; step < kFinishRuns; step *= 2)
#pragma unroll
    for (int i = 0; i < kFinishRuns; i += 2 * step) v[i] = v[i] + v[i + step];
  const View& out = p.out[plane];
  store_element<float>(out.dtype, out.row(batch), column, float(v[0]));
}

}  // namespace kilter::cuda

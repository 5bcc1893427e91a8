// Backward of the elementwise ops on a CUDA device.
//
// A block owns a tile of columns of the rows of a chunk; its rows of threads take the chunk's groups of four in turn.  A thread adds
// its columns' terms in the compute type over kBlockGroups / 4 groups and then in a wider one, in shared memory; behind the last group
// a tree adds up the block's threads (a barrier for each level), and the sums go to the workspace, from where a second kernel takes
// them.  x, dy and dresidual_out are read once, dx is written once.
#pragma once

#include "families/elementwise/cuda/forward.cuh"

namespace kilter::cuda {

// Terms that add up in the compute type before they are widened: those of 32 rows.
constexpr int kGroupsInBlock = 8;

template <class Rows, class F>
__global__ void __launch_bounds__(kElementwiseThreads)
    elementwise_backward_kernel(const __grid_constant__ ElementwiseBackwardParameters<Rows> p) {
  using C = typename Rows::C;
  using Sum = typename Rows::Sum;
  constexpr int kWidth = Rows::kWidth;
  __shared__ Sum columns[2][kWidth][kElementwiseThreads], scalars[2][kElementwiseThreads];
  wait_for_predecessor(p.dependent);
  const int t = threadIdx.x;
  const ElementwisePlace place = elementwise_place<Rows>(p.tile, p.n);
  const C alpha = scalar(p.alpha, C(1)), shift = scalar(p.shift, C(-0.0));
  C weight[kWidth];
  load_columns<Rows>(p.weight, place.first, p.tile.across, p.n, C(1), weight);
  C block[2][kWidth] = {}, of_alpha = 0, of_shift = 0;
#pragma unroll
  for (int j = 0; j < kWidth; ++j) columns[0][j][t] = columns[1][j][t] = Sum{};
  scalars[0][t] = scalars[1][t] = Sum{};
  const auto widen_block = [&] {
#pragma unroll
    for (int j = 0; j < kWidth; ++j)
#pragma unroll
      for (int q = 0; q < 2; ++q) {
        add_to(columns[q][j][t], widen(block[q][j]));
        block[q][j] = 0;
      }
    add_to(scalars[0][t], widen(of_alpha)), add_to(scalars[1][t], widen(of_shift));
    of_alpha = of_shift = 0;
  };
  const int64_t chunk = blockIdx.y, groups = place.inside ? p.partition.groups_of(chunk) : 0;
  int in_block = 0;
  for (int64_t group = place.down; group < groups; group += p.tile.down) {
    const int64_t first = p.partition.row(chunk, group);
    typename Rows::Raw x[kGroupRows], dy[kGroupRows];
#pragma unroll
    for (int k = 0; k < kGroupRows; ++k) {
      if (first + k >= p.rows) continue;
      x[k] = Rows::load(p.x, first + k, place.first, p.n, p.tile.across);
      dy[k] = Rows::load(p.dy, first + k, place.first, p.n, p.tile.across);
    }
#pragma unroll
    for (int k = 0; k < kGroupRows; ++k) {
      if (first + k >= p.rows) continue;
      C dx[kWidth], alphas = 0, shifts = 0;
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        const C v = Rows::value(p.x, x[k], j), upstream = Rows::value(p.dy, dy[k], j);
        const ValueAndSlope<C> f = F::template both<Approximate>(Approximate::mad(alpha, v, shift));
        const C slope = (upstream * weight[j]) * f.slope;
        block[0][j] = Approximate::mad(upstream, f.value, block[0][j]);
        block[1][j] = block[1][j] + upstream;
        alphas = Approximate::mad(slope, v, alphas);
        shifts = shifts + slope;
        dx[j] = slope * alpha;
      }
      of_alpha = of_alpha + alphas, of_shift = of_shift + shifts;
      if (p.dresidual_out.present()) {
        const typename Rows::Raw up = Rows::load(p.dresidual_out, first + k, place.first, p.n, p.tile.across);
#pragma unroll
        for (int j = 0; j < kWidth; ++j) dx[j] = dx[j] + Rows::value(p.dresidual_out, up, j);
      }
      if (p.dx.present()) Rows::store(p.dx, first + k, place.first, p.n, p.tile.across, dx);
      if (p.dresidual.present()) Rows::store(p.dresidual, first + k, place.first, p.n, p.tile.across, dx);
    }
    if (++in_block == kGroupsInBlock) widen_block(), in_block = 0;
  }
  if (!p.columns) return;
  widen_block();
  __syncthreads();
  const int across = p.tile.across, threads = blockDim.x;
  for (int step = kElementwiseThreads / 2; step > 0; step /= 2) {
    if (place.down < step && place.down + step < p.tile.down)
#pragma unroll
      for (int j = 0; j < kWidth; ++j)
        for (int q = 0; q < 2; ++q) add_to(columns[q][j][t], columns[q][j][t + step * across]);
    if (t < step && t + step < threads)
      for (int q = 0; q < 2; ++q) add_to(scalars[q][t], scalars[q][t + step]);
    __syncthreads();
  }
  if (t == 0)
    for (int q = 0; q < 2; ++q) p.scalars[2 * (chunk * p.tile.tiles + blockIdx.x) + q] = scalars[q][0];
  if (place.down == 0 && place.inside)
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      const int64_t i = Rows::column(place.first, j, across);
      for (int q = 0; i < p.n && q < 2; ++q) p.columns[(2 * chunk + q) * p.n + i] = columns[q][j][t];
    }
  let_successor_start(p.dependent);
}

// What the blocks left, in a fixed order.  kFinishRuns rows of threads take the chunks in turn, for kFinishAcross columns; the last
// block in x adds up the scalars.
constexpr int kFinishAcross = 16, kFinishRuns = 16;

template <class C>
__global__ void __launch_bounds__(kFinishAcross* kFinishRuns)
    elementwise_finish_kernel(const __grid_constant__ ElementwiseFinishParameters p) {
  using Sum = Wide<C>;
  __shared__ Sum sums[kFinishRuns][kFinishAcross];
  const int across = threadIdx.x % kFinishAcross, run = threadIdx.x / kFinishAcross, q = blockIdx.y;
  const bool of_scalars = blockIdx.x + 1 == gridDim.x;
  const int64_t i = int64_t(blockIdx.x) * kFinishAcross + across;
  const View& out = of_scalars ? (q == 0 ? p.dalpha : p.dshift) : q == 0 ? p.dweight : p.dbias;
  if (!out.present()) return;
  Sum sum = {};
  if (of_scalars) {
    const Sum* const at = static_cast<const Sum*>(p.scalars) + q;
    for (int64_t k = threadIdx.x; k < p.chunks * p.tiles; k += blockDim.x) add_to(sum, at[2 * k]);
  } else if (i < p.n) {
    const Sum* const at = static_cast<const Sum*>(p.columns) + q * p.n + i;
#pragma unroll 4
    for (int64_t c = run; c < p.chunks; c += kFinishRuns) add_to(sum, at[2 * c * p.n]);
  }
  sums[run][across] = sum;
  __syncthreads();
  if (run > 0) return;
  for (int k = 1; k < kFinishRuns; ++k) add_to(sum, sums[k][across]);
  if (!of_scalars && i < p.n) store_element<C>(out.dtype, out.data, i, C(value_of(sum)));
  if (!of_scalars) return;
  sums[0][across] = sum;
  __syncwarp(0xFFFFu);
  if (across > 0) return;
  for (int k = 1; k < kFinishAcross; ++k) add_to(sum, sums[0][k]);
  store_element<C>(out.dtype, out.data, 0, C(value_of(sum)));
}

}  // namespace kilter::cuda

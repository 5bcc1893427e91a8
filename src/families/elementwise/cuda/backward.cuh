// Backward of the elementwise ops on a CUDA device.
//
// A block owns a tile of columns of the rows of a chunk; its rows of threads take the chunk's groups of four in turn.  A thread adds
// its columns' terms in the compute type over kGroupsInBlock groups and then in a wider one, in shared memory; behind the last group a
// tree adds up the block's threads (a barrier for each level), and the sums go to the workspace, from where a second kernel takes
// them.  x, dy and dresidual_out are read once, dx is written once.
#pragma once

#include "core/wide_sum.h"
#include "families/elementwise/cuda/forward.cuh"

namespace kilter::cuda {

constexpr int kGroupsInBlock = kBlockRows / kGroupRows;

// Registers for two blocks of a multiprocessor, four rows under way: on an H200, bf16, 16384 x 4096, µs: 128.5; two rows: 144.0; two
// rows and three blocks: 173.4.
template <class Rows, class F>
__global__ void __launch_bounds__(kElementwiseThreads, sizeof(typename Rows::C) == 4 ? 2 : 1)
    elementwise_backward_kernel(const __grid_constant__ ElementwiseBackwardParameters<Rows> p) {
  using C = typename Rows::C;
  using Cursor = typename Rows::Cursor;
  constexpr int kWidth = Rows::kWidth;
  __shared__ Wide<C> columns[2][kWidth][kElementwiseThreads], scalars[2][kElementwiseThreads];
  wait_for_predecessor(p.dependent);
  const int t = threadIdx.x, across = p.tile.across;
  const ElementwisePlace place = elementwise_place<Rows>(p.tile, p.n);
  const RawScalar raw_alpha = load_scalar(p.alpha), raw_shift = load_scalar(p.shift);
  typename Rows::RawColumns raw_weight = {};
  if (place.inside) raw_weight = Rows::load_columns(p.weight, place.first, p.n, across);
#pragma unroll
  for (int j = 0; j < kWidth; ++j) columns[0][j][t] = columns[1][j][t] = Wide<C>{};
  scalars[0][t] = scalars[1][t] = Wide<C>{};
  const C alpha = value_of(p.alpha, raw_alpha, C(1)), shift = value_of(p.shift, raw_shift, C(-0.0));
  C weight[kWidth];
  Rows::values(p.weight, raw_weight, C(1), weight);

  C block[2][kWidth] = {}, of_alpha = 0, of_shift = 0;
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
    const int count = p.rows - first < kGroupRows ? int(p.rows - first) : kGroupRows;
    const Cursor x(p.x, first, place.first, p.n, across), dy(p.dy, first, place.first, p.n, across);
    typename Rows::Raw raw_x[kGroupRows], raw_dy[kGroupRows];
#pragma unroll
    for (int k = 0; k < kGroupRows; ++k)
      if (k < count) raw_x[k] = x.load(k), raw_dy[k] = dy.load(k);
#pragma unroll
    for (int k = 0; k < kGroupRows; ++k) {
      if (k >= count) continue;
      C dx[kWidth], alphas = 0, shifts = 0;
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        const C v = Rows::value(raw_x[k], j), upstream = Rows::value(raw_dy[k], j);
        const ValueAndSlope<C> f = F::template both<Approximate>(Approximate::mad(alpha, v, shift));
        const C slope = (upstream * weight[j]) * f.slope;
        block[0][j] = Approximate::mad(upstream, f.value, block[0][j]);
        block[1][j] = block[1][j] + upstream;
        alphas = Approximate::mad(slope, v, alphas);
        shifts = shifts + slope;
        dx[j] = slope * alpha;
      }
      of_alpha = of_alpha + alphas, of_shift = of_shift + shifts;
      if (Rows::present(p.dresidual_out)) {
        const typename Rows::Raw up = Cursor(p.dresidual_out, first, place.first, p.n, across).load(k);
#pragma unroll
        for (int j = 0; j < kWidth; ++j) dx[j] = dx[j] + Rows::value(up, j);
      }
      if (Rows::present(p.dx)) Cursor(p.dx, first, place.first, p.n, across).store(k, dx);
      if (Rows::present(p.dresidual)) Cursor(p.dresidual, first, place.first, p.n, across).store(k, dx);
    }
    if (++in_block == kGroupsInBlock) widen_block(), in_block = 0;
  }
  if (!p.columns) return;
  widen_block();
  __syncthreads();
  for (int step = kElementwiseThreads / 2, threads = blockDim.x; step > 0; step /= 2) {
    if (place.down < step && place.down + step < p.tile.down)
#pragma unroll
      for (int j = 0; j < kWidth; ++j)
        for (int q = 0; q < 2; ++q) add_to(columns[q][j][t], columns[q][j][t + step * across]);
    if (t < step && t + step < threads)
      for (int q = 0; q < 2; ++q) add_to(scalars[q][t], scalars[q][t + step]);
    __syncthreads();
  }
  for (int q = 0; q < 2 && t == 0; ++q) p.scalars[2 * (chunk * p.tile.tiles + blockIdx.x) + q] = C(kilter::value_of(scalars[q][0]));
  if (place.down == 0 && place.inside)
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      const int64_t i = Rows::column(place.first, j, across);
      for (int q = 0; i < p.n && q < 2; ++q) p.columns[(2 * chunk + q) * p.n + i] = C(kilter::value_of(columns[q][j][t]));
    }
  let_successor_start(p.dependent);
}

// What the blocks left, in a fixed order.  kFinishRuns rows of threads take the chunks in turn, for kFinishAcross columns; the last
// block in x adds up the scalars.
constexpr int kFinishAcross = 16, kFinishRuns = 16;

template <class C>
__global__ void __launch_bounds__(kFinishAcross* kFinishRuns)
    elementwise_finish_kernel(const __grid_constant__ ElementwiseFinishParameters p) {
  __shared__ Wide<C> sums[kFinishRuns][kFinishAcross];
  wait_for_predecessor(true);
  const int across = threadIdx.x % kFinishAcross, run = threadIdx.x / kFinishAcross, q = blockIdx.y;
  const bool of_scalars = blockIdx.x + 1 == gridDim.x;
  const int64_t i = int64_t(blockIdx.x) * kFinishAcross + across;
  const View& out = of_scalars ? (q == 0 ? p.dalpha : p.dshift) : q == 0 ? p.dweight : p.dbias;
  if (!out.present()) return;
  Wide<C> sum = {};
  if (of_scalars) {
    const C* const at = static_cast<const C*>(p.scalars) + q;
    for (int64_t k = threadIdx.x; k < p.chunks * p.tiles; k += blockDim.x) add_to(sum, widen(at[2 * k]));
  } else if (i < p.n) {
    const C* const at = static_cast<const C*>(p.columns) + q * p.n + i;
#pragma unroll 8
    for (int64_t c = run; c < p.chunks; c += kFinishRuns) add_to(sum, widen(at[2 * c * p.n]));
  }
  sums[run][across] = sum;
  __syncthreads();
  if (run > 0) return;
  for (int k = 1; k < kFinishRuns; ++k) add_to(sum, sums[k][across]);
  if (!of_scalars && i < p.n) store_element<C>(out.dtype, out.data, i, C(kilter::value_of(sum)));
  if (!of_scalars) return;
  sums[0][across] = sum;
  __syncwarp(0xFFFFu);
  if (across > 0) return;
  for (int k = 1; k < kFinishAcross; ++k) add_to(sum, sums[0][k]);
  store_element<C>(out.dtype, out.data, 0, C(kilter::value_of(sum)));
}

}  // namespace kilter::cuda

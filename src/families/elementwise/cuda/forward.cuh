// Forward of the elementwise ops on a CUDA device.
//
// A block owns a tile of columns of a run of rows, a thread the same columns of `rows_of_a_thread` of them: weight and bias are read
// once and stay in registers.  Each element is read once and written once.  No barriers.
#pragma once

#include "cuda/dependent_launch.cuh"
#include "families/elementwise/cuda/rows.cuh"

namespace kilter::cuda {

template <class Rows, class F>
__global__ void __launch_bounds__(kElementwiseThreads)
    elementwise_forward_kernel(const __grid_constant__ ElementwiseForwardParameters<Rows> p) {
  using C = typename Rows::C;
  constexpr int kWidth = Rows::kWidth, kAtOnce = 4;  // rows whose loads are under way together
  wait_for_predecessor(p.dependent);
  const ElementwisePlace place = elementwise_place<Rows>(p.tile, p.n);
  if (!place.inside) return;
  const C alpha = scalar(p.alpha, C(1)), shift = scalar(p.shift, C(-0.0));  // minus 0 changes no number
  C weight[kWidth], bias[kWidth];
  load_columns<Rows>(p.weight, place.first, p.tile.across, p.n, C(1), weight);
  load_columns<Rows>(p.bias, place.first, p.tile.across, p.n, C(-0.0), bias);
  const int64_t begin = (p.first_block + blockIdx.y) * p.tile.down * p.rows_of_a_thread + place.down;
  for (int k = 0; k < p.rows_of_a_thread; k += kAtOnce) {
    typename Rows::Raw x[kAtOnce], residual[kAtOnce];
    const auto row = [&](int q) { return begin + int64_t(k + q) * p.tile.down; };
    const auto is_there = [&](int q) { return k + q < p.rows_of_a_thread && row(q) < p.rows; };
#pragma unroll
    for (int q = 0; q < kAtOnce; ++q) {
      if (!is_there(q)) continue;
      x[q] = Rows::load(p.x, row(q), place.first, p.n, p.tile.across);
      if (p.residual.present()) residual[q] = Rows::load(p.residual, row(q), place.first, p.n, p.tile.across);
    }
#pragma unroll
    for (int q = 0; q < kAtOnce; ++q) {
      if (!is_there(q)) continue;
      C v[kWidth];
#pragma unroll
      for (int j = 0; j < kWidth; ++j) v[j] = Rows::value(p.x, x[q], j);
      if (p.residual.present()) {
#pragma unroll
        for (int j = 0; j < kWidth; ++j) v[j] = v[j] + Rows::value(p.residual, residual[q], j);
        Rows::round(p.residual, v);
        if (p.residual_out.present()) Rows::store(p.residual_out, row(q), place.first, p.n, p.tile.across, v);
      }
#pragma unroll
      for (int j = 0; j < kWidth; ++j)
        v[j] = Approximate::mad(F::template both<Approximate>(Approximate::mad(alpha, v[j], shift)).value, weight[j], bias[j]);
      Rows::store(p.y, row(q), place.first, p.n, p.tile.across, v);
    }
  }
  let_successor_start(p.dependent);
}

}  // namespace kilter::cuda

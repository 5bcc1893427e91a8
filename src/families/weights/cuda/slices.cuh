// weight_norm on a CUDA device, slices of rows.
//
// slice_kernel: a team of threads owns a slice, which they hold in registers: v and dw are read once.  A team is part of a warp, or a
// block.  Else part_sums_kernel adds up parts, and part_apply_kernel reads them again, each block with the sum of its slice's parts.
#pragma once

#include "families/weights/cuda/access.cuh"

namespace kilter::cuda {

template <class T, bool kBackward>
__global__ void __launch_bounds__(kMostTeam) slice_kernel(const __grid_constant__ WeightsParameters p) {
  using C = ComputeOf<T>;
  constexpr int W = kAccessWidth<T>, N = kHeldAccesses;
  __shared__ Squares<C> warps[kMostTeam / 32];
  wait_for_predecessor(p.dependent);
  const int team = p.team, t = threadIdx.x & (team - 1);
  const int64_t slice = int64_t(blockIdx.x) * (int(blockDim.x) / team) + threadIdx.x / team;
  const bool is = slice < p.slices.kept;
  const auto place = [&](int64_t k) { return slice_place<T>(p, slice, k, t, team); };
  Words v[N], dw[kBackward ? N : 1];
#pragma unroll
  for (int k = 0; k < N; ++k) {
    v[k] = k < p.count ? load_access<T>(p, p.v, place(k)) : Words{};
    if constexpr (kBackward) dw[k] = k < p.count ? load_access<T>(p, p.dw, place(k)) : Words{};
  }
  let_successor_start(p.dependent);
  SliceFactors<C> f = {};
  if constexpr (kBackward)
    if (is) f = backward_factors<C>(p, slice);
  Squares<C> sum = no_squares<C>();
#pragma unroll
  for (int k = 0; k < N; ++k) {
    if (k >= p.count) break;
    if constexpr (kBackward)
      add_products<T>(sum, v[k], dw[k], f.scale, f.inverse);
    else
      add_squares<T>(sum, v[k]);
  }
  if constexpr (!kBackward) mend<T>(sum, p.count, [&](int64_t k) { return load_access<T>(p, p.v, place(k)); });
  sum = team_sum(sum, team, warps);
  if (!is) return;
  if constexpr (kBackward)
    set_sum(p, slice, sum, t == 0, &f);
  else
    f = forward_factors(p, slice, sum, t == 0);
  if (!p.out.data) return;
#pragma unroll
  for (int k = 0; k < N; ++k) {
    if (k >= p.count) break;
    C out[W];
#pragma unroll
    for (int j = 0; j < W; ++j)
      if constexpr (kBackward)
        out[j] = backward_value<C>(value_in<T>(v[k].w, j), value_in<T>(dw[k].w, j), f);
      else
        out[j] = forward_value<C>(value_in<T>(v[k].w, j), f);
    store_access<T>(p, p.out, place(k), out);
  }
}

constexpr int kPartAccesses = 4;  // of each tensor under way

template <class T>
__global__ void __launch_bounds__(kWeightsThreads) part_sums_kernel(const __grid_constant__ WeightsParameters p) {
  using C = ComputeOf<T>;
  constexpr int N = kPartAccesses;
  __shared__ Squares<C> warps[kWeightsThreads / 32];
  wait_for_predecessor(p.dependent);
  const Quotient at = divided(blockIdx.x, p.parts);
  const int64_t slice = at.whole, begin = at.rest * p.tiles, end = begin + p.tiles;
  const auto place = [&](int64_t tile) { return slice_place<T>(p, slice, tile, threadIdx.x, kWeightsThreads); };
  SliceFactors<C> f = {};
  if (p.backward) f = backward_factors<C>(p, slice);
  Squares<C> sum = no_squares<C>();
  for (int64_t tile = begin; tile < end; tile += N) {
    Words v[N], dw[N];
#pragma unroll
    for (int k = 0; k < N; ++k) {
      v[k] = tile + k < end ? load_access<T>(p, p.v, place(tile + k)) : Words{};
      if (p.backward) dw[k] = tile + k < end ? load_access<T>(p, p.dw, place(tile + k)) : Words{};
    }
#pragma unroll
    for (int k = 0; k < N; ++k)
      if (p.backward)
        add_products<T>(sum, v[k], dw[k], f.scale, f.inverse);
      else
        add_squares<T>(sum, v[k]);
  }
  if (!p.backward) mend<T>(sum, end - begin, [&](int64_t k) { return load_access<T>(p, p.v, place(begin + k)); });
  sum = team_sum(sum, kWeightsThreads, warps);
  if (threadIdx.x == 0) static_cast<Squares<C>*>(p.sums)[blockIdx.x] = sum;
  let_successor_start(true);
}

template <class T>
__global__ void __launch_bounds__(kWeightsThreads) part_apply_kernel(const __grid_constant__ WeightsParameters p) {
  using C = ComputeOf<T>;
  constexpr int W = kAccessWidth<T>, N = kPartAccesses;
  __shared__ Squares<C> warps[kWeightsThreads / 32];
  wait_for_predecessor(true);
  const Quotient at = divided(p.out.data ? gridDim.x - 1 - blockIdx.x : blockIdx.x * p.parts, p.parts);  // what was read last, first
  const int64_t slice = at.whole, begin = at.rest * p.tiles, end = begin + p.tiles;
  Squares<C> sum = no_squares<C>();
  for (int64_t i = threadIdx.x; i < p.parts; i += kWeightsThreads) add(sum, static_cast<const Squares<C>*>(p.sums)[slice * p.parts + i]);
  sum = team_sum(sum, kWeightsThreads, warps);
  const bool writes = threadIdx.x == 0 && at.rest == 0;
  SliceFactors<C> f;
  if (p.backward)
    f = backward_factors<C>(p, slice), set_sum(p, slice, sum, writes, &f);
  else
    f = forward_factors(p, slice, sum, writes);
  if (!p.out.data) return;
  const auto place = [&](int64_t tile) { return slice_place<T>(p, slice, tile, threadIdx.x, kWeightsThreads); };
  for (int64_t tile = begin; tile < end; tile += N) {
    Words v[N], dw[N];
#pragma unroll
    for (int k = 0; k < N; ++k) {
      v[k] = tile + k < end ? load_access<T>(p, p.v, place(tile + k)) : Words{};
      if (p.backward) dw[k] = tile + k < end ? load_access<T>(p, p.dw, place(tile + k)) : Words{};
    }
#pragma unroll
    for (int k = 0; k < N; ++k) {
      if (tile + k >= end) break;
      C out[W];
#pragma unroll
      for (int j = 0; j < W; ++j)
        out[j] = p.backward ? backward_value<C>(value_in<T>(v[k].w, j), value_in<T>(dw[k].w, j), f)
                            : forward_value<C>(value_in<T>(v[k].w, j), f);
      store_access<T>(p, p.out, place(tile + k), out);
    }
  }
  let_successor_start(p.dependent);
}

}  // namespace kilter::cuda

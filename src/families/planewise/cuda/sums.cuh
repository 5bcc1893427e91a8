// Backward's sums on a CUDA device, over a chunk of a channel of a sample: of u = dy * activation'(v), of u h and of h, where
// h = (x - mean) rstd from the saved statistics, whose mean lost something: v makes up for it if `statistics` tells what, the sums are
// mended when they are merged (sums_merge.cuh).
//
// Channels first a team of threads owns a chunk, or several short channels; channels last a block owns a tile of channels of a chunk of
// places (plan.h).  x and dy are read once.  Teams of a block meet once, tiles twice and for each level of a tree.
#pragma once

#include "core/activation.h"
#include "families/planewise/cuda/run_statistics.cuh"
#include "families/planewise/cuda/tile_statistics.cuh"

namespace kilter::cuda {

template <class C>
struct alignas(4 * sizeof(C)) SumsCoefficients {  // h = (s x - mean) rstd, v = h factor + term, mean times s, rstd over s
  C mean, rstd, factor, term;
};
// s, told by rstd: differences of the largest numbers overflow, halves of the smallest vanish.
template <class C>
__device__ __forceinline__ C scale_of(C rstd) {
  return rstd > 0 ? C(1) : C(-0.5);
}
template <class C>
__device__ __forceinline__ C scale_for(C rstd) {
  return rstd > C(sizeof(C) == 4 ? 0x1p-100 : 0x1p-900) ? C(1) : C(-0.5);
}
template <class C>
__device__ __forceinline__ SumsCoefficients<C> sums_coefficients(const SumsParameters<C>& p, int64_t sample, int64_t channel) {
  const int64_t plane = p.planes_of.of(sample, channel), in_sample = p.planes_of.sample_planes ? channel / p.planes_of.width : plane;
  const C rstd = load_of<C>(p.rstd, sample, in_sample, C(0)), mean = load_of<C>(p.mean, sample, in_sample, C(0));
  const C s = scale_for(rstd);
  if (p.activation == KILTER_ACTIVATION_NONE) return {mean * s, rstd / s, C(0), C(0)};
  const C f = p.scale.data ? load_of<C>(p.scale, sample, channel, C(0)) + p.scale_offset : C(1);
  const C factor = load_of<C>(p.weight, 0, channel, C(1)) * f;
  const C term = Approximate::mad(load_of<C>(p.bias, 0, channel, C(0)), f, load_of<C>(p.shift, sample, channel, C(0)));
  return {mean * s, rstd / s, factor, term - p.statistics[3 * plane + 1] * rstd * factor};
}

// dy times the slope, and h: in place.
template <class T, class P, class F>
__device__ __forceinline__ void to_terms(const P& p, int step, const Place& place, typename PlaneAccess<T>::C (&x)[PlaneAccess<T>::kWidth],
                                         typename PlaneAccess<T>::C (&dy)[PlaneAccess<T>::kWidth], F coefficients) {
  using C = typename PlaneAccess<T>::C;
  constexpr int W = PlaneAccess<T>::kWidth;
#pragma unroll
  for (int j = 0; j < W; ++j) x[j] = Approximate::mad(x[j], scale_of(coefficients(j).rstd), -coefficients(j).mean) * coefficients(j).rstd;
  if (p.activation == KILTER_ACTIVATION_NONE) return;
  C slope[W], behind[1][W];
  if (p.residual.data)
    load<T>(
        p.residual, p.shape.vectors, step, [&](int) { return place; }, behind);
#pragma unroll
  for (int j = 0; j < W; ++j) slope[j] = Approximate::mad(x[j], coefficients(j).factor, coefficients(j).term);
  if (p.residual.data)
#pragma unroll
    for (int j = 0; j < W; ++j) slope[j] = slope[j] + behind[0][j];
  activation_slopes<Approximate>(p.activation, slope);
#pragma unroll
  for (int j = 0; j < W; ++j) dy[j] = dy[j] * slope[j];
}

template <class T>
__global__ void __launch_bounds__(kPlaneThreads, PlaneAccess<T>::kBlocks)
    run_sums_kernel(const __grid_constant__ SumsParameters<typename PlaneAccess<T>::C> p) {
  using A = PlaneAccess<T>;
  using C = typename A::C;
  constexpr int W = A::kWidth, kSlots = A::kSlots;
  __shared__ C memory[3][kPlaneThreads / 32];
  wait_for_predecessor(true);
  const RunPlan& runs = p.runs;
  const int team = runs.team, slots = runs.sum_slots(), lane = threadIdx.x & (team - 1);
  const RunPlace first = first_run(runs);
  const RunPlaces<A> own(runs, p.shape.batch, first);
  const auto at = [&](int k) { return own.place(k); };
  C x[kSlots][W], dy[kSlots][W], sums[3][kSlots];
  load<T>(p.x, p.shape.vectors, 1, at, x);
  load<T>(p.dy, p.shape.vectors, 1, at, dy);
#pragma unroll
  for (int k = 0; k < kSlots; ++k) {
    const Place place = own.place(k);
    sums[0][k] = sums[1][k] = sums[2][k] = 0;
    if (!place.any(W, 1)) continue;
    const SumsCoefficients<C> c = sums_coefficients(p, place.sample, run_of(runs, p.shape.batch, first, k).in_sample);
    to_terms<T>(p, 1, place, x[k], dy[k], [&](int) { return c; });
#pragma unroll
    for (int j = 0; j < W; ++j) {
      const bool is = place.has(j, 1);
      const C h = is ? x[k][j] : C(0), u = is ? dy[k][j] : C(0);
      sums[0][k] = sums[0][k] + u, sums[1][k] = Approximate::mad(u, h, sums[1][k]), sums[2][k] = sums[2][k] + h;
    }
  }
  team_sums(sums, team, slots, memory);
#pragma unroll
  for (int k = 0; k < kSlots; ++k) {
    if ((k & (slots - 1)) || lane != (k >> runs.sum_bits() & (team - 1))) continue;
    const RunPlace r = run_of(runs, p.shape.batch, first, k);
    if (r.sample >= p.shape.batch) continue;
    const int64_t cell = p.strides.of(r.sample >> runs.sample_bits, r.in_sample, r.chunk);
#pragma unroll
    for (int q = 0; q < 3; ++q) p.cells[q * p.cell_count + cell] = sums[q][k];
  }
}

template <class T>
__global__ void __launch_bounds__(kPlaneThreads, PlaneAccess<T>::kBlocks)
    tile_sums_kernel(const __grid_constant__ SumsParameters<typename PlaneAccess<T>::C> p) {
  using A = PlaneAccess<T>;
  using C = typename A::C;
  constexpr int W = A::kWidth, kAtOnce = A::kSlots / 2;
  __shared__ SumsCoefficients<C> table[A::kTile];
  __shared__ C columns[3][W][kPlaneThreads];
  wait_for_predecessor(true);
  const TilePlan& tiles = p.tiles;
  const TilePlace b = tile_of_block(tiles);
  const bool vectors = p.shape.vectors;
  const int step = vectors ? 1 : tiles.across, t = threadIdx.x;
  const int64_t begin = b.chunk * tiles.places, end = begin + tiles.places_of(b.chunk, p.shape.spatial);
  for (int i = t; i < tiles.channels(); i += blockDim.x) {
    const int64_t channel = b.tile * tiles.channels() + i;
    table[i] = channel < p.shape.channels ? sums_coefficients(p, b.sample, channel) : SumsCoefficients<C>{};
  }
  __syncthreads();
  const int own = tile_place<A>(p.shape, tiles, b.sample, b.tile, b.column, 0, true).first;
  SumsCoefficients<C> c[W];
  C sums[3][W] = {};
#pragma unroll
  for (int j = 0; j < W; ++j) c[j] = table[own + j * step];
  for (int64_t first = begin + b.row; first < end; first += tiles.down * kAtOnce) {
    const auto at = [&](int k) {
      const int64_t place = first + k * tiles.down;
      return tile_place<A>(p.shape, tiles, b.sample, b.tile, b.column, place, place < end);
    };
    C x[kAtOnce][W], dy[kAtOnce][W];
    load<T>(p.x, vectors, step, at, x);
    load<T>(p.dy, vectors, step, at, dy);
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      const Place place = at(k);
      if (!place.any(W, step)) continue;
      to_terms<T>(p, step, place, x[k], dy[k], [&](int j) { return c[j]; });
#pragma unroll
      for (int j = 0; j < W; ++j) {
        sums[0][j] = sums[0][j] + dy[k][j];
        sums[1][j] = Approximate::mad(dy[k][j], x[k][j], sums[1][j]);
        sums[2][j] = sums[2][j] + x[k][j];
      }
    }
  }
#pragma unroll
  for (int q = 0; q < 3; ++q)
#pragma unroll
    for (int j = 0; j < W; ++j) columns[q][j][t] = sums[q][j];
  __syncthreads();
#pragma unroll
  for (int q = 0; q < 3; ++q) add_rows(columns[q], tiles.across, tiles.down, b.row);
  for (int i = t; i < tiles.channels(); i += blockDim.x) {
    const int64_t channel = b.tile * tiles.channels() + i;
    if (channel >= p.shape.channels) continue;
    const int j = vectors ? i % W : i / tiles.across, column = vectors ? i / W : i % tiles.across;
    const int64_t cell = p.strides.of(b.sample, channel, b.chunk);
#pragma unroll
    for (int q = 0; q < 3; ++q) p.cells[q * p.cell_count + cell] = columns[q][j][column];
  }
}

}  // namespace kilter::cuda

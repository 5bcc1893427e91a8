// Backward's sums on a CUDA device, over a chunk of a channel of a sample: of u = dy * activation'(v), of u h and of h, where
// h = (x - mean) rstd from the saved statistics, whose mean lost something: v makes up for it if `statistics` tells what, the sums are
// mended when they are merged (sums_merge.cuh).
//
// Channels first a team of threads owns a chunk, channels last a block a tile of channels of a chunk of places (plan.h).  x and dy are
// read once.  Threads of a tile meet twice.
#pragma once

#include "core/activation.h"
#include "families/planewise/cuda/tile_statistics.cuh"

namespace kilter::cuda {

template <class C>
struct SumsCoefficients {  // h = (s x - mean) rstd, v = h factor + term, mean times s, rstd over s
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
  const int64_t plane = p.planes_of.of(sample, channel), in_sample = p.planes_of.sample_planes ? p.planes_of.in_sample(channel) : plane;
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
  if (p.mask.bytes.data) {
    const unsigned passes = load_bits<W>(p.mask, step, place);
#pragma unroll
    for (int j = 0; j < W; ++j) dy[j] = dy[j] * C(passes >> j & 1);
    return;
  }
  if (p.activation == KILTER_ACTIVATION_NONE) return;
  C slope[W], behind[W];
  if (p.residual.data) load_one<T>(p.residual, p.shape.vectors, step, place, behind);
#pragma unroll
  for (int j = 0; j < W; ++j) slope[j] = Approximate::mad(x[j], coefficients(j).factor, coefficients(j).term);
  if (p.residual.data)
#pragma unroll
    for (int j = 0; j < W; ++j) slope[j] = slope[j] + behind[j];
  activation_slopes<Approximate>(p.activation, slope);
#pragma unroll
  for (int j = 0; j < W; ++j) dy[j] = dy[j] * slope[j];
}

// What a batch of N accesses adds to the sums; elements that do not count are 0.
template <class T, int N, class P, class At, class F>
__device__ __forceinline__ void to_terms(const P& p, int step, At at, typename PlaneAccess<T>::C (&x)[N][PlaneAccess<T>::kWidth],
                                         typename PlaneAccess<T>::C (&dy)[N][PlaneAccess<T>::kWidth], F coefficients) {
  using C = typename PlaneAccess<T>::C;
#pragma unroll
  for (int k = 0; k < N; ++k) {
    const Place place = at(k);
    to_terms<T>(p, step, place, x[k], dy[k], coefficients);
    keep(place, step, x[k], C(0)), keep(place, step, dy[k], C(0));
  }
}

template <class T>
__global__ void __launch_bounds__(kPlaneThreads, 2) run_sums_kernel(const __grid_constant__ SumsParameters<typename PlaneAccess<T>::C> p) {
  using A = PlaneAccess<T>;
  using C = typename A::C;
  constexpr int W = A::kWidth;
  const RunPlan& runs = p.runs;
  const RunPlace own = run_of_team(runs, p.shape.batch);
  wait_for_predecessor(true);
  let_successor_start(true);
  SumsCoefficients<C> c = {};
  int64_t sample = -1;
  C sums[3] = {};
  each_batch<A>(runs, own, [&](auto at) {
    C x[kPlaneSlots][W], dy[kPlaneSlots][W], terms[3][W] = {};
    load<T>(p.x, p.shape.vectors, 1, at, x);
    load<T>(p.dy, p.shape.vectors, 1, at, dy);
    if (at(0).sample != sample) sample = at(0).sample, c = sums_coefficients(p, sample, own.in_sample);
    to_terms<T>(p, 1, at, x, dy, [&](int) { return c; });
#pragma unroll
    for (int k = 0; k < kPlaneSlots; ++k)
#pragma unroll
      for (int j = 0; j < W; ++j) {
        terms[0][j] = terms[0][j] + dy[k][j];
        terms[1][j] = Approximate::mad(dy[k][j], x[k][j], terms[1][j]);
        terms[2][j] = terms[2][j] + x[k][j];
      }
#pragma unroll
    for (int q = 0; q < 3; ++q) sums[q] = sums[q] + tree_sum(terms[q]);
  });
  team_sums(sums, runs.team);
  if (own.samples > 0 && own.part.count() > 0 && (threadIdx.x & (runs.team - 1)) == 0)
    p.cells[p.strides.of(own.set, own.in_sample, own.chunk)] = {sums[0], sums[1], sums[2]};
}

// Access k of both, as terms; elements that do not count are 0.
template <class T, int N, class P, class F>
__device__ __forceinline__ void take_terms(const P& p, int step, const StreamPair<T, N>& held, int k, const Place& place,
                                           typename PlaneAccess<T>::C (&h)[PlaneAccess<T>::kWidth],
                                           typename PlaneAccess<T>::C (&u)[PlaneAccess<T>::kWidth], F coefficients) {
  using C = typename PlaneAccess<T>::C;
  held.x.value(k, place, h), held.dy.value(k, place, u);
  to_terms<T>(p, step, place, h, u, coefficients);
  keep(place, step, h, C(0)), keep(place, step, u, C(0));
}
template <class T, int N, class P>
__device__ __forceinline__ StreamPair<T, N> stream_of(const P& p, int step) {
  return {Stream<T, N>(p.x, p.shape.vectors, step), Stream<T, N>(p.dy, p.shape.vectors, step)};
}

template <class T>
__global__ void __launch_bounds__(kPlaneThreads, 2) tile_sums_kernel(const __grid_constant__ SumsParameters<typename PlaneAccess<T>::C> p) {
  using A = PlaneAccess<T>;
  using C = typename A::C;
  constexpr int W = A::kWidth, N = kPlaneSlots / 2;
  __shared__ C table[4][A::kTile];  // a coefficient's of all channels behind one another, for neighbours to read them at once
  __shared__ C held[3][W][kPlaneThreads + 32 / W];
  const TilePlan& tiles = p.tiles;
  const TilePlace b = tile_of_block(tiles);
  wait_for_predecessor(true);
  let_successor_start(true);
  const bool vectors = p.shape.vectors;
  const int step = vectors ? 1 : tiles.across;
  const TileColumn<A> places_of_thread(p.shape, tiles, b);
  for (int i = threadIdx.x; i < tiles.channels(); i += blockDim.x) {
    const int64_t channel = b.tile * tiles.channels() + i;
    const SumsCoefficients<C> c = channel < p.shape.channels ? sums_coefficients(p, b.sample, channel) : SumsCoefficients<C>{};
    table[0][i] = c.mean, table[1][i] = c.rstd, table[2][i] = c.factor, table[3][i] = c.term;
  }
  __syncthreads();
  const int own = places_of_thread.channel();
  C mean[W], rstd[W], sums[3][W] = {};
#pragma unroll
  for (int j = 0; j < W; ++j) mean[j] = table[0][own + j * step], rstd[j] = table[1][own + j * step];
  const auto coefficients = [&](int j) {  // factor and term, which only slopes need, stay where they are
    return SumsCoefficients<C>{mean[j], rstd[j], table[2][own + j * step], table[3][own + j * step]};
  };
  places_of_thread.with_places([&](auto place_of) {
    const auto places = [&](int batch) { return [=](int k) { return place_of(batch * N + k); }; };
    each_fetched(stream_of<T, N>(p, step), (places_of_thread.count() + N - 1) / N, places, [&](int batch, const StreamPair<T, N>& pair) {
#pragma unroll
      for (int k = 0; k < N; ++k) {
        C h[W], u[W];
        take_terms<T>(p, step, pair, k, place_of(batch * N + k), h, u, coefficients);
#pragma unroll
        for (int j = 0; j < W; ++j) {
          sums[0][j] = sums[0][j] + u[j];
          sums[1][j] = Approximate::mad(u[j], h[j], sums[1][j]);
          sums[2][j] = sums[2][j] + h[j];
        }
      }
    });
  });
#pragma unroll
  for (int q = 0; q < 3; ++q)
#pragma unroll
    for (int j = 0; j < W; ++j) held[q][j][threadIdx.x] = sums[q][j];
  __syncthreads();
  const int64_t left = p.shape.channels - b.tile * tiles.channels();
  const int channels = left < tiles.channels() ? int(left) : tiles.channels();
  int team = 32;
  while (team > 1 && team * channels > int(blockDim.x)) team /= 2;
  for (int base = 0; base < channels; base += blockDim.x / team) {
    const int i = base + threadIdx.x / team, j = vectors ? i % W : i / tiles.across, column = vectors ? i / W : i % tiles.across;
    C total[3] = {};
    for (int row = threadIdx.x & (team - 1); i < channels && row < tiles.down; row += team)
#pragma unroll
      for (int q = 0; q < 3; ++q) total[q] = total[q] + held[q][j][row * tiles.across + column];
    team_sums(total, team);
    if (i < channels && (threadIdx.x & (team - 1)) == 0)
      p.cells[p.strides.of(b.sample, b.tile * tiles.channels() + i, b.chunk)] = {total[0], total[1], total[2]};
  }
}

}  // namespace kilter::cuda

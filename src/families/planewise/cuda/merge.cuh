// The statistics of planes from those of their parts, on a CUDA device, by Chan's formula for any number of parts at once:
// mean = sum n_i mean_i / n, squares = sum squares_i + sum n_i (mean_i - mean)^2, in fp64 and from the first part's mean on, so that
// an offset cancels; where the cells are fp64 too, once more from the mean on.  A team of threads, a warp or a block, owns a plane; teams
// of a block meet once or twice.  Where the call brings the statistics, a thread owns a plane.
#pragma once

#include "families/planewise/cuda/cells.cuh"

namespace kilter::cuda {

// Every thread receives the sum over its team, a power of two of threads up to a warp, or the block.
template <int N>
__device__ __forceinline__ void merge_sums(double (&v)[N], int team, double (&memory)[N][kPlaneThreads / 32]) {
#pragma unroll
  for (int q = 0; q < N; ++q)
    for (int bit = 1; bit < 32 && bit < team; bit *= 2) v[q] = v[q] + __shfl_xor_sync(0xFFFFFFFFu, v[q], bit);
  if (team <= 32) return;
  if ((threadIdx.x & 31) == 0)
#pragma unroll
    for (int q = 0; q < N; ++q) memory[q][threadIdx.x >> 5] = v[q];
  __syncthreads();
#pragma unroll
  for (int q = 0; q < N; ++q) {
    const double(&w)[kPlaneThreads / 32] = memory[q];
    v[q] = ((w[0] + w[1]) + (w[2] + w[3])) + ((w[4] + w[5]) + (w[6] + w[7]));
  }
}

template <class C>
__global__ void __launch_bounds__(kPlaneThreads) statistics_merge_kernel(const __grid_constant__ MergeParameters<C> p) {
  __shared__ double memory[2][4][kPlaneThreads / 32];
  const int lane = threadIdx.x & (p.team - 1);
  const int64_t plane = int64_t(blockIdx.x) * (kPlaneThreads / p.team) + threadIdx.x / p.team;
  const bool is = plane < p.planes;
  const Quotient q = is && p.planes_of.sample_planes ? divided(plane, p.planes_of.sample_planes) : Quotient{0, is ? plane : 0};
  if (p.given.mean.data) {
    wait_for_predecessor(true);
    if (!is) return;
    const PlaneNumbers<C> numbers = given_numbers<C>(p.given, q.rest);
    store_of<C>(p.results.mean, q.whole, q.rest, numbers.mean);
    store_of<C>(p.results.rstd, q.whole, q.rest, numbers.rstd);
    p.results.planes[3 * plane] = numbers.mean, p.results.planes[3 * plane + 1] = numbers.lo,
                         p.results.planes[3 * plane + 2] = numbers.rstd;
    return;
  }
  const int64_t g = q.rest, width = p.planes_of.width;
  const int64_t tile = p.first ? 0 : divided(g * width, p.tiles.channels()).whole;  // the first with channels of the plane
  const int64_t inner = p.first ? p.runs.chunks : divided((g + 1) * width - 1, p.tiles.channels()).whole - tile + 1;
  const int64_t outer = !p.first ? p.tiles.chunks : p.planes_of.sample_planes ? 1 : p.runs.sets(p.samples);
  const auto cell = [&](int64_t o, int64_t i) {
    return p.first ? p.strides.of(q.whole + o, g, i) : p.strides.of(q.whole, g + tile + i, o);
  };
  const auto elements = [&](int64_t o, int64_t i) {
    if (p.first) return double(p.runs.chunk(g, i).count() * p.runs.samples_of(o, p.samples));
    const int64_t begin = (tile + i) * p.tiles.channels(), from = g * width > begin ? g * width : begin;
    const int64_t to = (g + 1) * width < begin + p.tiles.channels() ? (g + 1) * width : begin + p.tiles.channels();
    return double(p.tiles.places_of(o, p.shape.spatial) * (to - from));
  };
  const int64_t cells = is && p.elements > 0 ? outer * inner : 0;
  wait_for_predecessor(true);
  let_successor_start(true);
  double pivot = cells > 0 ? double(p.cells[cell(0, 0)].mean) : 0, n = 0, distance = 0, squares = 0, plain = 0;
#pragma unroll
  for (int pass = 0; pass < (sizeof(C) == 8 ? 2 : 1); ++pass) {
    double sums[4] = {};  // elements, their distance from the pivot, its squares; means, which tell what a sum with an infinity is
    for (int64_t k = lane; k < cells; k += p.team) {
      const Quotient at = inner == 1 ? Quotient{k, 0} : divided(k, inner);
      const double own = elements(at.whole, at.rest);
      if (own == 0) continue;
      const Cell<C> c = p.cells[cell(at.whole, at.rest)];
      const double d = (double(c.mean) - pivot) + double(c.lo);
      sums[0] = sums[0] + own, sums[1] = sums[1] + own * d, sums[2] = sums[2] + (c.square + own * d * d),
      sums[3] = sums[3] + double(c.mean);
    }
    merge_sums(sums, p.team, memory[pass]);
    n = sums[0], distance = sums[1] / n, squares = sums[2] - distance * sums[1], plain = sums[3];
    if (pass == 0 && sizeof(C) == 8) pivot = pivot + distance;
  }
  if (squares < 0) squares = 0;
  if (p.moments.count.data && blockIdx.x == 0 && threadIdx.x == 0) store_of<double>(p.moments.count, 0, 0, p.elements);
  if (!is || lane != 0) return;
  const double mean = pivot + distance;
  Cell<C> all = {C(mean), C(0), squares};
  if (!(mean - mean == 0))
    all.mean = C(n > 0 ? plain : mean);
  else if (!(all.mean - all.mean == 0) || sizeof(C) == 4)
    all.lo = C((pivot - double(all.mean)) + distance);
  else {
    const double taken = mean - pivot;
    all.lo = C((pivot - (mean - taken)) + (distance - taken));
  }
  write_plane(p.results, plane, q.whole, q.rest, all, n);
  write_moments(p.moments, plane, p.planes, all, n);
}

}  // namespace kilter::cuda

// The statistics of planes from those of their parts, on a CUDA device, by Chan's formula for any number of parts at once:
// mean = sum n_i mean_i / n, squares = sum squares_i + sum n_i (mean_i - mean)^2, in fp64 and from the first part's mean on, so that
// an offset cancels.  A team of threads, a warp or a block, owns a plane and reads its cells twice; teams of a block meet twice.  Where
// the call brings the statistics, a thread owns a plane.
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
  __shared__ double memory[3][2][kPlaneThreads / 32];
  wait_for_predecessor(true);
  const int lane = threadIdx.x & (p.team - 1);
  const int64_t plane = int64_t(blockIdx.x) * (kPlaneThreads / p.team) + threadIdx.x / p.team;
  const bool is = plane < p.planes;
  const Quotient q = is && p.planes_of.sample_planes ? divided(plane, p.planes_of.sample_planes) : Quotient{0, is ? plane : 0};
  if (p.given.mean.data) {
    if (!is) return;
    const PlaneNumbers<C> numbers = given_numbers<C>(p.given, q.rest);
    store_of<C>(p.results.mean, q.whole, q.rest, numbers.mean);
    store_of<C>(p.results.rstd, q.whole, q.rest, numbers.rstd);
    p.results.planes[3 * plane] = numbers.mean, p.results.planes[3 * plane + 1] = numbers.lo,
                         p.results.planes[3 * plane + 2] = numbers.rstd;
    return;
  }
  const int64_t base = q.whole * p.walk.sample_stride + q.rest * p.walk.plane_stride, cells = is ? p.walk.outer * p.walk.inner : 0;
  // f(cell, its elements)
  const auto each = [&](auto f) {
    for (int64_t i = lane; i < cells; i += p.team) {
      const Quotient at = divided(i, p.walk.inner);
      const int64_t n = p.walk.first ? p.runs.chunk(q.rest, at.rest).count() * p.runs.samples_of(at.whole << p.runs.sample_bits, p.samples)
                                     : p.tiles.places_of(at.whole, p.shape.spatial);
      f(base + at.whole * p.walk.outer_stride + at.rest, double(n));
    }
  };
  const double pivot = cells > 0 ? double(p.cells.mean[base]) : 0;
  double sums[2] = {};  // elements, their distance from the pivot
  each([&](int64_t k, double n) {
    if (n == 0) return;
    sums[0] = sums[0] + n;
    sums[1] = sums[1] + n * ((double(p.cells.mean[k]) - pivot) + double(p.cells.lo[k]));
  });
  merge_sums(sums, p.team, memory[0]);
  const double n = sums[0], distance = sums[1] / n;
  double rest[2] = {};  // squares; means, which tell what a sum with an infinity is
  each([&](int64_t k, double own) {
    if (own == 0) return;
    const double d = ((double(p.cells.mean[k]) - pivot) - distance) + double(p.cells.lo[k]);
    rest[0] = rest[0] + (p.cells.square[k] + own * (d * d));
    rest[1] = rest[1] + double(p.cells.mean[k]);
  });
  merge_sums(rest, p.team, memory[1]);
  if (p.moments.count.data && blockIdx.x == 0 && threadIdx.x == 0) store_of<double>(p.moments.count, 0, 0, p.elements);
  if (!is || lane != 0) return;
  const double mean = pivot + distance;
  Cell<C> all = {C(mean), C(0), rest[0]};
  if (!(mean - mean == 0))
    all.mean = C(n > 0 ? rest[1] : mean);
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

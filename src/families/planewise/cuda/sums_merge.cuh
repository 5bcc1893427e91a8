// Backward's sums, of planes and over samples, from those of chunks, on a CUDA device, in fp64.
//
// With h = h' + lost, where h' is what h had been without the rounding of the saved mean: lost = sum h / m over a plane, and
// sum u h' = sum u h - lost * sum u.  A team of threads, a warp or a block, owns a plane; in it neighbours share a channel's chunks.
// What dweight and dbias add up over the samples lies in the workspace in fp64; the second kernel's threads own a channel each, and
// share the samples; it makes running statistics of several sets of samples too.  Teams of a block meet twice.
#pragma once

#include "families/planewise/cuda/merge.cuh"

namespace kilter::cuda {

template <class C>
__device__ __forceinline__ double factor_of(const PlaneTensor& scale, C offset, int64_t sample, int64_t channel) {
  return scale.data ? double(load_of<C>(scale, sample, channel, C(0)) + offset) : 1.0;
}

template <class C>
__global__ void __launch_bounds__(kPlaneThreads) sums_merge_kernel(const __grid_constant__ SumsMergeParameters<C> p) {
  __shared__ double memory[2][3][kPlaneThreads / 32];
  const int lane = threadIdx.x & (p.team - 1), share = lane & (p.sharers - 1);
  const int64_t plane = int64_t(blockIdx.x) * (kPlaneThreads / p.team) + threadIdx.x / p.team;
  const bool is = plane < p.planes;
  const Quotient at = is && p.planes_of.sample_planes ? divided(plane, p.planes_of.sample_planes) : Quotient{0, is ? plane : 0};
  const int64_t width = p.planes_of.width, items = is ? width : 0, all = p.shape.batch * p.shape.channels;
  // f(sample, channel) for each of this team's, by all that share it.
  const auto each = [&](auto f) {
    for (int64_t i = 0; i < width; i += p.team / p.sharers) {
      const int64_t item = i + lane / p.sharers;
      f(at.whole, at.rest * width + (item < items ? item : 0), item < items);
    }
  };
  wait_for_predecessor(true);
  let_successor_start(true);
  double sums[3] = {};  // of f w u, of f w u h, of h
  each([&](int64_t n, int64_t c, bool counts) {
    double own[3] = {};
    for (int64_t k = share; counts && k < p.chunks; k += p.sharers) {
      const SumsCell<C> cell = p.cells[p.strides.of(n, c, k)];
      own[0] = own[0] + double(cell.u), own[1] = own[1] + double(cell.uh), own[2] = own[2] + double(cell.h);
    }
    merge_sums(own, p.sharers, memory[0]);
    if (!counts || share != 0) return;
    const double g = factor_of(p.scale, p.scale_offset, n, c) * double(load_of<C>(p.weight, 0, c, C(1)));
    sums[0] = sums[0] + g * own[0], sums[1] = sums[1] + g * own[1], sums[2] = sums[2] + own[2];
    p.channels[n * p.shape.channels + c] = own[1], p.channels[all + n * p.shape.channels + c] = own[0];
  });
  merge_sums(sums, p.team, memory[1]);
  const double m = p.elements;
  double lost = p.rounded && m > 0 ? sums[2] / m : 0;
  if (p.statistics && is) lost = double(p.statistics[3 * at.rest + 1]) * double(load_of<C>(p.rstd, 0, at.rest, C(0)));
  if (is && lane == 0 && p.moves) {
    const double b = (sums[1] - lost * sums[0]) / m;
    p.planes_out[3 * plane] = C(sums[0] / m - lost * b), p.planes_out[3 * plane + 1] = C(b), p.planes_out[3 * plane + 2] = C(lost);
  }
  each([&](int64_t n, int64_t c, bool counts) {
    if (!counts || share != 0) return;
    const int64_t i = n * p.shape.channels + c;
    const double of_u = p.channels[all + i], of_uh = p.channels[i] - lost * of_u;
    p.channels[i] = of_uh;
    store_of<double>(p.sum_u, 0, c, of_u);
    store_of<double>(p.sum_uh, 0, c, of_uh);
    store_of<C>(p.dweight, 0, c, C(of_uh));
    store_of<C>(p.dbias, 0, c, C(of_u));
    const double w = double(load_of<C>(p.weight, 0, c, C(1))), bias = double(load_of<C>(p.bias, 0, c, C(0)));
    store_of<C>(p.dscale, n, c, C(w * of_uh + bias * of_u));
    store_of<C>(p.dshift, n, c, C(of_u));
  });
}

constexpr int kColumnsAcross = 16, kColumnsRuns = 16;

template <class C>
__global__ void __launch_bounds__(kColumnsAcross* kColumnsRuns) sums_finish_kernel(const __grid_constant__ SumsFinishParameters<C> p) {
  __shared__ double sums[2][kColumnsRuns][kColumnsAcross];
  wait_for_predecessor(true);
  const int across = threadIdx.x % kColumnsAcross, run = threadIdx.x / kColumnsAcross;
  const int64_t c = int64_t(blockIdx.x) * kColumnsAcross + across, all = p.batch * p.channels;
  double sum[2] = {};
  if (c < p.channels)
    for (int64_t n = run; n < p.batch; n += kColumnsRuns) {
      const double f = factor_of(p.scale, p.scale_offset, n, c);
#pragma unroll
      for (int q = 0; q < 2; ++q) sum[q] = sum[q] + f * p.numbers[q * all + n * p.channels + c];
    }
  for (int q = 0; q < 2; ++q) sums[q][run][across] = sum[q];
  __syncthreads();
  if (run > 0 || c >= p.channels) return;
  for (int k = 1; k < kColumnsRuns; ++k)
    for (int q = 0; q < 2; ++q) sum[q] = sum[q] + sums[q][k][across];
#pragma unroll
  for (int q = 0; q < 2; ++q) {
    const Running& r = p.out[q];
    if (r.old.data)
      update_running(r, p.momentum, c, sum[q] / double(p.batch), p.batch > 0);
    else
      store_of<C>(r.out, 0, c, C(sum[q]));
  }
}

}  // namespace kilter::cuda

// From the cell of a whole plane to its statistics, and where they go.
#pragma once

#include "cuda/dependent_launch.cuh"
#include "families/planewise/cuda/combine.cuh"

namespace kilter::cuda {

// A plane's from its variance.  rstd in fp32 where that holds it: fp64 is slow on many GPUs.
template <class C>
__device__ __forceinline__ C inverse_deviation(double square, double n, double eps) {
  const double variance = square > 0 || !(square == square) ? square : 0;
  if constexpr (sizeof(C) == 4) {
    const float v = float(variance) / float(n) + float(eps);
    if (v > 0x1p-90f && v < 0x1p120f && float(variance) < 0x1p120f) return 1.0f / sqrtf(v);
  }
  return C(1 / sqrt(variance / n + eps));
}

// Of a channel, as a call brings them.
template <class C>
struct PlaneNumbers {
  C mean, lo, rstd;
};
template <class C>
__device__ __forceinline__ PlaneNumbers<C> given_numbers(const GivenStatistics& given, int64_t channel) {
  const double mean = load_of<double>(given.mean, 0, channel, 0.0);
  const C hi = C(mean), lo = hi - hi == 0 ? C(mean - double(hi)) : C(0);
  if (given.variance.data) return {hi, lo, C(1 / sqrt(load_of<double>(given.variance, 0, channel, 0.0) + given.eps))};
  return {hi, lo, C(load_of<double>(given.rstd, 0, channel, 0.0))};
}

__device__ __forceinline__ void update_running(const Running& r, double momentum, int64_t channel, double value, bool any) {
  const double old = load_of<double>(r.old, 0, channel, 0.0);
  store_of<double>(r.out, 0, channel, any ? (1 - momentum) * old + momentum * value : old);
}
// Of a plane's n elements.
template <class C>
__device__ __forceinline__ void write_moments(const PlaneMoments& to, int64_t plane, int64_t planes, const Cell<C>& all, double n) {
  const double mean = double(all.mean) + double(all.lo), unbiased = all.square / (n - 1);
  if (to.m2.data) {
    store_of<double>(to.mean, 0, plane, n > 0 ? mean : 0.0);
    store_of<double>(to.m2, 0, plane, n > 0 ? all.square : 0.0);
  }
  if (to.moments) to.moments[plane] = mean, to.moments[planes + plane] = unbiased;
  if (to.running_mean.out.data) update_running(to.running_mean, to.momentum, plane, mean, n > 0);
  if (to.running_var.out.data) update_running(to.running_var, to.momentum, plane, unbiased, n > 0);
}

// Where a plane's statistics go.
template <class C>
__device__ __forceinline__ void write_plane(const PlaneResults<C>& to, int64_t plane, int64_t sample, int64_t in_sample, const Cell<C>& all,
                                            double n) {
  C mean = all.mean, lo = all.lo;
  const C rstd = inverse_deviation<C>(all.square, n, to.eps);
  store_of<C>(to.mean, sample, in_sample, mean);
  store_of<C>(to.rstd, sample, in_sample, rstd);
  if (to.saved_mean.data) {
    const C saved = load_of<C>(to.saved_mean, sample, in_sample, C(0));
    lo = (mean - saved) + lo, mean = saved;
  }
  if (!to.planes) return;
  to.planes[3 * plane] = mean, to.planes[3 * plane + 1] = lo, to.planes[3 * plane + 2] = rstd;
}

}  // namespace kilter::cuda

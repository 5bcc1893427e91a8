// A cell: the mean of a part of a plane, what it lost when it was rounded, and the sum of the squares of what is left.  From sums over
// the part, to a plane's statistics.
#pragma once

#include "cuda/dependent_launch.cuh"
#include "families/planewise/cuda/combine.cuh"

namespace kilter::cuda {

// Below it squares underflow.  fp64 is taken as it is.
template <class C>
__device__ __forceinline__ bool is_rare_square(C) {
  return false;
}
template <>
__device__ __forceinline__ bool is_rare_square(float q) {
  return !(q >= 0x1p-96f && q <= 0x1.fffffep127f);
}

template <class C>
struct Cell {
  C mean, lo;
  double square;
};
// Of sums over n elements: mean = sum / n; d = element - mean.
template <class C>
__device__ __forceinline__ Cell<C> cell_of(C mean, C sum_d, C sum_of_squares, int n) {
  const C lo = sum_d / C(n), hi = mean + lo;
  if (!(hi - hi == 0)) return {mean, C(0), double(hi - hi)};  // beside an infinity nothing else is known
  return {hi, (mean - hi) + lo, double(sum_of_squares) - double(lo) * double(lo) * n};
}
// The same from sums in fp64, where squares in fp32 overflow, or vanish although elements differ; `narrow` if none do.
__device__ __forceinline__ Cell<float> wide_cell(const Cell<float>& narrow, float squares, double mean, double sum_of_squares) {
  if (!is_rare_square(squares)) return narrow;
  if (squares <= 0x1.fffffep127f && !(sum_of_squares > mean * mean * 0x1p-80)) return narrow;
  const float hi = float(mean);
  return {hi, hi - hi == 0 ? float(mean - double(hi)) : 0.0f, sum_of_squares};
}

// Chan's formula.
template <class C>
__device__ __forceinline__ Cell<C> merged(const Cell<C>& a, double a_count, const Cell<C>& b, double b_count) {
  const double distance = (double(b.mean) - double(a.mean)) + (double(b.lo) - double(a.lo)), share = b_count / (a_count + b_count);
  const double rest = double(a.lo) + distance * share, mean = double(a.mean) + rest;
  const C hi = C(mean);
  const double square = (a.square + b.square) + distance * distance * share * a_count;
  if (!(hi - hi == 0)) return {C(double(a.mean) + double(b.mean)), C(0), square};
  return {hi, C((double(a.mean) - double(hi)) + rest), square};
}

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

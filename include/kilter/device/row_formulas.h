// The scalar formulas of docs/numerics.md that every backend computes once per row; how a row is read and summed is the
// backend's.  C: fp32 or fp64, compiled without fused multiply-add; or device::Float, which no compiler fuses.  Includes nothing of
// the C++ library, so that run-time compilers take it.
#pragma once

#include "kilter/device/inline.h"

namespace kilter {

constexpr long long kStatisticsChunk = 262144;  // elements of a row whose statistics are taken in one piece

template <class C>
struct Limits;
template <>
struct Limits<float> {
  static constexpr float moment_min = 0x1p-96f, moment_max = 0x1p96f;
  static constexpr int eps_exponent = 95;        // eps * 4^k stays at or below 2^96
  static constexpr float large_mean = 0x1p100f;  // backward: x - mean could overflow beyond
};
template <>
struct Limits<double> {
  static constexpr double moment_min = 0x1p-960, moment_max = 0x1p960;
  static constexpr int eps_exponent = 959;
  static constexpr double large_mean = 0x1p1000;
};

template <class C>
KILTER_INLINE C square_root_of(C v) {
#if defined(__CUDA_ARCH__)
  if constexpr (sizeof(C) == 8)
    return __dsqrt_rn(v);
  else
    return __fsqrt_rn(v);
#else
  if constexpr (sizeof(C) == 8)
    return __builtin_sqrt(v);
  else
    return __builtin_sqrtf(v);
#endif
}
template <class C>
KILTER_INLINE C inverse_root(C v) {
  return C(1) / square_root_of(v);
}

template <class C>
KILTER_INLINE C power_of_two(int k) {  // within the range of normal numbers
  if constexpr (sizeof(C) == 8)
    return __builtin_bit_cast(double, static_cast<unsigned long long>(k + 1023) << 52);
  else
    return __builtin_bit_cast(float, unsigned(k + 127) << 23);
}

// "Statistics": what the sums of a row, or of a chunk of it, say.  Results are written field by field: a struct that is written
// in words and copied in vectors waits for its words.
template <class C>
struct Moments {
  C mean, lo, lo2;  // subtracted in this order: the mean and what its rounding left over
  C variance;
  C moment;  // before the correction: what decides about the pre-scale

  // From the sums of d = x - mean and of d * d.
  KILTER_INLINE void set(C n, C about, C sum, C sum_of_squares) {
    mean = about;
    lo = sum / n;
    lo2 = 0;
    moment = sum_of_squares / n;
    variance = moment - lo * lo;
  }
  KILTER_INLINE void set_rms(C n, C sum_of_squares) {
    mean = lo = lo2 = 0;
    variance = moment = sum_of_squares / n;
  }
  // Nearly constant: the correction took what matters, and the sums of d - lo are needed.
  KILTER_INLINE bool cancels() const { return lo * lo > variance * C(0.25); }
  KILTER_INLINE void refine(C n, C sum, C sum_of_squares) {
    lo2 = sum / n;
    variance = sum_of_squares / n - lo2 * lo2;
  }
  KILTER_INLINE bool extreme() const { return !(moment >= Limits<C>::moment_min && moment <= Limits<C>::moment_max); }
};

// A chunk of a long row; m: the sum of squared deviations.
template <class C>
struct Chunk {
  long long n = 0;
  C mean = 0, lo = 0, m = 0;
};
template <class C>
KILTER_INLINE Chunk<C> chunk_of(const Moments<C>& s, long long n) {
  return {n, s.mean, s.lo + s.lo2, s.variance * C(n)};
}
// Chan, Golub, LeVeque 1979, "Updating formulae", eq. 2.1; the mean is carried as mean + lo.
template <class C>
KILTER_INLINE Chunk<C> merge_chunks(const Chunk<C>& a, const Chunk<C>& b) {
  Chunk<C> s{a.n + b.n};
  const C fraction = C(b.n) / C(s.n);
  const C delta = (b.mean - a.mean) + (b.lo - a.lo);
  const C step = delta * fraction;
  s.mean = a.mean + step;
  const C taken = s.mean - a.mean;
  const C lost = (a.mean - (s.mean - taken)) + (step - taken);
  s.lo = a.lo + lost;
  s.m = (a.m + b.m) + (delta * delta) * (C(a.n) * fraction);
  return s;
}
template <class C>
KILTER_INLINE void set_from(Moments<C>* s, const Chunk<C>& whole) {
  s->mean = whole.mean;
  s->lo = whole.lo;
  s->lo2 = 0;
  s->moment = s->variance = whole.m / C(whole.n);
}

// "Pre-scale": k from the exponents of the largest magnitude and of eps (0: eps is zero).
template <class C>
KILTER_INLINE int prescale_exponent(int largest, bool has_eps, int eps) {
  int k = -largest;
  if (k > 0 && has_eps) {
    const int limit = Limits<C>::eps_exponent - eps;
    const int k_max = limit >= 0 ? limit / 2 : 0;
    k = k < k_max ? k : k_max;
  }
  return k;
}
template <class C>
struct Prescale {  // 2^k in two factors, each representable
  C up1 = 1, up2 = 1, down1 = 1, down2 = 1;
  bool shrinks = false;
};
template <class C>
KILTER_INLINE Prescale<C> prescale_by(int k) {
  const int k1 = k >> 1, k2 = k - k1;
  return {power_of_two<C>(k1), power_of_two<C>(k2), power_of_two<C>(-k1), power_of_two<C>(-k2), k < 0};
}

template <class C>
struct RowStatistics {
  Moments<C> m;
  C rstd;                    // of the row as it is read (pre-scaled or not)
  C saved_mean, saved_rstd;  // of the row itself

  KILTER_INLINE void complete(C eps, const Prescale<C>& scale) {
    saved_mean = ((m.mean + (m.lo + m.lo2)) * scale.down1) * scale.down2;
    if (scale.shrinks && m.variance == 0) {  // a constant row of large numbers: the scaled eps may have vanished, eps has not
      rstd = saved_rstd = inverse_root(eps);
      return;
    }
    rstd = inverse_root(m.variance + (((eps * scale.up1) * scale.up2) * scale.up1) * scale.up2);
    saved_rstd = (rstd * scale.up1) * scale.up2;
  }
};

// "Backward": h of one element or of a vector of them (V), before the mean's correction.
template <class C>
struct RowGradient {
  C mean, rstd, h_rstd;
  bool halve;  // x - mean could overflow: both are halved, rstd doubled
  C lo, lo2;   // the mean of h, and of h - lo where that was not small
  C c1, c2;    // the means of g * h and of g

  KILTER_INLINE void start(bool centered, C saved_mean, C saved_rstd) {
    rstd = h_rstd = saved_rstd;
    mean = saved_mean;
    lo = lo2 = c1 = c2 = 0;
    halve = centered && (mean >= Limits<C>::large_mean || mean <= -Limits<C>::large_mean);
    if (halve) {
      mean = mean * C(0.5);
      h_rstd = rstd * C(2);
    }
  }
  KILTER_INLINE void set_rms(C n, C sum_gh) { c1 = sum_gh / n; }
  // True: the saved mean is coarse against this row's deviation, and the sums of h - lo are needed.
  KILTER_INLINE bool set(C n, C sum_gh, C sum_g, C sum_h) {
    lo = sum_h / n;
    finish(n, lo, sum_gh, sum_g);
    return lo > C(0.5) || lo < C(-0.5);
  }
  KILTER_INLINE void refine(C n, C sum_gh, C sum_g, C sum_h) {
    lo2 = sum_h / n;
    finish(n, lo2, sum_gh, sum_g);
  }

 private:
  KILTER_INLINE void finish(C n, C q, C sum_gh, C sum_g) {
    c1 = (sum_gh - q * sum_g) / n;
    c2 = sum_g / n;
  }
};

}  // namespace kilter

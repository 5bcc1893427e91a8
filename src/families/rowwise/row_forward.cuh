// Forward on a CUDA device for rows of up to 262144 elements whose vectors are aligned.
//
// A team of threads (row_team.cuh) owns a row and keeps it in registers as it lies in memory: each element is read once and
// written once.  Weights of the rows' own type are loaded before the reduction, where registers allow.  Barriers: one per exchange
// between the warps of a row: RMSNorm has one exchange, LayerNorm two; rare rows, judged by all their threads alike, exchange again.
#pragma once

#include "families/rowwise/row_formulas.h"
#include "families/rowwise/row_parameters.h"
#include "families/rowwise/row_team.cuh"

namespace kilter::cuda {

// Rows of a team as they are held; `scaled`: times 2^k of each row, as it is read.
template <class T, class S>
struct HeldRows {
  Packed<T> v[S::kRows][S::kSegments][S::kStripes];
  int k[S::kRows];
  bool scaled;

  // Conversions to fp32 are cheap, and dear to keep in registers across an exchange: the compiler takes these for other words.
  __device__ __forceinline__ void forget_conversions() {
    if constexpr (Packed<T>::kItem == 2)
#pragma unroll
      for (int i = 0; i < S::kRows * S::kSegments * S::kStripes; ++i) {
        uint4& w = (&v[0][0][0] + i)->part[0];
        asm volatile("" : "+r"(w.x), "+r"(w.y), "+r"(w.z), "+r"(w.w));
      }
  }

  __device__ __forceinline__ void at(int i, int s, int stripe, float (&out)[8]) const {
#pragma unroll
    for (int j = 0; j < 8; ++j) out[j] = v[i][s][stripe][j];
    if (scaled) {
      const Prescale<float> scale = prescale_by<float>(k[i]);
#pragma unroll
      for (int j = 0; j < 8; ++j) out[j] = (out[j] * scale.up1) * scale.up2;
    }
  }
};

// The columns of a thread: f(segment, stripe, column of the stripe's first element).
template <class S, class F>
__device__ __forceinline__ void each_stripe(int column, F f) {
#pragma unroll
  for (int s = 0; s < S::kSegments; ++s)
#pragma unroll
    for (int k = 0; k < S::kStripes; ++k) f(s, k, column + s * kSegmentLength + k * kStripeLength);
}

// Whether element j of the thread's eight in a stripe lies in the row: both sums of deviations must leave out what does not.
template <class T>
__device__ __forceinline__ bool inside(int c, int t, int n, int j) {
  return c + stripe_place<T>(t, j / Packed<T>::kWidth) < n;
}

template <class T, class S>
__device__ __forceinline__ void means(RowTeam<T, S>& team, HeldRows<T, S>& x, float count, Moments<float> (&m)[S::kRows]) {
  float lanes[S::kRows][S::kSegments], sum[S::kRows];
#pragma unroll
  for (int i = 0; i < S::kRows; ++i)
#pragma unroll
    for (int s = 0; s < S::kSegments; ++s) {
      float a[8];
#pragma unroll
      for (int k = 0; k < S::kStripes; ++k) {
        float v[8];
        x.at(i, s, k, v);
#pragma unroll
        for (int j = 0; j < 8; ++j) a[j] = k == 0 ? v[j] : a[j] + v[j];  // elements beyond the row are +0.0
      }
      lanes[i][s] = combine_lanes<Add, T, S::kThreads>(a);
    }
  x.forget_conversions();
  team.template combine<Add>(lanes, sum);
#pragma unroll
  for (int i = 0; i < S::kRows; ++i) m[i].mean = sum[i] / count;
}

// Sums of d = (x - mean) - lo and of d * d; out[2 * i], out[2 * i + 1] for row i.
template <bool kAgain, class T, class S>
__device__ __forceinline__ void deviations(RowTeam<T, S>& team, HeldRows<T, S>& x, int n, const Moments<float> (&m)[S::kRows],
                                           float (&out)[2 * S::kRows]) {
  float lanes[2 * S::kRows][S::kSegments];
#pragma unroll
  for (int i = 0; i < S::kRows; ++i)
#pragma unroll
    for (int s = 0; s < S::kSegments; ++s) {
      float a[8] = {}, b[8] = {};
#pragma unroll
      for (int k = 0; k < S::kStripes; ++k) {
        const int c = team.column + s * kSegmentLength + k * kStripeLength;
        float v[8];
        x.at(i, s, k, v);
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          float d = v[j] - m[i].mean;
          if (kAgain) d = d - m[i].lo;
          if (!inside<T>(c, team.t, n, j)) d = 0;
          a[j] = k == 0 ? d : a[j] + d;
          b[j] = k == 0 ? d * d : b[j] + d * d;
        }
      }
      lanes[2 * i][s] = combine_lanes<Add, T, S::kThreads>(a);
      lanes[2 * i + 1][s] = combine_lanes<Add, T, S::kThreads>(b);
    }
  x.forget_conversions();
  team.template combine<Add>(lanes, out);
}

template <class T, class S>
__device__ __forceinline__ void squares(RowTeam<T, S>& team, HeldRows<T, S>& x, float count, Moments<float> (&m)[S::kRows]) {
  float lanes[S::kRows][S::kSegments], sum[S::kRows];
#pragma unroll
  for (int i = 0; i < S::kRows; ++i)
#pragma unroll
    for (int s = 0; s < S::kSegments; ++s) {
      float a[8];
#pragma unroll
      for (int k = 0; k < S::kStripes; ++k) {
        float v[8];
        x.at(i, s, k, v);
#pragma unroll
        for (int j = 0; j < 8; ++j) a[j] = k == 0 ? v[j] * v[j] : a[j] + v[j] * v[j];
      }
      lanes[i][s] = combine_lanes<Add, T, S::kThreads>(a);
    }
  x.forget_conversions();
  team.template combine<Add>(lanes, sum);
#pragma unroll
  for (int i = 0; i < S::kRows; ++i) m[i].set_rms(count, sum[i]);
}

// k of the pre-scale of each row whose moment asks for one, else 0.
template <bool kCentered, class T, class S>
__device__ __forceinline__ void find_prescale(RowTeam<T, S>& team, HeldRows<T, S>& x, const RowForwardParameters& p,
                                              const Moments<float> (&m)[S::kRows]) {
  float lanes[2 * S::kRows][S::kSegments], out[2 * S::kRows];
#pragma unroll
  for (int i = 0; i < S::kRows; ++i)
#pragma unroll
    for (int s = 0; s < S::kSegments; ++s) {
      float largest[8] = {}, deviates[8] = {};
#pragma unroll
      for (int k = 0; k < S::kStripes; ++k) {
        const int c = team.column + s * kSegmentLength + k * kStripeLength;
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          if (!inside<T>(c, team.t, p.n, j)) continue;
          const float v = x.v[i][s][k][j], a = v < 0 ? -v : v;
          largest[j] = Larger::of(a - a == 0 ? a : __builtin_inff(), largest[j]);
          if (kCentered ? v - m[i].mean != 0 : v != 0) deviates[j] = 1;
        }
      }
      lanes[2 * i][s] = combine_lanes<Larger, T, S::kThreads>(largest);
      lanes[2 * i + 1][s] = combine_lanes<Larger, T, S::kThreads>(deviates);
    }
  team.template combine<Larger>(lanes, out);
#pragma unroll
  for (int i = 0; i < S::kRows; ++i) {
    const float largest = out[2 * i];
    const bool scales = m[i].extreme() && largest - largest == 0 && largest != 0 && (m[i].moment != 0 || out[2 * i + 1] != 0);
    x.k[i] = scales ? prescale_exponent<float>(ilogbf(largest), p.eps != 0, p.eps != 0 ? ilogbf(p.eps) : 0) : 0;
    x.scaled = x.scaled || x.k[i] != 0;
  }
  x.scaled = RowTeam<T, S>::any(x.scaled);
}

// Statistics of the rows; returns whether some lo2 is not zero.
template <bool kCentered, class T, class S>
__device__ __forceinline__ bool measure(RowTeam<T, S>& team, HeldRows<T, S>& x, const RowForwardParameters& p,
                                        Moments<float> (&m)[S::kRows]) {
  const float count = float(p.n);
  bool refined = false;
  for (int pass = 0;; ++pass) {
    if constexpr (kCentered) {
      float sums[2 * S::kRows];
      means(team, x, count, m);
      deviations<false>(team, x, p.n, m, sums);
      bool again = false;
#pragma unroll
      for (int i = 0; i < S::kRows; ++i) {
        m[i].set(count, m[i].mean, sums[2 * i], sums[2 * i + 1]);
        again = again || m[i].cancels();
      }
      if (RowTeam<T, S>::any(again)) {
        refined = true;
        deviations<true>(team, x, p.n, m, sums);
#pragma unroll
        for (int i = 0; i < S::kRows; ++i)
          if (m[i].cancels()) m[i].refine(count, sums[2 * i], sums[2 * i + 1]);
      }
    } else {
      squares(team, x, count, m);
    }
    bool extreme = false;
#pragma unroll
    for (int i = 0; i < S::kRows; ++i) extreme = extreme || m[i].extreme();
    if (pass > 0 || !RowTeam<T, S>::any(extreme)) return refined;
    find_prescale<kCentered>(team, x, p, m);
    if (!x.scaled) return refined;
  }
}

// Weights (or biases) of a stripe in fp32.
template <class T>
__device__ __forceinline__ void weights_at(const char* data, bool is_float, int c, int t, int n, float (&w)[8]) {
  if (is_float) return read_floats<T>(data, c, t, n, w);
  const Packed<T> v = read_stripe<T>(data, c, t, n);
#pragma unroll
  for (int j = 0; j < 8; ++j) w[j] = v[j];
}

template <class T, bool kCentered, class S>
__global__ void __launch_bounds__(S::kBlockMax) forward_kernel(const __grid_constant__ RowForwardParameters p) {
  using Team = RowTeam<T, S>;
  __shared__ typename Team::Exchange memory;
  Team team(memory);
  constexpr bool kEarly = S::kSegments * S::kStripes * Packed<T>::kParts <= 4;  // more would take too many registers
  const int64_t block = S::kCluster ? blockIdx.x / team.blocks : blockIdx.x;
  // Rows of a warp's teams are neighbours: a warp reads one run of memory.
  const int64_t first = block * S::kRowsPerBlock +
                        (S::kWarps == 1 ? (threadIdx.x >> 5) * (S::kTeamsPerWarp * S::kRows) + (threadIdx.x & 31) / S::kThreads : 0);
  const auto row_of = [&](int i) { return first + i * S::kTeamsPerWarp; };
  const auto read_row = [&](int i) { return row_of(i) < p.rows ? row_of(i) : p.rows - 1; };  // the last, again: nothing rare about it

  HeldRows<T, S> x;
  x.scaled = false;
#pragma unroll
  for (int i = 0; i < S::kRows; ++i) {
    x.k[i] = 0;
    const char* const row = p.x.row(read_row(i));
    each_stripe<S>(team.column, [&](int s, int k, int c) { x.v[i][s][k] = read_stripe<T>(row, c, team.t, p.n); });
  }
  Packed<T> early_weight[S::kStripes], early_bias[S::kStripes];
  if constexpr (kEarly) {
    each_stripe<S>(team.column, [&](int, int k, int c) {
      if (p.weight && !p.weight_is_float) early_weight[k] = read_stripe<T>(p.weight, c, team.t, p.n);
      if (p.bias && !p.bias_is_float) early_bias[k] = read_stripe<T>(p.bias, c, team.t, p.n);
    });
  }
  if (p.residual.present()) {
#pragma unroll
    for (int i = 0; i < S::kRows; ++i) {
      const char* const row = p.residual.row(read_row(i));
      char* const out = p.residual_out.present() && row_of(i) < p.rows ? p.residual_out.row(row_of(i)) : nullptr;
      each_stripe<S>(team.column, [&](int s, int k, int c) {
        const Packed<T> v = read_stripe<T>(row, c, team.t, p.n);
        float sum[8];
#pragma unroll
        for (int j = 0; j < 8; ++j) sum[j] = x.v[i][s][k][j] + v[j];
#pragma unroll
        for (int q = 0; q < Packed<T>::kParts; ++q) x.v[i][s][k].part[q] = Packed<T>::pack(sum + q * Packed<T>::kWidth);
        if (out) write_stripe<T>(out, c, team.t, p.n, sum);
      });
    }
  }
  team.memory.started();

  Moments<float> m[S::kRows];
  const bool refined = measure<kCentered>(team, x, p, m);
#pragma unroll
  for (int i = 0; i < S::kRows; ++i) {
    const int64_t r = row_of(i);
    if (r >= p.rows) break;
    RowStatistics<float> statistics;
    statistics.m = m[i];
    statistics.complete(p.eps, x.scaled ? prescale_by<float>(x.k[i]) : Prescale<float>());
    if (team.column == 0 && team.t == 0) {
      if (kCentered && p.mean.present()) *reinterpret_cast<float*>(p.mean.row(r)) = statistics.saved_mean;
      if (p.rstd.present()) *reinterpret_cast<float*>(p.rstd.row(r)) = statistics.saved_rstd;
    }
    char* const y = p.y.row(r);
    const char* const after = p.post_residual.present() ? p.post_residual.row(r) : nullptr;
    each_stripe<S>(team.column, [&](int s, int k, int c) {
      float v[8], w[8];
      x.at(i, s, k, v);
      if constexpr (kCentered) {
#pragma unroll
        for (int j = 0; j < 8; ++j) v[j] = (v[j] - m[i].mean) - m[i].lo;
        if (refined)
#pragma unroll
          for (int j = 0; j < 8; ++j) v[j] = v[j] - m[i].lo2;
      }
#pragma unroll
      for (int j = 0; j < 8; ++j) v[j] = v[j] * statistics.rstd;
      if (p.round_then_multiply) round_to<T>(v);
      if (p.weight) {
        if (kEarly && !p.weight_is_float) {
#pragma unroll
          for (int j = 0; j < 8; ++j) w[j] = early_weight[k][j];
        } else {
          weights_at<T>(p.weight, p.weight_is_float, c, team.t, p.n, w);
        }
        if (p.weight_offset != 0)
#pragma unroll
          for (int j = 0; j < 8; ++j) w[j] = w[j] + p.weight_offset;
#pragma unroll
        for (int j = 0; j < 8; ++j) v[j] = v[j] * w[j];
        if (p.round_then_multiply) round_to<T>(v);
      }
      if (p.bias) {
        if (kEarly && !p.bias_is_float) {
#pragma unroll
          for (int j = 0; j < 8; ++j) w[j] = early_bias[k][j];
        } else {
          weights_at<T>(p.bias, p.bias_is_float, c, team.t, p.n, w);
        }
#pragma unroll
        for (int j = 0; j < 8; ++j) v[j] = v[j] + w[j];
        if (p.round_then_multiply) round_to<T>(v);
      }
      if (after) {
        const Packed<T> add = read_stripe<T>(after, c, team.t, p.n);
#pragma unroll
        for (int j = 0; j < 8; ++j) v[j] = v[j] + add[j];
      }
      write_stripe<T>(y, c, team.t, p.n, v);
    });
  }
}

}  // namespace kilter::cuda

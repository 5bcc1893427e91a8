// Forward on a CUDA device for rows of up to 262144 elements whose vectors are aligned.
//
// A team of threads (row_team.cuh) owns a row and keeps it in registers as it lies in memory: each element is read once and
// written once.  Weights are copied to shared memory before the reduction, by the thread that will need them.  Of several rows in
// flight a thread computes the statistics of its own, and passes them on.  Barriers: one per exchange between the warps of
// a row: RMSNorm has one exchange, LayerNorm two; rare rows, judged by all their threads alike, exchange again.
#pragma once

#include "families/rowwise/row_formulas.h"
#include "families/rowwise/row_parameters.h"
#include "families/rowwise/row_team.cuh"

namespace kilter::cuda {

// Rows of a team as they are held.
template <class T, class S>
struct HeldRows {
  Packed<T> v[S::kRows][S::kSegments][S::kStripes];
  bool scaled = false;  // times 2^k of each row, as it is read
  int k = 0;            // of this thread's own row

  __device__ __forceinline__ void at(int i, int s, int stripe, float (&out)[8]) const {
#pragma unroll
    for (int j = 0; j < 8; ++j) out[j] = v[i][s][stripe][j];
    if (__builtin_expect(scaled, 0)) {
      const int row_k = S::kRows == 1 ? k : __shfl_sync(0xFFFFFFFFu, k, i << LaneTree<T, S::kThreads, S::kRows>::kShift, S::kThreads);
      const Prescale<float> scale = prescale_by<float>(row_k);
#pragma unroll
      for (int j = 0; j < 8; ++j) out[j] = (out[j] * scale.up1) * scale.up2;
    }
  }
  // Conversions to fp32 are cheap, and dear to keep in registers across an exchange: the compiler takes these for other words.
  __device__ __forceinline__ void forget_conversions() {
    if constexpr (Packed<T>::kItem == 2)
#pragma unroll
      for (int i = 0; i < S::kRows * S::kSegments * S::kStripes; ++i) {
        uint4& w = (&v[0][0][0] + i)->part[0];
        asm volatile("" : "+r"(w.x), "+r"(w.y), "+r"(w.z), "+r"(w.w));
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

// Weights of a thread's columns on their way through shared memory: 16 bytes per access, in the order in which they are needed.
template <class S>
struct EarlyWeights {
  char* at;  // this thread's first
  int step;  // bytes from one access to the next

  __device__ __forceinline__ static void copy(char* to, const char* from) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 16;" ::"r"(uint32_t(__cvta_generic_to_shared(to))), "l"(from) : "memory");
  }
  __device__ __forceinline__ static void arrive() { asm volatile("cp.async.wait_all;" ::: "memory"); }

  template <class T>
  __device__ __forceinline__ void start(const char* vector, int slot, int column, int t, int n) const {
    each_stripe<S>(column, [&](int s, int k, int c) {
#pragma unroll
      for (int q = 0; q < Packed<T>::kParts; ++q) {
        const int i = c + stripe_place<T>(t, q);
        if (i < n)
          copy(at + (((slot * S::kSegments + s) * S::kStripes + k) * Packed<T>::kParts + q) * step, vector + int64_t(i) * Packed<T>::kItem);
      }
    });
  }
  template <class T>
  __device__ __forceinline__ void get(int slot, int s, int k, float (&w)[8]) const {
    Packed<T> v;
#pragma unroll
    for (int q = 0; q < Packed<T>::kParts; ++q)
      v.part[q] = *reinterpret_cast<const uint4*>(at + (((slot * S::kSegments + s) * S::kStripes + k) * Packed<T>::kParts + q) * step);
#pragma unroll
    for (int j = 0; j < 8; ++j) w[j] = v[j];
  }
};

// Dynamic shared memory for them.
template <class T, class S>
constexpr int early_bytes(int block, int vectors) {
  return block * 16 * Packed<T>::kParts * S::kSegments * S::kStripes * vectors;
}

template <class T, bool kCentered, class S>
struct ForwardRows {
  using Team = RowTeam<T, S>;
  using Tree = typename Team::Tree;
  const RowForwardParameters& p;
  Team& team;
  HeldRows<T, S> x;
  Moments<float> m;  // of this thread's own row
  bool refined = false;

  __device__ __forceinline__ bool inside(int c, int q) const { return c + stripe_place<T>(team.t, q) < p.n; }

  __device__ __forceinline__ float mean(float count) {
    float sum[1];
    team.template combine<Add>(sum, [&](int i, int s, float(&out)[1][8]) {
      float(&a)[8] = out[0];
#pragma unroll
      for (int k = 0; k < S::kStripes; ++k) {
        float v[8];
        x.at(i, s, k, v);
#pragma unroll
        for (int j = 0; j < 8; ++j) a[j] = k == 0 ? v[j] : a[j] + v[j];  // elements beyond the row are +0.0
      }
    });
    return sum[0] / count;
  }

  // Sums of d = x - mean (kAgain: minus lo) and of d * d.
  template <bool kAgain>
  __device__ __forceinline__ void deviations(float (&sums)[2]) {
    team.template combine<Add>(sums, [&](int i, int s, float(&out)[2][8]) {
      float(&a)[8] = out[0], (&b)[8] = out[1];
      const float mean = Tree::spread(m.mean, i), lo = kAgain ? Tree::spread(m.lo, i) : 0;
#pragma unroll
      for (int j = 0; j < 8; ++j) a[j] = b[j] = 0;
#pragma unroll
      for (int k = 0; k < S::kStripes; ++k) {
        const int c = team.column + s * kSegmentLength + k * kStripeLength;
        float v[8];
        x.at(i, s, k, v);
#pragma unroll
        for (int part = 0; part < Packed<T>::kParts; ++part) {
          if (!inside(c, part)) continue;
#pragma unroll
          for (int j = part * Packed<T>::kWidth; j < (part + 1) * Packed<T>::kWidth; ++j) {
            float d = v[j] - mean;
            if (kAgain) d = d - lo;
            a[j] = a[j] + d;
            b[j] = b[j] + d * d;
          }
        }
      }
    });
  }

  __device__ __forceinline__ float squares() {
    float sum[1];
    team.template combine<Add>(sum, [&](int i, int s, float(&out)[1][8]) {
      float(&a)[8] = out[0];
#pragma unroll
      for (int k = 0; k < S::kStripes; ++k) {
        float v[8];
        x.at(i, s, k, v);
#pragma unroll
        for (int j = 0; j < 8; ++j) a[j] = k == 0 ? v[j] * v[j] : a[j] + v[j] * v[j];
      }
    });
    return sum[0];
  }

  // k of the pre-scale of each row whose moment asks for one, else 0.
  __device__ __forceinline__ void find_prescale() {
    float out[2];
    team.template combine<Larger>(out, [&](int i, int s, float(&a)[2][8]) {
      const float mean = kCentered ? Tree::spread(m.mean, i) : 0;
#pragma unroll
      for (int j = 0; j < 8; ++j) a[0][j] = a[1][j] = 0;
      each_stripe<S>(team.column, [&](int segment, int k, int c) {
        if (segment != s) return;
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          if (!inside(c, j / Packed<T>::kWidth)) continue;
          const float v = x.v[i][s][k][j], magnitude = v < 0 ? -v : v;
          a[0][j] = Larger::of(magnitude - magnitude == 0 ? magnitude : __builtin_inff(), a[0][j]);
          if (v - mean != 0) a[1][j] = 1;
        }
      });
    });
    const float largest = out[0];
    const bool scales = m.extreme() && largest - largest == 0 && largest != 0 && (m.moment != 0 || out[1] != 0);
    x.k = scales ? prescale_exponent<float>(ilogbf(largest), p.eps != 0, p.eps != 0 ? ilogbf(p.eps) : 0) : 0;
    x.scaled = Team::any(x.k != 0);
  }

  __device__ __forceinline__ void measure() {
    const float count = float(p.n);
    for (int pass = 0;; ++pass) {
      if constexpr (kCentered) {
        float sums[2];
        const float about = mean(count);
        m.mean = about;
        x.forget_conversions();
        deviations<false>(sums);
        x.forget_conversions();
        m.set(count, about, sums[0], sums[1]);
        if (__builtin_expect(Team::any(m.cancels()), 0)) {
          refined = true;
          deviations<true>(sums);
          if (m.cancels()) m.refine(count, sums[0], sums[1]);
        }
      } else {
        const float sum = squares();
        x.forget_conversions();
        m.set_rms(count, sum);
      }
      if (__builtin_expect(pass > 0 || !Team::any(m.extreme()), 1)) return;
      find_prescale();
      if (!x.scaled) return;
    }
  }
};

// Weights (or biases) of a stripe, from memory.
template <class T>
__device__ __forceinline__ void late_weights(const char* vector, bool is_float, int c, int t, int n, float (&w)[8]) {
  if (is_float) return read_floats<T>(vector, c, t, n, w);
  const Packed<T> v = read_stripe<T>(vector, c, t, n);
#pragma unroll
  for (int j = 0; j < 8; ++j) w[j] = v[j];
}

template <class T, bool kCentered, class S>
__global__ void __launch_bounds__(S::kBlockMax, S::template kBlocks<T>()) forward_kernel(const __grid_constant__ RowForwardParameters p) {
  using Team = RowTeam<T, S>;
  using Tree = typename Team::Tree;
  extern __shared__ __align__(16) char early_memory[];
  __shared__ typename Team::Exchange memory;
  Team team(memory);
  const uint32_t flags = p.flags;
  const int64_t block = S::kCluster ? blockIdx.x / team.blocks : blockIdx.x;
  // Rows of a warp's teams are neighbours: a warp reads one run of memory.
  const int64_t first = block * S::kRowsPerBlock +
                        (S::kWarps == 1 ? (threadIdx.x >> 5) * (S::kTeamsPerWarp * S::kRows) + (threadIdx.x & 31) / S::kThreads : 0);
  const auto row_of = [&](int i) { return first + i * S::kTeamsPerWarp; };
  const auto read_row = [&](int i) { return row_of(i) < p.rows ? row_of(i) : p.rows - 1; };  // the last, again: nothing rare about it

  ForwardRows<T, kCentered, S> rows{p, team, {}, {}};
#pragma unroll
  for (int i = 0; i < S::kRows; ++i) {
    const char* const row = row_at(p.x, p.x_runs, flags, read_row(i));
    each_stripe<S>(team.column, [&](int s, int k, int c) { rows.x.v[i][s][k] = read_stripe<T>(row, c, team.t, p.n); });
  }
  const EarlyWeights<S> early{early_memory + threadIdx.x * 16, int(blockDim.x) * 16};
  if (flags & kEarlyWeights) {
    if (flags & kHasWeight) early.template start<T>(p.weight, 0, team.column, team.t, p.n);
    if (flags & kHasBias) early.template start<T>(p.bias, 1, team.column, team.t, p.n);
  }
  if (__builtin_expect(flags & kHasResidual, 0)) {
#pragma unroll
    for (int i = 0; i < S::kRows; ++i) {
      const char* const row = row_at(p.residual, p.residual_runs, flags, read_row(i));
      char* const out = p.residual_out.data && row_of(i) < p.rows ? row_at(p.residual_out, p.residual_out_runs, flags, row_of(i)) : nullptr;
      each_stripe<S>(team.column, [&](int s, int k, int c) {
        const Packed<T> v = read_stripe<T>(row, c, team.t, p.n);
        float sum[8];
#pragma unroll
        for (int j = 0; j < 8; ++j) sum[j] = rows.x.v[i][s][k][j] + v[j];
#pragma unroll
        for (int q = 0; q < Packed<T>::kParts; ++q) rows.x.v[i][s][k].part[q] = Packed<T>::pack(sum + q * Packed<T>::kWidth);
        if (out) write_stripe<T>(out, c, team.t, p.n, sum);
      });
    }
  }
  team.memory.started();

  rows.measure();
  RowStatistics<float> statistics;
  statistics.m = rows.m;
  if (__builtin_expect(rows.x.scaled, 0))
    statistics.complete(p.eps, prescale_by<float>(rows.x.k));
  else
    statistics.complete(p.eps, Prescale<float>());
  if (team.column == 0 && Tree::writes(team.t)) {
    const int64_t r = row_of(Tree::own_row(team.t));
    if (r < p.rows) {
      if (kCentered && p.mean.data) *reinterpret_cast<float*>(row_at(p.mean, p.mean_runs, flags, r)) = statistics.saved_mean;
      if (p.rstd.data) *reinterpret_cast<float*>(row_at(p.rstd, p.rstd_runs, flags, r)) = statistics.saved_rstd;
    }
  }
  if (flags & kEarlyWeights) EarlyWeights<S>::arrive();
#pragma unroll
  for (int i = 0; i < S::kRows; ++i) {
    const int64_t r = row_of(i);
    const float mean = kCentered ? Tree::spread(rows.m.mean, i) : 0, lo = kCentered ? Tree::spread(rows.m.lo, i) : 0,
                lo2 = kCentered && rows.refined ? Tree::spread(rows.m.lo2, i) : 0, rstd = Tree::spread(statistics.rstd, i);
    const int n = r < p.rows ? p.n : 0;
    char* const y = row_at(p.y, p.y_runs, flags, r);
    const char* const after = p.post_residual.data ? row_at(p.post_residual, p.post_residual_runs, flags, r) : nullptr;
    each_stripe<S>(team.column, [&](int s, int k, int c) {
      float v[8], w[8];
      rows.x.at(i, s, k, v);
      if constexpr (kCentered) {
#pragma unroll
        for (int j = 0; j < 8; ++j) v[j] = (v[j] - mean) - lo;
        if (__builtin_expect(rows.refined, 0))
#pragma unroll
          for (int j = 0; j < 8; ++j) v[j] = v[j] - lo2;
      }
#pragma unroll
      for (int j = 0; j < 8; ++j) v[j] = v[j] * rstd;
      const auto round = [&] {
        if (__builtin_expect(flags & kRoundThenMultiply, 0)) round_to<T>(v);
      };
      round();
      if (flags & kHasWeight) {
        if (__builtin_expect(flags & kEarlyWeights, 1))
          early.template get<T>(0, s, k, w);
        else
          late_weights<T>(p.weight, flags & kFloatWeight, c, team.t, p.n, w);
        if (__builtin_expect(flags & kHasOffset, 0))
#pragma unroll
          for (int j = 0; j < 8; ++j) w[j] = w[j] + p.weight_offset;
#pragma unroll
        for (int j = 0; j < 8; ++j) v[j] = v[j] * w[j];
        round();
      }
      if (flags & kHasBias) {
        if (__builtin_expect(flags & kEarlyWeights, 1))
          early.template get<T>(1, s, k, w);
        else
          late_weights<T>(p.bias, flags & kFloatBias, c, team.t, p.n, w);
#pragma unroll
        for (int j = 0; j < 8; ++j) v[j] = v[j] + w[j];
        round();
      }
      if (__builtin_expect(after != nullptr, 0)) {
        const Packed<T> add = read_stripe<T>(after, c, team.t, n);
#pragma unroll
        for (int j = 0; j < 8; ++j) v[j] = v[j] + add[j];
      }
      write_stripe<T>(y, c, team.t, n, v);
    });
  }
}

}  // namespace kilter::cuda

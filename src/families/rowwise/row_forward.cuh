// Forward on a CUDA device for rows of up to 262144 elements whose vectors are aligned.
//
// A team of threads (row_team.cuh) owns a row and keeps it in registers as it lies in memory: each element is read once and
// written once.  Few rows: weights are copied to shared memory before the reduction, by the thread that will need them.  Of several rows in
// flight a thread computes the statistics of its own, and passes them on.  Barriers: one per exchange between the warps of a row
// (RMSNorm: one, LayerNorm: two); all threads of a rare row judge it alike and leave for row_forward_rare.cuh.
#pragma once

#include "cuda/dependent_launch.cuh"
#include "families/rowwise/row_forward_rare.cuh"

namespace kilter::cuda {

// Weights of a thread's columns on their way through shared memory, 16 bytes per access.
template <class T, class S>
struct EarlyWeights {
  static constexpr int kStep = S::kBlockMax * 16, kVector = S::kHeld * Packed<T>::kParts * kStep;  // bytes
  char* at;                                                                                        // this thread's first

  __device__ __forceinline__ void start(const char* vector, int slot, int left) const {
    const uint32_t to = uint32_t(__cvta_generic_to_shared(at)) + slot * kVector;
#pragma unroll
    for (int i = 0; i < S::kHeld * Packed<T>::kParts; ++i) {
      const int place = i / Packed<T>::kParts * 256 + i % Packed<T>::kParts * 128;
      if (place < left)
        asm volatile("cp.async.ca.shared.global [%0], [%1], 16;" ::"r"(to + i * kStep), "l"(vector + place * Packed<T>::kItem) : "memory");
    }
  }
  __device__ __forceinline__ static void arrive() { asm volatile("cp.async.wait_all;" ::: "memory"); }

  __device__ __forceinline__ void get(int slot, int held, float (&w)[8]) const {
    Packed<T> v;
#pragma unroll
    for (int q = 0; q < Packed<T>::kParts; ++q)
      v.part[q] = *reinterpret_cast<const uint4*>(at + slot * kVector + (held * Packed<T>::kParts + q) * kStep);
#pragma unroll
    for (int j = 0; j < 8; ++j) w[j] = v[j];
  }
};

template <class T, bool kCentered, class S>
struct HeldRows {
  Packed<T> v[S::kRows][S::kHeld];

  // Conversions to fp32 are cheap, and dear to keep in registers across an exchange: the compiler takes these for other words.
  __device__ __forceinline__ void forget_conversions() {
    if constexpr (Packed<T>::kItem == 2)
#pragma unroll
      for (int i = 0; i < S::kRows * S::kHeld; ++i) {
        uint4& w = (&v[0][0] + i)->part[0];
        asm volatile("" : "+r"(w.x), "+r"(w.y), "+r"(w.z), "+r"(w.w));
      }
  }

  // The moments of this thread's own row.
  __device__ __forceinline__ void measure(RowTeam<T, S>& team, int n, Moments<float>* m) {
    using Tree = typename RowTeam<T, S>::Tree;
    const float count = float(n);
    const int left = n - team.column;
    float sum[1];
    team.template combine<Add>(sum, [&](int i, int s, float(&a)[1][8]) {
#pragma unroll
      for (int k = 0; k < S::kStripes; ++k)
#pragma unroll
        for (int j = 0; j < 8; ++j) {  // elements beyond the row are +0.0
          const float x = v[i][s * S::kStripes + k][j], term = kCentered ? x : x * x;
          a[0][j] = k == 0 ? term : a[0][j] + term;
        }
    });
    forget_conversions();
    if constexpr (!kCentered) {
      m->set_rms(count, sum[0]);
    } else {
      const float mean = sum[0] / count;
      float sums[2];
      team.template combine<Add>(sums, [&](int i, int s, float(&a)[2][8]) {
        const float about = Tree::spread(mean, i);
#pragma unroll
        for (int k = 0; k < S::kStripes; ++k) {
          const int place = (s * kSegmentStripes + k) * kStripeLength;
          const auto add = [&](bool whole) {
#pragma unroll
            for (int j = 0; j < 8; ++j) {
              float d = v[i][s * S::kStripes + k][j] - about;
              if (!whole && !(place + j / Packed<T>::kWidth * 128 < left)) d = 0;
              a[0][j] = k == 0 ? d : a[0][j] + d;
              a[1][j] = k == 0 ? d * d : a[1][j] + d * d;
            }
          };
          if (place + kStripeLength <= left + stripe_place<T>(team.t, 0))  // alike in all threads of the warp
            add(true);
          else
            add(false);
        }
      });
      forget_conversions();
      m->set(count, mean, sums[0], sums[1]);
    }
  }
};

// kPlain: one stride per tensor, a weight (LayerNorm: and a bias) of the rows' type without an offset, no residuals, one rounding.
template <class T, bool kCentered, class S, bool kPlain>
__global__ void __launch_bounds__(S::kBlockMax, S::template kBlocks<T>()) forward_kernel(const __grid_constant__ RowForwardParameters p) {
  using Team = RowTeam<T, S>;
  using Tree = typename Team::Tree;
  extern __shared__ __align__(16) char early_memory[];
  __shared__ typename Team::Exchange memory;
  Team team(memory);
  const uint32_t flags = kPlain ? p.flags & ~kTwoStrides : p.flags;
  const int left = p.n - team.column;
  const int64_t bytes = int64_t(team.column) * Packed<T>::kItem;
  const int64_t block = S::kCluster ? blockIdx.x / team.blocks : blockIdx.x;
  // Rows of a warp's teams are neighbours: a warp reads one run of memory.
  const int64_t first = block * S::kRowsPerBlock +
                        (S::kWarps == 1 ? (threadIdx.x >> 5) * (S::kTeamsPerWarp * S::kRows) + (threadIdx.x & 31) / S::kThreads : 0);
  const auto row_of = [&](int i) { return first + i * S::kTeamsPerWarp; };
  const auto read_row = [&](int i) { return row_of(i) < p.rows ? row_of(i) : p.rows - 1; };  // the last, again: nothing rare about it

  const EarlyWeights<T, S> early{early_memory + threadIdx.x * 16};
  const bool is_early = flags & kEarlyWeights, is_dependent = flags & kDependent;
  const auto start_weights = [&] {
    if (!is_early) return;
    if (kPlain || (flags & kHasWeight)) early.start(p.weight + bytes, 0, left);
    if (kPlain ? kCentered : bool(flags & kHasBias)) early.start(p.bias + bytes, 1, left);
  };
  if (is_dependent) {
    start_weights();
    wait_for_predecessor();
  }
  HeldRows<T, kCentered, S> x;
#pragma unroll
  for (int i = 0; i < S::kRows; ++i) {
    const char* const at = row_at(p.x, p.x_runs, flags, read_row(i)) + bytes;
#pragma unroll
    for (int h = 0; h < S::kHeld; ++h) x.v[i][h] = read_stripe<T>(at, h, left);
  }
  if (!is_dependent) start_weights();
  if constexpr (!kPlain) {
    if (flags & kHasResidual) {
      // A store to residual_out, which may be residual itself, orders the loads behind it: all loads come first, as many as four
      // stripes hold.
      constexpr int kAll = S::kRows * S::kHeld, kBatch = kAll < 4 ? kAll : 4;
#pragma unroll
      for (int batch = 0; batch < kAll; batch += kBatch) {
        Packed<T> add[kBatch];
#pragma unroll
        for (int b = 0; b < kBatch; ++b) {
          const int i = (batch + b) / S::kHeld, h = (batch + b) % S::kHeld;
          add[b] = read_stripe<T>(row_at(p.residual, p.residual_runs, flags, read_row(i)) + bytes, h, left);
        }
#pragma unroll
        for (int b = 0; b < kBatch; ++b) {
          const int i = (batch + b) / S::kHeld, h = (batch + b) % S::kHeld;
          float sum[8];
#pragma unroll
          for (int j = 0; j < 8; ++j) sum[j] = x.v[i][h][j] + add[b][j];
#pragma unroll
          for (int q = 0; q < Packed<T>::kParts; ++q) x.v[i][h].part[q] = Packed<T>::pack(sum + q * Packed<T>::kWidth);
          const int left_here = p.residual_out.data && row_of(i) < p.rows ? left : 0;
          write_stripe<T>(row_at(p.residual_out, p.residual_out_runs, flags, row_of(i)) + bytes, h, left_here, sum);
        }
      }
    }
  }
  team.memory.started();

  RowStatistics<float> statistics;
  x.measure(team, p.n, &statistics.m);
  const Moments<float>& m = statistics.m;
  if (Team::any(m.extreme() || (kCentered && m.cancels()))) {
    HeldRows<T, kCentered, S> copy = x;
    return rare_rows<T, kCentered, S>(p, team, &copy.v[0][0], first);
  }
  statistics.complete(p.eps, Prescale<float>());
  if (team.leads() && Tree::writes(team.t)) {
    const int64_t r = row_of(Tree::own_row(team.t));
    if (r < p.rows) {
      if (kCentered && p.mean.data) *reinterpret_cast<float*>(row_at(p.mean, p.mean_runs, flags, r)) = statistics.saved_mean;
      if (p.rstd.data) *reinterpret_cast<float*>(row_at(p.rstd, p.rstd_runs, flags, r)) = statistics.saved_rstd;
    }
  }
  if (is_dependent) let_successor_start();
  if (is_early) EarlyWeights<T, S>::arrive();
#pragma unroll
  for (int i = 0; i < S::kRows; ++i) {
    const float mean = kCentered ? Tree::spread(m.mean, i) : 0, lo = kCentered ? Tree::spread(m.lo, i) : 0,
                rstd = Tree::spread(statistics.rstd, i);
    const int left_here = row_of(i) < p.rows ? left : 0;
    char* const y = row_at(p.y, p.y_runs, flags, row_of(i)) + bytes;
    const char* const after = row_at(p.post_residual, p.post_residual_runs, flags, row_of(i)) + bytes;
#pragma unroll
    for (int h = 0; h < S::kHeld; ++h) {
      float v[8];
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        v[j] = x.v[i][h][j];
        if (kCentered) v[j] = (v[j] - mean) - lo;
        v[j] = v[j] * rstd;
      }
      affine<T, kPlain, kCentered>(
          flags, p.weight_offset, v,
          [&](float(&w)[8]) {
            if (is_early)
              early.get(0, h, w);
            else
              late_weights<T>(p.weight, !kPlain && (flags & kFloatWeight), team.column, h, left, w);
          },
          [&](float(&w)[8]) {
            if (is_early)
              early.get(1, h, w);
            else
              late_weights<T>(p.bias, !kPlain && (flags & kFloatBias), team.column, h, left, w);
          },
          [&](float(&w)[8]) {
            const Packed<T> a = read_stripe<T>(after, h, left_here);
#pragma unroll
            for (int j = 0; j < 8; ++j) w[j] = a[j];
          });
      write_stripe<T>(y, h, left_here, v);
    }
  }
}

}  // namespace kilter::cuda

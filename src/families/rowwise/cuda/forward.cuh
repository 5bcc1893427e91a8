// Forward on a CUDA device for rows of up to 262144 elements.
//
// T is the type of rows read and written by vectors, aligned or (of calls that are not plain) shifted into place; or NearSingles or
// FarSingles: any types in any place, an element at a time.
//
// A team of threads (team.cuh) owns a row and keeps it in registers as it lies in memory: each element is read once and
// written once.  Weights are copied to shared memory before the reduction, by the thread that will need them, if `early`.  Of several rows
// in flight a thread computes the statistics of its own, and passes them on.  Barriers: one per exchange between the warps of a row
// (RMSNorm: one, LayerNorm: two); all threads of a rare row judge it alike and leave for forward_rare.cuh.
#pragma once

#include "cuda/dependent_launch.cuh"
#include "families/rowwise/cuda/forward_rare.cuh"
#include "families/rowwise/cuda/held_rows.cuh"

namespace kilter::cuda {

// kPlain: one stride per tensor, a weight (LayerNorm: and a bias) of the rows' type without an offset, no residuals, one rounding.
template <class T, bool kCentered, class S, bool kPlain>
__global__ void __launch_bounds__(S::kBlockMax, S::template kBlocks<T>() - (!kPlain && S::kThreads < 32 ? 1 : 0))
    forward_kernel(const __grid_constant__ RowForwardParameters p) {
  using Team = RowTeam<T, S>;
  using Tree = typename Team::Tree;
  char* const early_memory = dynamic_shared();
  __shared__ typename Team::Exchange memory;
  Team team(memory);
  const uint32_t flags = kPlain ? p.flags & ~kTwoStrides : p.flags;
  const int left = p.n - team.column;
  // Singles: stripes of the warp without a place beyond the row.
  const int whole = (left + thread_place<T>(team.t)) / kStripeLength;
  const int64_t bytes = int64_t(team.column) * Packed<T>::kItem;
  constexpr bool kShifts = kCanShift<T, S, kPlain>;
  const bool is_shifted = kShifts && (flags & kShifted);
  const int64_t block = S::kCluster ? blockIdx.x / team.blocks : blockIdx.x;
  // Rows of a warp's teams are neighbours: a warp reads one run of memory.
  const int64_t first = block * S::kRowsPerBlock +
                        (S::kWarps == 1 ? (threadIdx.x >> 5) * (S::kTeamsPerWarp * S::kRows) + (threadIdx.x & 31) / S::kThreads : 0);
  const auto row_of = [&](int i) { return first + i * S::kTeamsPerWarp; };
  const auto is_row = [&](int i) { return S::kWarps > 1 || row_of(i) < p.rows; };   // several warps: a block or cluster per row
  const auto read_row = [&](int i) { return is_row(i) ? row_of(i) : p.rows - 1; };  // the last, again: nothing rare about it

  const EarlyWeights<T, S> early{early_memory + threadIdx.x * 16};
  // What plan_memory (plan.h) decides for plain 16-bit rows; others are told.
  constexpr bool kIsKnown = kPlain && Packed<T>::kItem == 2, kKnown = !(S::kCluster && kCentered);
  const bool is_early = kIsKnown ? kKnown : bool(flags & kEarlyWeights), is_dependent = flags & kDependent;
  const auto start_weights = [&] {
    if (!is_early) return;
    const RowWeights own(p, kPlain ? 0 : flags, read_row(0));
    if (kPlain || (flags & kHasWeight)) early.start(own.weight + bytes, 0, left, is_shifted);
    if (kPlain ? kCentered : bool(flags & kHasBias)) early.start(own.bias + bytes, 1, left, is_shifted);
  };
  if constexpr (kPlain) {
    constexpr int kSpan = S::kHeld * kStripeLength, kLine = 128 / Packed<T>::kItem;  // columns
#pragma unroll
    for (int i = 0; i < kSpan; i += S::kThreads * kLine) {
      const int place = i + team.t * kLine, begin = team.column - thread_place<T>(team.t);
      const bool is = is_dependent && place < kSpan && begin + place < p.n;
      prefetch(p.weight + int64_t(begin + place) * Packed<T>::kItem, is);
      if (kCentered) prefetch(p.bias + int64_t(begin + place) * Packed<T>::kItem, is);
    }
  }
  wait_for_predecessor(is_dependent);
  HeldRows<T, kCentered, S> x;
  if constexpr (kIsSingles<T>) {
    with_type(p.types.x, [&](auto type) {
      using E = decltype(type);
#pragma unroll
      for (int i = 0; i < S::kRows; ++i) {
        const char* const at = element_at<E>(row_at(p.x, p.x_runs, flags, read_row(i)), team.column);
#pragma unroll
        for (int h = 0; h < S::kHeld; ++h) x.v[i][h] = read_bits<T, E>(at, h, left, h < whole);
      }
#pragma unroll
      for (int i = 0; i < S::kRows; ++i)
#pragma unroll
        for (int h = 0; h < S::kHeld; ++h) bits_to_values<E>(x.v[i][h]);
    });
  } else if (is_shifted) {
    if constexpr (kShifts) read_shifted(p.x, read_row(0), p.rows - 1, team, left, [&](int k, const uint4& v) { vector_of(x.v[0], k) = v; });
    start_weights();
  } else {  // not by the same lambda, for which the compiler finds the addresses again for each load
#pragma unroll
    for (int i = 0; i < S::kRows; ++i) {
      const char* const at = row_at(p.x, p.x_runs, flags, read_row(i)) + bytes;
#pragma unroll
      for (int h = 0; h < S::kHeld; ++h) x.v[i][h] = S::kSegments == 1 ? stream_stripe<T>(at, h, left) : read_stripe<T>(at, h, left);
    }
    start_weights();
  }
  if constexpr (!kPlain) {
    if (is_shifted && (flags & kHasResidual)) {
      if constexpr (kShifts) {
        read_shifted(p.residual, read_row(0), p.rows - 1, team, left, [&](int k, const uint4& v) {
          Packed<T> a, b;
          a.part[0] = vector_of(x.v[0], k), b.part[0] = v;
          float sum[Packed<T>::kWidth];
#pragma unroll
          for (int j = 0; j < Packed<T>::kWidth; ++j) sum[j] = a[j] + b[j];
          vector_of(x.v[0], k) = Packed<T>::pack(sum);
        });
        if (p.residual_out.data) write_shifted(p.residual_out, row_of(0), is_row(0), team, left, x.v[0]);
      }
    } else if (flags & kHasResidual) {
      // A store to residual_out, which may be residual itself, orders the loads behind it: all loads come first, as many as four
      // stripes hold.
      constexpr int kAll = S::kRows * S::kHeld, kBatch = S::kRows == 4 ? 2 : kAll < 4 ? kAll : 4;
      with_element<T>(p.types.residual, [&](auto type) {
        using E = decltype(type);
#pragma unroll
        for (int batch = 0; batch < kAll; batch += kBatch) {
          Packed<T> add[kBatch];
#pragma unroll
          for (int b = 0; b < kBatch; ++b) {
            const int i = (batch + b) / S::kHeld, h = (batch + b) % S::kHeld;
            add[b] = read_elements<T, E>(element_at<E>(row_at(p.residual, p.residual_runs, flags, read_row(i)), team.column), h, left,
                                         h < whole);
          }
#pragma unroll
          for (int b = 0; b < kBatch; ++b) {
            const int i = (batch + b) / S::kHeld, h = (batch + b) % S::kHeld;
            float sum[8];
            if (p.gate.data) {
              const char* const gate = p.gate.data + modulation_of(p.modulation, read_row(i)) * p.gate.stride;
              row_weights<T>(gate, p.types.gate, flags & kFloatGate, team.column, h, left, h < whole, false, sum);
#pragma unroll
              for (int j = 0; j < 8; ++j) sum[j] = x.v[i][h][j] * sum[j];
            } else {
#pragma unroll
              for (int j = 0; j < 8; ++j) sum[j] = x.v[i][h][j];
            }
#pragma unroll
            for (int j = 0; j < 8; ++j) sum[j] = sum[j] + add[b][j];
            x.v[i][h] = held_as<T, E>(sum);
            const bool writes = p.residual_out.data && is_row(i);
            if (!kIsSingles<T> || writes)
              write_elements<T, E>(element_at<E>(row_at(p.residual_out, p.residual_out_runs, flags, row_of(i)), team.column), h,
                                   writes ? left : 0, h < whole, sum);
          }
        }
      });
    }
  }
  team.memory.started();

  QuickStatistics<kCentered> statistics;
  const bool is_ragged = is_shifted && left + thread_place<T>(team.t) < S::kSegments * kSegmentLength;  // the row ends in this warp
  x.measure(team, p, whole, is_ragged, &statistics);
  if (Team::any(statistics.is_rare)) {
    HeldRows<T, kCentered, S> copy = x;
    return rare_rows<T, kCentered, S, kPlain>(p, team, &copy.v[0][0], first);
  }
  if (team.leads() && Tree::writes(team.t)) {
    const int64_t r = row_of(Tree::own_row(team.t));
    if (is_row(Tree::own_row(team.t))) {
      if (kCentered && p.mean.data) *reinterpret_cast<float*>(row_at(p.mean, p.mean_runs, flags, r)) = statistics.saved_mean();
      if (p.rstd.data) *reinterpret_cast<float*>(row_at(p.rstd, p.rstd_runs, flags, r)) = statistics.rstd;
    }
  }
  let_successor_start(is_dependent);
  const auto write = [&](auto weight, auto bias) {
#pragma unroll
    for (int i = 0; i < S::kRows; ++i) {
      const float mean = kCentered ? Tree::spread(statistics.mean, i) : 0, lo = kCentered ? Tree::spread(statistics.lo, i) : 0,
                  rstd = Tree::spread(statistics.rstd, i);
      const int left_here = is_row(i) ? left : 0;
      char* const y = row_at(p.y, p.y_runs, flags, row_of(i));
      const char* const after = row_at(p.post_residual, p.post_residual_runs, flags, row_of(i));
      const RowWeights own(p, kPlain ? 0 : flags, read_row(i));
#pragma unroll
      for (int h = 0; h < S::kHeld; ++h) {
        float v[8];
        x.forget_conversions(i, h);  // what both branches have in common would move in front of them
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          v[j] = x.v[i][h][j];
          if (kCentered) v[j] = (v[j] - mean) - lo;
          v[j] = v[j] * rstd;
        }
        affine<T, kPlain, kCentered>(
            p, flags, v, [&](float(&w)[8]) { weight(own.weight, h, w); }, [&](float(&w)[8]) { bias(own.bias, h, w); },
            [&](float(&w)[8]) {
              row_weights<T>(after, p.types.post_residual, false, team.column, h, left_here, h < whole && is_row(i), false, w);
            });
        if constexpr (S::kSegments == 1 && !kIsSingles<T>)
          stream_stripe<T>(y + bytes, h, is_shifted ? 0 : left_here, v, flags & kStreams);
        else
          with_element<T>(p.types.y, [&](auto type) {
            using E = decltype(type);
            write_elements<T, E>(element_at<E>(y, team.column), h, is_shifted ? 0 : left_here, h < whole && is_row(i), v);
          });
        if constexpr (kShifts)
#pragma unroll
          for (int q = 0; q < Packed<T>::kParts; ++q) x.v[i][h].part[q] = Packed<T>::pack(v + q * Packed<T>::kWidth);
      }
      if constexpr (kShifts)
        if (is_shifted) write_shifted(p.y, row_of(i), is_row(i), team, left, x.v[i]);
    }
  };
  // Ahead of stores of what came before: 16-bit rows leave registers for it.
  constexpr bool kAhead = kPlain && Packed<T>::kItem == 2;
  const auto late_weight = [&](const char* own, int h, float(&w)[8]) {
    row_weights<T, kAhead>(own, p.types.weight, !kPlain && (flags & kFloatWeight), team.column, h, left, h < whole, is_shifted, w);
  };
  const auto late_bias = [&](const char* own, int h, float(&w)[8]) {
    row_weights<T, kAhead && S::kSegments == 1>(own, p.types.bias, !kPlain && (flags & kFloatBias), team.column, h, left, h < whole,
                                                is_shifted, w);
  };
  if constexpr (kIsSingles<T>) {
    write(late_weight, late_bias);
  } else {
    const auto early_weight = [&](const char*, int h, float(&w)[8]) { early.get(0, h, w); };
    const auto early_bias = [&](const char*, int h, float(&w)[8]) { early.get(1, h, w); };
    if (is_early) EarlyWeights<T, S>::arrive();
    if constexpr (kPlain && (Packed<T>::kItem == 2 || S::kSegments == 1)) {
      if (is_early)
        write(early_weight, early_bias);
      else
        write(late_weight, late_bias);
    } else {  // smaller code, fewer registers
      write([&](const char* own, int h, float(&w)[8]) { is_early ? early_weight(own, h, w) : late_weight(own, h, w); },
            [&](const char* own, int h, float(&w)[8]) { is_early ? early_bias(own, h, w) : late_bias(own, h, w); });
    }
  }
}

}  // namespace kilter::cuda

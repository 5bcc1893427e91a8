// What a thread of forward.cuh holds: its part of the rows in flight, with their statistics, and its weights on their way.
#pragma once

#include "cuda/scalars.cuh"
#include "families/rowwise/cuda/parameters.h"
#include "families/rowwise/cuda/row_access.cuh"
#include "families/rowwise/cuda/team.cuh"

namespace kilter::cuda {

// Weights of a thread's columns on their way through shared memory, 16 bytes per access.
template <class T, class S>
struct EarlyWeights {
  static constexpr int kStep = S::kBlockMax * 16, kVector = S::kHeld * Packed<T>::kParts * kStep;  // bytes
  char* at;                                                                                        // this thread's first

  // is_shifted: the row may end inside a vector.
  __device__ __forceinline__ void start(const char* vector, int slot, int left, bool is_shifted) const {
    const uint32_t to = shared_place(at) + slot * kVector;
    const int whole = left - (is_shifted ? Packed<T>::kWidth - 1 : 0);
#pragma unroll
    for (int i = 0; i < S::kHeld * Packed<T>::kParts; ++i) {
      const int place = i / Packed<T>::kParts * 256 + part_place<T>(i % Packed<T>::kParts);
      if (place < whole) copy_words(to + i * kStep, vector + place * Packed<T>::kItem);
    }
    if (!is_shifted || left <= 0) return;
    const int bytes = left * Packed<T>::kItem, last = bytes / kVectorStep, count = bytes % kVectorStep;
    if (count < kUnit && count % kUnit && last < S::kHeld * Packed<T>::kParts)
      copy_words(to + last * kStep, vector + last * kVectorStep, count);
  }
  __device__ __forceinline__ static void arrive() { wait_for_own_copies(); }

  __device__ __forceinline__ void get(int slot, int held, float (&w)[8]) const {
    Packed<T> v;
#pragma unroll
    for (int q = 0; q < Packed<T>::kParts; ++q)
      v.part[q] = __builtin_bit_cast(uint4, load_shared(shared_place(at) + slot * kVector + (held * Packed<T>::kParts + q) * kStep));
#pragma unroll
    for (int j = 0; j < 8; ++j) w[j] = v[j];
  }
};

template <class T, bool kCentered, class S>
struct HeldRows {
  Packed<T> v[S::kRows][S::kHeld];

  // Conversions to fp32 are cheap, and dear to keep in registers across an exchange: the compiler takes these for other words.
  __device__ __forceinline__ void forget_conversions() {
#pragma unroll
    for (int i = 0; i < S::kRows; ++i)
#pragma unroll
      for (int h = 0; h < S::kHeld; ++h) forget_conversions(i, h);
  }
  __device__ __forceinline__ void forget_conversions(int i, int h) {
    if constexpr (Packed<T>::kItem == 2) {
      uint4& w = v[i][h].part[0];
      if constexpr (S::kSegments == 2) {
        const uint32_t zero = threadIdx.y;  // which ptxas does not know
        w.x ^= zero, w.y ^= zero, w.z ^= zero, w.w ^= zero;
      }
      forget(w);
    }
  }

  // The second segment's work does not start before the first one's is done: side by side they take too many registers.
  __device__ __forceinline__ void hold(int s, float& sum) {
#pragma unroll
    for (int k = 0; k < S::kStripes; ++k)
#pragma unroll
      for (int q = 0; q < Packed<T>::kParts; ++q)
        if constexpr (!kIsSingles<T>) forget(sum, v[0][s * S::kStripes + k].part[q]);
  }

  // The statistics of this thread's own row.  is_ragged: the row may end inside a vector.
  __device__ __forceinline__ void measure(RowTeam<T, S>& team, const RowForwardParameters& p, int whole, bool is_ragged,
                                          QuickStatistics<kCentered>* m) {
    using Tree = typename RowTeam<T, S>::Tree;
    const float count = float(p.n);
    float sum[1];
    team.template combine<Add>(
        sum,
        [&](int i, int s, float(&a)[1][8]) {
#pragma unroll
          for (int k = 0; k < S::kStripes; ++k)
#pragma unroll
            for (int j = 0; j < 8; ++j) {  // elements beyond the row are +0.0
              const float x = v[i][s * S::kStripes + k][j], term = kCentered ? x : x * x;
              a[0][j] = k == 0 ? term : a[0][j] + term;
            }
        },
        [&](int s, float& sum) { hold(s, sum); });
    forget_conversions();
    if constexpr (!kCentered) {
      m->complete(0, sum[0], count, p.inverse_n, p.eps);
    } else {
      m->set_mean(sum[0], count, p.inverse_n);
      const int left = p.n - team.column;
      float sums[2];
      team.template combine<Add>(
          sums,
          [&](int i, int s, float(&a)[2][8]) {
            const float mean = Tree::spread(m->mean, i);
            const auto add = [&](int k, auto is_whole, auto is_ragged) {
#pragma unroll
              for (int q = 0; q < Packed<T>::kParts; ++q)
#pragma unroll
                for (int j = q * Packed<T>::kWidth; j < (q + 1) * Packed<T>::kWidth; ++j) {
                  const int stripe = s * kSegmentStripes + k;
                  const int place = stripe * kStripeLength + part_place<T>(q) + (is_ragged() ? j % Packed<T>::kWidth : 0);
                  const float about = is_whole() || place < left ? mean : 0;  // beyond the row: +0.0 again
                  const float d = v[i][s * S::kStripes + k][j] - about;
                  a[0][j] = k == 0 ? d : a[0][j] + d;
                  a[1][j] = k == 0 ? d * d : a[1][j] + d * d;
                }
            };
            const auto add_all = [&](auto is_ragged) {
#pragma unroll
              for (int k = 0; k < S::kStripes; ++k) {
                if constexpr (kIsSingles<T>)
                  with_whole<T>(s * kSegmentStripes + k < whole, [&](auto is_whole) { add(k, is_whole, is_ragged); });
                else
                  add(k, std::false_type{}, is_ragged);
              }
            };
            if (is_ragged)
              add_all(std::true_type{});
            else
              add_all(std::false_type{});
          },
          [&](int s, float& sum) { hold(s, sum); });
      forget_conversions();
      m->complete(sums[0], sums[1], count, p.inverse_n, p.eps);
    }
  }
};

}  // namespace kilter::cuda

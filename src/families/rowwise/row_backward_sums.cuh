// Backward's sums over a row: the terms, and what the row's output needs of them.
#pragma once

#include "families/rowwise/row_backward_exchange.cuh"
#include "families/rowwise/row_scalars.cuh"

namespace kilter::cuda {

// Four columns of the weight: as they lie in memory, then as the products read them.
template <class T>
struct FourWeights {
  float4 wide = {};  // fp32 beside 16-bit rows
  Quad<T> own = {};

  __device__ __forceinline__ void load(const RowBackwardParameters& p, int column) {
    if (p.flags & kFloatWeight)
      wide = *reinterpret_cast<const float4*>(p.weight + int64_t(column) * 4);
    else if (p.flags & kHasWeight)
      own = *reinterpret_cast<const Quad<T>*>(p.weight + int64_t(column) * Packed<T>::kItem);
  }
  __device__ __forceinline__ float4 scaled(const RowBackwardParameters& p) const {
    if (!(p.flags & kHasWeight)) return {1, 1, 1, 1};
    float4 w = p.flags & kFloatWeight ? wide : make_float4(own[0], own[1], own[2], own[3]);
    if (p.flags & kHasOffset) w = {w.x + p.weight_offset, w.y + p.weight_offset, w.z + p.weight_offset, w.w + p.weight_offset};
    return w;
  }
};

// The terms of A, B and H (docs/numerics.md) of a stripe, added to their lanes.  kWhole: all of it lies in the row, whose x - mean does not
// overflow.  kAgain: with h - lo.
template <class T, bool kCentered, bool kWhole, bool kAgain>
__device__ __forceinline__ void add_terms(const Packed<T>& x, const Packed<T>& dy, const float (&w)[8], const RowGradient<float>& s, int k,
                                          int left, bool first, float (&a)[3][8]) {
  float v[8];
#pragma unroll
  for (int j = 0; j < 8; ++j) v[j] = x[j];
  if (kCentered && !kWhole && s.halve)
#pragma unroll
    for (int j = 0; j < 8; ++j) v[j] = v[j] * 0.5f;
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    float h = kCentered ? (v[j] - s.mean) * s.h_rstd : v[j] * s.h_rstd;
    if (kAgain) h = h - s.lo;
    const float g = dy[j] * w[j];
    float terms[3] = {g * h, g, h};
#pragma unroll
    for (int q = 0; q < (kCentered ? 3 : 1); ++q) {
      if (!kWhole && !(k * 256 + j / Packed<T>::kWidth * 128 < left)) terms[q] = 0;
      a[q][j] = first ? terms[q] : a[q][j] + terms[q];
    }
  }
}

// From a row's saved statistics.
template <bool kCentered>
__device__ __forceinline__ void start_row(uint32_t statistics, RowGradient<float>* s) {
  const uint2 saved = load_shared_pair(statistics);  // mean, rstd
  s->start(kCentered, kCentered ? __uint_as_float(saved.x) : 0.0f, __uint_as_float(saved.y));
}

// Phase one: this warp's rows and segment.
template <class T, bool kCentered, class S>
struct GroupSums {
  using Tree = LaneTree<T, S::kThreads, S::kWarpRows>;
  static constexpr int kSums = kCentered ? 3 : 1;
  int t, segment, row;   // of the block's segments; first of the group's rows
  int left, whole_left;  // elements of the block's part from the thread's and from the segment's first on
  int place;             // of the thread's first element in the segment, in the block's part of a row
  int unit;              // with the rows

  __device__ __forceinline__ explicit GroupSums(const BackwardBlock<T, S>& b) {
    const int warp = b.thread / 32;
    t = b.thread % S::kThreads;
    segment = S::kStripes == 4 ? warp / kGroupRows : 0;
    row = S::kStripes == 4 ? warp % kGroupRows : S::kStripes == 2 ? 2 * warp : 0;
    place = segment * kSegmentLength + stripe_place<T>(t, 0);
    left = b.width - place, whole_left = b.width - segment * kSegmentLength;
    unit = b.unit + (row >> b.p.rows_shift);
  }
  // kWhole: all of the segment is there, and x - mean does not overflow.
  template <bool kWhole>
  __device__ __forceinline__ void stripe(const BackwardBlock<T, S>& b, uint32_t x_row, const uint32_t (&weights)[2],
                                         const RowGradient<float>& s, int k, bool is_first, float (&a)[3][8]) const {
    Packed<T> xv, dv;
    float w[8];
#pragma unroll
    for (int q = 0; q < Packed<T>::kParts; ++q) {
      const int c = k * 256 + q * 128;
      const uint32_t at = x_row + c * Packed<T>::kItem;
      if (kWhole) {
        xv.part[q] = load_shared_words(at), dv.part[q] = load_shared_words(at + b.p.at.tensor);
      } else {
        xv.part[q] = load_shared_words_if(at, c < left), dv.part[q] = load_shared_words_if(at + b.p.at.tensor, c < left);
      }
    }
#pragma unroll
    for (int q = 0; q < 2; ++q) {
      const float4 f = load_shared(weights[q] + k * 256 * 4);
      w[4 * q] = f.x, w[4 * q + 1] = f.y, w[4 * q + 2] = f.z, w[4 * q + 3] = f.w;
    }
    add_terms<T, kCentered, kWhole, false>(xv, dv, w, s, k, left, is_first, a);
  }
  __device__ __forceinline__ void take(const BackwardBlock<T, S>& b, const Group& g) const {
    const int buffer = g.number & 1;
    const uint32_t x = b.base + b.slot_offset(g) + b.row_offset(row) + place * Packed<T>::kItem;
    const uint32_t weights[2] = {b.weights(place), b.weights(place + (Packed<T>::kParts == 2 ? 128 : 4))};
    float lanes[3][S::kWarpRows];
#pragma unroll
    for (int m = 0; m < S::kWarpRows; ++m) {
      RowGradient<float> s;
      start_row<kCentered>(b.statistics(g, b.slot, row + m), &s);
      const uint32_t x_row = x + m * b.p.at.row;  // several rows of a warp: they are neighbours
      float a[3][8];
      if (S::kStripes * kStripeLength <= whole_left && !s.halve) {
#pragma unroll
        for (int k = 0; k < S::kStripes; ++k) stripe<true>(b, x_row, weights, s, k, k == 0, a);
      } else {
#pragma unroll 1
        for (int k = 0; k < S::kStripes; ++k) stripe<false>(b, x_row, weights, s, k, k == 0, a);
      }
#pragma unroll
      for (int q = 0; q < kSums; ++q) lanes[q][m] = Tree::template inside<Add>(a[q], t & 1);
    }
#pragma unroll
    for (int q = 0; q < kSums; ++q) {
      const float sum = Tree::template between<Add>(lanes[q], t);
      if (Tree::writes(t)) store_shared(b.sums(buffer, b.slot, row + Tree::own_row(t)) + (q * b.p.padded + segment) * 4, sum);
    }
  }
};

// A, B and H of one row of a slot again, with h - lo for h, over this block's segments, by one warp.  Rare.
template <class T, class S>
__device__ __noinline__ void sums_again(const BackwardBlock<T, S> b, const Group g, int slot, int row, float lo) {
  using Tree = LaneTree<T, S::kThreads, 1>;
  const int t = threadIdx.x % S::kThreads;
  RowGradient<float> s;
  start_row<true>(b.statistics(g, slot, row), &s);
  s.lo = lo;
  const uint32_t x = b.base + (g.stage + b.unit_of(slot)) * b.p.at.stage + b.place_of(slot) * b.p.at.row + b.row_offset(row);
#pragma unroll 1
  for (int segment = 0; segment * kSegmentLength < b.width; ++segment) {
    const int place = segment * kSegmentLength + stripe_place<T>(t, 0), left = b.width - place;
    float a[3][8] = {};
#pragma unroll 1
    for (int k = 0; k < S::kStripes; ++k) {
      Packed<T> v[2];
      float w[8];
#pragma unroll
      for (int q = 0; q < Packed<T>::kParts; ++q) {
        const int c = k * 256 + q * 128;
        v[0].part[q] = load_shared_words_if(x + (place + c) * Packed<T>::kItem, c < left);
        v[1].part[q] = load_shared_words_if(x + b.p.at.tensor + (place + c) * Packed<T>::kItem, c < left);
      }
#pragma unroll
      for (int q = 0; q < 2; ++q) {
        const float4 f = load_shared(b.weights(place + k * 256 + q * (Packed<T>::kParts == 2 ? 128 : 4)));
        w[4 * q] = f.x, w[4 * q + 1] = f.y, w[4 * q + 2] = f.z, w[4 * q + 3] = f.w;
      }
      add_terms<T, true, false, true>(v[0], v[1], w, s, k, left, false, a);
    }
#pragma unroll
    for (int q = 0; q < 3; ++q) {
      float v[1] = {Tree::template inside<Add>(a[q], t & 1)};
      const float sum = Tree::template between<Add>(v, t);
      if ((threadIdx.x & 31) == 0) store_shared(b.sums(2, slot, row) + (q * b.p.padded + segment) * 4, sum);
    }
  }
  __syncwarp();
}

// The warp that finds, from the sums of a group's rows, what their output needs.  A thread for each row; of teams, eight.
template <class T, bool kCentered, class S>
struct ScalarMaker {
  static constexpr int kSums = kCentered ? 3 : 1, kShare = S::kTeam ? 8 : 1;
  const BackwardBlock<T, S>& b;

  // Over the segments of a row in this block.
  __device__ __forceinline__ void own_sums(int buffer, int slot, int row, float (&v)[3]) const {
    const uint32_t from = b.sums(buffer, slot, row);
#pragma unroll
    for (int q = 0; q < kSums; ++q) {
      float s[kMostBlockSegments] = {};
#pragma unroll
      for (int k = 0; k < kMostBlockSegments; ++k)
        if (S::kStripes == 4 ? k < b.p.padded : k == 0) s[k] = load_shared_float(from + (q * b.p.padded + k) * 4);
      static_assert(kMostBlockSegments == 4);
      v[q] = (s[0] + s[1]) + (s[2] + s[3]);
    }
  }

  // RowGradient's set or set_rms, without a branch for ordinary sums (row_scalars.cuh).
  __device__ __forceinline__ bool set(RowGradient<float>* s, const float (&v)[3]) const {
    const float n = float(b.p.n), inverse = b.p.inverse_n;
    const auto ordinary = [](float a) { return a == 0 || (fabsf(a) >= kLeastSum && fabsf(a) <= 0x1.fffffep127f); };
    if constexpr (!kCentered) {
      s->c1 = divide(v[0], n, inverse);
      if (!ordinary(v[0])) s->set_rms(n, v[0]);
      return false;
    }
    s->lo = divide(v[2], n, inverse);
    const float rest = v[0] - s->lo * v[1];
    s->c1 = divide(rest, n, inverse);
    s->c2 = divide(v[1], n, inverse);
    if (!(ordinary(v[1]) && ordinary(v[2]) && ordinary(rest))) return s->set(n, v[0], v[1], v[2]);
    return s->lo > 0.5f || s->lo < -0.5f;
  }

  __device__ __forceinline__ void run() const {
    const RowBackwardParameters& p = b.p;
    const int lane = threadIdx.x & 31;
    const SumExchange<T, kCentered, S> first = {b, false}, second = {b, true};
    int rare_exchanges = 0;
#pragma unroll 1
    for (int i = 0; i < b.groups(); ++i) {
      const Group g = b.group(i);
      barrier_wait(b.summed(i), i >> 1 & 1);
      float v[3] = {};
      if constexpr (S::kTeam) first.publish(i, i & 1), first.collect(i, v);
#pragma unroll 1
      for (int begin = 0; begin < p.slots * kGroupRows; begin += 32 / kShare) {
        const int r = begin + lane / kShare, slot = r / kGroupRows, row = r % kGroupRows;
        const bool is = r < p.slots * kGroupRows;
        if (!S::kTeam && is) own_sums(i & 1, slot, row, v);
        const bool valid = is && row < b.rows(g, slot);
        RowGradient<float> s = {};
        if (valid) start_row<kCentered>(b.statistics(g, slot, row), &s);
        const float count = float(p.n);
        if constexpr (kCentered) {
          const bool rare = set(&s, v) && valid;
          if (unsigned rows = __ballot_sync(0xFFFFFFFFu, rare)) {
            const BackwardBlock<T, S> copy = b;
#pragma unroll 1
            for (; rows != 0; rows &= ~(((1u << kShare) - 1) << (__ffs(int(rows)) - 1))) {
              const int other = __ffs(int(rows)) - 1, place = begin + other / kShare;
              sums_again<T, S>(copy, g, place / kGroupRows, place % kGroupRows, __shfl_sync(0xFFFFFFFFu, s.lo, other));
            }
            if constexpr (S::kTeam)
              second.publish(rare_exchanges, 2), second.collect(rare_exchanges++, v);
            else if (rare)
              own_sums(2, slot, row, v);
            if (rare) s.refine(count, v[0], v[1], v[2]);
          }
        } else {
          set(&s, v);
        }
        if (is && lane % kShare == 0) {  // rows that are not there: all zero, so that zeros come of their terms
          if (!valid) s = {};
          RowScalars<kCentered>::write(b.scalars(i, slot) + row * kScalarBytes, s);
        }
        const bool usual = valid && (!kCentered || (s.lo2 == 0 && !s.halve));
        const unsigned all = __ballot_sync(0xFFFFFFFFu, usual), mask = (1u << (kGroupRows * kShare - 1)) * 2 - 1;
        if (is && lane % (kGroupRows * kShare) == 0) store_shared(b.usual(i, slot), (all >> lane & mask) == mask ? 1.0f : 0.0f);
      }
      __syncwarp();
      if (lane == 0) barrier_arrive(b.known(i));
    }
  }
};

}  // namespace kilter::cuda

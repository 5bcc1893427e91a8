// Backward's sums over a row: the terms, and their exchange between the blocks of a cluster.
#pragma once

#include "families/rowwise/cuda/backward_ring.cuh"

namespace kilter::cuda {

// Eight columns of the weight as the products read them.
template <class T>
__device__ __forceinline__ void scaled_weights(const BackwardBlock<T>& b, int column, int k, int left, float (&w)[8]) {
  const RowBackwardParameters& p = b.p;
#pragma unroll
  for (int j = 0; j < 8; ++j) w[j] = 1;
  if (!(p.flags & kHasWeight)) return;
  row_weights<T>(b.weight, p.types.weight, p.flags & kFloatWeight, column, k, left, false, false, w);
  if (p.flags & kHasOffset)
#pragma unroll
    for (int j = 0; j < 8; ++j) w[j] = w[j] + p.weight_offset;
}

// The terms of A, B and H (docs/numerics.md) of a stripe, added to their lanes.  kWhole: all of it lies in the row.  kAgain: of a rare row,
// with h - lo, and halves where x - mean could overflow.
template <class T, bool kCentered, bool kWhole, bool kAgain>
__device__ __forceinline__ void add_terms(const Packed<T>& x, const Packed<T>& dy, const float (&w)[8], const RowGradient<float>& s, int k,
                                          int left, bool first, float (&a)[3][8]) {
  float v[8];
#pragma unroll
  for (int j = 0; j < 8; ++j) v[j] = x[j];
  if (kAgain && s.halve)
#pragma unroll
    for (int j = 0; j < 8; ++j) v[j] = v[j] * 0.5f;
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    float h = kCentered ? (v[j] - s.mean) * s.h_rstd : v[j] * s.h_rstd;
    if (kAgain) h = h - s.lo;
    const float g = dy[j] * w[j];
    const float terms[3] = {g * h, g, h};
    const bool is = kWhole || k * 256 + part_place<T>(j / Packed<T>::kWidth) < left;
#pragma unroll
    for (int q = 0; q < (kCentered ? 3 : 1); ++q) {
      const float term = is ? terms[q] : 0.0f;
      a[q][j] = first ? term : a[q][j] + term;
    }
  }
}

// Stripe k of a row of a stage and of the weights in shared memory, this thread's elements from `column` on.
template <class T>
__device__ __forceinline__ void load_stripe(const BackwardBlock<T>& b, const StageRow& row, int column, int k, int left, Packed<T>& x,
                                            Packed<T>& dy, float (&w)[8]) {
  const uint32_t weights = b.base + b.p.at.weights + column * 4;
  if constexpr (kIsSingles<T>) {
    x = shared_singles<T>(b.p.types.x, row.x, column, k), dy = shared_singles<T>(b.p.types.dy, row.dy, column, k);
    each_single<T>(k, [&](int j, int place) { w[j] = load_shared_float(weights + place * 4); });
  } else {
#pragma unroll
    for (int q = 0; q < Packed<T>::kParts; ++q) {
      const int place = k * 256 + part_place<T>(q);
      x.part[q] = load_shared_words_if(row.x + (column + place) * Packed<T>::kItem, place < left);
      dy.part[q] = load_shared_words_if(row.dy + (column + place) * Packed<T>::kItem, place < left);
    }
#pragma unroll
    for (int q = 0; q < 2; ++q) {
      const float4 f = load_shared(weights + (k * 256 + (Packed<T>::kParts == 2 ? q * 128 : q * 4)) * 4);
      w[4 * q] = f.x, w[4 * q + 1] = f.y, w[4 * q + 2] = f.z, w[4 * q + 3] = f.w;
    }
  }
}

// The sums between the blocks of a cluster: four groups' worth, each counted in bytes by an mbarrier.
struct SumExchange {
  uint64_t arrived[kSumBuffers];

  __device__ __forceinline__ uint32_t barrier(int i) const { return shared_place(&arrived[i % kSumBuffers]); }
  __device__ __forceinline__ void start() const {
    if (threadIdx.x == 0) {
      for (int k = 0; k < kSumBuffers; ++k) barrier_init(barrier(k), 1);
      barriers_are_ready();
    }
    meet_cluster();
  }
  __device__ __forceinline__ void expect(int i, int bytes) const {
    if (threadIdx.x == 0) barrier_arrive_expecting(barrier(i), bytes);
  }
  __device__ __forceinline__ void send(int i, const float* to, float v, int rank) const {
    send_float(remote_address(shared_place(to), rank), v, remote_address(barrier(i), rank));
  }
  __device__ __forceinline__ void wait(int i) const { barrier_wait(barrier(i), i / kSumBuffers & 1); }
};

// Phase one: this warp's rows and segment.
template <class T, bool kCentered, class S>
struct GroupSums {
  static constexpr int kRows = kIsSingles<T> && S::kThreads == 16 ? 2 : S::kWarpRows;  // that take the tree together
  using Tree = LaneTree<T, S::kThreads, kRows>;
  static constexpr int kSums = kCentered ? 3 : 1;
  int t, segment, row;   // of the block's segments; first of the group's rows
  int column;            // the thread's first, of the block's
  int left, whole_left;  // elements of the block's part from the thread's and from the segment's first on

  __device__ __forceinline__ explicit GroupSums(const BackwardBlock<T>& b) {
    const int warp = b.thread / 32;
    t = threadIdx.x % S::kThreads;
    segment = S::kStripes == 4 ? warp / kGroupRows : 0;
    row = S::kStripes == 4 ? warp % kGroupRows : S::kStripes == 2 ? 2 * warp : 0;
    column = segment * kSegmentLength + thread_place<T>(t);
    left = b.width - column, whole_left = b.width - segment * kSegmentLength;
  }
  __device__ __forceinline__ void take(const BackwardBlock<T>& b, const SumExchange& exchange, int i, int stage) const {
#pragma unroll
    for (int m = 0; m < S::kWarpRows; m += kRows) take(b, exchange, i, stage, row + m);
  }

 private:
  __device__ __forceinline__ void take(const BackwardBlock<T>& b, const SumExchange& exchange, int i, int stage, int row) const {
    float lanes[3][kRows];
#pragma unroll
    for (int m = 0; m < kRows; ++m) {
      const RowHead<T>& head = b.own_head(stage, row + m);
      RowGradient<float> s;
      s.mean = head.mean, s.h_rstd = head.rstd;  // rows that need halves come again
      const StageRow from = b.stage_row(head, stage, b.slot * kGroupRows + row + m);
      float a[3][8];
#pragma unroll
      for (int k = 0; k < S::kStripes; ++k) {
        Packed<T> xv, dv;
        float w[8];
        load_stripe(b, from, column, k, left, xv, dv, w);
        if ((k + 1) * kStripeLength <= whole_left)
          add_terms<T, kCentered, true, false>(xv, dv, w, s, k, left, k == 0, a);
        else
          add_terms<T, kCentered, false, false>(xv, dv, w, s, k, left, k == 0, a);
      }
#pragma unroll
      for (int q = 0; q < kSums; ++q) lanes[q][m] = Tree::template inside<Add>(a[q], t);
    }
    if constexpr (S::kCluster) exchange.expect(i, kGroupRows * kSums * b.p.segments * 4);
#pragma unroll
    for (int q = 0; q < kSums; ++q) {
      const float sum = Tree::template between<Add>(lanes[q], t);
      float* const to = b.sums(i, b.slot * kGroupRows + row + Tree::own_row(t)) + q * b.p.padded + b.rank * b.p.block_segments + segment;
      if constexpr (S::kCluster) {
        if (t < b.blocks && whole_left > 0) exchange.send(i, to, sum, t);
      } else {
        if (Tree::writes(t)) *to = sum;
      }
    }
  }
};

}  // namespace kilter::cuda

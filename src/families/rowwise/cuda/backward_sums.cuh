// Backward's sums over a row: the terms, their exchange between the blocks of a cluster, and what the row's output needs of them.
#pragma once

#include "families/rowwise/cuda/backward_ring.cuh"

namespace kilter::cuda {

// Eight columns of the weight as the products read them.
template <class T>
__device__ __forceinline__ void scaled_weights(const RowBackwardParameters& p, int column, int k, int left, float (&w)[8]) {
#pragma unroll
  for (int j = 0; j < 8; ++j) w[j] = 1;
  if (!(p.flags & kHasWeight)) return;
  row_weights<T>(p.weight, p.types.weight, p.flags & kFloatWeight, column, k, left, false, false, w);
  if (p.flags & kHasOffset)
#pragma unroll
    for (int j = 0; j < 8; ++j) w[j] = w[j] + p.weight_offset;
}

// The terms of A, B and H (docs/numerics.md) of a stripe, added to their lanes.  kWhole: all of it lies in the row.  kAgain: with h - lo.
template <class T, bool kCentered, bool kWhole, bool kAgain>
__device__ __forceinline__ void add_terms(const Packed<T>& x, const Packed<T>& dy, const float (&w)[8], const RowGradient<float>& s, int k,
                                          int left, bool first, float (&a)[3][8]) {
  float v[8];
#pragma unroll
  for (int j = 0; j < 8; ++j) v[j] = x[j];
  if (kCentered && s.halve)
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
      if (!kWhole && !(k * 256 + part_place<T>(j / Packed<T>::kWidth) < left)) terms[q] = 0;
      a[q][j] = first ? terms[q] : a[q][j] + terms[q];
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
      s.start(kCentered, kCentered ? head.mean : 0.0f, head.rstd);
      const StageRow from = b.stage_row(head, stage, row + m);
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
      float* const to = b.sums(i, row + Tree::own_row(t)) + q * b.p.padded + b.rank * b.p.block_segments + segment;
      if constexpr (S::kCluster) {
        if (t < b.blocks && whole_left > 0) exchange.send(i, to, sum, t);
      } else {
        if (Tree::writes(t)) *to = sum;
      }
    }
  }
};

// A, B and H of one row of a stage again, with h - lo for h, by one warp from the shared memory of all blocks.  Rare.
template <class T, class S>
__device__ __noinline__ void sums_again(const BackwardBlock<T>& b, int stage, int row, float lo, float (&out)[3]) {
  using Tree = LaneTree<T, S::kThreads, 1>;
  const int t = threadIdx.x % S::kThreads, lane = threadIdx.x & 31, block_segments = b.p.block_segments;
  const RowHead<T>& head = b.own_head(stage, row);
  RowGradient<float> s;
  s.start(true, head.mean, head.rstd);
  s.lo = lo;
  const StageRow from = b.stage_row(head, stage, row);  // at the same place in every block
  float kept[2][3] = {};                                // the sums of segments `lane` and 32 + lane
#pragma unroll 1
  for (int segment = 0; segment < b.p.segments; ++segment) {
    const int owner = segment / block_segments, place = thread_place<T>(t), left = b.p.n - segment * kSegmentLength - place;
    const int column = (segment - owner * block_segments) * kSegmentLength + place;
    float a[3][8] = {};
#pragma unroll 1
    for (int k = 0; k < S::kStripes; ++k) {
      Packed<T> v[2] = {};
      float w[8];
      if constexpr (kIsSingles<T>) {
        v[0] = shared_singles_if<T, S::kCluster>(b.p.types.x, from.x, column, k, left, owner);
        v[1] = shared_singles_if<T, S::kCluster>(b.p.types.dy, from.dy, column, k, left, owner);
      } else {
        for (int q = 0; q < Packed<T>::kParts; ++q) {
          const int c = k * 256 + part_place<T>(q), bytes = (column + c) * Packed<T>::kItem;
          if (!(c < left)) continue;
          if constexpr (S::kCluster)
            v[0].part[q] = load_remote(remote_address(from.x + bytes, owner)),
            v[1].part[q] = load_remote(remote_address(from.dy + bytes, owner));
          else
            v[0].part[q] = load_shared_words(from.x + bytes), v[1].part[q] = load_shared_words(from.dy + bytes);
        }
      }
      scaled_weights<T>(b.p, segment * kSegmentLength + place, k, left, w);
      add_terms<T, true, false, true>(v[0], v[1], w, s, k, left, false, a);
    }
#pragma unroll
    for (int q = 0; q < 3; ++q) {
      float v[1] = {Tree::template inside<Add>(a[q], t)};
      const float sum = Tree::template between<Add>(v, t);
      if (segment % 32 == lane || S::kThreads < 32) kept[segment / 32][q] = sum;
    }
  }
#pragma unroll
  for (int q = 0; q < 3; ++q) {
    float sum = kept[0][q], high = kept[1][q];
    if (S::kThreads == 32)
      for (int bit = 1; bit < 32; bit *= 2) sum = sum + exchange(sum, bit), high = high + exchange(high, bit);
    out[q] = sum + high;
  }
}

// What the output of the rows of group i needs, by each warp for its slot (or two slots), from the segments' sums.  Whether all
// of these rows are there, and none of them rare.
template <class T, bool kCentered, class S>
__device__ __forceinline__ bool make_scalars(const BackwardBlock<T>& b, int i, int stage, RowScalars<kCentered>* out) {
  const int lane = threadIdx.x & 31;
  constexpr int kShare = S::kThreads / kGroupRows;  // threads of a row: 8 or 4
  const int row = lane % S::kThreads / kShare, sub = lane % kShare;
  const float* const sums = b.sums(i, row);
  const RowHead<T>& head = b.own_head(stage, row);
  float v[3] = {};
#pragma unroll
  for (int q = 0; q < (kCentered ? 3 : 1); ++q) {
    const float* const s = sums + q * b.p.padded;
    if (S::kStripes < 4) {  // one segment
      v[q] = s[0];
      continue;
    }
    if (b.p.padded <= 8) {
      v[q] = sub < b.p.padded ? s[sub] : 0;
    } else {
      const int share = b.p.padded / 8;  // 2, 4 or 8 consecutive segments
      float e[8];
#pragma unroll
      for (int k = 0; k < 8; ++k) e[k] = k < share ? s[sub * share + k] : 0;
      v[q] = ((e[0] + e[1]) + (e[2] + e[3])) + ((e[4] + e[5]) + (e[6] + e[7]));
    }
#pragma unroll
    for (int bit = 1; bit < 8; bit *= 2) v[q] = v[q] + exchange(v[q], bit);
  }
  const bool valid = row < b.rows(b.slot, i);
  const float count = float(b.p.n);
  RowGradient<float> g;
  g.start(kCentered, kCentered ? head.mean : 0.0f, head.rstd);
  if constexpr (kCentered) {
    const bool rare = g.set(count, v[0], v[1], v[2]) && valid;
    if (__any_sync(0xFFFFFFFFu, rare)) {
      const BackwardBlock<T> copy = b;
#pragma unroll 1
      for (int other = 0; other < kGroupRows; ++other) {
        const int source = (lane & ~(S::kThreads - 1)) + other * kShare;
        const bool again = __shfl_sync(0xFFFFFFFFu, rare, source);
        const float lo = __shfl_sync(0xFFFFFFFFu, g.lo, source);
        if (!__any_sync(0xFFFFFFFFu, again)) continue;
        float sums_of_row[3];
        sums_again<T, S>(copy, stage, other, lo, sums_of_row);
        if (again && row == other) g.refine(count, sums_of_row[0], sums_of_row[1], sums_of_row[2]);
      }
      if constexpr (S::kCluster) meet_cluster();  // the others have read this block's rows
    }
  } else {
    g.set_rms(count, v[0]);
  }
  if (sub == 0) {  // rows that are not there: all zero, so that zeros come of their terms
    if constexpr (kCentered)
      out[lane / kShare] = valid ? RowScalars<true>{g.mean, g.h_rstd, g.lo, g.c1, g.c2, g.rstd, g.lo2, g.halve ? 0.5f : 1.0f}
                                 : RowScalars<true>{0, 0, 0, 0, 0, 0, 0, 1};
    else
      out[lane / kShare] = valid ? RowScalars<false>{g.rstd, g.c1} : RowScalars<false>{0, 0};
  }
  const bool usual = __all_sync(0xFFFFFFFFu, valid && (!kCentered || (g.lo2 == 0 && !g.halve)));
  __syncwarp();
  return usual;
}

}  // namespace kilter::cuda

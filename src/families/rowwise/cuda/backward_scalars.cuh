// What the output of a row needs to know of it, from its segments' sums: made once, by the block's last threads, while the others are at
// the sums of the next group.  An mbarrier says when it is there.
#pragma once

#include "families/rowwise/cuda/backward_sums.cuh"

namespace kilter::cuda {

// A, B and H of one row of a stage again, with h - lo for h, by one warp from the shared memory of all blocks.  Rare.
template <class T, class S>
__device__ __noinline__ void sums_again(const BackwardBlock<T>& b, int stage, int row, float lo, float (&out)[3]) {
  using Tree = LaneTree<T, S::kThreads, 1>;
  const int t = threadIdx.x % S::kThreads, lane = threadIdx.x & 31, block_segments = b.p.block_segments;
  const RowHead<T>& head = b.head(stage, row);
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
      scaled_weights<T>(b, segment * kSegmentLength + place, k, left, w);
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

// Of a row of the group, a byte: how its output is not like that of most.
constexpr uint32_t kUnusual = 1;     // it is not there, or rare
constexpr uint32_t kTakenAgain = 2;  // other blocks of the cluster have read it here

template <class T, bool kCentered, class S>
struct ScalarMakers {
  static constexpr int kShare = S::kStripes == 4 ? 8 : 1;  // threads of a row: for eight segments, or one
  uint64_t made[2];  // of even and odd groups: the next group's may be there before a slow warp has seen this one's

  __device__ __forceinline__ uint32_t barrier(int i) const { return shared_place(&made[i & 1]); }
  __device__ __forceinline__ static int threads(const BackwardBlock<T>& b) { return (b.loaders() * kShare + 31) / 32 * 32; }
  __device__ __forceinline__ void start(const BackwardBlock<T>& b) const {
    if (threadIdx.x == 0) barrier_init(barrier(0), threads(b)), barrier_init(barrier(1), threads(b));
  }

  __device__ __forceinline__ void make(const BackwardBlock<T>& b, const WarpsDone& summed, const SumExchange& exchange, int i,
                                       int stage) const {
    const int place = int(threadIdx.x) - (int(blockDim.x) - threads(b)), own = place / kShare;
    if (place < 0) return;
    summed.wait(i);
    if constexpr (S::kCluster) exchange.wait(i);
    const int row = own < b.loaders() ? own : 0, slot = row / kGroupRows;
    const bool valid = own < b.loaders() && row % kGroupRows < b.rows(slot, i);
    const RowHead<T>& head = b.head(stage, row);
    float v[3] = {};
#pragma unroll
    for (int q = 0; q < (kCentered ? 3 : 1); ++q) v[q] = row_sum(b, b.sums(i, row) + q * b.p.padded, place % kShare);
    const float count = float(b.p.n);
    RowGradient<float> g;
    g.start(kCentered, kCentered ? head.mean : 0.0f, head.rstd);
    bool again = false;
    if constexpr (kCentered) {
      if (g.halve && valid) again = true;
      if (__any_sync(0xFFFFFFFFu, again)) take_again(b, stage, row, again, 0, v);
      const bool coarse = g.set(count, v[0], v[1], v[2]) && valid;
      if (__any_sync(0xFFFFFFFFu, coarse)) {
        take_again(b, stage, row, coarse, g.lo, v);
        if (coarse) g.refine(count, v[0], v[1], v[2]);
      }
      again = again || coarse;
    } else {
      g.set_rms(count, v[0]);
    }
    if (place % kShare == 0 && own < b.loaders()) {  // rows that are not there: all zero, so that zeros come of their terms
      if constexpr (kCentered)
        b.template scalars<kCentered>(i, row) =
            valid ? RowScalars<true>{g.mean, g.h_rstd, g.lo, g.c1, g.c2, g.rstd, g.lo2, g.halve ? 0.5f : 1.0f}
                  : RowScalars<true>{0, 0, 0, 0, 0, 0, 0, 1};
      else
        b.template scalars<kCentered>(i, row) = valid ? RowScalars<false>{g.rstd, g.c1} : RowScalars<false>{0, 0};
      const bool usual = valid && (!kCentered || (g.lo2 == 0 && !g.halve));
      b.unusual(i)[row] = uint8_t((usual ? 0 : kUnusual) | (again ? kTakenAgain : 0));
    }
    barrier_arrive(barrier(i));
  }
  // Of the rows of this thread's slot, a byte each, when their scalars are there.
  __device__ __forceinline__ uint32_t wait(const BackwardBlock<T>& b, int i) const {
    barrier_wait(barrier(i), i / 2 & 1);
    return reinterpret_cast<const uint32_t*>(b.unusual(i))[b.slot];
  }

 private:
  __device__ __forceinline__ static float row_sum(const BackwardBlock<T>& b, const float* s, int sub) {
    if (kShare == 1) return s[0];
    float v;
    if (b.p.padded <= 8) {
      v = sub < b.p.padded ? s[sub] : 0;
    } else {
      const int share = b.p.padded / 8;  // 2, 4 or 8 consecutive segments
      float e[8];
#pragma unroll
      for (int k = 0; k < 8; ++k) e[k] = k < share ? s[sub * share + k] : 0;
      v = ((e[0] + e[1]) + (e[2] + e[3])) + ((e[4] + e[5]) + (e[6] + e[7]));
    }
#pragma unroll
    for (int bit = 1; bit < 8; bit *= 2) v = v + exchange(v, bit);
    return v;
  }
  // By a whole warp, for each of its rows whose threads say so.
  __device__ __forceinline__ static void take_again(const BackwardBlock<T>& b, int stage, int row, bool is, float lo, float (&v)[3]) {
    const BackwardBlock<T> copy = b;
#pragma unroll 1
    for (int source = 0; source < 32; source += kShare) {
      if (!__shfl_sync(0xFFFFFFFFu, is, source)) continue;
      float sums[3];
      sums_again<T, S>(copy, stage, __shfl_sync(0xFFFFFFFFu, row, source), __shfl_sync(0xFFFFFFFFu, lo, source), sums);
      if (int(threadIdx.x & 31) / kShare == source / kShare) v[0] = sums[0], v[1] = sums[1], v[2] = sums[2];
    }
  }
};

}  // namespace kilter::cuda

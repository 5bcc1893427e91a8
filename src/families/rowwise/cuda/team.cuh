// The threads that own a row together, and the row tree of docs/numerics.md among them.
//
// A thread owns eight lanes of each of its stripes (cuda/packed.cuh); kThreads threads of a warp share a row; a warp owns
// kSegments consecutive segments of kStripes stripes, a block kWarps warps, a cluster up to 16 blocks.  Barriers: none if a
// row is one warp, else one per exchange (cuda/exchange.cuh).
#pragma once

#include "cuda/block_tree.cuh"
#include "cuda/exchange.cuh"
#include "cuda/ptx.cuh"
#include "cuda/singles.cuh"

namespace kilter::cuda {

constexpr int kStripeLength = kLaneCount, kSegmentStripes = kSegmentLength / kStripeLength;

template <int kThreads_, int kWarps_, int kSegments_, int kStripes_, int kRows_, bool kCluster_>
struct RowShape {
  static constexpr int kThreads = kThreads_, kWarps = kWarps_, kSegments = kSegments_, kStripes = kStripes_;
  static constexpr int kRows = kRows_;  // in flight per team
  static constexpr bool kCluster = kCluster_;
  static constexpr int kTeamsPerWarp = 32 / kThreads, kHeld = kSegments * kStripes;  // stripes of a row that a thread holds
  static constexpr int kBlockMax = kWarps == 1 ? 128 : kWarps * 32;
  static constexpr int kRowsPerBlock = kWarps == 1 ? 4 * kTeamsPerWarp * kRows : 1;
  // Blocks of a multiprocessor that registers must allow: 32 warps of 16-bit rows, 24 of fp32 rows; with two segments 24 and 16.
  template <class T>
  static constexpr int kBlocks() {
    return (Packed<T>::kItem == 2 ? (kSegments == 1 ? 1024 : 768) : (kSegments == 1 ? 768 : 512)) / kBlockMax;
  }
  static_assert(kThreads == 32 || kStripes == 1);
  static_assert(kThreads > 1 || kRows == 1);
  static_assert(kSegments == 1 || kSegments == 2);
};

// A thread's place in its team, and the team's sums.
template <class T, class S>
struct RowTeam {
  using Exchange = typename ExchangeOf<S::kCluster, S::kWarps>::type;
  using Tree = LaneTree<T, S::kThreads, S::kRows>;
  Exchange& memory;
  uint32_t base;     // of memory
  int t;             // in the warp's share of a row
  int column;        // where the team's warp begins
  int rank, blocks;  // in the cluster
  int turn = 0;

  __device__ __forceinline__ RowTeam(Exchange& shared, uint32_t in_base, int in_t, int in_column, int in_rank, int in_blocks, int in_turn)
      : memory(shared), base(in_base), t(in_t), column(in_column), rank(in_rank), blocks(in_blocks), turn(in_turn) {}
  __device__ __forceinline__ explicit RowTeam(Exchange& shared) : memory(shared), base(shared_address(&shared)), rank(0), blocks(1) {
    t = threadIdx.x % S::kThreads;
    if constexpr (S::kCluster) rank = cluster_rank(), blocks = cluster_blocks();
    const int warp = S::kWarps == 1 ? 0 : rank * S::kWarps + (threadIdx.x >> 5);
    column = warp * S::kSegments * kSegmentLength + thread_place<T>(t);
    memory.start(blockDim.x / 32, blocks);
  }
  // out[q]: the sum of term q over this thread's own row.  lanes(row, segment, a) adds up the thread's lanes of term q to a[q].
  // All sums of the warp, of every row, segment and term, take the transposing tree together.
  // hold(s, sum): called before segment s > 0 with a sum of the one before.
  template <class Op, int N, class F, class H>
  __device__ __forceinline__ void combine(float (&out)[N], F lanes, H hold) {
    using Sums = LaneTree<T, S::kThreads, N * S::kSegments * S::kRows>;
    constexpr int kSegmentBit = S::kRows << Sums::kShift, kTermBit = S::kSegments * kSegmentBit;
    float v[N * S::kSegments * S::kRows];
#pragma unroll
    for (int i = 0; i < S::kRows; ++i)
#pragma unroll
      for (int s = 0; s < S::kSegments; ++s) {
        float a[N][8];
        if (s > 0) hold(s, v[(s - 1) * S::kRows + i]);
        lanes(i, s, a);
#pragma unroll
        for (int q = 0; q < N; ++q) v[(q * S::kSegments + s) * S::kRows + i] = Sums::template inside<Op>(a[q], t);
      }
    if constexpr (S::kThreads == 1) {  // a thread has its row to itself
#pragma unroll
      for (int q = 0; q < N; ++q) out[q] = v[q] + 0.0f;
      return;
    }
    float sum = Sums::template between<Op>(v, t);
    if constexpr (S::kSegments == 2) sum = Op::of(sum, exchange(sum, kSegmentBit));
    memory.template combine<Op, kTermBit>(base, sum, out, turn++, blockDim.x / 32, rank, blocks);
  }
  __device__ __forceinline__ bool leads() const { return column < kStripeLength; }  // the row's first warp
  template <class Other>
  __device__ __forceinline__ RowTeam<T, Other> as() const {
    return {memory, base, t, column, rank, blocks, turn};
  }
  // Whether it is so for a row of this warp or block: all threads that exchange together get the same answer.
  __device__ __forceinline__ static bool any(bool own) {
    if constexpr (S::kWarps == 1) return __any_sync(0xFFFFFFFFu, own);
    return own;
  }
};

}  // namespace kilter::cuda

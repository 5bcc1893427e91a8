// The row tree of docs/numerics.md among the threads that own a row: within a warp, between the warps of a block, and between the
// blocks of a cluster.  Barriers: one per exchange between warps, none within one; exchanges take turns with two sets of slots, so
// that none needs a second barrier.
#pragma once

#include <cstdint>

#include "cuda/packed.cuh"
#include "cuda/ptx.cuh"

namespace kilter::cuda {

struct Add {
  __device__ __forceinline__ static float of(float a, float b) { return a + b; }
};
struct Larger {  // of magnitudes
  __device__ __forceinline__ static float of(float a, float b) { return a > b ? a : b; }
};

// Lane bits 0 to 7 of the tree over a segment of each of kRows rows, from the eight lanes of each thread.  While the first levels
// are added up, the thread's runs of lanes and then the rows spread over the threads, an exchange for two of them: thread t receives the
// sum of row own_row(t).  Lanes may have started with their first element instead of +0.0: only a sum of nothing but -0.0 differs, which
// the last addition mends.
template <class T, int kThreads, int kRows>
struct LaneTree {
  static constexpr int kLength = 8 / kLaneRuns<T>;
  // Of fewer threads their first run is the row, unless it is one lane.
  static constexpr int kRuns = kThreads == 32 || kLength == 1 ? kLaneRuns<T> : 1;
  static constexpr int kShift = kRuns == 8 ? 3 : kRuns == 2 ? 1 : 0;  // thread bits that sort the runs
  static_assert(kRuns == 1 || kRuns == 2 || kRuns == 8);
  static_assert(kRuns == 1 || kRuns * kRows <= kThreads);

  __device__ __forceinline__ static int own_row(int t) { return t >> kShift & (kRows - 1); }
  __device__ __forceinline__ static bool writes(int t) { return t >> kShift < kRows && (t & (kRuns - 1)) == 0; }
  __device__ __forceinline__ static float spread(float own, int row) {  // the value of the thread whose row it is
    return kRows == 1 ? own : __shfl_sync(0xFFFFFFFFu, own, row << kShift, kThreads);
  }

  // v[0] of thread t: of kCount values of all threads, added up over a bit of t for each halving.
  template <class Op, int kCount>
  __device__ __forceinline__ static void halve(float (&v)[kCount], int t, int bit) {
#pragma unroll
    for (int count = kCount; count > 1; count /= 2, bit *= 2) {
      const bool upper = t & bit;
#pragma unroll
      for (int i = 0; i < count / 2; ++i) v[i] = Op::of(upper ? v[2 * i + 1] : v[2 * i], exchange(upper ? v[2 * i] : v[2 * i + 1], bit));
    }
  }
  template <class Op>
  __device__ __forceinline__ static float inside(const float (&a)[8], int t) {
    float run[kRuns];
#pragma unroll
    for (int i = 0; i < kRuns; ++i) {
      const float* const lane = a + i * kLength;
      const auto four = [&](int j) { return Op::of(Op::of(lane[j], lane[j + 1]), Op::of(lane[j + 2], lane[j + 3])); };
      if constexpr (kLength == 8)
        run[i] = Op::of(four(0), four(4));
      else if constexpr (kLength == 4)
        run[i] = four(0);
      else
        run[i] = lane[0];
    }
    halve<Op>(run, t, 1);
    return run[0];
  }
  template <class Op>
  __device__ __forceinline__ static float between(float (&v)[kRows], int t) {
    halve<Op>(v, t, 1 << kShift);
    float sum = v[0];
#pragma unroll
    for (int bit = kRows << kShift; bit < kThreads; bit *= 2) sum = Op::of(sum, exchange(sum, bit));
#pragma unroll
    for (int bit = 1; bit < kRuns; bit *= 2) sum = Op::of(sum, exchange(sum, bit));  // the last lane bits: the runs
    return sum + 0.0f;
  }
};

// ---- between the warps of a row

// The tree over `kCount` neighbours in shared memory, which every thread reads.
template <class Op, int kCount>
__device__ __forceinline__ float combine_shared(uint32_t a) {
  constexpr int kFours = (kCount + 3) / 4;
  float s[kFours];
#pragma unroll
  for (int i = 0; i < kFours; ++i) {
    const float4 v = load_shared(a + 16 * i);
    s[i] = kCount == 2 ? Op::of(v.x, v.y) : Op::of(Op::of(v.x, v.y), Op::of(v.z, v.w));
  }
#pragma unroll
  for (int step = 1; step < kFours; step *= 2)
#pragma unroll
    for (int i = 0; i + step < kFours; i += 2 * step) s[i] = Op::of(s[i], s[i + step]);
  return s[0];
}

template <int kWarps>
struct BlockExchange {
  static constexpr int kSlots = kWarps < 4 ? 4 : kWarps;
  alignas(16) float slot[2][2][kSlots];

  __device__ __forceinline__ void start(int warps, int) {
    if (int(threadIdx.x) < kWarps && int(threadIdx.x) >= warps)
      for (int i = 0; i < 4; ++i) slot[i / 2][i % 2][threadIdx.x] = 0;
  }
  __device__ __forceinline__ void started() {}
  // own: the sum of the warp's part of a row, term number `lane & kTermBit ? 1 : 0` if there are two.
  template <class Op, int kTermBit, int N>
  __device__ __forceinline__ void combine(uint32_t base, float own, float (&out)[N], int turn, int, int, int) {
    const uint32_t at = base + (turn & 1) * 2 * kSlots * 4;
    const int lane = threadIdx.x & 31;
    if ((lane & ~(N == 2 ? kTermBit : 0)) == 0) store_shared(at + ((lane ? kSlots : 0) + (threadIdx.x >> 5)) * 4, own);
    __syncthreads();
#pragma unroll
    for (int q = 0; q < N; ++q) out[q] = combine_shared<Op, kWarps>(at + q * kSlots * 4);
  }
};

// Every warp writes its value into the slots of all blocks of the cluster; the writes count as bytes at the receiver's mbarrier.
template <int kWarps>
struct ClusterExchange {
  static constexpr int kSlots = 16 * kWarps;
  static_assert(kSlots == 128);  // four per thread of a warp
  alignas(16) float slot[2][2][kSlots];
  uint64_t arrived[2];

  __device__ __forceinline__ void start(int, int blocks) {
    if (threadIdx.x == 0) {
      for (uint64_t& b : arrived) barrier_init(shared_place(&b), 1);
      barriers_are_ready();
    }
    for (int i = threadIdx.x; i < 4 * kSlots; i += kWarps * 32)
      if (i % kSlots >= blocks * kWarps) (&slot[0][0][0])[i] = 0;
    // Other blocks need to see the barriers only, for which the fence above is: a release here would wait for the whole device.
    __threadfence_block();
    arrive_at_cluster_relaxed();
  }
  __device__ __forceinline__ void started() { wait_for_cluster(); }
  template <class Op, int kTermBit, int N>
  __device__ __forceinline__ void combine(uint32_t, float own, float (&v)[N], int turn, int warps, int rank, int blocks) {
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, side = turn & 1;
    // Each lane sends what it has to one block; with two terms those that have the same one count the blocks.
    const int term = N == 2 && (lane & kTermBit) ? 1 : 0, to = N == 2 ? (lane & (kTermBit - 1)) | (lane >> 1 & ~(kTermBit - 1)) : lane;
    const uint32_t barrier = shared_place(&arrived[side]);
    if (threadIdx.x == 0) barrier_arrive_expecting(barrier, N * 4 * blocks * warps);
    if (to < blocks)
      send_float(remote_address(shared_place(&slot[side][term][rank * kWarps + warp]), to), own, remote_address(barrier, to));
    barrier_wait(barrier, turn >> 1 & 1);
#pragma unroll
    for (int q = 0; q < N; ++q) {
      const float4 s = *reinterpret_cast<const float4*>(&slot[side][q][4 * lane]);
      float sum = Op::of(Op::of(s.x, s.y), Op::of(s.z, s.w));
#pragma unroll
      for (int bit = 1; bit < 32; bit *= 2) sum = Op::of(sum, exchange(sum, bit));
      v[q] = sum;
    }
  }
};

struct NoExchange {
  __device__ __forceinline__ void start(int, int) {}
  __device__ __forceinline__ void started() {}
  template <class Op, int kTermBit, int N>
  __device__ __forceinline__ void combine(uint32_t, float own, float (&out)[N], int, int, int, int) {
    if constexpr (N == 1) {
      out[0] = own;
    } else {
      const float other = exchange(own, kTermBit);
      const bool second = threadIdx.x & kTermBit;
      out[0] = second ? other : own, out[1] = second ? own : other;
    }
  }
};

template <bool kCluster, int kWarps>
struct ExchangeOf {
  using type = BlockExchange<kWarps>;
};
template <int kWarps>
struct ExchangeOf<true, kWarps> {
  using type = ClusterExchange<kWarps>;
};
template <>
struct ExchangeOf<false, 1> {
  using type = NoExchange;
};

}  // namespace kilter::cuda

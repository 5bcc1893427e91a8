// The row tree of docs/numerics.md by one block of 256 threads, from terms in any place: 1024-element segments, 256 lanes, binary
// trees.  A warp takes a segment at a time; thread t of it owns lanes t, t + 32, ..., so that neighbours read neighbours.
#pragma once

#include <cstdint>

namespace kilter::cuda {

constexpr int kBlockThreads = 256, kBlockWarps = kBlockThreads / 32;
constexpr int kSegmentLength = 1024, kLaneCount = 256;
constexpr int kSegmentsAtOnce = 256;  // whose sums lie in shared memory together

template <class C>
__device__ __forceinline__ C exchange(C v, int mask) {
  return __shfl_xor_sync(0xFFFFFFFFu, v, mask);
}

// The tree over 256 lanes, lane = t + 32 * j: v[j] of thread t.  Lane bits 0 to 2 are added up while the eight values move to
// eight threads, so that each level is one exchange at most four wide; every thread receives the sum.
template <class C>
__device__ __forceinline__ C lane_tree(C (&v)[8]) {
  const int t = threadIdx.x & 31;
#pragma unroll
  for (int level = 0; level < 3; ++level) {
    const bool upper = t >> level & 1;
#pragma unroll
    for (int i = 0; i < 4 >> level; ++i) {
      const C keep = upper ? v[2 * i + 1] : v[2 * i], give = upper ? v[2 * i] : v[2 * i + 1];
      v[i] = keep + exchange(give, 1 << level);
    }
  }
  C sum = v[0];
  sum = sum + exchange(sum, 8);
  sum = sum + exchange(sum, 16);
#pragma unroll
  for (int bit = 1; bit < 8; bit *= 2) sum = sum + exchange(sum, bit);  // lane bits 5 to 7: the values' numbers
  return sum;
}

template <int N, class C>
struct TreeMemory {
  C segment[N][kSegmentsAtOnce];
  C warp[N][kBlockWarps];
};

// out[q]: the sum of term q over elements [begin, end), end > begin, by all threads of the block, which all receive it.
// term(i, t) writes the N terms of element i to t.
template <int N, class C, class F>
__device__ void block_sums(int64_t begin, int64_t end, TreeMemory<N, C>& memory, C (&out)[N], F term) {
  const int thread = threadIdx.x, t = thread & 31, warp = thread >> 5;
  const int64_t segments = (end - begin + kSegmentLength - 1) / kSegmentLength;
  C level[N][32];  // a binary counter of subtrees, for rows of more than kSegmentsAtOnce segments
  uint64_t count = 0;
  for (int64_t first = 0; first < segments; first += kSegmentsAtOnce) {
    const int here = int(segments - first < kSegmentsAtOnce ? segments - first : kSegmentsAtOnce);
    __syncthreads();  // what the last sums left in shared memory was read
    for (int s = warp; s < here; s += kBlockWarps) {
      const int64_t start = begin + (first + s) * kSegmentLength;
      const int m = int(end - start < kSegmentLength ? end - start : kSegmentLength);
      C lane[N][8];
#pragma unroll
      for (int j = 0; j < 8; ++j) {
#pragma unroll
        for (int q = 0; q < N; ++q) lane[q][j] = 0;
        for (int e = j * 32 + t; e < m; e += kLaneCount) {
          C value[N];
          term(start + e, value);
#pragma unroll
          for (int q = 0; q < N; ++q) lane[q][j] = lane[q][j] + value[q];
        }
      }
#pragma unroll
      for (int q = 0; q < N; ++q) {
        const C sum = lane_tree(lane[q]);
        if (t == 0) memory.segment[q][s] = sum;
      }
    }
    for (int s = here + thread; s < kSegmentsAtOnce; s += kBlockThreads)
      for (int q = 0; q < N; ++q) memory.segment[q][s] = 0;
    __syncthreads();
#pragma unroll
    for (int q = 0; q < N; ++q) {
      C sum = memory.segment[q][thread];
#pragma unroll
      for (int bit = 1; bit < 32; bit *= 2) sum = sum + exchange(sum, bit);
      if (t == 0) memory.warp[q][warp] = sum;
    }
    __syncthreads();
#pragma unroll
    for (int q = 0; q < N; ++q) {
      const C(&w)[kBlockWarps] = memory.warp[q];
      out[q] = ((w[0] + w[1]) + (w[2] + w[3])) + ((w[4] + w[5]) + (w[6] + w[7]));
    }
    if (segments <= kSegmentsAtOnce) return;
    int b = 0;
    for (uint64_t c = count; c & 1; c >>= 1, ++b)
      for (int q = 0; q < N; ++q) out[q] = level[q][b] + out[q];
    for (int q = 0; q < N; ++q) level[q][b] = out[q];
    ++count;
  }
  int b = __ffsll(static_cast<long long>(count)) - 1;
  for (int q = 0; q < N; ++q) out[q] = level[q][b];
  for (++b; count >> b; ++b)
    if (count >> b & 1)
      for (int q = 0; q < N; ++q) out[q] = level[q][b] + out[q];
}

}  // namespace kilter::cuda

// Sums over a thread's slots, a team's threads and a block's rows of threads, each in a fixed order.
#pragma once

#include "families/planewise/cuda/access.cuh"

namespace kilter::cuda {

// Slots k with k % slots == 0 receive the sum of slots k ... k + slots - 1; the others are lost.
template <int kSlots, class C>
__device__ __forceinline__ void gather_slots(C (&v)[kSlots], int slots) {
#pragma unroll
  for (int s = 1; s < kSlots; s *= 2)
    if (s < slots)
#pragma unroll
      for (int k = 0; k < kSlots; k += 2 * s) v[k] = v[k] + v[k + s];
}
// And back.
template <int kSlots, class C>
__device__ __forceinline__ void spread_slots(C (&v)[kSlots], int slots) {
#pragma unroll
  for (int s = 1; s < kSlots; s *= 2)
    if (s < slots)
#pragma unroll
      for (int k = 0; k < kSlots; ++k)
        if (k & s) v[k] = v[k - s];
}

// Every thread of the team receives the sums of its runs, in all of their slots.  Teams of more than a warp are the block and have one
// run; they meet once, and with the next call of another `memory`.
template <int N, int kSlots, class C>
__device__ __forceinline__ void team_sums(C (&v)[N][kSlots], int team, int slots, C (&memory)[N][kPlaneThreads / 32]) {
#pragma unroll
  for (int q = 0; q < N; ++q) {
    gather_slots(v[q], slots);
#pragma unroll
    for (int k = 0; k < kSlots; ++k)
      if ((k & (slots - 1)) == 0)
        for (int bit = 1; bit < team && bit < 32; bit *= 2) v[q][k] = v[q][k] + __shfl_xor_sync(0xFFFFFFFFu, v[q][k], bit);
  }
  if (team > 32) {
    if ((threadIdx.x & 31) == 0)
#pragma unroll
      for (int q = 0; q < N; ++q) memory[q][threadIdx.x >> 5] = v[q][0];
    __syncthreads();
#pragma unroll
    for (int q = 0; q < N; ++q) {
      const C(&w)[kPlaneThreads / 32] = memory[q];
      v[q][0] = ((w[0] + w[1]) + (w[2] + w[3])) + ((w[4] + w[5]) + (w[6] + w[7]));
    }
  }
#pragma unroll
  for (int q = 0; q < N; ++q) spread_slots(v[q], slots);
}

// columns[j][t] of the rows `down` of threads t = row * across + column, added up in row 0, by a tree with a barrier for each level.
// The block met behind the writes; it meets behind the sums.
template <int W, class C>
__device__ __forceinline__ void add_rows(C (&columns)[W][kPlaneThreads], int across, int down, int row) {
  const int t = threadIdx.x;
  int step = 1;
  while (step < down) step *= 2;
  for (step /= 2; step > 0; step /= 2) {
    if (row < step && row + step < down)
#pragma unroll
      for (int j = 0; j < W; ++j) columns[j][t] = columns[j][t] + columns[j][t + step * across];
    __syncthreads();
  }
}

}  // namespace kilter::cuda

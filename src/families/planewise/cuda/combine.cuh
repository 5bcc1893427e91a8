// Sums over a batch of accesses and over a team's threads, each in a fixed order.
#pragma once

#include "families/planewise/cuda/access.cuh"

namespace kilter::cuda {

template <class C, int N>
__device__ __forceinline__ C tree_sum(C (&v)[N]) {
#pragma unroll
  for (int step = 1; step < N; step *= 2)
#pragma unroll
    for (int j = 0; j + step < N; j += 2 * step) v[j] = v[j] + v[j + step];
  return v[0];
}

// Every thread of a team, a power of two of them up to a warp, receives its sums.  All threads of the warp take part.
template <int N, class C>
__device__ __forceinline__ void team_sums(C (&v)[N], int team) {
#pragma unroll
  for (int q = 0; q < N; ++q)
    for (int bit = 1; bit < team; bit *= 2) v[q] = v[q] + __shfl_xor_sync(0xFFFFFFFFu, v[q], bit);
}

// `instead` in place of the elements of an access that do not count.
template <class C, int W>
__device__ __forceinline__ void keep(const Place& place, int step, C (&v)[W], C instead) {
  if (place.has(0, step) && place.has(W - 1, step)) return;
#pragma unroll
  for (int j = 0; j < W; ++j) v[j] = place.has(j, step) ? v[j] : instead;
}

}  // namespace kilter::cuda

// The row tree of docs/numerics.md: 1024-element segments, 256 lanes, binary trees, no fused multiply-add.
// Compiled once per SIMD target; the order of additions is the program's, so every target gives the same bits.
#pragma once

#include <cstdint>

#include "cpu/vec_io.inl.h"

namespace kilter::KILTER_TARGET_NAMESPACE {

constexpr int kLanes = 256;
constexpr int kStep = 16;  // lanes between two steps of prefetching

// Lanes combine bit 0 first: neighbours, then pairs of neighbours.
template <int kWidth, class C>
inline C lane_tree(const C* __restrict lane) {
  if constexpr (kWidth == 1) {
    return lane[0];
  } else {
    alignas(64) C half[kWidth / 2];
    for (int i = 0; i < kWidth / 2; ++i) half[i] = lane[2 * i] + lane[2 * i + 1];
    return lane_tree<kWidth / 2>(half);
  }
}

// Lanes at and beyond width are +0.0, which adds nothing: no lane sum is -0.0, since all start at +0.0.
template <class C>
C lane_tree(const C* lane, int width) {
  switch (width) {
    case 256:
      return lane_tree<256>(lane);
    case 128:
      return lane_tree<128>(lane);
    case 64:
      return lane_tree<64>(lane);
    case 32:
      return lane_tree<32>(lane);
    case 16:
      return lane_tree<16>(lane);
    case 8:
      return lane_tree<8>(lane);
    case 4:
      return lane_tree<4>(lane);
    case 2:
      return lane_tree<2>(lane);
    default:
      return lane[0];
  }
}

inline int power_of_two_at_least(int m) {
  int width = 1;
  while (width < m) width *= 2;
  return width;
}

// Lanes [from, to) of at most four values each: value l, l + kWidth, ... of `kTerms` stripes; term(i, t) writes the N terms
// of value i to t.
template <int N, int kTerms, int kWidth, class C, class F>
KILTER_INLINE void lane_sums(int from, int to, C (&lane)[N][kWidth], F term) {
  for (int l = from; l < to; ++l) {
    C sum[N] = {};
    if constexpr (kTerms > 0) {
      C t[N];
      term(l, t);
      for (int j = 0; j < N; ++j) sum[j] = sum[j] + t[j];
    }
    if constexpr (kTerms > 1) {
      C t[N];
      term(l + kWidth, t);
      for (int j = 0; j < N; ++j) sum[j] = sum[j] + t[j];
    }
    if constexpr (kTerms > 2) {
      C t[N];
      term(l + 2 * kWidth, t);
      for (int j = 0; j < N; ++j) sum[j] = sum[j] + t[j];
    }
    if constexpr (kTerms > 3) {
      C t[N];
      term(l + 3 * kWidth, t);
      for (int j = 0; j < N; ++j) sum[j] = sum[j] + t[j];
    }
    for (int j = 0; j < N; ++j) lane[j][l] = sum[j];
  }
}

// Lanes [0, width) of `count` values, any count up to four per lane: the first count mod kWidth lanes have one value more.
template <int N, int kWidth, class C, class F>
KILTER_INLINE void partial_lane_sums(int count, int width, C (&lane)[N][kWidth], F term) {
  const int more = count % kWidth;
  switch (count / kWidth) {
    case 0:
      lane_sums<N, 1>(0, more, lane, term);
      lane_sums<N, 0>(more, width, lane, term);
      break;
    case 1:
      lane_sums<N, 2>(0, more, lane, term);
      lane_sums<N, 1>(more, width, lane, term);
      break;
    case 2:
      lane_sums<N, 3>(0, more, lane, term);
      lane_sums<N, 2>(more, width, lane, term);
      break;
    case 3:
      lane_sums<N, 4>(0, more, lane, term);
      lane_sums<N, 3>(more, width, lane, term);
      break;
    default:
      lane_sums<N, 4>(0, width, lane, term);
  }
}

// N sums over one segment in natural order.  ahead.fetch(step, steps) is called in small steps (see Ahead).
template <int N, class C, class A, class F>
KILTER_INLINE void natural_sums(int m, C (&sums)[N], A ahead, F term) {
  alignas(64) C lane[N][kLanes];
  int width = kLanes;
  if (m == kSegment) {
    for (int step = 0; step < kLanes / kStep; ++step) {
      ahead.fetch(step, kLanes / kStep);
      lane_sums<N, 4>(step * kStep, (step + 1) * kStep, lane, term);
    }
  } else {
    ahead.fetch(0, 1);
    width = power_of_two_at_least(m < kLanes ? m : kLanes);
    partial_lane_sums(m, width, lane, term);
  }
  for (int j = 0; j < N; ++j) sums[j] = lane_tree(lane[j], width);
}

// N sums over one segment in pairs order.  even(i, t) and odd(i, t) give the terms of elements 2i and 2i + 1.
template <int N, class A, class E, class O>
KILTER_INLINE void pair_sums(int m, float (&sums)[N], A ahead, E even, O odd) {
  constexpr int kHalf = kLanes / 2;
  alignas(64) float lane[N][kHalf];
  int width = kHalf;
  if (m == kSegment) {
    for (int step = 0; step < kHalf / kStep; ++step) {
      ahead.fetch(step, kHalf / kStep);
      for (int l = step * kStep; l < (step + 1) * kStep; ++l) {
        float a[N], b[N], c[N], d[N], e[N], f[N], g[N], h[N];
        even(l, a), even(l + kHalf, b), even(l + 2 * kHalf, c), even(l + 3 * kHalf, d);
        odd(l, e), odd(l + kHalf, f), odd(l + 2 * kHalf, g), odd(l + 3 * kHalf, h);
        for (int j = 0; j < N; ++j) lane[j][l] = ((((0.0f + a[j]) + b[j]) + c[j]) + d[j]) + ((((0.0f + e[j]) + f[j]) + g[j]) + h[j]);
      }
    }
  } else {
    ahead.fetch(0, 1);
    const int evens = (m + 1) / 2;
    width = power_of_two_at_least(evens < kHalf ? evens : kHalf);
    alignas(64) float other[N][kHalf];
    partial_lane_sums(evens, width, lane, even);
    partial_lane_sums(m / 2, width, other, odd);
    for (int j = 0; j < N; ++j)
      for (int l = 0; l < width; ++l) lane[j][l] = lane[j][l] + other[j][l];
  }
  for (int j = 0; j < N; ++j) sums[j] = lane_tree(lane[j], width);
}

// A binary tree over items that arrive in order, lowest index bit first, missing right siblings adding nothing: the
// subtrees of a binary counter.  combine(left, right) gives their parent.
template <class Node>
struct TreeCounter {
  Node level[44];
  uint64_t count = 0;

  template <class F>
  void push(Node node, F combine) {
    int b = 0;
    for (uint64_t c = count; c & 1; c >>= 1, ++b) node = combine(level[b], node);
    level[b] = node;
    ++count;
  }

  template <class F>
  Node finish(F combine) const {  // count > 0
    int b = __builtin_ctzll(count);
    Node node = level[b];
    for (++b; count >> b; ++b)
      if (count >> b & 1) node = combine(level[b], node);
    return node;
  }
};

template <int N, class C>
struct Sums {
  C v[N];
  static Sums add(const Sums& a, const Sums& b) {
    Sums s;
    for (int j = 0; j < N; ++j) s.v[j] = a.v[j] + b.v[j];
    return s;
  }
};

}  // namespace kilter::KILTER_TARGET_NAMESPACE

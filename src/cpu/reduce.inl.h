// The row tree of docs/numerics.md: 1024-element segments, 256 lanes, binary trees, no fused multiply-add.
// Compiled once per SIMD target; the order of additions is the program's, so every target gives the same bits.
#pragma once

#include <cstdint>
#include <utility>

#include "cpu/vec_io.inl.h"

namespace kilter::KILTER_TARGET_NAMESPACE {

constexpr int kLanes = 256;
constexpr int kStep = 16;  // lanes between two steps of prefetching

// Lanes combine bit 0 first: neighbours, then pairs of neighbours.
template <int kWidth, class C>
inline C scalar_lane_tree(const C* __restrict lane) {
  if constexpr (kWidth == 1)
    return lane[0];
  else
    return scalar_lane_tree<kWidth / 2>(lane) + scalar_lane_tree<kWidth / 2>(lane + kWidth / 2);
}

#if KILTER_VECTOR_BYTES
// One level of two trees at once: the sums of the items of a whose numbers differ in bit kBit, where that bit is 0, and those
// of b where it is 1.  Two shuffles for two trees, of which one is a blend.
template <int kBit, class V, int... kItem>
KILTER_INLINE V add_level(V a, V b, std::integer_sequence<int, kItem...>) {
  constexpr int kItems = sizeof...(kItem), kMask = (1 << kBit) % kItems;
  const V own = __builtin_shufflevector(a, b, (kItem & kMask ? kItem + kItems : kItem)...);
  if constexpr (sizeof(V) == 64) return own + __builtin_shufflevector(a, b, (kItem & kMask ? (kItem ^ kMask) + kItems : kItem ^ kMask)...);
  const V other = __builtin_shufflevector(a, b, (kItem & kMask ? kItem : kItem + kItems)...);
  return own + __builtin_shufflevector(other, other, (kItem ^ kMask)...);
}
template <int kBit, class C>
KILTER_INLINE Vector<C> add_level(Vector<C> a, Vector<C> b) {
  return add_level<kBit>(a, b, std::make_integer_sequence<int, sizeof(a) / sizeof(C)>());
}
template <class C>
KILTER_INLINE Vector<C> add_level(int bit, Vector<C> a, Vector<C> b) {  // bit: a constant, once unrolled
  return bit == 0 ? add_level<0, C>(a, b) : bit == 1 ? add_level<1, C>(a, b) : bit == 2 ? add_level<2, C>(a, b) : add_level<3, C>(a, b);
}

// The first kLevels levels of a tree over 2^kLevels vectors.  Item numbers are the lane's low bits; each level that joins two
// vectors writes its bit of the vector's number where the bit that it added up was, so that the levels may go around.
template <int kLevels, class C>
KILTER_INLINE Vector<C> tree_to_vector(const C* __restrict lane) {
  constexpr int kItems = sizeof(Vector<C>) / sizeof(C), kBits = __builtin_ctz(kItems);
  if constexpr (kLevels == 0)
    return get<Vector<C>>(lane);
  else
    return add_level<(kLevels - 1) % kBits, C>(tree_to_vector<kLevels - 1>(lane),
                                               tree_to_vector<kLevels - 1>(lane + (kItems << (kLevels - 1))));
}
#endif

// N trees.  Once each is one vector they share vectors for the levels that are left: the bits of those that join them tell
// where a sum ends up.
template <int kWidth, int N, int kCapacity, class C>
KILTER_INLINE void lane_trees(const C (&lane)[N][kCapacity], C (&sums)[N]) {
#if KILTER_VECTOR_BYTES
  constexpr int kItems = sizeof(Vector<C>) / sizeof(C), kBits = __builtin_ctz(kItems);
  if constexpr (kWidth >= kItems && N <= kItems) {
    constexpr int kLevels = __builtin_ctz(kWidth), kVectorLevels = kLevels - kBits;
    Vector<C> v[N];
    unrolled<N>([&](int j) KILTER_INLINE_LAMBDA { v[j] = tree_to_vector<kVectorLevels>(lane[j]); });
    int place[N] = {};
    int count = N, joined = 0;  // trees 2^joined * i ... are in v[i]
    unrolled<kBits>([&](int level) KILTER_INLINE_LAMBDA {
      const int bit = (kVectorLevels + level) % kBits;
      if (count > 1)
        for (int j = 0; j < N; ++j) place[j] |= (j >> joined & 1) << bit;
      const int half = (count + 1) / 2;
      for (int j = 0; j < half; ++j) v[j] = add_level<C>(bit, v[2 * j], v[2 * j + 1 < count ? 2 * j + 1 : 2 * j]);
      count = half, ++joined;
    });
    unrolled<N>([&](int j) KILTER_INLINE_LAMBDA { sums[j] = v[0][place[j]] + C(0); });
    return;
  }
#endif
  for (int j = 0; j < N; ++j) sums[j] = scalar_lane_tree<kWidth>(lane[j]) + C(0);
}

// Lanes at and beyond width are +0.0.  The contract's lanes start at +0.0, these at their first value: only where every value of
// a tree is -0.0 does that differ, and then in the root's sign, which the + 0 behind the last level mends.
template <int N, int kCapacity, class C>
inline void lane_trees(const C (&lane)[N][kCapacity], int width, C (&sums)[N]) {
  switch (width) {
    case 256:
      if constexpr (kCapacity >= 256) lane_trees<256>(lane, sums);
      break;
    case 128:
      lane_trees<128>(lane, sums);
      break;
    case 64:
      lane_trees<64>(lane, sums);
      break;
    case 32:
      lane_trees<32>(lane, sums);
      break;
    case 16:
      lane_trees<16>(lane, sums);
      break;
    case 8:
      lane_trees<8>(lane, sums);
      break;
    case 4:
      lane_trees<4>(lane, sums);
      break;
    case 2:
      lane_trees<2>(lane, sums);
      break;
    default:
      lane_trees<1>(lane, sums);
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
    unrolled<kTerms>([&](int k) KILTER_INLINE_LAMBDA {
      C t[N];
      term(l + k * kWidth, t);
      for (int j = 0; j < N; ++j) sum[j] = k == 0 ? t[j] : sum[j] + t[j];
    });
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

// N sums over m <= kMost values, at most a segment, in natural order.  ahead.fetch(step, steps) is called in small steps (see Ahead).
template <int N, int kMost = kSegment, class C, class A, class F>
KILTER_INLINE void natural_sums(int m, C (&sums)[N], A ahead, F term) {
  alignas(64) C lane[N][kLanes];
  int width = kLanes;
  if constexpr (kMost <= kLanes) {
    ahead.fetch(0, 1);
    width = power_of_two_at_least(m);
    lane_sums<N, 1>(0, m, lane, term);
    lane_sums<N, 0>(m, width, lane, term);
  } else if (m == kSegment) {
    for (int step = 0; step < kLanes / kStep; ++step) {
      ahead.fetch(step, kLanes / kStep);
      lane_sums<N, 4>(step * kStep, (step + 1) * kStep, lane, term);
    }
  } else {
    ahead.fetch(0, 1);
    width = power_of_two_at_least(m < kLanes ? m : kLanes);
    partial_lane_sums(m, width, lane, term);
  }
  lane_trees(lane, width, sums);
}

// The same stripe by stripe, for terms that a buffer would have to hold: stripe(begin, count) makes count <= 256 elements from begin
// on ready and gives what maps their index to their terms.
template <int N, class C, class A, class F>
KILTER_INLINE void striped_sums(int m, C (&sums)[N], A ahead, F stripe) {
  alignas(64) C lane[N][kLanes] = {};
  for (int begin = 0; begin < m; begin += kLanes) {
    ahead.fetch(begin / kLanes, (m + kLanes - 1) / kLanes);
    const int count = m - begin < kLanes ? m - begin : kLanes;
    const auto term = stripe(begin, count);
    for (int l = 0; l < count; ++l) {
      C t[N];
      term(l, t);
      for (int j = 0; j < N; ++j) lane[j][l] = lane[j][l] + t[j];
    }
  }
  lane_trees(lane, power_of_two_at_least(m < kLanes ? m : kLanes), sums);
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
        for (int j = 0; j < N; ++j) lane[j][l] = (((a[j] + b[j]) + c[j]) + d[j]) + (((e[j] + f[j]) + g[j]) + h[j]);
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
  lane_trees(lane, width, sums);
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

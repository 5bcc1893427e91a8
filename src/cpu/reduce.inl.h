// The row tree of docs/numerics.md: 1024-element segments, 256 lanes, binary trees, no fused multiply-add.
// Compiled once per SIMD target; the order of additions is the program's, so every target gives the same bits.
#pragma once

#include <cstdint>

namespace kilter::KILTER_TARGET_NAMESPACE {

constexpr int kLanes = 256;
constexpr int kSegment = 1024;

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
    case 256: return lane_tree<256>(lane);
    case 128: return lane_tree<128>(lane);
    case 64: return lane_tree<64>(lane);
    case 32: return lane_tree<32>(lane);
    case 16: return lane_tree<16>(lane);
    case 8: return lane_tree<8>(lane);
    case 4: return lane_tree<4>(lane);
    case 2: return lane_tree<2>(lane);
    default: return lane[0];
  }
}

// N sums over one segment of m <= 1024 elements at once; term(i, t) writes the N terms of element i to t.
template <int N, class C, class F>
inline void segment_sums(int m, C (&sums)[N], F term) {
  alignas(64) C lane[N][kLanes];
  int width = kLanes;
  if (m == kSegment) {
    for (int l = 0; l < kLanes; ++l) {
      C a[N], b[N], c[N], d[N];
      term(l, a), term(l + kLanes, b), term(l + 2 * kLanes, c), term(l + 3 * kLanes, d);
      for (int j = 0; j < N; ++j) lane[j][l] = (((C(0) + a[j]) + b[j]) + c[j]) + d[j];
    }
  } else {
    const int first = m < kLanes ? m : kLanes;
    for (int l = 0; l < first; ++l) {
      C t[N];
      term(l, t);
      for (int j = 0; j < N; ++j) lane[j][l] = C(0) + t[j];
    }
    for (width = 1; width < first;) width *= 2;
    for (int j = 0; j < N; ++j)
      for (int l = first; l < width; ++l) lane[j][l] = C(0);
    for (int start = kLanes; start < m; start += kLanes) {
      const int count = m - start < kLanes ? m - start : kLanes;
      for (int l = 0; l < count; ++l) {
        C t[N];
        term(start + l, t);
        for (int j = 0; j < N; ++j) lane[j][l] = lane[j][l] + t[j];
      }
    }
  }
  for (int j = 0; j < N; ++j) sums[j] = lane_tree(lane[j], width);
}

// A binary tree over items that arrive in order, lowest index bit first, missing right siblings adding nothing: the
// subtrees of a binary counter.  Node has no default meaning here; combine(left, right) gives their parent.
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

// One row as the norm reads it, and sums over it.  Included per SIMD target.
#pragma once

#include "cpu/reduce.inl.h"
#include "cpu/vec_io.inl.h"
#include "families/rowwise/problem.h"

namespace kilter::KILTER_TARGET_NAMESPACE {

// Four rows are taken together: first the sums of each, then, segment by segment, what is written, so that weight, bias and
// gradients of them are read once for all four.  The rows must stay in the second-level cache meanwhile; longer ones go one
// by one.
constexpr int kGroup = 4;
constexpr int64_t kFirstLevelBytes = 32 * 1024;  // of the first-level cache that a group's rows may take
inline int row_block(int64_t n, int bytes_per_element) { return n * bytes_per_element * kGroup <= 256 * 1024 ? kGroup : 1; }

// Whether streaming stores to these rows can leave from one loop.
inline bool one_alignment(const View& v, int64_t first, int count) {
  bool one = true;
  for (int k = 1; k < count; ++k) one &= (v.row(first + k) - v.row(first)) % 64 == 0;
  return one;
}

template <class Order, class C = typename Order::Value>
C* to_buffer(const C* v, int m, C* buffer) {
  if (v != buffer) std::memcpy(buffer, v, sizeof(C) * size_t(Order::extent(m)));
  return buffer;
}

// What the norm reads: x, or x + residual (residual + gate * x) rounded to the residual's type, times 2^k if the row is pre-scaled.
template <class Order>
struct RowSource {
  using C = typename Order::Value;
  const char* x = nullptr;
  DType x_type = DType::none;
  const char* residual = nullptr;  // null: none
  DType residual_type = DType::none;
  const char* gate = nullptr;  // of x, where there is a residual; null: none
  DType gate_type = DType::none;
  const char* next = nullptr;  // the row to fetch into the caches meanwhile, one group later; null: none
  bool scaled = false;
  C scale1 = 1, scale2 = 1;               // 2^k in two factors, each representable
  C *buffer = nullptr, *other = nullptr;  // the caller's, a piece each, for what cannot be read where it lies

  void read_from(const char* row, DType type) {
    x = row, x_type = type;
    residual = nullptr;
    scaled = false, scale1 = scale2 = 1;
  }
  const char* at(int64_t start) const { return x + start * item_size(x_type); }
  bool plain() const { return !residual && !scaled; }
  RowSource<Natural<C>> natural() const {
    return {x, x_type, residual, residual_type, gate, gate_type, nullptr, scaled, scale1, scale2, buffer, other};
  }

  // The next group's rows are fetched meanwhile: the first half of each segment while this row's is last summed, the second while
  // y is written, which keeps loads and streaming stores mixed as in a copy (two cores of a Granite Rapids, fp32, milliseconds,
  // LayerNorm 65536 x 384 / RMSNorm 4096 x 4096: halves in both passes over x, none while writing, 8.3 / 3.1; so 7.2 / 2.7).
  Ahead ahead_of(bool fetch, int64_t start, int m) const {
    if (!next || !fetch) return {};
    return {next + start * item_size(x_type), m * item_size(x_type) / 128};
  }
  // Where the other half starts; memory at hand if there is none.
  const char* next_memory(int64_t start, int m) const { return next ? next + (start + m / 2) * item_size(x_type) : at(start); }

  // At most a piece; valid until the next call.
  const C* piece(int64_t start, int m) const {
    const C* v = Order::load(x_type, at(start), m, buffer);
    if (plain()) return v;
    const int extent = Order::extent(m);
    if (residual && gate) {
      const C* g = Order::load(gate_type, gate + start * item_size(gate_type), m, other);
      for (int i = 0; i < extent; ++i) buffer[i] = g[i] * v[i];
      v = buffer;
    }
    if (residual) {
      const C* r = Order::load(residual_type, residual + start * item_size(residual_type), m, other);
      for (int i = 0; i < extent; ++i) buffer[i] = v[i] + r[i];
      round_to(residual_type, buffer, extent);
      v = buffer;
    }
    if (scaled) {
      for (int i = 0; i < extent; ++i) buffer[i] = (v[i] * scale1) * scale2;
      v = buffer;
    }
    return v;
  }

  // The same in the buffer, to be worked on there: loops in place need not ask whether their ends overlap.
  C* own_piece(int64_t start, int m) const { return to_buffer<Order>(piece(start, m), m, buffer); }

  // Whether a segment of m elements can be read where it lies.
  bool direct(int m) const { return plain() && (Order::kPairs ? x_type == DType::bf16 && m % 2 == 0 : x_type == kDTypeOf<C>); }

  // N sums over elements [begin, end) by the row tree; term(v, t) maps an element to its terms.  fetch: see ahead_of.
  template <int N, class F>
  Sums<N, C> sums(int64_t begin, int64_t end, bool fetch, F term) const {
    TreeCounter<Sums<N, C>> tree;
    for (int64_t start = begin; start < end; start += kSegment) {
      const int m = int(end - start < kSegment ? end - start : kSegment);
      const Ahead ahead = ahead_of(fetch, start, m);
      Sums<N, C> s = {};
      if constexpr (Order::kPairs) {
        if (direct(m)) {  // straight from the words of two
          const char* __restrict words = at(start);
          pair_sums<N>(
              m, s.v, ahead, [&](int i, C* t) KILTER_INLINE_LAMBDA { term(even_of(get<uint32_t>(words + 4 * i)), t); },
              [&](int i, C* t) KILTER_INLINE_LAMBDA { term(odd_of(get<uint32_t>(words + 4 * i)), t); });
        } else {
          const C* __restrict even = piece(start, m);
          const C* __restrict odd = even + Order::odd_start(m);
          pair_sums<N>(
              m, s.v, ahead, [&](int i, C* t) KILTER_INLINE_LAMBDA { term(even[i], t); },
              [&](int i, C* t) KILTER_INLINE_LAMBDA { term(odd[i], t); });
        }
      } else if constexpr (sizeof(C) == 8) {
        striped_sums<N>(m, s.v, ahead, [&](int first, int count) {
          const C* v = piece(start + first, count);
          return [v, term](int i, C* t) KILTER_INLINE_LAMBDA { term(v[i], t); };
        });
      } else {
        const C* __restrict v = piece(start, m);
        natural_sums<N>(m, s.v, ahead, [&](int i, C* t) KILTER_INLINE_LAMBDA { term(v[i], t); });
      }
      if (end - begin <= kSegment) return s;
      tree.push(s, Sums<N, C>::add);
    }
    return tree.finish(Sums<N, C>::add);
  }
};

}  // namespace kilter::KILTER_TARGET_NAMESPACE

// Mean, variance and rstd of one row (docs/numerics.md, "Statistics" and "Pre-scale").
//
// A row is read segment by segment: once for the sum, once more, from cache, for the deviations; LayerNorm rows that are
// nearly constant once more.  RMS needs one pass.  Included per SIMD target.
#pragma once

#include "families/rowwise/cpu/source.inl.h"
#include "kilter/device/row_formulas.h"

namespace kilter::KILTER_TARGET_NAMESPACE {

template <class Order, class C = typename Order::Value>
C chunk_mean(const RowSource<Order>& row, int64_t begin, int64_t end) {
  return row.template sums<1>(begin, end, false, [](C x, C* t) KILTER_INLINE_LAMBDA { t[0] = x; }).v[0] / C(end - begin);
}

template <class Order, class C = typename Order::Value>
void chunk_moments(const RowSource<Order>& row, int64_t begin, int64_t end, C mean, Moments<C>* s) {
  const Sums<2, C> first = row.template sums<2>(begin, end, true, [mean](C x, C* t) KILTER_INLINE_LAMBDA {
    const C d = x - mean;
    t[0] = d;
    t[1] = d * d;
  });
  s->set(C(end - begin), mean, first.v[0], first.v[1]);
}

// The second exchange that nearly constant rows need.
template <class Order, class C = typename Order::Value>
void refine(const RowSource<Order>& row, int64_t begin, int64_t end, Moments<C>* s) {
  if (!s->cancels()) return;
  const C mean = s->mean, lo = s->lo;
  const Sums<2, C> second = row.template sums<2>(begin, end, false, [mean, lo](C x, C* t) KILTER_INLINE_LAMBDA {
    const C d = (x - mean) - lo;
    t[0] = d;
    t[1] = d * d;
  });
  s->refine(C(end - begin), second.v[0], second.v[1]);
}

template <class Order, class C = typename Order::Value>
void measure_chunk(const RowSource<Order>& row, int64_t begin, int64_t end, Moments<C>* s) {
  chunk_moments(row, begin, end, chunk_mean(row, begin, end), s);
  refine(row, begin, end, s);
}

template <class Order, bool kCentered, class C = typename Order::Value>
void measure(const RowSource<Order>& row, int64_t n, Moments<C>* s) {
  if constexpr (!kCentered) {
    s->set_rms(C(n), row.template sums<1>(0, n, true, [](C x, C* t) KILTER_INLINE_LAMBDA { t[0] = x * x; }).v[0]);
  } else {
    if (n <= kStatisticsChunk) return measure_chunk(row, 0, n, s);
    TreeCounter<Chunk<C>> tree;
    for (int64_t begin = 0; begin < n; begin += kStatisticsChunk) {
      const int64_t end = n - begin < kStatisticsChunk ? n : begin + kStatisticsChunk;
      measure_chunk(row, begin, end, s);
      tree.push(chunk_of(*s, end - begin), [](const Chunk<C>& a, const Chunk<C>& b) { return merge_chunks(a, b); });
    }
    set_from(s, tree.finish([](const Chunk<C>& a, const Chunk<C>& b) { return merge_chunks(a, b); }));
  }
}

// A group of rows.  Short ones go side by side: while one waits for its tree and its division, the others compute.
template <class Order, bool kCentered, class C = typename Order::Value>
void measure_group(const RowSource<Order>* rows, int count, int64_t n, RowStatistics<C>* out) {
  const bool side_by_side = kCentered && n * item_size(rows[0].x_type) * count <= kFirstLevelBytes;
  if (!side_by_side) {
    for (int k = 0; k < count; ++k) measure<Order, kCentered>(rows[k], n, &out[k].m);
    return;
  }
  C mean[kGroup];
  for (int k = 0; k < count; ++k) mean[k] = chunk_mean(rows[k], 0, n);
  for (int k = 0; k < count; ++k) chunk_moments(rows[k], 0, n, mean[k], &out[k].m);
  for (int k = 0; k < count; ++k) refine(rows[k], 0, n, &out[k].m);
}

// k of the pre-scale, 0 for none.  Rare: only for rows whose moment left the safe range.
template <class C, bool kCentered>
int row_prescale_exponent(const RowSource<Natural<C>>& row, const Moments<C>& s, int64_t n, C eps) {
  C largest = 0;
  bool deviates = false, finite = true;
  for (int64_t start = 0; start < n; start += kPiece<C>) {
    const int m = int(n - start < kPiece<C> ? n - start : kPiece<C>);
    const C* v = row.piece(start, m);
    for (int i = 0; i < m; ++i) {
      const C a = v[i] < 0 ? -v[i] : v[i];
      finite &= a - a == 0;
      largest = a > largest ? a : largest;
      deviates |= kCentered ? v[i] - s.mean != 0 : v[i] != 0;
    }
  }
  if (!finite || largest == 0 || (s.moment == 0 && !deviates)) return 0;
  return prescale_exponent<C>(__builtin_ilogb(double(largest)), eps != 0, eps != 0 ? __builtin_ilogb(double(eps)) : 0);
}

// Completes the statistics of a row that was measured; may switch the source to pre-scaled, and measures it again then.
template <class Order, bool kCentered, class C = typename Order::Value>
void complete(RowSource<Order>& row, int64_t n, C eps, RowStatistics<C>* out) {
  Prescale<C> scale;
  if (out->m.extreme()) {
    if (const int k = row_prescale_exponent<C, kCentered>(row.natural(), out->m, n, eps)) {
      scale = prescale_by<C>(k);
      row.scaled = true;
      row.scale1 = scale.up1;
      row.scale2 = scale.up2;
      measure<Order, kCentered>(row, n, &out->m);
    }
  }
  out->complete(eps, scale);
}

}  // namespace kilter::KILTER_TARGET_NAMESPACE

// Mean, variance and rstd of one row (docs/numerics.md, "Statistics" and "Pre-scale").
//
// A row is read segment by segment: once for the sum, once more, from cache, for the deviations; LayerNorm rows that are
// nearly constant once more.  RMS needs one pass.  Included per SIMD target.
#pragma once

#include "families/rowwise/row_source.inl.h"

namespace kilter::KILTER_TARGET_NAMESPACE {

template <class C>
struct Moments {
  C mean, lo, lo2;  // subtracted in this order: the mean and what its rounding left over
  C variance;
  C moment;                                                      // before the correction: what decides about the pre-scale
  bool cancels() const { return lo * lo > variance * C(0.25); }  // nearly constant: the correction took what matters
};

template <class Order, class C = typename Order::Value>
C chunk_mean(const RowSource<Order>& row, int64_t begin, int64_t end) {
  return row.template sums<1>(begin, end, false, [](C x, C* t) KILTER_INLINE_LAMBDA { t[0] = x; }).v[0] / C(end - begin);
}

// Results go to *s field by field: a struct that is written in words and copied in vectors waits for its words.
template <class Order, class C = typename Order::Value>
void chunk_moments(const RowSource<Order>& row, int64_t begin, int64_t end, C mean, Moments<C>* s) {
  const Sums<2, C> first = row.template sums<2>(begin, end, true, [mean](C x, C* t) KILTER_INLINE_LAMBDA {
    const C d = x - mean;
    t[0] = d;
    t[1] = d * d;
  });
  const C n = C(end - begin);
  s->mean = mean;
  s->lo = first.v[0] / n;
  s->lo2 = 0;
  s->moment = first.v[1] / n;
  s->variance = s->moment - s->lo * s->lo;
}

// The second exchange that nearly constant rows need.
template <class Order, class C = typename Order::Value>
void refine(const RowSource<Order>& row, int64_t begin, int64_t end, Moments<C>* s) {
  if (!s->cancels()) return;
  const C n = C(end - begin), mean = s->mean, lo = s->lo;
  const Sums<2, C> second = row.template sums<2>(begin, end, false, [mean, lo](C x, C* t) KILTER_INLINE_LAMBDA {
    const C d = (x - mean) - lo;
    t[0] = d;
    t[1] = d * d;
  });
  s->lo2 = second.v[0] / n;
  s->variance = second.v[1] / n - s->lo2 * s->lo2;
}

template <class Order, class C = typename Order::Value>
void measure_chunk(const RowSource<Order>& row, int64_t begin, int64_t end, Moments<C>* s) {
  chunk_moments(row, begin, end, chunk_mean(row, begin, end), s);
  refine(row, begin, end, s);
}

template <class C>
struct Chunk {
  int64_t n = 0;
  C mean = 0, lo = 0, m = 0;  // m: the sum of squared deviations
};

// Chan, Golub, LeVeque 1979, "Updating formulae", eq. 2.1; the mean is carried as mean + lo.
template <class C>
Chunk<C> merge_chunks(const Chunk<C>& a, const Chunk<C>& b) {
  Chunk<C> s{a.n + b.n};
  const C fraction = C(b.n) / C(s.n);
  const C delta = (b.mean - a.mean) + (b.lo - a.lo);
  const C step = delta * fraction;
  s.mean = a.mean + step;
  const C taken = s.mean - a.mean;
  const C lost = (a.mean - (s.mean - taken)) + (step - taken);
  s.lo = a.lo + lost;
  s.m = (a.m + b.m) + (delta * delta) * (C(a.n) * fraction);
  return s;
}

template <class Order, bool kCentered, class C = typename Order::Value>
void measure(const RowSource<Order>& row, int64_t n, Moments<C>* s) {
  if constexpr (!kCentered) {
    s->mean = s->lo = s->lo2 = 0;
    s->variance = s->moment = row.template sums<1>(0, n, true, [](C x, C* t) KILTER_INLINE_LAMBDA { t[0] = x * x; }).v[0] / C(n);
  } else {
    if (n <= kStatisticsChunk) return measure_chunk(row, 0, n, s);
    TreeCounter<Chunk<C>> tree;
    for (int64_t begin = 0; begin < n; begin += kStatisticsChunk) {
      const int64_t end = n - begin < kStatisticsChunk ? n : begin + kStatisticsChunk;
      measure_chunk(row, begin, end, s);
      tree.push({end - begin, s->mean, s->lo + s->lo2, s->variance * C(end - begin)}, merge_chunks<C>);
    }
    const Chunk<C> whole = tree.finish(merge_chunks<C>);
    s->mean = whole.mean;
    s->lo = whole.lo;
    s->lo2 = 0;
    s->moment = s->variance = whole.m / C(n);
  }
}

template <class C>
struct RowStatistics {
  Moments<C> m;
  C rstd;                    // of the row as the source now gives it (pre-scaled or not)
  C saved_mean, saved_rstd;  // of the row itself
};

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

template <class C>
struct Limits;
template <>
struct Limits<float> {
  static constexpr float moment_min = 0x1p-96f, moment_max = 0x1p96f;
  static constexpr int eps_exponent = 95;  // eps * 4^k stays at or below 2^96
};
template <>
struct Limits<double> {
  static constexpr double moment_min = 0x1p-960, moment_max = 0x1p960;
  static constexpr int eps_exponent = 959;
};

// k of the pre-scale, 0 for none.  Rare: only for rows whose moment left the safe range.
template <class C, bool kCentered>
int prescale_exponent(const RowSource<Natural<C>>& row, const Moments<C>& s, int64_t n, C eps) {
  alignas(64) C buffer[kSegment];
  C largest = 0;
  bool deviates = false, finite = true;
  for (int64_t start = 0; start < n; start += kSegment) {
    const int m = int(n - start < kSegment ? n - start : kSegment);
    const C* v = row.segment(start, m, buffer);
    for (int i = 0; i < m; ++i) {
      const C a = v[i] < 0 ? -v[i] : v[i];
      finite &= a - a == 0;
      largest = a > largest ? a : largest;
      deviates |= kCentered ? v[i] - s.mean != 0 : v[i] != 0;
    }
  }
  if (!finite || largest == 0 || (s.moment == 0 && !deviates)) return 0;
  int k = -__builtin_ilogb(double(largest));
  if (k > 0 && eps != 0) {
    const int limit = Limits<C>::eps_exponent - __builtin_ilogb(double(eps));
    const int k_max = limit >= 0 ? limit / 2 : 0;
    k = k < k_max ? k : k_max;
  }
  return k;
}

template <class C>
C power_of_two(int k) {  // within the range of normal numbers
  if constexpr (sizeof(C) == 8)
    return __builtin_bit_cast(double, uint64_t(k + 1023) << 52);
  else
    return __builtin_bit_cast(float, uint32_t(k + 127) << 23);
}

template <class C>
C inverse_root(C v) {
  if constexpr (sizeof(C) == 8)
    return C(1) / __builtin_sqrt(v);
  else
    return C(1) / __builtin_sqrtf(v);
}

// Completes the statistics of a row that was measured; may switch the source to pre-scaled, and measures it again then.
template <class Order, bool kCentered, class C = typename Order::Value>
void complete(RowSource<Order>& row, int64_t n, C eps, RowStatistics<C>* out) {
  Moments<C>& s = out->m;
  C scale_back1 = 1, scale_back2 = 1, scaled_eps = eps;
  bool shrunk = false;
  if (!(s.moment >= Limits<C>::moment_min && s.moment <= Limits<C>::moment_max)) {
    if (const int k = prescale_exponent<C, kCentered>(row.natural(), s, n, eps)) {
      const int k1 = k >> 1, k2 = k - k1;
      shrunk = k < 0;
      row.scaled = true;
      row.scale1 = power_of_two<C>(k1);
      row.scale2 = power_of_two<C>(k2);
      scale_back1 = power_of_two<C>(-k1);
      scale_back2 = power_of_two<C>(-k2);
      scaled_eps = (((eps * row.scale1) * row.scale2) * row.scale1) * row.scale2;
      measure<Order, kCentered>(row, n, &s);
    }
  }
  out->saved_mean = ((s.mean + (s.lo + s.lo2)) * scale_back1) * scale_back2;
  if (shrunk && s.variance == 0) {  // a constant row of large numbers: the scaled eps may have vanished, eps has not
    out->rstd = out->saved_rstd = inverse_root(eps);
    return;
  }
  out->rstd = inverse_root(s.variance + scaled_eps);
  out->saved_rstd = (out->rstd * row.scale1) * row.scale2;
}

}  // namespace kilter::KILTER_TARGET_NAMESPACE

// Mean, variance and rstd of one row (docs/numerics.md, "Statistics" and "Pre-scale").
//
// A row is read segment by segment: once for the sum, once more, from cache, for the deviations; LayerNorm rows that are
// nearly constant once more.  RMS needs one pass.  Included per SIMD target.
#pragma once

#include "cpu/reduce.inl.h"
#include "cpu/vec_io.inl.h"
#include "families/rowwise/row_norm.h"

namespace kilter::KILTER_TARGET_NAMESPACE {

// What the norm reads: x, or x + residual rounded to the residual's type, times 2^k if the row is pre-scaled.
template <class Order>
struct RowSource {
  using C = typename Order::Value;
  const char* x = nullptr;
  DType x_type = DType::none;
  const char* residual = nullptr;  // null: none
  DType residual_type = DType::none;
  const char* next = nullptr;  // the row to prefetch, null: none
  bool scaled = false;
  C scale1 = 1, scale2 = 1;  // 2^k in two factors, each representable

  const char* at(int64_t start) const { return x + start * item_size(x_type); }
  bool plain() const { return !residual && !scaled; }
  RowSource<Natural<C>> natural() const { return {x, x_type, residual, residual_type, nullptr, scaled, scale1, scale2}; }

  // The first half of the next row's segment: the hardware follows.  Fetching all of it was slower (4096 x 4096 LayerNorm
  // forward on a 2-core Sapphire Rapids, fp32 / bf16: half 3.22 / 2.10 ms, all 3.46 / 2.32 ms, none 3.8 / 2.2 ms).
  Ahead ahead_of(int64_t start, int m) const {
    if (!next) return {};
    return {next + start * item_size(x_type), m * item_size(x_type) / 128};
  }

  const C* segment(int64_t start, int m, C* __restrict buffer) const {
    const C* v = Order::load(x_type, at(start), m, buffer);
    if (plain()) return v;
    const int extent = Order::extent(m);
    if (residual) {
      alignas(64) C other[kSegment];
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

  // N sums over elements [begin, end) by the row tree; term(v, t) maps an element to its terms.
  template <int N, bool kPrefetch = false, class F>
  Sums<N, C> sums(int64_t begin, int64_t end, F term) const {
    TreeCounter<Sums<N, C>> tree;
    alignas(64) C buffer[kSegment];
    for (int64_t start = begin; start < end; start += kSegment) {
      const int m = int(end - start < kSegment ? end - start : kSegment);
      const Ahead ahead = kPrefetch ? ahead_of(start, m) : Ahead{};
      Sums<N, C> s;
      if constexpr (Order::kPairs) {
        if (plain() && x_type == DType::bf16 && m == kSegment) {  // straight from the words of two
          const char* __restrict words = at(start);
          pair_sums<N>(
              m, s.v, ahead, [&](int i, C* t) KILTER_INLINE_LAMBDA { term(even_of(get<uint32_t>(words + 4 * i)), t); },
              [&](int i, C* t) KILTER_INLINE_LAMBDA { term(odd_of(get<uint32_t>(words + 4 * i)), t); });
        } else {
          const C* __restrict even = segment(start, m, buffer);
          const C* __restrict odd = even + Order::odd_start(m);
          pair_sums<N>(
              m, s.v, ahead, [&](int i, C* t) KILTER_INLINE_LAMBDA { term(even[i], t); },
              [&](int i, C* t) KILTER_INLINE_LAMBDA { term(odd[i], t); });
        }
      } else {
        const C* __restrict v = segment(start, m, buffer);
        natural_sums<N>(m, s.v, ahead, [&](int i, C* t) KILTER_INLINE_LAMBDA { term(v[i], t); });
      }
      if (end - begin <= kSegment) return s;
      tree.push(s, Sums<N, C>::add);
    }
    return tree.finish(Sums<N, C>::add);
  }
};

template <class C>
struct Moments {
  int64_t n;
  C mean = 0, lo = 0, lo2 = 0;  // subtracted in this order: the mean and what its rounding left over
  C variance = 0;
  C moment = 0;  // before the correction: what decides about the pre-scale
};

template <class Order, class C = typename Order::Value>
Moments<C> measure_chunk(const RowSource<Order>& row, int64_t begin, int64_t end) {
  Moments<C> s{end - begin};
  const C n = C(s.n);
  const C mean = s.mean = row.template sums<1>(begin, end, [](C x, C* t) KILTER_INLINE_LAMBDA { t[0] = x; }).v[0] / n;
  const Sums<2, C> first = row.template sums<2, /*kPrefetch=*/true>(begin, end, [mean](C x, C* t) KILTER_INLINE_LAMBDA {
    const C d = x - mean;
    t[0] = d;
    t[1] = d * d;
  });
  const C lo = s.lo = first.v[0] / n;
  s.moment = first.v[1] / n;
  s.variance = s.moment - lo * lo;
  if (lo * lo > s.variance * C(0.25)) {  // nearly constant: the correction would cancel
    const Sums<2, C> second = row.template sums<2>(begin, end, [mean, lo](C x, C* t) KILTER_INLINE_LAMBDA {
      const C d = (x - mean) - lo;
      t[0] = d;
      t[1] = d * d;
    });
    s.lo2 = second.v[0] / n;
    s.variance = second.v[1] / n - s.lo2 * s.lo2;
  }
  return s;
}

// Chan, Golub, LeVeque 1979, "Updating formulae", eq. 2.1; the mean is carried as mean + lo, variance as the sum M here.
template <class C>
Moments<C> merge_chunks(const Moments<C>& a, const Moments<C>& b) {
  Moments<C> s{a.n + b.n};
  const C fraction = C(b.n) / C(s.n);
  const C delta = (b.mean - a.mean) + (b.lo - a.lo);
  const C step = delta * fraction;
  s.mean = a.mean + step;
  const C taken = s.mean - a.mean;
  const C lost = (a.mean - (s.mean - taken)) + (step - taken);
  s.lo = a.lo + lost;
  s.variance = (a.variance + b.variance) + (delta * delta) * (C(a.n) * fraction);
  return s;
}

template <class Order, bool kCentered, class C = typename Order::Value>
Moments<C> measure(const RowSource<Order>& row, int64_t n) {
  if constexpr (!kCentered) {
    Moments<C> s{n};
    s.variance = s.moment =
        row.template sums<1, /*kPrefetch=*/true>(0, n, [](C x, C* t) KILTER_INLINE_LAMBDA { t[0] = x * x; }).v[0] / C(n);
    return s;
  } else {
    if (n <= kStatisticsChunk) return measure_chunk(row, 0, n);
    TreeCounter<Moments<C>> tree;
    for (int64_t begin = 0; begin < n; begin += kStatisticsChunk) {
      const int64_t end = n - begin < kStatisticsChunk ? n : begin + kStatisticsChunk;
      Moments<C> s = measure_chunk(row, begin, end);
      s.lo = s.lo + s.lo2;
      s.lo2 = 0;
      s.variance = s.variance * C(s.n);
      tree.push(s, merge_chunks<C>);
    }
    Moments<C> s = tree.finish(merge_chunks<C>);
    s.moment = s.variance = s.variance / C(n);
    return s;
  }
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

template <class C>
struct RowStatistics {
  Moments<C> m;
  C rstd;                    // of the row as the source now gives it (pre-scaled or not)
  C saved_mean, saved_rstd;  // of the row itself
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

// Statistics of a row; may switch the source to pre-scaled.
template <class Order, bool kCentered, class C = typename Order::Value>
RowStatistics<C> row_statistics(RowSource<Order>& row, int64_t n, C eps) {
  RowStatistics<C> out;
  Moments<C>& s = out.m = measure<Order, kCentered>(row, n);
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
      s = measure<Order, kCentered>(row, n);
    }
  }
  out.saved_mean = ((s.mean + (s.lo + s.lo2)) * scale_back1) * scale_back2;
  if (shrunk && s.variance == 0) {  // a constant row of large numbers: the scaled eps may have vanished, eps has not
    out.rstd = out.saved_rstd = inverse_root(eps);
    return out;
  }
  out.rstd = inverse_root(s.variance + scaled_eps);
  out.saved_rstd = (out.rstd * row.scale1) * row.scale2;
  return out;
}

}  // namespace kilter::KILTER_TARGET_NAMESPACE

// Backward pass over rows; see row_norm_cpu.inl.h.
#pragma once

#include "families/rowwise/row_forward.inl.h"

namespace kilter::KILTER_TARGET_NAMESPACE {

// Half a segment ahead in x and dy, into the first-level cache (4096 x 4096 LayerNorm backward on a 2-core Sapphire Rapids,
// fp32: none 7.1 ms, 512 elements ahead 5.6 ms, 1024 ahead 6.0 ms, 4096 ahead 6.4 ms).  Beyond the row lies, as a rule, the next.
constexpr int kElementsAhead = 512;
struct TwoAhead {
  Ahead x, dy;
  KILTER_INLINE void fetch(int step, int steps) const {
    x.fetch<3>(step, steps);
    dy.fetch<3>(step, steps);
  }
};
inline Ahead ahead_of(const View& v, const char* segment, int m) {
  return {segment + kElementsAhead * item_size(v.dtype), m * item_size(v.dtype) / 64};
}

// Reads x, dy and weight of one row by segment, and h = (x - mean) * rstd from the saved statistics.
template <class Order, bool kCentered>
struct BackwardRow {
  using C = typename Order::Value;
  const RowNormBackward* problem;
  int64_t r;
  C mean = 0, rstd, h_rstd;
  bool halve = false;  // x - mean could overflow: both are halved, rstd doubled
  C lo = 0, lo2 = 0;   // the mean of h, and of h - lo where that was not small
  C c1 = 0, c2 = 0;    // the means of g * h and of g

  BackwardRow() {}  // not a row yet
  BackwardRow(const RowNormBackward& p, int64_t row) : problem(&p), r(row) {
    constexpr C kLarge = sizeof(C) == 8 ? C(0x1p1000) : C(0x1p100);
    rstd = h_rstd = *reinterpret_cast<const C*>(p.rstd.row(r));
    if constexpr (kCentered) {
      mean = *reinterpret_cast<const C*>(p.mean.row(r));
      if (mean >= kLarge || mean <= -kLarge) {
        halve = true;
        mean = mean * C(0.5);
        h_rstd = rstd * C(2);
      }
    }
  }

  const char* x_memory(int64_t start) const { return problem->x.row(r) + start * item_size(problem->x.dtype); }
  const char* dy_memory(int64_t start) const { return problem->dy.row(r) + start * item_size(problem->dy.dtype); }
  const C* x(int64_t start, int m, C* __restrict buffer) const {
    const C* v = Order::load(problem->x.dtype, x_memory(start), m, buffer);
    if (!halve) return v;
    for (int i = 0, extent = Order::extent(m); i < extent; ++i) buffer[i] = v[i] * C(0.5);
    return buffer;
  }
  const C* dy(int64_t start, int m, C* __restrict buffer) const { return Order::load(problem->dy.dtype, dy_memory(start), m, buffer); }

  // h of consecutive elements, less lo.
  template <class V>
  KILTER_INLINE V h(V x) const {
    if constexpr (!kCentered)
      return x * splat<V>(h_rstd);
    else
      return (x - splat<V>(mean)) * splat<V>(h_rstd) - splat<V>(lo);
  }

  static constexpr int kSums = kCentered ? 3 : 1;
  using RowSums = Sums<kSums, C>;

  // The sums of g * h over one segment, and of g and h where they are needed.
  RowSums segment_sums(int64_t start, int m, const C* __restrict w) const {
    const BackwardRow row = *this;  // a copy, which stores cannot touch
    const TwoAhead ahead{ahead_of(problem->x, x_memory(start), m), ahead_of(problem->dy, dy_memory(start), m)};
    const auto term = [&row](C x_value, C g, C* t) KILTER_INLINE_LAMBDA {
      const C value = row.h(x_value);
      t[0] = g * value;
      if constexpr (kCentered) {
        t[1] = g;
        t[2] = value;
      }
    };
    RowSums s;
    alignas(64) C x_buffer[kSegment], dy_buffer[kSegment];
    if constexpr (Order::kPairs) {
      const int odd = Order::odd_start(m);
      const auto add = [&](auto x_even, auto x_odd, auto dy_even, auto dy_odd) KILTER_INLINE_LAMBDA {
        if (w)
          pair_sums<kSums>(
              m, s.v, ahead, [&](int i, C* t) KILTER_INLINE_LAMBDA { term(x_even(i), dy_even(i) * w[i], t); },
              [&](int i, C* t) KILTER_INLINE_LAMBDA { term(x_odd(i), dy_odd(i) * w[odd + i], t); });
        else
          pair_sums<kSums>(
              m, s.v, ahead, [&](int i, C* t) KILTER_INLINE_LAMBDA { term(x_even(i), dy_even(i), t); },
              [&](int i, C* t) KILTER_INLINE_LAMBDA { term(x_odd(i), dy_odd(i), t); });
      };
      const auto even = [](const char* words) {
        return [words](int i) KILTER_INLINE_LAMBDA { return even_of(get<uint32_t>(words + 4 * i)); };
      };
      const auto odds = [](const char* words) {
        return [words](int i) KILTER_INLINE_LAMBDA { return odd_of(get<uint32_t>(words + 4 * i)); };
      };
      const auto at = [](const C* values) { return [values](int i) KILTER_INLINE_LAMBDA { return values[i]; }; };
      if (m == kSegment && !halve) {  // straight from the words of two
        const char *x_words = x_memory(start), *dy_words = dy_memory(start);
        add(even(x_words), odds(x_words), even(dy_words), odds(dy_words));
      } else {
        const C *x_values = x(start, m, x_buffer), *dy_values = dy(start, m, dy_buffer);
        add(at(x_values), at(x_values + odd), at(dy_values), at(dy_values + odd));
      }
    } else {
      const C* __restrict x_values = x(start, m, x_buffer);
      const C* __restrict dy_values = dy(start, m, dy_buffer);
      if (w)
        natural_sums<kSums>(m, s.v, ahead, [&](int i, C* t) KILTER_INLINE_LAMBDA { term(x_values[i], dy_values[i] * w[i], t); });
      else
        natural_sums<kSums>(m, s.v, ahead, [&](int i, C* t) KILTER_INLINE_LAMBDA { term(x_values[i], dy_values[i], t); });
    }
    return s;
  }

  RowSums row_sums(Weights<Order>& weight) const {
    TreeCounter<RowSums> tree;
    for (int64_t start = 0; start < problem->n; start += kSegment) {
      const int m = int(problem->n - start < kSegment ? problem->n - start : kSegment);
      const RowSums s = segment_sums(start, m, weight.at(start, m));
      if (problem->n <= kSegment) return s;
      tree.push(s, RowSums::add);
    }
    return tree.finish(RowSums::add);
  }

  // One exchange, or two: lo, lo2, c1 and c2.
  void measure(Weights<Order>& weight) {
    const C n = C(problem->n);
    RowSums s = row_sums(weight);
    c1 = s.v[0] / n;
    if constexpr (kCentered) {
      C correction = s.v[2] / n;
      lo = correction;
      if (correction > C(0.5) || correction < C(-0.5)) {  // the saved mean is coarse against this row's deviation
        s = row_sums(weight);
        correction = lo2 = s.v[2] / n;
      }
      c1 = (s.v[0] - correction * s.v[1]) / n;
      c2 = s.v[1] / n;
    }
  }

  // dx of consecutive elements from g = dy * w and the corrected h.
  template <class V>
  KILTER_INLINE V gradient(V g, V h_value) const {
    if constexpr (kCentered) g = g - splat<V>(c2);
    return splat<V>(rstd) * (g - h_value * splat<V>(c1));
  }

  // Whether no dx without an upstream gradient can be a NaN (docs/numerics.md, "bf16 stores").
  bool gives_numbers() const {
    constexpr C kLarge = sizeof(C) == 8 ? C(0x1p500) : C(0x1p64);
    return c1 <= kLarge && c1 >= -kLarge && c2 <= kLarge && c2 >= -kLarge && rstd > 0 && rstd - rstd == 0 && lo - lo == 0;
  }
};

// Where a row's terms of dweight and dbias go (null: nowhere): it is the first of two (fresh) or adds to the first's.
template <class C>
struct RowTerms {
  C* weight;
  C* bias;
  bool fresh;
};

// The usual call, in one loop: dx to memory, dweight and dbias added to.
template <class Order, bool kCentered, class C = typename Order::Value>
void emit_gradients(const C* x, const C* dy, int64_t start, const C* w, int m, const BackwardRow<Order, kCentered>& original,
                    const RowTerms<C>& terms, char* dx, bool past_caches) {
  const BackwardRow<Order, kCentered> row = original;  // a copy, which stores cannot touch
  C *const dweight = terms.weight, *const dbias = terms.bias;
  const bool fresh = terms.fresh;
  const auto element = [&](auto g, auto x_value, int i) KILTER_INLINE_LAMBDA {
    using V = decltype(g);
    const V h = row.h(x_value);
    const auto add = [i, fresh](C* to, V term) KILTER_INLINE_LAMBDA {
      const V sum = fresh ? term : get<V>(to + i) + term;
      __builtin_memcpy(to + i, &sum, sizeof sum);
    };
    if (dweight) add(dweight, g * h);
    if (dbias) add(dbias, g);
    return row.gradient(w ? g * get<V>(w + i) : g, h);
  };
  if constexpr (Order::kPairs) {
    const int odd = Order::odd_start(m);
    const char *x_words = row.x_memory(start), *dy_words = row.dy_memory(start);
    emit<uint32_t>(dx, m / 2, past_caches, [&](auto tag, int i) KILTER_INLINE_LAMBDA {
      using W = decltype(tag);
      const W xw = get<W>(x_words + 4 * i), gw = get<W>(dy_words + 4 * i);
      const auto even_dx = element(even_of(gw), even_of(xw), i);
      return pack_numbers<W>(even_dx, element(odd_of(gw), odd_of(xw), odd + i));
    });
    if (m & 1) {
      const float last_x = bf16_to_float(get<uint16_t>(x_words + 2 * (m - 1))),
                  last_dy = bf16_to_float(get<uint16_t>(dy_words + 2 * (m - 1)));
      const uint16_t last = float_to_bf16(element(last_dy, last_x, m / 2));
      __builtin_memcpy(dx + 2 * (m - 1), &last, sizeof last);
    }
  } else {
    emit<C>(dx, m, past_caches, [&](auto tag, int i) KILTER_INLINE_LAMBDA {
      using V = decltype(tag);
      return element(get<V>(dy + i), get<V>(x + i), i);
    });
  }
}

// Every other call: whatever is wanted, one loop each.
template <class Order, bool kCentered, class C = typename Order::Value>
void stage_gradients(const C* x, const C* dy, const C* w, int m, int64_t start, const BackwardRow<Order, kCentered>& row,
                     const RowTerms<C>& terms, bool past_caches) {
  const RowNormBackward& p = *row.problem;
  const int extent = Order::extent(m);
  alignas(64) C h[kSegment], out[kSegment], other[kSegment];
  for (int i = 0; i < extent; ++i) h[i] = row.h(x[i]) - row.lo2;
  if (C* to = terms.weight)
    for (int i = 0; i < extent; ++i) to[i] = terms.fresh ? dy[i] * h[i] : to[i] + dy[i] * h[i];
  if (C* to = terms.bias)
    for (int i = 0; i < extent; ++i) to[i] = terms.fresh ? dy[i] : to[i] + dy[i];
  if (!p.dx.present() && !p.dresidual.present()) return;
  for (int i = 0; i < extent; ++i) out[i] = row.gradient(w ? dy[i] * w[i] : dy[i], h[i]);
  if (p.dresidual_out.present()) {
    const View& up = p.dresidual_out;
    const C* u = Order::load(up.dtype, up.row(row.r) + start * item_size(up.dtype), m, other);
    for (int i = 0; i < extent; ++i) out[i] = out[i] + u[i];
  }
  const View* const outputs[] = {&p.dx, &p.dresidual};
  for (const View* v : outputs)
    if (v->present()) Order::store(v->dtype, out, m, v->row(row.r) + start * item_size(v->dtype), past_caches);
}

// Four rows are taken together: the sums of each first, then segment by segment their gradients, so that weight, dweight and
// dbias are read once for all of them (4096 x 4096 LayerNorm backward on a 2-core Sapphire Rapids, fp32 / bf16: one row
// 6.1 / 3.8 ms, four 5.4 / 3.5 ms).  Their x and dy must stay in the second-level cache meanwhile; longer rows go one by one.
constexpr int kGroup = 4;  // also the rows whose terms add up in C before they join a wide sum
inline int row_block(int64_t n, int bytes_per_element) { return n * bytes_per_element * kGroup <= 256 * 1024 ? kGroup : 1; }

// sum[i] += low[i] + high[i] (high null: low[i]) for the columns of one segment.
template <class Order, class C = typename Order::Value>
void join(Wide<C>* __restrict sum, const C* __restrict low, const C* __restrict high, int m) {
  const auto range = [&](int from, int to) {
    if (high)
      for (int i = from; i < to; ++i) add_to(sum[i], widen(low[i] + high[i]));
    else
      for (int i = from; i < to; ++i) add_to(sum[i], widen(low[i]));
  };
  if constexpr (Order::kPairs) {
    range(0, (m + 1) / 2);
    range(Order::odd_start(m), Order::extent(m));
  } else {
    range(0, m);
  }
}

template <class Order, bool kCentered>
void backward_rows(const RowNormBackward& p, int64_t begin, int64_t end, const ColumnSums<typename Order::Value>& sums, bool past_caches) {
  using C = typename Order::Value;
  alignas(64) C x_buffer[kSegment], dy_buffer[kSegment], near_halves[4][kSegment];
  Weights<Order> weight(p.weight, C(p.weight_offset), p.n);
  const bool want_dx = p.dx.present() || p.dresidual.present();
  const bool usual = p.dx.present() && !p.dresidual.present() && !p.dresidual_out.present() && (Order::kPairs || p.dx.dtype == kDTypeOf<C>);
  const int block = row_block(p.n, item_size(p.x.dtype) + item_size(p.dy.dtype));
  BackwardRow<Order, kCentered> rows[kGroup];
  bool in_stages[kGroup];
  for (int64_t first = begin; first < end; first += block) {
    const int count = int(end - first < block ? end - first : block);
    for (int k = 0; k < count; ++k) {
      BackwardRow<Order, kCentered>& row = rows[k] = BackwardRow<Order, kCentered>(p, first + k);
      if (want_dx || kCentered) row.measure(weight);
      in_stages[k] = !usual || row.lo2 != 0 || (Order::kPairs && (row.halve || !row.gives_numbers()));
    }
    const int place = int((first - begin) % kGroup);  // of the first row in its group of four
    const int last_place = place + count - 1;
    const bool complete = last_place == kGroup - 1 || first + count == end;
    for (int64_t start = 0; start < p.n; start += kSegment) {
      const int m = int(p.n - start < kSegment ? p.n - start : kSegment);
      const C* w = want_dx ? weight.at(start, m) : nullptr;
      // Half 0: rows 0 and 1 of the group, half 1: rows 2 and 3; a whole group at hand needs no memory for them.
      const auto half = [&](const Wide<C>* sum, int plane, int h) -> C* {
        if (!sum) return nullptr;
        return block == kGroup ? near_halves[2 * plane + h] : sums.halves + (2 * plane + h) * sums.stride + start;
      };
      for (int k = 0; k < count; ++k) {
        const BackwardRow<Order, kCentered>& row = rows[k];
        const int h = (place + k) / 2;
        const RowTerms<C> terms{half(sums.weight, 0, h), half(sums.bias, 1, h), (place + k) % 2 == 0};
        const bool words = Order::kPairs && !in_stages[k];
        const C* x = words ? nullptr : row.x(start, m, x_buffer);
        const C* dy = words ? nullptr : row.dy(start, m, dy_buffer);
        if (in_stages[k])
          stage_gradients(x, dy, w, m, start, row, terms, past_caches);
        else
          emit_gradients(x, dy, start, w, m, row, terms, p.dx.row(row.r) + start * item_size(p.dx.dtype), past_caches);
      }
      if (!complete) continue;
      if (sums.weight) join<Order>(sums.weight + start, half(sums.weight, 0, 0), last_place >= 2 ? half(sums.weight, 0, 1) : nullptr, m);
      if (sums.bias) join<Order>(sums.bias + start, half(sums.bias, 1, 0), last_place >= 2 ? half(sums.bias, 1, 1) : nullptr, m);
    }
  }
  if (past_caches) stream_fence();
}

}  // namespace kilter::KILTER_TARGET_NAMESPACE

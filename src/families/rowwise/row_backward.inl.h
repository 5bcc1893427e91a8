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
  const C* dy(int64_t start, int m, C* __restrict buffer) const {
    return Order::load(problem->dy.dtype, dy_memory(start), m, buffer);
  }

  // h of consecutive elements, less lo.
  template <class V>
  KILTER_INLINE V h(V x) const {
    if constexpr (!kCentered)
      return x * splat<V>(h_rstd);
    else
      return (x - splat<V>(mean)) * splat<V>(h_rstd) - splat<V>(lo);
  }

  // One exchange: the sums of g * h, and of g and h where they are needed.
  void measure(Weights<Order>& weight) {
    const RowNormBackward& p = *problem;
    constexpr int N = kCentered ? 3 : 1;
    const auto pass = [&] {
      using S = Sums<N, C>;
      TreeCounter<S> tree;
      alignas(64) C x_buffer[kSegment], dy_buffer[kSegment];
      for (int64_t start = 0; start < p.n; start += kSegment) {
        const int m = int(p.n - start < kSegment ? p.n - start : kSegment);
        const TwoAhead ahead{ahead_of(problem->x, x_memory(start), m), ahead_of(problem->dy, dy_memory(start), m)};
        const C* __restrict x_values = x(start, m, x_buffer);
        const C* __restrict dy_values = dy(start, m, dy_buffer);
        const C* __restrict w = weight.at(start, m);
        const auto term = [&](int i, C g, C* t) KILTER_INLINE_LAMBDA {
          const C value = h(x_values[i]);
          t[0] = g * value;
          if constexpr (kCentered) {
            t[1] = g;
            t[2] = value;
          }
        };
        S s;
        const auto add = [&](auto gradient) KILTER_INLINE_LAMBDA {
          if constexpr (Order::kPairs) {
            const int odd = Order::odd_start(m);
            pair_sums<N>(m, s.v, ahead, [&](int i, C* t) KILTER_INLINE_LAMBDA { term(i, gradient(i), t); }, [&](int i, C* t) KILTER_INLINE_LAMBDA { term(odd + i, gradient(odd + i), t); });
          } else {
            natural_sums<N>(m, s.v, ahead, [&](int i, C* t) KILTER_INLINE_LAMBDA { term(i, gradient(i), t); });
          }
        };
        if (w)
          add([&](int i) KILTER_INLINE_LAMBDA { return dy_values[i] * w[i]; });
        else
          add([&](int i) KILTER_INLINE_LAMBDA { return dy_values[i]; });
        if (p.n <= kSegment) return s;
        tree.push(s, S::add);
      }
      return tree.finish(S::add);
    };
    const C n = C(p.n);
    Sums<N, C> s = pass();
    c1 = s.v[0] / n;
    if constexpr (kCentered) {
      C correction = s.v[2] / n;
      lo = correction;
      if (correction > C(0.5) || correction < C(-0.5)) {  // the saved mean is coarse against this row's deviation
        s = pass();
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

// The usual call, in one loop: dx to memory, dweight and dbias added to.
template <class Order, bool kCentered, class C = typename Order::Value>
void emit_gradients(const C* x, const C* dy, int64_t start, const C* w, int m, const BackwardRow<Order, kCentered>& original, C* dweight, C* dbias,
                    char* dx, bool past_caches) {
  const BackwardRow<Order, kCentered> row = original;  // a copy, which stores cannot touch
  const auto element = [&](auto g, auto x_value, int i) KILTER_INLINE_LAMBDA {
    using V = decltype(g);
    const V h = row.h(x_value);
    const auto add = [i](C* to, V term) KILTER_INLINE_LAMBDA {
      const V sum = get<V>(to + i) + term;
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
      const float last_x = bf16_to_float(get<uint16_t>(x_words + 2 * (m - 1))), last_dy = bf16_to_float(get<uint16_t>(dy_words + 2 * (m - 1)));
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
void stage_gradients(const C* x, const C* dy, const C* w, int m, int64_t start, const BackwardRow<Order, kCentered>& row, C* dweight, C* dbias,
                     bool past_caches) {
  const RowNormBackward& p = *row.problem;
  const int extent = Order::extent(m);
  alignas(64) C h[kSegment], out[kSegment], other[kSegment];
  for (int i = 0; i < extent; ++i) h[i] = row.h(x[i]) - row.lo2;
  if (dweight)
    for (int i = 0; i < extent; ++i) dweight[i] = dweight[i] + dy[i] * h[i];
  if (dbias)
    for (int i = 0; i < extent; ++i) dbias[i] = dbias[i] + dy[i];
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

// Rows taken together where they share one accumulator: their sums one after the other, then segment by segment their
// gradients, so that weight, dweight and dbias are read once for all of them (4096 x 4096 LayerNorm backward on a 2-core
// Sapphire Rapids, fp32 / bf16: one row 6.1 / 3.8 ms, four 5.4 / 3.5 ms; 65536 x 384 with four accumulators: one 8.0 ms, four 8.2 ms).
// Their x and dy must stay in the second-level cache meanwhile.
constexpr int kRowBlock = 4;
inline int row_block(int64_t n, int accumulators, int bytes_per_element) {
  return accumulators == 1 && n * bytes_per_element * kRowBlock <= 256 * 1024 ? kRowBlock : 1;
}

template <class Order, bool kCentered>
void backward_rows(const RowNormBackward& p, int64_t begin, int64_t end, const Accumulators<typename Order::Value>& sums, bool past_caches) {
  using C = typename Order::Value;
  alignas(64) C x_buffer[kSegment], dy_buffer[kSegment];
  Weights<Order> weight(p.weight, C(p.weight_offset), p.n);
  const bool want_dx = p.dx.present() || p.dresidual.present();
  const bool usual = p.dx.present() && !p.dresidual.present() && !p.dresidual_out.present() && (Order::kPairs || p.dx.dtype == kDTypeOf<C>);
  const int block = row_block(p.n, sums.count, item_size(p.x.dtype) + item_size(p.dy.dtype));
  BackwardRow<Order, kCentered> rows[kRowBlock];
  bool in_stages[kRowBlock];
  for (int64_t first = begin; first < end; first += block) {
    const int count = int(end - first < block ? end - first : block);
    for (int k = 0; k < count; ++k) {
      const int64_t r = first + k;
      BackwardRow<Order, kCentered>& row = rows[k] = BackwardRow<Order, kCentered>(p, r);
      if (want_dx || kCentered) row.measure(weight);
      in_stages[k] = !usual || row.lo2 != 0 || (Order::kPairs && (row.halve || !row.gives_numbers()));
    }
    for (int64_t start = 0; start < p.n; start += kSegment) {
      const int m = int(p.n - start < kSegment ? p.n - start : kSegment);
      const C* w = want_dx ? weight.at(start, m) : nullptr;
      for (int k = 0; k < count; ++k) {
        const BackwardRow<Order, kCentered>& row = rows[k];
        const int64_t accumulator = (row.r - begin) % sums.count * sums.stride;
        const bool words = Order::kPairs && !in_stages[k];
        const C* x = words ? nullptr : row.x(start, m, x_buffer);
        const C* dy = words ? nullptr : row.dy(start, m, dy_buffer);
        C* const dweight = sums.weight ? sums.weight + accumulator + start : nullptr;
        C* const dbias = sums.bias ? sums.bias + accumulator + start : nullptr;
        if (in_stages[k])
          stage_gradients(x, dy, w, m, start, row, dweight, dbias, past_caches);
        else
          emit_gradients(x, dy, start, w, m, row, dweight, dbias, p.dx.row(row.r) + start * item_size(p.dx.dtype), past_caches);
      }
    }
  }
  if (past_caches) stream_fence();
}

}  // namespace kilter::KILTER_TARGET_NAMESPACE

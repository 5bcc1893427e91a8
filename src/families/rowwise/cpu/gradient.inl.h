// What backward measures of one row, and the gradient that follows from it; see passes.inl.h.
#pragma once

#include "cpu/reduce.inl.h"
#include "cpu/weights.inl.h"
#include "families/rowwise/cpu/run.h"
#include "kilter/device/row_formulas.h"

namespace kilter::KILTER_TARGET_NAMESPACE {

// Two inputs at once; into the second-level cache.
struct TwoAhead {
  Ahead x, dy;
  KILTER_INLINE void fetch(int step, int steps) const {
    x.fetch(step, steps);
    dy.fetch(step, steps);
  }
};

// h of consecutive elements, before the mean's correction.
template <bool kCentered, class V, class C>
KILTER_INLINE V uncorrected_h(V x, C mean, C rstd) {
  if constexpr (kCentered) x = x - splat<V>(mean);
  return x * splat<V>(rstd);
}

// dx of consecutive elements from g = dy * w and the corrected h.
template <bool kCentered, class V, class C>
KILTER_INLINE V gradient(V g, V h, C rstd, C c1, C c2) {
  if constexpr (kCentered) g = g - splat<V>(c2);
  return splat<V>(rstd) * (g - h * splat<V>(c1));
}

// Reads x, dy and weight of one row by segment, and h = (x - mean) * rstd from the saved statistics.
template <class Order, bool kCentered>
struct BackwardRow : RowGradient<typename Order::Value> {
  using C = typename Order::Value;
  const char *x_row, *dy_row;
  DType x_type, dy_type;
  using RowGradient<C>::mean, RowGradient<C>::rstd, RowGradient<C>::h_rstd, RowGradient<C>::halve;
  using RowGradient<C>::lo, RowGradient<C>::lo2, RowGradient<C>::c1, RowGradient<C>::c2;
  // The row one group later, null: none.  It is fetched into the caches meanwhile: the first half of each of its segments while
  // this row's is summed, the second while this row's gradient is written (4096 x 4096 LayerNorm backward on two cores of a
  // Zen 4, fp32: half a segment ahead, while summing only, 7.9 ms; a group ahead, while summing only, 6.8 ms; both 6.1 ms).
  const char *next_x, *next_dy;
  C *x_buffer, *dy_buffer;  // the caller's, a piece each, for what cannot be read where it lies

  void start(const RowNormBackward& p, int64_t r, int64_t next, bool is_row) {
    x_row = p.x.row(r), x_type = p.x.dtype;
    dy_row = p.dy.row(r), dy_type = p.dy.dtype;
    next_x = is_row ? p.x.row(next) : nullptr;
    next_dy = is_row ? p.dy.row(next) : nullptr;
    RowGradient<C>::start(kCentered, kCentered ? *reinterpret_cast<const C*>(p.mean.row(r)) : C(0),
                          *reinterpret_cast<const C*>(p.rstd.row(r)));
  }

  const char* x_memory(int64_t start) const { return x_row + start * item_size(x_type); }
  const char* dy_memory(int64_t start) const { return dy_row + start * item_size(dy_type); }
  // Where the half of the next row's segment starts that is left while the gradient is written; memory at hand if there is none.
  const char* next_x_memory(int64_t start, int m) const { return next_x ? next_x + (start + m / 2) * item_size(x_type) : x_memory(start); }
  const char* next_dy_memory(int64_t start, int m) const {
    return next_x ? next_dy + (start + m / 2) * item_size(dy_type) : dy_memory(start);
  }
  TwoAhead ahead_of(int64_t start, int m) const {
    if (!next_x) return {};
    const int x_item = item_size(x_type), dy_item = item_size(dy_type);
    return {{next_x + start * x_item, m * x_item / 128}, {next_dy + start * dy_item, m * dy_item / 128}};
  }
  // At most a piece; valid until the next call.
  const C* x(int64_t start, int m) const {
    const C* v = Order::load(x_type, x_memory(start), m, x_buffer);
    if (!halve) return v;
    for (int i = 0, extent = Order::extent(m); i < extent; ++i) x_buffer[i] = v[i] * C(0.5);
    return x_buffer;
  }
  const C* dy(int64_t start, int m) const { return Order::load(dy_type, dy_memory(start), m, dy_buffer); }

  static constexpr int kSums = kCentered ? 3 : 1;
  using RowSums = Sums<kSums, C>;

  // The sums of g * h over one segment, and of g and h where they are needed.  kAgain: h is less lo.
  template <bool kAgain>
  RowSums segment_sums(int64_t start, int m, Weights<Order>& weight) const {
    const TwoAhead ahead = ahead_of(start, m);
    const auto term = [mean = mean, scale = h_rstd, lo = lo](C x_value, C g, C* t) KILTER_INLINE_LAMBDA {
      C value = uncorrected_h<kCentered>(x_value, mean, scale);
      if constexpr (kAgain)
        value = value - lo;
      else
        (void)lo;  // as captured
      t[0] = g * value;
      if constexpr (kCentered) {
        t[1] = g;
        t[2] = value;
      }
    };
    RowSums s = {};
    if constexpr (Order::kPairs) {
      const int odd = Order::odd_start(m);
      const auto add = [&](auto x_even, auto x_odd, auto dy_even, auto dy_odd, auto w) KILTER_INLINE_LAMBDA {
        if (w)
          pair_sums<kSums>(
              m, s.v, ahead, [&](int i, C* t) KILTER_INLINE_LAMBDA { term(x_even(i), dy_even(i) * w.template even<C>(i), t); },
              [&](int i, C* t) KILTER_INLINE_LAMBDA { term(x_odd(i), dy_odd(i) * w.template odd<C>(i), t); });
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
        const auto add_words = [&](auto w) { add(even(x_words), odds(x_words), even(dy_words), odds(dy_words), w); };
        if (weight.are_words(m))
          add_words(weight.words(start));
        else
          add_words(weight.values(start, m));
      } else {
        const C *x_values = x(start, m), *dy_values = dy(start, m);
        add(at(x_values), at(x_values + odd), at(dy_values), at(dy_values + odd), weight.values(start, m));
      }
    } else if constexpr (sizeof(C) == 8) {
      striped_sums<kSums>(m, s.v, ahead, [&](int first, int count) {
        const C *x_values = x(start + first, count), *dy_values = dy(start + first, count), *w = weight.at(start + first, count);
        return [=](int i, C* t) KILTER_INLINE_LAMBDA { term(x_values[i], w ? dy_values[i] * w[i] : dy_values[i], t); };
      });
    } else {
      const C* __restrict w = weight.at(start, m);
      const C* __restrict x_values = x(start, m);
      const C* __restrict dy_values = dy(start, m);
      if (w)
        natural_sums<kSums>(m, s.v, ahead, [&](int i, C* t) KILTER_INLINE_LAMBDA { term(x_values[i], dy_values[i] * w[i], t); });
      else
        natural_sums<kSums>(m, s.v, ahead, [&](int i, C* t) KILTER_INLINE_LAMBDA { term(x_values[i], dy_values[i], t); });
    }
    return s;
  }

  template <bool kAgain>
  RowSums row_sums(Weights<Order>& weight, int64_t n) const {
    TreeCounter<RowSums> tree;
    for (int64_t start = 0; start < n; start += kSegment) {
      const int m = int(n - start < kSegment ? n - start : kSegment);
      const RowSums s = segment_sums<kAgain>(start, m, weight);
      if (n <= kSegment) return s;
      tree.push(s, RowSums::add);
    }
    return tree.finish(RowSums::add);
  }

  // lo, lo2, c1 and c2 from the sums of the first exchange; a second one where the saved mean was coarse.
  void complete(const RowSums& s, Weights<Order>& weight, int64_t count) {
    const C n = C(count);
    if constexpr (!kCentered) {
      this->set_rms(n, s.v[0]);
    } else if (this->set(n, s.v[0], s.v[1], s.v[2])) {
      const RowSums again = row_sums<true>(weight, count);
      this->refine(n, again.v[0], again.v[1], again.v[2]);
    }
  }

  // Whether no dx without an upstream gradient can be a NaN (docs/numerics.md, "Edges").
  bool gives_numbers() const {
    constexpr C kLarge = sizeof(C) == 8 ? C(0x1p500) : C(0x1p64);
    return c1 <= kLarge && c1 >= -kLarge && c2 <= kLarge && c2 >= -kLarge && rstd > 0 && rstd - rstd == 0 && lo - lo == 0;
  }
};

}  // namespace kilter::KILTER_TARGET_NAMESPACE

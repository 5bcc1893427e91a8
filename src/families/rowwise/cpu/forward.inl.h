// Forward pass over rows; see passes.inl.h.
#pragma once

#include "cpu/weights.inl.h"
#include "families/rowwise/cpu/modulate.inl.h"
#include "families/rowwise/cpu/run.h"
#include "families/rowwise/cpu/statistics.inl.h"

namespace kilter::KILTER_TARGET_NAMESPACE {

template <class C>
void write_value(const View& v, int64_t row, C value) {
  if (v.present()) *reinterpret_cast<C*>(v.row(row)) = value;
}

// The sum of x and residual, where the caller wants it: written first, so that y may overwrite either.
template <class Order, class C = typename Order::Value>
void write_sum(const RowSource<Order>& source, const View& out, int64_t row, int64_t n) {
  for (int64_t start = 0; start < n; start += kPiece<C>) {
    const int m = int(n - start < kPiece<C> ? n - start : kPiece<C>);
    Order::store(out.dtype, source.piece(start, m), m, out.row(row) + start * item_size(out.dtype), false);
  }
}

// xhat * w + b of consecutive elements: of one (V = C) or of a vector of them.
template <bool kCentered, bool kWeight, bool kBias, class V, class C>
KILTER_INLINE V affine(V x, C mean, C lo, C rstd, V w, V b) {
  V v = x;
  if (kCentered) v = (v - splat<V>(mean)) - splat<V>(lo);
  v = v * splat<V>(rstd);
  if (kWeight) v = v * w;
  if (kBias) v = v + b;
  return v;
}

// One piece of kRows rows' y in one loop from the sources to memory, for the usual call.
template <int kRows, bool kWeight, bool kBias, class Order, bool kCentered, class Operand, class C = typename Order::Value>
KILTER_INLINE void emit_y_piece(const RowSource<Order>* sources, int64_t start, int m, const RowStatistics<C>* statistics, Operand w,
                                Operand b, char* const* y_rows, bool past_caches) {
  C mean[kRows], lo[kRows], rstd[kRows];  // copies, which stores to y cannot touch
  const char *x[kRows], *next[kRows];
  char* y[kRows];
  unrolled<kRows>([&](int k) KILTER_INLINE_LAMBDA {
    mean[k] = statistics[k].m.mean, lo[k] = statistics[k].m.lo, rstd[k] = statistics[k].rstd;
    x[k] = sources[k].at(start);
    y[k] = y_rows[k] + start * item_size(sources[k].x_type);
    next[k] = sources[k].next_memory(start, m);
  });
  if constexpr (Order::kPairs) {
    emit_rows<uint32_t>(y, m / 2, past_caches, [&](int i, auto& v) KILTER_INLINE_LAMBDA {
      using W = std::remove_reference_t<decltype(v[0])>;
      using V = Floats<W>;
      V w_even{}, w_odd{}, b_even{}, b_odd{};
      if constexpr (kWeight) w_even = w.template even<V>(i), w_odd = w.template odd<V>(i);
      if constexpr (kBias) b_even = b.template even<V>(i), b_odd = b.template odd<V>(i);
      unrolled<kRows>([&](int k) KILTER_INLINE_LAMBDA {
        __builtin_prefetch(next[k] + 2 * i, 0, 2);
        const W words = get<W>(x[k] + 4 * i);
        v[k] = pack_numbers<W>(affine<kCentered, kWeight, kBias, V>(even_of(words), mean[k], lo[k], rstd[k], w_even, b_even),
                               affine<kCentered, kWeight, kBias, V>(odd_of(words), mean[k], lo[k], rstd[k], w_odd, b_odd));
      });
    });
    for (int k = 0; k < kRows && m % 2; ++k) {  // never of words
      const float last = bf16_to_float(get<uint16_t>(x[k] + 2 * (m - 1)));
      const float w_last = kWeight ? w.template even<float>(m / 2) : 0, b_last = kBias ? b.template even<float>(m / 2) : 0;
      const uint16_t h = float_to_bf16(affine<kCentered, kWeight, kBias, float>(last, mean[k], lo[k], rstd[k], w_last, b_last));
      __builtin_memcpy(y[k] + 2 * (m - 1), &h, sizeof h);
    }
  } else {
    emit_rows<C>(y, m, past_caches, [&](int i, auto& v) KILTER_INLINE_LAMBDA {
      using V = std::remove_reference_t<decltype(v[0])>;
      V w_i{}, b_i{};
      if constexpr (kWeight) w_i = w.template even<V>(i);
      if constexpr (kBias) b_i = b.template even<V>(i);
      unrolled<kRows>([&](int k) KILTER_INLINE_LAMBDA {
        __builtin_prefetch(next[k] + i * int(sizeof(C)) / 2, 0, 2);
        v[k] = affine<kCentered, kWeight, kBias, V>(get<V>(x[k] + i * sizeof(C)), mean[k], lo[k], rstd[k], w_i, b_i);
      });
    });
  }
}

template <int kRows, class Order, bool kCentered, class Operand, class C = typename Order::Value>
void emit_y(const RowSource<Order>* sources, int64_t start, int m, const RowStatistics<C>* statistics, Operand w, Operand b, char* const* y,
            bool past_caches) {
  with_flags(bool(w), bool(b), [&](auto weight, auto bias) {
    emit_y_piece<kRows, weight.value, bias.value, Order, kCentered>(sources, start, m, statistics, w, b, y, past_caches);
  });
}

// One piece of y in stages: rounding between the steps, a residual behind them, a second correction of the mean.
template <class Order, bool kCentered, class C = typename Order::Value>
void stage_y(const RowSource<Order>& source, int m, const RowNormForward& p, int64_t r, int64_t start, const RowStatistics<C>& s,
             const C* w, const C* b, bool past_caches) {
  C* const out = source.own_piece(start, m);
  const DType t = p.x.dtype;
  const int extent = Order::extent(m);
  const C mean = s.m.mean, lo = s.m.lo, lo2 = s.m.lo2, rstd = s.rstd;
  for (int i = 0; i < extent; ++i) out[i] = kCentered ? (((out[i] - mean) - lo) - lo2) * rstd : out[i] * rstd;
  const auto round = [&] {
    if (p.round_then_multiply) round_to(t, out, extent);
  };
  round();
  if (w) {
    for (int i = 0; i < extent; ++i) out[i] = out[i] * w[i];
    round();
  }
  if (b) {
    for (int i = 0; i < extent; ++i) out[i] = out[i] + b[i];
    round();
  }
  if (p.post_residual.present()) {
    const View& after = p.post_residual;
    const C* a = Order::load(after.dtype, after.row(r) + start * item_size(after.dtype), m, source.other);
    for (int i = 0; i < extent; ++i) out[i] = out[i] + a[i];
  }
  Order::store(t, out, m, p.y.row(r) + start * item_size(t), past_caches);
}

template <class Order, bool kCentered>
void forward_rows(const RowNormForward& p, int64_t begin, int64_t end, bool past_caches) {
  using C = typename Order::Value;
  const C eps = C(p.eps);
  bool moderate = Order::kPairs && is_moderate(p.weight, p.n) && is_moderate(p.bias, p.n);
  const bool staged_call = p.round_then_multiply || p.post_residual.present();
  alignas(64) C buffer[kPiece<C>], other[kPiece<C>];
  Weights<Order> weight(p.weight, C(p.weight_offset), p.n), bias(p.bias, C(0), p.n);
  const int block = row_block(p.n, item_size(p.x.dtype));
  RowSource<Order> rows[kGroup];
  RowStatistics<C> statistics[kGroup];
  char* y[kGroup];
  bool in_stages[kGroup];
  for (RowSource<Order>& row : rows) row.buffer = buffer, row.other = other;
  ModulationCursor modulation(p.modulation);
  int count = 0;
  for (int64_t first = begin; first < end; first += count) {
    if (first >= modulation.end()) {
      modulation.seek(first);
      if (p.scale.present()) {
        modulate(p, modulation.index(), other, &weight, &bias);
        moderate = Order::kPairs && has_moderate_modulation(p, modulation.index());
      }
    }
    const int64_t rows_end = modulation.end() < end ? modulation.end() : end;
    count = int(rows_end - first < block ? rows_end - first : block);
    bool together = count == kGroup && (!past_caches || one_alignment(p.y, first, count));
    for (int k = 0; k < count; ++k) {
      const int64_t r = first + k;
      RowSource<Order>& row = rows[k];
      row.read_from(p.x.row(r), p.x.dtype);
      row.next = r + block < end ? p.x.row(r + block) : nullptr;
      if (p.residual.present()) {
        row.residual = p.residual.row(r);
        row.residual_type = p.residual.dtype;
        row.gate = p.gate.present() ? p.gate.row(modulation.index()) : nullptr;
        row.gate_type = p.gate.dtype;
      }
      if (p.residual_out.present()) {
        write_sum(row, p.residual_out, r, p.n);
        row.read_from(p.residual_out.row(r), p.residual_out.dtype);
        row.next = nullptr;
      }
    }
    measure_group<Order, kCentered>(rows, count, p.n, statistics);
    for (int k = 0; k < count; ++k) {
      const int64_t r = first + k;
      RowSource<Order>& row = rows[k];
      const RowStatistics<C>& s = statistics[k];
      complete<Order, kCentered>(row, p.n, eps, &statistics[k]);
      if (kCentered) write_value(p.mean, r, s.saved_mean);
      write_value(p.rstd, r, s.saved_rstd);
      y[k] = p.y.row(r);
      const bool numbers = moderate && s.m.variance - s.m.variance == 0 && s.rstd - s.rstd == 0;
      in_stages[k] =
          staged_call || s.m.lo2 != 0 || !row.plain() || row.x_type != p.x.dtype || (Order::kPairs ? !numbers : p.x.dtype != kDTypeOf<C>);
      together = together && !in_stages[k];
    }
    for (int64_t start = 0; start < p.n; start += kPiece<C>) {
      const int m = int(p.n - start < kPiece<C> ? p.n - start : kPiece<C>);
      const auto emit = [&](auto w, auto b) {
        if (together) return emit_y<kGroup, Order, kCentered>(rows, start, m, statistics, w, b, y, past_caches);
        for (int k = 0; k < count; ++k)
          if (!in_stages[k]) emit_y<1, Order, kCentered>(&rows[k], start, m, &statistics[k], w, b, &y[k], past_caches);
      };
      bool words = false;
      if constexpr (Order::kPairs) {
        words = weight.are_words(m) && bias.are_words(m);
        if (words) emit(weight.words(start), bias.words(start));
      }
      if (words && together) continue;
      const Values<C> w = weight.values(start, m), b = bias.values(start, m);
      if (!words) emit(w, b);
      for (int k = 0; k < count; ++k)
        if (in_stages[k])
          stage_y<Order, kCentered>(rows[k], m, p, first + k, start, statistics[k], w.even_values, b.even_values, past_caches);
    }
  }
  if (past_caches) stream_fence();
}

}  // namespace kilter::KILTER_TARGET_NAMESPACE

// Backward pass over rows; see passes.inl.h.
#pragma once

#include "families/rowwise/cpu/columns.inl.h"
#include "families/rowwise/cpu/gradient.inl.h"
#include "families/rowwise/cpu/modulate.inl.h"
#include "families/rowwise/cpu/modulation_sums.inl.h"
#include "families/rowwise/cpu/source.inl.h"

namespace kilter::KILTER_TARGET_NAMESPACE {

// Where terms of dweight and dbias, and of dgate, are added (null: nowhere).
template <class C>
struct Terms {
  C* weight;
  C* bias;
  C* gate;
};

// The usual call, in one loop: one piece of kRows rows' dx to memory, and the terms of dweight and dbias: a row's own, or
// the tree over four.
template <int kRows, bool kWeight, bool kWeightTerms, bool kBiasTerms, class Order, bool kCentered, class Operand,
          class C = typename Order::Value>
KILTER_INLINE void emit_dx_piece(const BackwardRow<Order, kCentered>* rows, int64_t start, Operand w, int m, char* const* dx_rows,
                                 const Terms<C>& to, bool past_caches) {
  const Terms<C> terms = to;
  C mean[kRows], h_rstd[kRows], lo[kRows], rstd[kRows], c1[kRows], c2[kRows];  // copies, which stores cannot touch
  const char *x[kRows], *dy[kRows], *next_x[kRows], *next_dy[kRows];
  char* dx[kRows];
  unrolled<kRows>([&](int k) KILTER_INLINE_LAMBDA {
    const BackwardRow<Order, kCentered>& row = rows[k];
    mean[k] = row.mean, h_rstd[k] = row.h_rstd, lo[k] = row.lo, rstd[k] = row.rstd, c1[k] = row.c1, c2[k] = row.c2;
    x[k] = row.x_memory(start);
    dy[k] = row.dy_memory(start);
    next_x[k] = row.next_x_memory(start, m);
    next_dy[k] = row.next_dy_memory(start, m);
    dx[k] = dx_rows[k] + start * int64_t(sizeof(C)) / (Order::kPairs ? 2 : 1);
  });
  const auto add = [&](C* sums, int i, const auto& term) KILTER_INLINE_LAMBDA {
    auto sum = term[0];
    if constexpr (kRows == 4) sum = (term[0] + term[1]) + (term[2] + term[3]);
    sum = get<decltype(sum)>(sums + i) + sum;
    __builtin_memcpy(sums + i, &sum, sizeof sum);
  };
  // Elements whose sums stand at i: v is dy, then dx.
  const auto gradients = [&](auto& v, const auto& x_values, int i, auto weight) KILTER_INLINE_LAMBDA {
    using V = std::remove_reference_t<decltype(v[0])>;
    V h[kRows], term[kRows];
    unrolled<kRows>([&](int k) KILTER_INLINE_LAMBDA {
      h[k] = uncorrected_h<kCentered>(x_values[k], mean[k], h_rstd[k]);
      if constexpr (kCentered) h[k] = h[k] - splat<V>(lo[k]);
      term[k] = v[k] * h[k];
    });
    if constexpr (kWeightTerms) add(terms.weight, i, term);
    if constexpr (kBiasTerms) add(terms.bias, i, v);
    unrolled<kRows>([&](int k)
                        KILTER_INLINE_LAMBDA { v[k] = gradient<kCentered>(kWeight ? v[k] * weight : v[k], h[k], rstd[k], c1[k], c2[k]); });
  };
  if constexpr (Order::kPairs) {
    const int odd = Order::odd_start(m);
    emit_rows<uint32_t>(dx, m / 2, past_caches, [&](int i, auto& words) KILTER_INLINE_LAMBDA {
      using W = std::remove_reference_t<decltype(words[0])>;
      Floats<W> x_even[kRows], x_odd[kRows], dy_even[kRows], dy_odd[kRows];
      unrolled<kRows>([&](int k) KILTER_INLINE_LAMBDA {
        __builtin_prefetch(next_x[k] + 2 * i, 0, 2);
        __builtin_prefetch(next_dy[k] + 2 * i, 0, 2);
        const W x_words = get<W>(x[k] + 4 * i), dy_words = get<W>(dy[k] + 4 * i);
        x_even[k] = even_of(x_words), x_odd[k] = odd_of(x_words);
        dy_even[k] = even_of(dy_words), dy_odd[k] = odd_of(dy_words);
      });
      Floats<W> w_even{}, w_odd{};
      if constexpr (kWeight) w_even = w.template even<Floats<W>>(i), w_odd = w.template odd<Floats<W>>(i);
      gradients(dy_even, x_even, i, w_even);
      gradients(dy_odd, x_odd, odd + i, w_odd);
      unrolled<kRows>([&](int k) KILTER_INLINE_LAMBDA { words[k] = pack_numbers<W>(dy_even[k], dy_odd[k]); });
    });
    if (m & 1) {  // never with words of weights
      const int last = 2 * (m - 1);
      float x_value[kRows], value[kRows];
      unrolled<kRows>([&](int k) KILTER_INLINE_LAMBDA {
        x_value[k] = bf16_to_float(get<uint16_t>(x[k] + last));
        value[k] = bf16_to_float(get<uint16_t>(dy[k] + last));
      });
      gradients(value, x_value, m / 2, kWeight ? w.template even<float>(m / 2) : 0.0f);
      unrolled<kRows>([&](int k) KILTER_INLINE_LAMBDA {
        const uint16_t narrow = float_to_bf16(value[k]);
        __builtin_memcpy(dx[k] + last, &narrow, sizeof narrow);
      });
    }
  } else {
    emit_rows<C>(dx, m, past_caches, [&](int i, auto& v) KILTER_INLINE_LAMBDA {
      std::remove_reference_t<decltype(v)> x_values;
      unrolled<kRows>([&](int k) KILTER_INLINE_LAMBDA {
        __builtin_prefetch(next_x[k] + i * int(sizeof(C)) / 2, 0, 2);
        __builtin_prefetch(next_dy[k] + i * int(sizeof(C)) / 2, 0, 2);
        x_values[k] = get<std::remove_reference_t<decltype(v[0])>>(x[k] + i * sizeof(C));
        v[k] = get<std::remove_reference_t<decltype(v[0])>>(dy[k] + i * sizeof(C));
      });
      std::remove_reference_t<decltype(v[0])> w_i{};
      if constexpr (kWeight) w_i = w.template even<decltype(w_i)>(i);
      gradients(v, x_values, i, w_i);
    });
  }
}

template <int kRows, class Order, bool kCentered, class Operand, class C = typename Order::Value>
void emit_gradients(const BackwardRow<Order, kCentered>* rows, int64_t start, Operand w, int m, char* const* dx, const Terms<C>& terms,
                    bool past_caches) {
  with_flags(bool(w), terms.weight, [&](auto weight, auto weight_terms) KILTER_INLINE_LAMBDA {
    with_flag(terms.bias, [&](auto bias_terms) {
      emit_dx_piece<kRows, weight.value, weight_terms.value, bias_terms.value>(rows, start, w, m, dx, terms, past_caches);
    });
  });
}

// Every other call: whatever is wanted, one loop each.  other: a piece of memory.
template <class Order, bool kCentered, class C = typename Order::Value>
void stage_gradients(const RowNormBackward& p, int64_t r, int64_t modulation, const C* w, int m, int64_t start,
                     const BackwardRow<Order, kCentered>& row, const Terms<C>& terms, C* other, bool past_caches) {
  C* const h = to_buffer<Order>(row.x(start, m), m, row.x_buffer);      // x at first
  C* const out = to_buffer<Order>(row.dy(start, m), m, row.dy_buffer);  // dy at first
  const int extent = Order::extent(m);
  const C mean = row.mean, h_rstd = row.h_rstd, lo = row.lo, lo2 = row.lo2, rstd = row.rstd, c1 = row.c1, c2 = row.c2;
  for (int i = 0; i < extent; ++i) {
    h[i] = uncorrected_h<kCentered>(h[i], mean, h_rstd);
    if constexpr (kCentered) h[i] = (h[i] - lo) - lo2;
  }
  if (C* to = terms.weight)
    for (int i = 0; i < extent; ++i) to[i] = to[i] + out[i] * h[i];
  if (C* to = terms.bias)
    for (int i = 0; i < extent; ++i) to[i] = to[i] + out[i];
  if (!p.dx.present() && !p.dresidual.present() && !terms.gate) return;
  for (int i = 0; i < extent; ++i) out[i] = gradient<kCentered>(w ? out[i] * w[i] : out[i], h[i], rstd, c1, c2);
  if (p.dresidual_out.present()) {
    const View& up = p.dresidual_out;
    const C* u = Order::load(up.dtype, up.row(r) + start * item_size(up.dtype), m, other);
    for (int i = 0; i < extent; ++i) out[i] = out[i] + u[i];
  }
  const auto row_of = [&](const View& v, int64_t row) { return v.row(row) + start * item_size(v.dtype); };
  if (C* to = terms.gate) {
    const C* branch = Order::load(p.branch.dtype, row_of(p.branch, r), m, other);
    for (int i = 0; i < extent; ++i) to[i] = to[i] + out[i] * branch[i];
  }
  const auto store = [&](const View& v) {
    if (v.present()) Order::store(v.dtype, out, m, row_of(v, r), past_caches);
  };
  store(p.dresidual);
  if (p.dx.present() && p.gate.present()) {
    const C* g = Order::load(p.gate.dtype, row_of(p.gate, modulation), m, other);
    for (int i = 0; i < extent; ++i) out[i] = g[i] * out[i];
  }
  store(p.dx);
}

template <class Order, bool kCentered>
void backward_rows(const RowNormBackward& p, const RowWalk& from, const ColumnSums<typename Order::Value>& sums, bool past_caches) {
  using C = typename Order::Value;
  alignas(64) C x_buffer[kPiece<C>], dy_buffer[kPiece<C>], other[kPiece<C>];
  Weights<Order> weight(p.weight, C(p.weight_offset), p.n);
  const bool want_dx = p.dx.present() || p.dresidual.present() || sums.gate.block;
  const bool usual = p.x.dtype == p.dy.dtype && p.dx.present() && !p.dresidual.present() && !p.dresidual_out.present() &&
                     !p.gate.present() && (Order::kPairs || p.dx.dtype == kDTypeOf<C>);
  const int block = row_block(p.n, item_size(p.x.dtype) + item_size(p.dy.dtype));
  BackwardRow<Order, kCentered> rows[kGroup];
  typename BackwardRow<Order, kCentered>::RowSums row_sums[kGroup];
  char* dx[kGroup];
  bool in_stages[kGroup];
  for (auto& row : rows) row.x_buffer = x_buffer, row.dy_buffer = dy_buffer;
  RowWalk walk = from;
  int64_t joined = 0, modulation = -1;
  for (RowPiece piece = walk.next(block), ahead; piece.count != 0; piece = ahead) {
    ahead = walk.next(block);
    const int64_t first = piece.first, turn = piece.turn;
    const int count = piece.count, place = piece.place;
    const bool alone = count == 1 && place == 0 && piece.group_ends;  // in its group: its terms are the group's
    if (p.scale.present() && piece.modulation != modulation) {
      modulation = piece.modulation;
      modulate_weight(p, modulation, other, sums.modulation ? sums.modulation->weight : nullptr, &weight);
    }
    const auto block_of = [&](const ColumnSum<C>& sum) { return sum.block ? sum.block + turn * sums.stride : nullptr; };
    bool together = count == kGroup && (!past_caches || one_alignment(p.dx, first, count));
    const bool measured = want_dx || kCentered;
    for (int k = 0; k < count; ++k) {
      rows[k].start(p, first + k, ahead.first + k, k < ahead.count);
      dx[k] = p.dx.present() ? p.dx.row(first + k) : nullptr;
      if (measured) row_sums[k] = rows[k].template row_sums<false>(weight, p.n);
    }
    for (int k = 0; k < count; ++k) {  // apart from the sums: the divisions of one row wait while another row is summed
      if (measured) rows[k].complete(row_sums[k], weight, p.n);
      in_stages[k] = !usual || rows[k].halve || rows[k].lo2 != 0 || (Order::kPairs && !rows[k].gives_numbers());
      together &= !in_stages[k];
    }
    for (int64_t start = 0; start < p.n; start += kPiece<C>) {
      const int m = int(p.n - start < kPiece<C> ? p.n - start : kPiece<C>), extent = Order::extent(m);
      const auto at = [start](C* columns) { return columns ? columns + start : nullptr; };
      const Terms<C> block{at(block_of(sums.weight)), at(block_of(sums.bias)), at(block_of(sums.gate))};
      const auto emit = [&](auto w, const C* staged_w) {
        if (together) return emit_gradients<kGroup>(rows, start, w, m, dx, block, past_caches);
        for (int k = 0; k < count; ++k) {
          const int h = (place + k) / 2;
          const Terms<C> half{at(sums.weight.half[h]), at(sums.bias.half[h]), at(sums.gate.half[h])};
          const Terms<C>& terms = alone ? block : half;
          if (in_stages[k])
            stage_gradients(p, first + k, modulation, staged_w, m, start, rows[k], terms, other, past_caches);
          else
            emit_gradients<1>(&rows[k], start, w, m, &dx[k], terms, past_caches);
        }
      };
      bool words = false;
      if constexpr (Order::kPairs) {
        words = want_dx && weight.are_words(m);
        if (words) emit(weight.words(start), together ? nullptr : weight.at(start, m));
      }
      if (!words) {
        const Values<C> w = want_dx ? weight.values(start, m) : Values<C>{};
        emit(w, w.even_values);
      }
      for (const ColumnSum<C>* sum : {&sums.weight, &sums.bias, &sums.gate}) {
        if (!sum->block) continue;
        if (piece.group_ends && !together && !alone) {
          flush(sum->half[0] + start, sum->half[1] + start, extent);
          flush(block_of(*sum) + start, sum->half[0] + start, extent);
        }
        if (piece.block_ends && sum->blocks) flush(sum->blocks + turn * sums.stride + start, block_of(*sum) + start, extent);
      }
    }
    if (piece.modulation_ends && sums.modulation) leave_modulation<Order>(p, piece.modulation, sums, x_buffer, dy_buffer, other);
    if (piece.chunks != 0) join_set(sums, piece.chunks, &joined, ahead.count == 0);
  }
  if (past_caches) stream_fence();
}

}  // namespace kilter::KILTER_TARGET_NAMESPACE

// What follows from the sums of a modulation's terms when its rows, or those of a thread's block, end (docs/numerics.md,
// "Modulation").  Included per SIMD target.
#pragma once

#include "cpu/weights.inl.h"
#include "families/rowwise/cpu/run.h"

namespace kilter::KILTER_TARGET_NAMESPACE {

// dscale, dshift and dgate of one piece, of row m of scale; terms: those of the planes, from `start` on; null: not asked for.
template <class Order, class Row, class C = typename Order::Value>
void write_modulation(const RowNormBackward& p, int64_t m, int64_t start, int count, const Row* const (&terms)[3], C* __restrict w,
                      C* __restrict b, C* __restrict out) {
  const int extent = Order::extent(count);
  const auto store = [&](const View& v) { Order::store(v.dtype, out, count, v.row(m) + start * item_size(v.dtype), false); };
  const auto piece = [&](const View& v, C* buffer) { return Order::load(v.dtype, v.data + start * item_size(v.dtype), count, buffer); };
  if (p.dscale.present()) {
    const C* const weight = p.weight.present() ? piece(p.weight, w) : nullptr;
    const C* const bias = p.bias.present() ? piece(p.bias, b) : nullptr;
    for (int i = 0; i < extent; ++i)
      out[i] = C(value_of(scale_gradient(wide_of<C>(terms[0][i]), weight ? weight[i] : C(1), bias ? wide_of<C>(terms[1][i]) : Wide<C>{},
                                         bias ? bias[i] : C(0))));
    store(p.dscale);
  }
  for (const auto& [view, row] : {std::pair<const View*, const Row*>{&p.dshift, terms[1]}, {&p.dgate, terms[2]}}) {
    if (!view->present()) continue;
    for (int i = 0; i < extent; ++i) out[i] = C(value_of(wide_of<C>(row[i])));
    store(*view);
  }
}

template <class Order, class Row, class C = typename Order::Value>
void leave_piece(const RowNormBackward& p, int64_t m, const ModulationSums<C>& to, int64_t start, int count, Row* const (&terms)[3],
                 C* __restrict x_buffer, C* __restrict dy_buffer, C* __restrict other) {
  const int extent = Order::extent(count);
  const int64_t begin = p.modulation.start_of(m), end = p.modulation.start_of(m + 1);
  if (begin >= to.begin && end <= to.end) {
    const Row* const read[3] = {terms[0], terms[1], terms[2]};
    write_modulation<Order>(p, m, start, count, read, x_buffer, dy_buffer, other);
  } else {
    for (int k = 0; k < 3; ++k)
      for (int i = 0; i < extent && terms[k]; ++i) (begin < to.begin ? to.head : to.tail)[k][start + i] = wide_of<C>(terms[k][i]);
  }
  if (to.dweight || to.dbias) {
    const C* f = Order::load(p.scale.dtype, p.scale.row(m) + start * item_size(p.scale.dtype), count, x_buffer);
    for (int i = 0; i < extent; ++i) other[i] = f[i] + C(p.scale_offset);
    for (int i = 0; i < extent && to.dweight; ++i) add_to(to.dweight[start + i], scaled(wide_of<C>(terms[0][i]), other[i]));
    for (int i = 0; i < extent && to.dbias; ++i) add_to(to.dbias[start + i], scaled(wide_of<C>(terms[1][i]), other[i]));
  }
  for (Row* row : terms)
    if (row) std::memset(static_cast<void*>(row), 0, sizeof(Row) * size_t(extent));
}

// Its sums start again from zero.  The buffers: a piece each.
template <class Order, class C = typename Order::Value>
void leave_modulation(const RowNormBackward& p, int64_t m, const ColumnSums<C>& sums, C* x_buffer, C* dy_buffer, C* other) {
  const ColumnSum<C>* const planes[3] = {&sums.weight, &sums.bias, &sums.gate};
  for (int64_t start = 0; start < p.n; start += kPiece<C>) {
    const int count = int(p.n - start < kPiece<C> ? p.n - start : kPiece<C>);
    const auto leave = [&](auto rows) {
      const auto at = [&](int k) { return rows(*planes[k]) ? rows(*planes[k]) + start : nullptr; };
      using Row = std::remove_pointer_t<decltype(at(0))>;
      Row* const terms[3] = {at(0), at(1), at(2)};
      leave_piece<Order>(p, m, *sums.modulation, start, count, terms, x_buffer, dy_buffer, other);
    };
    if (sums.modulation->many_blocks)
      leave([](const ColumnSum<C>& sum) { return sum.blocks; });
    else
      leave([](const ColumnSum<C>& sum) { return sum.block; });
  }
}

}  // namespace kilter::KILTER_TARGET_NAMESPACE

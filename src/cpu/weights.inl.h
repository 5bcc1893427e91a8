// Weights and biases as the row passes read them.  Included per SIMD target.
#pragma once

#include "core/view.h"
#include "cpu/vec_io.inl.h"

namespace kilter::KILTER_TARGET_NAMESPACE {

// weight + offset in Order, by piece.  Where that takes a conversion, rows of one piece convert once and keep the result.
template <class Order>
class Weights {
  using C = typename Order::Value;
 public:
  Weights(const View& view, C offset, int64_t n) : view_(view), offset_(offset) {
    if (n > kPiece<C> || !view.present()) return;
    const C* v = convert(0, int(n), values_);
    kept_ = v == values_;
  }

  // The weights of elements start to start + m, null without a weight; valid until the next call.
  const C* at(int64_t start, int m) {
    if (!view_.present()) return nullptr;
    return kept_ ? values_ + start : convert(start, m, values_);
  }

 private:
  const C* convert(int64_t start, int m, C* __restrict buffer) const {
    const C* w = Order::load(view_.dtype, view_.data + start * item_size(view_.dtype), m, buffer);
    if (offset_ == 0) return w;
    for (int i = 0, extent = Order::extent(m); i < extent; ++i) buffer[i] = w[i] + offset_;
    return buffer;
  }

  const View& view_;
  const C offset_;
  bool kept_ = false;
  alignas(64) C values_[kPiece<C>];
};

}  // namespace kilter::KILTER_TARGET_NAMESPACE

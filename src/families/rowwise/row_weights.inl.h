// Weights and biases as the row passes read them.  Included per SIMD target.
#pragma once

#include "core/view.h"
#include "cpu/vec_io.inl.h"

namespace kilter::KILTER_TARGET_NAMESPACE {

// weight + offset in Order, by segment.  Where that takes a conversion, short rows convert once and keep the result.
template <class Order>
class Weights {
  using C = typename Order::Value;
  static constexpr int kKeep = 8192;  // elements: 32 KiB of stack

 public:
  Weights(const View& view, C offset, int64_t n) : view_(view), offset_(offset) {
    kept_ = n <= kKeep && view.present() && (Order::kPairs || offset != 0 || view.dtype != kDTypeOf<C>);
    for (int64_t start = 0; kept_ && start < n; start += kSegment) {
      const int m = int(n - start < kSegment ? n - start : kSegment);
      const C* v = convert(start, m, values_ + start);
      if (v != values_ + start) std::memcpy(values_ + start, v, sizeof(C) * size_t(m));
    }
  }

  // The segment's weights, null without a weight; valid until the next call.
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
  bool kept_;
  alignas(64) C values_[kKeep];
};

}  // namespace kilter::KILTER_TARGET_NAMESPACE

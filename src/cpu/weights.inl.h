// Weights and biases as the row passes read them.  Included per SIMD target.
#pragma once

#include "core/view.h"
#include "cpu/vec_io.inl.h"

namespace kilter::KILTER_TARGET_NAMESPACE {

// A piece of weights or biases: converted values, or the words of two bf16 where they lie, which costs two operations and no
// second pass over them.  Elements i on in natural order are even() ones.
template <class C>
struct Values {
  const C* even_values;
  const C* odd_values;

  explicit operator bool() const { return even_values != nullptr; }
  template <class V>
  KILTER_INLINE V even(int i) const {
    return get<V>(even_values + i);
  }
  template <class V>
  KILTER_INLINE V odd(int i) const {
    return get<V>(odd_values + i);
  }
};
struct PairsOfWords {
  const char* words;

  explicit operator bool() const { return words != nullptr; }
  template <class V>
  KILTER_INLINE V even(int i) const {
    return even_of(get<Words<V>>(words + 4 * i));
  }
  template <class V>
  KILTER_INLINE V odd(int i) const {
    return odd_of(get<Words<V>>(words + 4 * i));
  }
};

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

  // Whether m of them are m / 2 words as they lie; also of no weights.
  bool are_words(int m) const {
    return Order::kPairs && !kept_ && m % 2 == 0 && (!view_.present() || (view_.dtype == DType::bf16 && offset_ == 0));
  }
  PairsOfWords words(int64_t start) const { return {view_.present() ? view_.data + 2 * start : nullptr}; }
  Values<C> values(int64_t start, int m) {
    const C* v = at(start, m);
    if constexpr (Order::kPairs) return {v, v ? v + Order::odd_start(m) : nullptr};
    return {v, nullptr};
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

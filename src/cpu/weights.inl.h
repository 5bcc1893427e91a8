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

// A row of them in memory; null: none.
struct WeightRow {
  const char* data = nullptr;
  DType type = DType::none;

  WeightRow() = default;
  explicit WeightRow(const View& v, int64_t row = 0) : data(v.present() ? v.row(row) : nullptr), type(v.dtype) {}
  const char* at(int64_t start) const { return data + start * item_size(type); }
};

// weight + offset in Order, by piece; or (weight + offset) * times + plus, of which each may lack.  Where that takes a conversion, rows
// of one piece convert once and keep the result.
template <class Order>
class Weights {
  using C = typename Order::Value;

 public:
  Weights(const View& view, C offset, int64_t n) : n_(n) { set(WeightRow(view), offset, {}, {}, nullptr, nullptr); }

  // From here on.  other: a piece of memory, the caller's, which at(), values() and this may overwrite.  all: memory for all of them, as
  // long as Order makes their last piece; null: none, and rows of several pieces are converted by each who asks.
  void set(const WeightRow& weight, C offset, const WeightRow& times, const WeightRow& plus, C* other, C* all) {
    weight_ = weight, offset_ = offset, times_ = times, plus_ = plus, other_ = other;
    kept_ = nullptr;
    if (n_ <= kPiece<C>) all = values_;
    if (!weight.data || !all || n_ == 0) return;
    for (int64_t start = 0; start < n_; start += kPiece<C>)
      if (convert(start, int(n_ - start < kPiece<C> ? n_ - start : kPiece<C>), all + start) != all + start) return;  // as they lie
    kept_ = all;
  }

  // Whether m of them are m / 2 words as they lie; also of no weights.
  bool are_words(int m) const {
    const bool as_they_lie = weight_.type == DType::bf16 && offset_ == 0 && !times_.data && !plus_.data;
    return Order::kPairs && !kept_ && m % 2 == 0 && (!weight_.data || as_they_lie);
  }
  PairsOfWords words(int64_t start) const { return {weight_.data ? weight_.data + 2 * start : nullptr}; }
  Values<C> values(int64_t start, int m) {
    const C* v = at(start, m);
    if constexpr (Order::kPairs) return {v, v ? v + Order::odd_start(m) : nullptr};
    return {v, nullptr};
  }

  // The weights of elements start to start + m, null without a weight; valid until the next call.
  const C* at(int64_t start, int m) {
    if (!weight_.data) return nullptr;
    return kept_ ? kept_ + start : convert(start, m, values_);
  }

 private:
  const C* convert(int64_t start, int m, C* __restrict buffer) const {
    const C* w = Order::load(weight_.type, weight_.at(start), m, buffer);
    const int extent = Order::extent(m);
    if (offset_ != 0) {
      for (int i = 0; i < extent; ++i) buffer[i] = w[i] + offset_;
      w = buffer;
    }
    if (times_.data) {
      const C* v = Order::load(times_.type, times_.at(start), m, other_);
      for (int i = 0; i < extent; ++i) buffer[i] = w[i] * v[i];
      w = buffer;
    }
    if (plus_.data) {
      const C* v = Order::load(plus_.type, plus_.at(start), m, other_);
      for (int i = 0; i < extent; ++i) buffer[i] = w[i] + v[i];
      w = buffer;
    }
    return w;
  }

  WeightRow weight_, times_, plus_;
  C offset_ = 0;
  const int64_t n_;
  C* other_ = nullptr;
  const C* kept_ = nullptr;  // all of them, converted
  alignas(64) C values_[kPiece<C>];
};

}  // namespace kilter::KILTER_TARGET_NAMESPACE

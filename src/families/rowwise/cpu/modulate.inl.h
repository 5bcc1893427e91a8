// Weight and bias as the rows of one modulation have them (docs/numerics.md, "Modulation"): W = (scale + scale_offset) * weight and
// B = (scale + scale_offset) * bias + shift, with which the norm's own passes run.  Included per SIMD target.
#pragma once

#include "cpu/weights.inl.h"
#include "families/rowwise/problem.h"

namespace kilter::KILTER_TARGET_NAMESPACE {

template <class Order, class Problem, class C = typename Order::Value>
void modulate_weight(const Problem& p, int64_t m, C* other, C* all, Weights<Order>* weight) {
  weight->set(WeightRow(p.scale, m), C(p.scale_offset), WeightRow(p.weight), {}, other, all);
}

template <class Order, class C = typename Order::Value>
void modulate(const RowNormForward& p, int64_t m, C* other, Weights<Order>* weight, Weights<Order>* bias) {
  modulate_weight<Order, RowNormForward, C>(p, m, other, nullptr, weight);
  if (p.bias.present())
    bias->set(WeightRow(p.scale, m), C(p.scale_offset), WeightRow(p.bias), WeightRow(p.shift, m), other, nullptr);
  else
    bias->set(WeightRow(p.shift, m), 0, {}, {}, other, nullptr);
}

// Whether a row of weights or biases holds only numbers up to 2^64, or 2^30 (bf16: the same bits).  With finite statistics no y is then
// a NaN, and the faster rounding to bf16 will do.
inline bool is_moderate(const WeightRow& v, int64_t n, uint32_t most = 0x5F80) {
  if (!v.data) return true;
  // The largest magnitude, which vectors find at once: a row of scale may be no other row's.
  if (v.type == DType::bf16) {
    const uint16_t* in = reinterpret_cast<const uint16_t*>(v.data);
    uint16_t largest = 0;
    for (int64_t i = 0; i < n; ++i) {
      const uint16_t magnitude = in[i] & 0x7FFF;
      largest = magnitude > largest ? magnitude : largest;
    }
    return largest <= most;
  }
  const uint32_t* in = reinterpret_cast<const uint32_t*>(v.data);
  uint32_t largest = 0;
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t magnitude = in[i] & 0x7FFFFFFF;
    largest = magnitude > largest ? magnitude : largest;
  }
  return largest <= most << 16;
}
inline bool is_moderate(const View& v, int64_t n) { return is_moderate(WeightRow(v), n); }

// Likewise of W and B, which are products of these.
inline bool has_moderate_modulation(const RowNormForward& p, int64_t m) {
  constexpr uint32_t kMost = 0x4E80;
  const double offset = p.scale_offset < 0 ? -p.scale_offset : p.scale_offset;
  return offset <= 0x1p30 && is_moderate(WeightRow(p.scale, m), p.n, kMost) && is_moderate(WeightRow(p.shift, m), p.n, kMost) &&
         is_moderate(WeightRow(p.weight), p.n, kMost) && is_moderate(WeightRow(p.bias), p.n, kMost);
}

}  // namespace kilter::KILTER_TARGET_NAMESPACE

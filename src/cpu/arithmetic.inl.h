// The arithmetic that core's functions (tanh, activations) are computed in on the CPU: plain products and sums, which round one by one,
// as not every target has a fused multiply-add.  Compiled once per SIMD target, inside that target's namespace.
#pragma once

#include <cstdint>

#include "core/inline.h"

// The next loop's elements have nothing to do with one another, although outputs may lie where inputs do.  (Clang's pragma would be
// an order, and a warning where vectors are off.)
#if defined(__clang__)
#define KILTER_NO_DEPENDENCE
#else
#define KILTER_NO_DEPENDENCE _Pragma("GCC ivdep")
#endif

namespace kilter::KILTER_TARGET_NAMESPACE {

struct Plain {
  template <class C>
  KILTER_INLINE static C mad(C a, C b, C c) {
    return a * b + c;
  }
  template <class C>
  KILTER_INLINE static C select(bool is, C a, C b) {
    return is ? a : b;
  }
  KILTER_INLINE static float inverse(float v) { return 1.0f / v; }
  // 2^v by 2^k times a polynomial in v - k, k the nearest integer; below the normal numbers, 0.
  KILTER_INLINE static float exp2(float v) {
    constexpr float kToInteger = 0x1.8p23f;  // a float this large has no fraction: k is left in its last bits
    const float shifted = v + kToInteger, f = v - (shifted - kToInteger);
    float p = mad(0x1.41fbbcp-13f, f, 0x1.5f3e54p-10f);
    p = mad(p, f, 0x1.3b2d4cp-7f);
    p = mad(p, f, 0x1.c6aee8p-5f);
    p = mad(p, f, 0x1.ebfbdcp-3f);
    p = mad(p, f, 0x1.62e430p-1f);
    p = mad(p, f, 1.0f);
    const uint32_t power = (__builtin_bit_cast(uint32_t, shifted) + 127u) << 23;
    return v < -126.0f ? 0.0f : p * __builtin_bit_cast(float, power);
  }
};

}  // namespace kilter::KILTER_TARGET_NAMESPACE

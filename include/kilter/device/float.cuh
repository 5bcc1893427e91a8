// fp32 arithmetic that compiler options do not change: every operation is one IEEE operation, rounded to nearest even, never fused,
// subnormals kept, even under -use_fast_math.  On a device by PTX; on the host by the plain operators.
#pragma once

#include "kilter/device/row_formulas.h"

namespace kilter::device {

struct Float {
  float value;

  Float() = default;
  KILTER_INLINE constexpr Float(float v) : value(v) {}
  KILTER_INLINE explicit operator float() const { return value; }
};

#if defined(__CUDA_ARCH__)
#define KILTER_FLOAT_OPERATION(symbol, ptx)                                \
  KILTER_INLINE Float operator symbol(Float a, Float b) {                  \
    float r;                                                               \
    asm(ptx ".rn.f32 %0, %1, %2;" : "=f"(r) : "f"(a.value), "f"(b.value)); \
    return r;                                                              \
  }
#define KILTER_FLOAT_COMPARISON(symbol, ptx)                                                                           \
  KILTER_INLINE bool operator symbol(Float a, Float b) {                                                               \
    int r;                                                                                                             \
    asm("{ .reg .pred p; setp." ptx ".f32 p, %1, %2; selp.s32 %0, 1, 0, p; }" : "=r"(r) : "f"(a.value), "f"(b.value)); \
    return r != 0;                                                                                                     \
  }
#else
#define KILTER_FLOAT_OPERATION(symbol, ptx) \
  KILTER_INLINE Float operator symbol(Float a, Float b) { return a.value symbol b.value; }
#define KILTER_FLOAT_COMPARISON(symbol, ptx) \
  KILTER_INLINE bool operator symbol(Float a, Float b) { return a.value symbol b.value; }
#endif
KILTER_FLOAT_OPERATION(+, "add")
KILTER_FLOAT_OPERATION(-, "sub")
KILTER_FLOAT_OPERATION(*, "mul")
KILTER_FLOAT_OPERATION(/, "div")
KILTER_FLOAT_COMPARISON(<, "lt")
KILTER_FLOAT_COMPARISON(>, "gt")
KILTER_FLOAT_COMPARISON(<=, "le")
KILTER_FLOAT_COMPARISON(>=, "ge")
KILTER_FLOAT_COMPARISON(==, "eq")
KILTER_FLOAT_COMPARISON(!=, "neu")
#undef KILTER_FLOAT_OPERATION
#undef KILTER_FLOAT_COMPARISON

KILTER_INLINE Float square_root_of(Float v) {
#if defined(__CUDA_ARCH__)
  float r;
  asm("sqrt.rn.f32 %0, %1;" : "=f"(r) : "f"(v.value));
  return r;
#else
  return __builtin_sqrtf(v.value);
#endif
}

}  // namespace kilter::device

namespace kilter {

template <>
struct Limits<device::Float> : Limits<float> {};

}  // namespace kilter

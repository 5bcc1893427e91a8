// IEEE fp16 and bfloat16 as 16 bits, laid out as CUDA's __half and __nv_bfloat16.  To fp32 exactly, from fp32 rounded to nearest
// even; subnormals and infinities are kept, a NaN stays a NaN.  On host and device, whatever the compiler's options.
#pragma once

#include "kilter/device/inline.h"

namespace kilter::device {

struct half {
  unsigned short bits;

  half() = default;
  KILTER_INLINE explicit half(float v) {
#if defined(__CUDA_ARCH__)
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(v));
#else
    const unsigned u = __builtin_bit_cast(unsigned, v), magnitude = u & 0x7FFFFFFFu;
    unsigned h;
    if (magnitude > 0x7F800000u)
      h = 0x7E00u;
    else if (magnitude >= 0x477FF000u)  // 65520 and beyond
      h = 0x7C00u;
    else if (magnitude < 0x38800000u)  // below 2^-14: the sum's last bit is that of fp16's subnormals
      h = __builtin_bit_cast(unsigned, __builtin_bit_cast(float, magnitude) + 0.5f) - 0x3F000000u;
    else
      h = (magnitude - 0x38000000u + 0xFFFu + (magnitude >> 13 & 1)) >> 13;
    bits = static_cast<unsigned short>((u >> 16 & 0x8000u) | h);
#endif
  }
  KILTER_INLINE explicit operator float() const {
#if defined(__CUDA_ARCH__)
    float v;
    asm("cvt.f32.f16 %0, %1;" : "=f"(v) : "h"(bits));
    return v;
#else
    const unsigned magnitude = bits & 0x7FFFu;
    float v;
    if (magnitude >= 0x7C00u)
      v = __builtin_bit_cast(float, 0x7F800000u | magnitude << 13);
    else if (magnitude < 0x0400u)
      v = static_cast<float>(magnitude) * 0x1p-24f;
    else
      v = __builtin_bit_cast(float, (magnitude << 13) + 0x38000000u);
    return __builtin_bit_cast(float, __builtin_bit_cast(unsigned, v) | (bits & 0x8000u) << 16);
#endif
  }
};

struct bfloat16 {
  unsigned short bits;

  bfloat16() = default;
  KILTER_INLINE explicit bfloat16(float v) {
    const unsigned u = __builtin_bit_cast(unsigned, v);
    const bool nan = (u & 0x7FFFFFFFu) > 0x7F800000u;
    bits = static_cast<unsigned short>(nan ? u >> 16 | 0x40u : (u + (u >> 16 & 1) + 0x7FFFu) >> 16);
  }
  KILTER_INLINE explicit operator float() const { return __builtin_bit_cast(float, static_cast<unsigned>(bits) << 16); }
};

}  // namespace kilter::device

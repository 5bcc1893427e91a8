// The functions of the elementwise ops and their derivatives, on the host and on devices.
//
// A is a backend's arithmetic in the compute type C (fp32, or fp64 for fp64 rows): mad(a, b, c) = a * b + c, exp2(v) for v <= 2,
// inverse(v) for v >= 1, select(is, a, b).  In fp32 each function is the smaller of two formulas' errors: a polynomial in u near 0,
// and beyond it what 2^v gives.  fit.py prints the coefficients and their errors.  In fp64 the mathematical library's are taken.
#pragma once

#include <cmath>

#include "core/inline.h"

namespace kilter {

template <class C>
struct ValueAndSlope {
  C value, slope;
};

// tanh(u); its slope is 4 e / (1 + e)^2, e = exp(-2 |u|), which does not cancel where 1 - tanh(u)^2 would.
struct Tanh {
  static constexpr const char* name = "tanh";

  template <class A>
  KILTER_INLINE static ValueAndSlope<float> both(float u) {
    constexpr float kSmall = 0.55f, kTwoLog2e = 0x1.715476p+1f;
    const float a = __builtin_fabsf(u), z = u * u;
    const float e4 = A::exp2(A::mad(-kTwoLog2e, a, 2.0f)), r = A::inverse(A::mad(e4, 0.25f, 1.0f)), q = e4 * r;  // 4 e, 1 / (1 + e)
    float p = A::mad(0x1.0d5042p-6f, z, -0x1.af7cd0p-5f);
    p = A::mad(p, z, 0x1.10cef6p-3f);
    p = A::mad(p, z, -0x1.555452p-2f);
    return {__builtin_copysignf(A::select(a < kSmall, A::mad(a * z, p, a), A::mad(q, -0.5f, 1.0f)), u), q * r};
  }
  template <class A>
  KILTER_INLINE static ValueAndSlope<double> both(double u) {
    const double e = ::exp(-2 * ::fabs(u)), r = 1 / (1 + e);
    return {::tanh(u), (4 * e) * (r * r)};
  }
};

// erf(u); its slope is 2 / sqrt(pi) exp(-u^2).
struct Erf {
  static constexpr const char* name = "erf";

  template <class A>
  KILTER_INLINE static ValueAndSlope<float> both(float u) {
    constexpr float kSmall = 0.9f, kLog2e = 0x1.715476p+0f, kTwoOverRootPi = 0x1.20dd76p+0f;
    const float a = __builtin_fabsf(u), z = u * u;
    float p = A::mad(-0x1.3f4fd6p-11f, z, 0x1.4876e6p-8f);
    p = A::mad(p, z, -0x1.b6bee8p-6f);
    p = A::mad(p, z, 0x1.ce1dd2p-4f);
    p = A::mad(p, z, -0x1.8126fap-2f);
    p = A::mad(p, z, 0x1.06eba6p-3f);
    float q = A::mad(-0x1.dd0d4cp-10f, a, 0x1.71fbbep-6f);  // log2(erfc(|u|)); its leading term leads to -infinity
    q = A::mad(q, a, -0x1.0dd39ap-3f);
    q = A::mad(q, a, -0x1.e076c2p-1f);
    q = A::mad(q, a, -0x1.9dcbe8p+0f);
    q = A::mad(q, a, -0x1.589358p-9f);
    return {__builtin_copysignf(A::select(a < kSmall, A::mad(a, p, a), 1.0f - A::exp2(q)), u), kTwoOverRootPi * A::exp2(-kLog2e * z)};
  }
  template <class A>
  KILTER_INLINE static ValueAndSlope<double> both(double u) {
    return {::erf(u), 1.1283791670955126 * ::exp(-u * u)};
  }
};

}  // namespace kilter

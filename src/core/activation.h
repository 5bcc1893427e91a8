// The activations of kilter.h and their derivatives, on the host and on devices.
//
// A is a backend's arithmetic in fp32, as in families/elementwise/functions.h.  In fp32 a value is within 7 * 2^-24 of
// max(|value|, |v| / 4), a slope within 6 * 2^-24 of max(1, |slope|): in a tail, far below v, fewer digits are right.  In fp64 the
// mathematical library's functions are taken.  NaN gives NaN, -infinity the limit.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/inline.h"
#include "families/elementwise/functions.h"
#include "kilter/kilter.h"

namespace kilter {

struct Identity {
  template <class A, class C>
  KILTER_INLINE static ValueAndSlope<C> both(C v) {
    return {v, C(1)};
  }
};

struct Relu {
  template <class A, class C>
  KILTER_INLINE static ValueAndSlope<C> both(C v) {
    return {v <= 0 ? C(0) : v, v <= 0 ? C(0) : v > 0 ? C(1) : v};
  }
};

namespace activation {

// What v is where functions of it are still 0, and no power of it overflows.
template <class A>
KILTER_INLINE float no_less(float v, float least) {
  return A::select(v < least, least, v);
}
KILTER_INLINE double no_less(double v, double least) { return v < least ? least : v; }

// 1 / (1 + exp(-u)) and 1 / (1 + exp(u)), neither by a difference.
template <class C>
struct Sigmoid {
  C s, rest;
};
template <class A>
KILTER_INLINE Sigmoid<float> sigmoid(float u) {
  constexpr float kLog2e = 0x1.715476p+0f;
  const float e = A::exp2(-kLog2e * __builtin_fabsf(u)), r = A::inverse(1.0f + e), er = e * r;
  return {A::select(u < 0, er, r), A::select(u < 0, r, er)};
}
KILTER_INLINE Sigmoid<double> sigmoid(double u) {
  const double e = ::exp(-::fabs(u)), r = 1 / (1 + e);
  return u < 0 ? Sigmoid<double>{e * r, r} : Sigmoid<double>{r, e * r};
}

}  // namespace activation

// v s, s = 1 / (1 + exp(-v)).
struct Silu {
  template <class A>
  KILTER_INLINE static ValueAndSlope<float> both(float v) {
    const activation::Sigmoid<float> g = activation::sigmoid<A>(v);
    const float value = activation::no_less<A>(v, -0x1p8f) * g.s;
    return {value, A::mad(value, g.rest, g.s)};
  }
  template <class A>
  KILTER_INLINE static ValueAndSlope<double> both(double v) {
    const activation::Sigmoid<double> g = activation::sigmoid(v);
    const double value = activation::no_less(v, -0x1p10) * g.s;
    return {value, value * g.rest + g.s};
  }
};

// v P(v), P the normal distribution; the slope is P(v) + v p(v), p its density.
struct Gelu {
  template <class A>
  KILTER_INLINE static ValueAndSlope<float> both(float v) {
    constexpr float kHalfLog2e = 0x1.715476p-1f, kLog2RootTwoPi = 0x1.53643ap+0f;
    const float a = __builtin_fabsf(v), low = activation::no_less<A>(v, -0x1p5f), near = A::select(low > 0x1p5f, 0x1p5f, low);
    float q = A::mad(-0x1.96d752p-21f, a, 0x1.bdacccp-17f);  // log2(P(-a)); its leading term leads to -infinity
    q = A::mad(q, a, -0x1.e6d408p-15f);
    q = A::mad(q, a, -0x1.d825cap-12f);
    q = A::mad(q, a, 0x1.e96834p-8f);
    q = A::mad(q, a, -0x1.b0412ap-5f);
    q = A::mad(q, a, -0x1.d624c2p-2f);
    q = A::mad(q, a, -0x1.26af72p+0f);
    q = A::mad(q, a, -0x1.fffffap-1f);
    const float tail = A::exp2(q), p = A::select(v < 0, tail, 1.0f - tail);
    return {low * p, A::mad(near, A::exp2(A::mad(-kHalfLog2e * near, near, -kLog2RootTwoPi)), p)};
  }
  template <class A>
  KILTER_INLINE static ValueAndSlope<double> both(double v) {
    const double low = activation::no_less(v, -64.0), near = low > 64 ? 64.0 : low, p = ::erfc(-0.70710678118654752 * v) / 2;
    return {low * p, near * (0.39894228040143268 * ::exp(-0.5 * near * near)) + p};
  }
};

// v s, s = 1 / (1 + exp(-u)) = (1 + tanh(u / 2)) / 2, u = 2 sqrt(2 / pi) (v + 0.044715 v^3).
struct GeluTanh {
  template <class A>
  KILTER_INLINE static ValueAndSlope<float> both(float v) {
    constexpr float kOne = 0x1.988454p+0f, kThree = 0x1.2444f2p-4f;  // u = v (kOne + kThree v^2)
    const float low = activation::no_less<A>(v, -0x1p5f), near = A::select(low > 0x1p5f, 0x1p5f, low), z = near * near;
    const activation::Sigmoid<float> g = activation::sigmoid<A>(near * A::mad(kThree, z, kOne));
    const float value = low * g.s;
    return {value, A::mad(near * g.s * g.rest, A::mad(3 * kThree, z, kOne), g.s)};
  }
  template <class A>
  KILTER_INLINE static ValueAndSlope<double> both(double v) {
    constexpr double kOne = 1.5957691216057308, kThree = 0.044715 * kOne;
    const double low = activation::no_less(v, -64.0), near = low > 64 ? 64.0 : low, z = near * near;
    const activation::Sigmoid<double> g = activation::sigmoid(near * (kThree * z + kOne));
    return {low * g.s, (near * g.s * g.rest) * (3 * kThree * z + kOne) + g.s};
  }
};

// f(F{}) with the function that `kind`, a kilter_activation, names: outside of loops, so that they have no branch.
template <class F>
KILTER_INLINE void with_activation(int32_t kind, F f) {
  switch (kind) {
    case KILTER_ACTIVATION_SILU:
      return f(Silu{});
    case KILTER_ACTIVATION_GELU:
      return f(Gelu{});
    case KILTER_ACTIVATION_GELU_TANH:
      return f(GeluTanh{});
    case KILTER_ACTIVATION_RELU:
      return f(Relu{});
    default:
      return f(Identity{});
  }
}

// v[0 ... N - 1] to their values, and slopes.
template <class A, int N, class C>
KILTER_INLINE void activate(int32_t kind, C (&v)[N]) {
  with_activation(kind, [&](auto f) KILTER_INLINE_LAMBDA {
    for (int j = 0; j < N; ++j) v[j] = decltype(f)::template both<A>(v[j]).value;
  });
}
template <class A, int N, class C>
KILTER_INLINE void activation_slopes(int32_t kind, C (&v)[N]) {
  with_activation(kind, [&](auto f) KILTER_INLINE_LAMBDA {
    for (int j = 0; j < N; ++j) v[j] = decltype(f)::template both<A>(v[j]).slope;
  });
}

}  // namespace kilter

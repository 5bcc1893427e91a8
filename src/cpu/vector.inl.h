// Native vectors as the compiler's vector extension: arithmetic on them is written as on scalars.
// Compiled once per SIMD target; KILTER_VECTOR_BYTES is the target's register width, 0 for SCALAR.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "core/inline.h"
#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace kilter::KILTER_TARGET_NAMESPACE {

template <class T>
struct VectorOf {
#if KILTER_VECTOR_BYTES
  typedef T type __attribute__((vector_size(KILTER_VECTOR_BYTES)));
#else
  typedef T type;
#endif
};
template <class T>
using Vector = typename VectorOf<T>::type;

// The float of the same width as a 32-bit word or vector of words.
template <class W>
struct FloatsOf {
  using type = Vector<float>;
};
template <>
struct FloatsOf<uint32_t> {
  using type = float;
};
template <class W>
using Floats = typename FloatsOf<W>::type;
template <class V>
using Words = std::conditional_t<sizeof(V) == sizeof(uint32_t), uint32_t, Vector<uint32_t>>;

// f for what is known only at run time, compiled for either value.
template <bool kValue>
struct Flag {
  static constexpr bool value = kValue;
};
template <class F>
KILTER_INLINE void with_flag(bool flag, F f) {
  if (flag)
    f(Flag<true>());
  else
    f(Flag<false>());
}
template <class F>
KILTER_INLINE void with_flags(bool first, bool second, F f) {
  with_flag(first, [&](auto one) KILTER_INLINE_LAMBDA { with_flag(second, [&](auto two) KILTER_INLINE_LAMBDA { f(one, two); }); });
}

// f(0) ... f(N - 1), unrolled before the compiler decides which arrays can live in registers.
template <class F, int... kIndex>
KILTER_INLINE void unrolled([[maybe_unused]] F f, std::integer_sequence<int, kIndex...>) {
  (f(kIndex), ...);
}
template <int N, class F>
KILTER_INLINE void unrolled(F f) {
  unrolled(f, std::make_integer_sequence<int, N>());
}

// V from consecutive memory of any alignment; V may be a scalar.
template <class V, class T>
KILTER_INLINE V get(const T* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

// All lanes c.  (c - 0 keeps the sign of a zero.)
template <class V, class T>
KILTER_INLINE V splat(T c) {
  if constexpr (sizeof(V) == sizeof(T))
    return c;
  else
    return c - V{};
}

// Past the caches: whole lines need not be read first.  p is aligned to V.
template <class V>
KILTER_INLINE void stream(char* p, V v) {
#if defined(__SSE2__) && KILTER_VECTOR_BYTES == 64
  _mm512_stream_si512(reinterpret_cast<__m512i*>(p), __builtin_bit_cast(__m512i, v));
#elif defined(__SSE2__) && KILTER_VECTOR_BYTES == 32
  _mm256_stream_si256(reinterpret_cast<__m256i*>(p), __builtin_bit_cast(__m256i, v));
#elif defined(__SSE2__) && KILTER_VECTOR_BYTES == 16
  _mm_stream_si128(reinterpret_cast<__m128i*>(p), __builtin_bit_cast(__m128i, v));
#else
  __builtin_memcpy(p, &v, sizeof v);
#endif
}

KILTER_INLINE void stream_fence() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

// Memory that a later row will need, asked for in small steps while this row is computed: a core keeps about a dozen lines
// in flight for loads, streaming stores and prefetches together, so that a burst of prefetches stalls what follows it, and
// none leaves memory idle.
struct Ahead {
  const char* p = nullptr;  // null: nothing to fetch
  int lines = 0;

  // Step `step` of `steps`: its share of the lines, into the second-level cache.
  KILTER_INLINE void fetch(int step, int steps) const {
    if (!p) return;
    for (int line = lines * step / steps, end = lines * (step + 1) / steps; line < end; ++line) __builtin_prefetch(p + line * 64, 0, 2);
  }
};

// Writes count items of T at each of kRows places (any alignment): values(i, v) sets v[k] to the items of row k from i on, as
// many as a v[k] holds.  Streaming stores, for places with one alignment, leave straight from this loop: in a burst of their
// own they would stall the loads around them.
template <class T, int kRows, class F>
KILTER_INLINE void emit_rows(char* const (&places)[kRows], int count, bool past_caches, F values) {
  using V = Vector<T>;
  constexpr int kItems = sizeof(V) / sizeof(T);
  char* p[kRows];
  unrolled<kRows>([&](int k) KILTER_INLINE_LAMBDA { p[k] = places[k]; });
  const auto from = [&](int i, auto tag, auto write) KILTER_INLINE_LAMBDA {
    decltype(tag) v[kRows];
    values(i, v);
    unrolled<kRows>([&](int k) KILTER_INLINE_LAMBDA { write(p[k] + int64_t(i) * int64_t(sizeof(T)), v[k]); });
  };
  const auto write = [](char* to, auto v) KILTER_INLINE_LAMBDA { __builtin_memcpy(to, &v, sizeof v); };
  const auto write_past = [](char* to, auto v) KILTER_INLINE_LAMBDA { stream(to, v); };
  const auto place = [&](int k) { return reinterpret_cast<uintptr_t>(p[k]) % sizeof(V); };
  for (int k = 0; k < kRows; ++k) past_caches = past_caches && place(k) == place(0) && place(k) % sizeof(T) == 0;
  int i = 0;
  if (past_caches) {
    const int head = int((sizeof(V) - place(0)) % sizeof(V) / sizeof(T));
    for (; i < count && i < head; ++i) from(i, T(), write);
    for (; i + kItems <= count; i += kItems) from(i, V(), write_past);
  } else {
    for (; i + kItems <= count; i += kItems) from(i, V(), write);
  }
  for (; i < count; ++i) from(i, T(), write);
}

// The same for one place: value(tag, i) gives as many items as a decltype(tag) holds.
template <class T, class F>
KILTER_INLINE void emit(char* p, int count, bool past_caches, F value) {
  char* const places[] = {p};
  emit_rows<T>(places, count, past_caches, [&](int i, auto& v) KILTER_INLINE_LAMBDA { v[0] = value(v[0], i); });
}

}  // namespace kilter::KILTER_TARGET_NAMESPACE

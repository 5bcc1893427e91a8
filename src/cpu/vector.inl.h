// Native vectors as the compiler's vector extension: arithmetic on them is written as on scalars.
// Compiled once per SIMD target; KILTER_VECTOR_BYTES is the target's register width, 0 for SCALAR.
#pragma once

#include <cstdint>
#include <cstring>

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

  // Step `step` of `steps`: its share of the lines.  kLevel 3: into the first-level cache, 2: the second.
  template <int kLevel = 2>
  KILTER_INLINE void fetch(int step, int steps) const {
    if (!p) return;
    for (int line = lines * step / steps, end = lines * (step + 1) / steps; line < end; ++line)
      __builtin_prefetch(p + line * 64, 0, kLevel);
  }
};

// Writes count items of T at p (any alignment): value(tag, i) gives the items from i on, as many as decltype(tag) holds.
// Streaming stores leave straight from this loop: in a burst of their own they would stall the loads around them.
template <class T, class F>
KILTER_INLINE void emit(char* p, int count, bool past_caches, F value) {
  using V = Vector<T>;
  constexpr int kItems = sizeof(V) / sizeof(T);
  const auto one = [&](int i) KILTER_INLINE_LAMBDA {
    const T v = value(T(), i);
    __builtin_memcpy(p + int64_t(i) * int64_t(sizeof(T)), &v, sizeof v);
  };
  int i = 0;
  if (past_caches && reinterpret_cast<uintptr_t>(p) % sizeof(T) == 0) {
    for (; i < count && reinterpret_cast<uintptr_t>(p + i * sizeof(T)) % sizeof(V) != 0; ++i) one(i);
    for (; i + kItems <= count; i += kItems) stream(p + i * sizeof(T), value(V(), i));
  } else {
    for (; i + kItems <= count; i += kItems) {
      const V v = value(V(), i);
      __builtin_memcpy(p + i * sizeof(T), &v, sizeof v);
    }
  }
  for (; i < count; ++i) one(i);
}

}  // namespace kilter::KILTER_TARGET_NAMESPACE

// Segments of a row in and out of memory: conversion to the compute type C (float or double), and streaming stores.
// Compiled once per SIMD target, inside that target's namespace.  Plain loops: the compiler vectorizes them.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/dtype.h"
#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace kilter::KILTER_TARGET_NAMESPACE {

template <class C>
constexpr DType kDTypeOf = sizeof(C) == 8 ? DType::f64 : DType::f32;

inline void halves_to_floats(const uint16_t* __restrict in, int m, float* __restrict out) {
  int i = 0;
#if defined(__F16C__)  // the same values as half_to_float; NaN payloads may differ
  for (; i + 8 <= m; i += 8) _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i))));
#endif
  for (; i < m; ++i) out[i] = half_to_float(in[i]);
}

inline void floats_to_halves(const float* __restrict in, int m, uint16_t* __restrict out) {
  int i = 0;
#if defined(__F16C__)
  for (; i + 8 <= m; i += 8)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), _mm256_cvtps_ph(_mm256_loadu_ps(in + i), _MM_FROUND_TO_NEAREST_INT));
#endif
  for (; i < m; ++i) out[i] = float_to_half(in[i]);
}

// m elements at p as C: p itself if it holds C, else converted into buffer.
template <class C>
inline const C* load(DType type, const char* p, int m, C* __restrict buffer) {
  if (type == kDTypeOf<C>) return reinterpret_cast<const C*>(p);
  if constexpr (sizeof(C) == 8) {
    const float* in = reinterpret_cast<const float*>(p);
    for (int i = 0; i < m; ++i) buffer[i] = C(in[i]);
  } else if (type == DType::bf16) {
    const uint16_t* in = reinterpret_cast<const uint16_t*>(p);
    for (int i = 0; i < m; ++i) buffer[i] = bf16_to_float(in[i]);
  } else {
    halves_to_floats(reinterpret_cast<const uint16_t*>(p), m, buffer);
  }
  return buffer;
}

// Rounds values to what `type` can hold, in place.
template <class C>
inline void round_to(DType type, C* v, int m) {
  if (type == kDTypeOf<C>) return;
  if constexpr (sizeof(C) == 8) {
    for (int i = 0; i < m; ++i) v[i] = C(float(v[i]));
  } else if (type == DType::bf16) {
    for (int i = 0; i < m; ++i) v[i] = bf16_to_float(float_to_bf16(v[i]));
  } else {
    for (int i = 0; i < m; ++i) v[i] = half_to_float(float_to_half(v[i]));
  }
}

// Copies past the caches where whole 64-byte lines can be written: the lines need not be read first.
inline void stream_copy(char* __restrict to, const char* __restrict from, int64_t bytes) {
#if defined(__SSE2__)
  const int64_t head = int64_t(-reinterpret_cast<uintptr_t>(to) & 63);
  if (bytes >= head + 64) {
    std::memcpy(to, from, size_t(head));
    int64_t i = head;
    for (; i + 64 <= bytes; i += 64) {
#if defined(__AVX512F__)
      _mm512_stream_si512(reinterpret_cast<__m512i*>(to + i), _mm512_loadu_si512(from + i));
#elif defined(__AVX__)
      for (int j = 0; j < 64; j += 32)
        _mm256_stream_si256(reinterpret_cast<__m256i*>(to + i + j), _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i + j)));
#else
      for (int j = 0; j < 64; j += 16)
        _mm_stream_si128(reinterpret_cast<__m128i*>(to + i + j), _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i + j)));
#endif
    }
    std::memcpy(to + i, from + i, size_t(bytes - i));
    return;
  }
#endif
  std::memcpy(to, from, size_t(bytes));
}

inline void stream_fence() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

// Stores m values of C at p as `type`, each rounded once.
template <class C>
inline void store(DType type, const C* __restrict v, int m, char* p, bool stream) {
  alignas(64) uint16_t narrow[1024];
  alignas(64) float single[sizeof(C) == 8 ? 1024 : 1];
  const char* from = reinterpret_cast<const char*>(v);
  if constexpr (sizeof(C) == 8) {
    if (type == DType::f32) {
      for (int i = 0; i < m; ++i) single[i] = float(v[i]);
      from = reinterpret_cast<const char*>(single);
    }
  } else if (type == DType::bf16) {
    for (int i = 0; i < m; ++i) narrow[i] = float_to_bf16(v[i]);
    from = reinterpret_cast<const char*>(narrow);
  } else if (type == DType::f16) {
    floats_to_halves(v, m, narrow);
    from = reinterpret_cast<const char*>(narrow);
  }
  const int64_t bytes = int64_t(m) * item_size(type);
  if (stream)
    stream_copy(p, from, bytes);
  else if (p != from)
    std::memcpy(p, from, size_t(bytes));
}

inline void prefetch(const char* p, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(p + i);
}

}  // namespace kilter::KILTER_TARGET_NAMESPACE

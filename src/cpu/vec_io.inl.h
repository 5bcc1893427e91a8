// Segments (at most 1024 elements of a row) in and out of memory, in the compute type C and in one of two orders.
//
// Natural: element i at index i.  Pairs, for bf16: the even elements, then the odd ones.  Two bf16 share a 32-bit word, so
// reading and writing them in this order takes a shift and a mask where the natural one takes shuffles, and the tree's first
// level, which adds neighbours, becomes a plain addition.  Element-wise code does not care: it runs over extent(m) values.
// Compiled once per SIMD target, inside that target's namespace.
#pragma once

#include "core/dtype.h"
#include "cpu/vector.inl.h"

namespace kilter::KILTER_TARGET_NAMESPACE {

constexpr int kSegment = 1024;

// A call takes less than 32 KiB of stack (kilter.h), so buffers are few and hold one piece: in fp32 a segment.
constexpr int kSmallPiece = 256;
template <class C>
constexpr int kPiece = sizeof(C) == 4 ? kSegment : kSmallPiece;

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

// The two floats of a word of two bf16, and back (round to nearest even; NaNs need the slower float_to_bf16).
template <class W>
KILTER_INLINE Floats<W> even_of(W w) {
  return __builtin_bit_cast(Floats<W>, W(w << 16));
}
template <class W>
KILTER_INLINE Floats<W> odd_of(W w) {
  return __builtin_bit_cast(Floats<W>, W(w & 0xFFFF0000u));
}
template <class W>
KILTER_INLINE W pack_numbers(Floats<W> even, Floats<W> odd) {
  W e = __builtin_bit_cast(W, even), o = __builtin_bit_cast(W, odd);
  e = (e + (((e >> 16) & 1u) + 0x7FFFu)) >> 16;
  o = (o + (((o >> 16) & 1u) + 0x7FFFu)) & 0xFFFF0000u;
  return e | o;
}

template <class C>
struct Natural {
  using Value = C;
  static constexpr bool kPairs = false;
  static int extent(int m) { return m; }

  // m elements at p: p itself if it holds C, else converted into buffer.
  static const C* load(DType type, const char* p, int m, C* __restrict buffer) {
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

  // Stores m values at p as `type`, each rounded once.
  static void store(DType type, const C* __restrict v, int m, char* p, bool past_caches) {
    if (type == kDTypeOf<C>) {
      emit<C>(p, m, past_caches, [v](auto tag, int i) KILTER_INLINE_LAMBDA { return get<decltype(tag)>(v + i); });
      return;
    }
    if constexpr (sizeof(C) == 8) {
      for (int i = 0; i < m; ++i) reinterpret_cast<float*>(p)[i] = float(v[i]);
    } else {
      for (int start = 0; start < m; start += kSmallPiece)
        store_narrow(type, v + start, m - start < kSmallPiece ? m - start : kSmallPiece, p + 2 * start, past_caches);
    }
  }

 private:
  static void store_narrow(DType type, const float* __restrict v, int m, char* p, bool past_caches) {
    alignas(64) uint16_t narrow[kSmallPiece];
    if (type == DType::bf16)
      for (int i = 0; i < m; ++i) narrow[i] = float_to_bf16(v[i]);
    else
      floats_to_halves(v, m, narrow);
    if (past_caches)
      emit<uint16_t>(p, m, past_caches, [&narrow](auto tag, int i) KILTER_INLINE_LAMBDA { return get<decltype(tag)>(narrow + i); });
    else
      std::memcpy(p, narrow, size_t(m) * 2);
  }
};

struct Pairs {
  using Value = float;
  static constexpr bool kPairs = true;
  static int odd_start(int m) { return ((m + 1) / 2 + 15) / 16 * 16; }
  static int extent(int m) { return odd_start(m) + m / 2; }

  static const float* load(DType type, const char* p, int m, float* __restrict buffer) {
    const int start = odd_start(m), words = m / 2;
    float* __restrict even = buffer;
    float* __restrict odd = buffer + start;
    for (int i = words; i < start; ++i) even[i] = 0;  // unused places must hold numbers
    if (type == DType::bf16) {
      const uint16_t* in = reinterpret_cast<const uint16_t*>(p);
      for (int i = 0; i < words; ++i) {
        const uint32_t w = get<uint32_t>(in + 2 * i);
        even[i] = even_of(w);
        odd[i] = odd_of(w);
      }
      if (m & 1) even[words] = bf16_to_float(in[m - 1]);
    } else {  // fp32 weights or a residual stream
      const float* in = reinterpret_cast<const float*>(p);
      for (int i = 0; i < words; ++i) {
        even[i] = in[2 * i];
        odd[i] = in[2 * i + 1];
      }
      if (m & 1) even[words] = in[m - 1];
    }
    return buffer;
  }

  static void store(DType type, const float* __restrict v, int m, char* p, bool past_caches) {
    alignas(64) float natural[kSmallPiece];
    const float *even = v, *odd = v + odd_start(m);
    for (int start = 0; start < m; start += kSmallPiece, even += kSmallPiece / 2, odd += kSmallPiece / 2) {
      const int count = m - start < kSmallPiece ? m - start : kSmallPiece;
      for (int i = 0; i < count / 2; ++i) {
        natural[2 * i] = even[i];
        natural[2 * i + 1] = odd[i];
      }
      if (count & 1) natural[count - 1] = even[count / 2];
      Natural<float>::store(type, natural, count, p + start * item_size(type), past_caches);
    }
  }
};

}  // namespace kilter::KILTER_TARGET_NAMESPACE

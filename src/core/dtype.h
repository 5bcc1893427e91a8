// Element types and their scalar conversions, round to nearest even, exact for every input (subnormals, infinities).
#pragma once

#include <cstdint>

#include "core/inline.h"
#include "kilter/kilter.h"

namespace kilter {

// u8: bytes of bits, integers: of lengths; nobody computes with them.
enum class DType : uint8_t { none, f64, f32, f16, bf16, u8, i32, i64 };

// Which kilter DType a DLPack type is; none if it is not one of ours.
constexpr DType dtype_of(kilter_dtype t) {
  if (t.lanes != 1) return DType::none;
  if (t.code == KILTER_FLOAT) return t.bits == 64 ? DType::f64 : t.bits == 32 ? DType::f32 : t.bits == 16 ? DType::f16 : DType::none;
  if (t.code == KILTER_UINT) return t.bits == 8 ? DType::u8 : DType::none;
  if (t.code == KILTER_INT) return t.bits == 32 ? DType::i32 : t.bits == 64 ? DType::i64 : DType::none;
  return t.code == KILTER_BFLOAT && t.bits == 16 ? DType::bf16 : DType::none;
}

constexpr kilter_dtype dlpack_of(DType t) {
  switch (t) {
    case DType::f64:
      return {KILTER_FLOAT, 64, 1};
    case DType::f32:
      return {KILTER_FLOAT, 32, 1};
    case DType::f16:
      return {KILTER_FLOAT, 16, 1};
    case DType::bf16:
      return {KILTER_BFLOAT, 16, 1};
    case DType::u8:
      return {KILTER_UINT, 8, 1};
    case DType::i32:
      return {KILTER_INT, 32, 1};
    case DType::i64:
      return {KILTER_INT, 64, 1};
    case DType::none:
      break;
  }
  return {0, 0, 0};
}

KILTER_INLINE constexpr int item_size(DType t) {
  return t == DType::f64 || t == DType::i64 ? 8 : t == DType::f32 || t == DType::i32 ? 4 : t == DType::none ? 0 : t == DType::u8 ? 1 : 2;
}

constexpr const char* dtype_name(DType t) {
  switch (t) {
    case DType::f64:
      return "fp64";
    case DType::f32:
      return "fp32";
    case DType::f16:
      return "fp16";
    case DType::bf16:
      return "bf16";
    case DType::u8:
      return "uint8";
    case DType::i32:
      return "int32";
    case DType::i64:
      return "int64";
    case DType::none:
      break;
  }
  return "none";
}

KILTER_INLINE float bf16_to_float(uint16_t h) { return __builtin_bit_cast(float, uint32_t(h) << 16); }

KILTER_INLINE uint16_t float_to_bf16(float f) {
  const uint32_t u = __builtin_bit_cast(uint32_t, f);
  const uint32_t rounded = (u + ((u >> 16) & 1) + 0x7FFF) >> 16;
  const uint32_t quiet_nan = (u >> 16) | 0x40;
  return uint16_t((u & 0x7FFFFFFF) > 0x7F800000 ? quiet_nan : rounded);
}

KILTER_INLINE float half_to_float(uint16_t h) {
  // Moving exponent and mantissa into place leaves the exponent 112 too small; the product also normalizes subnormals.
  const uint32_t magnitude = uint32_t(h & 0x7FFF) << 13;
  const float scaled = __builtin_bit_cast(float, magnitude) * 0x1p112f;
  uint32_t bits = __builtin_bit_cast(uint32_t, scaled);
  bits |= magnitude >= 0x0F800000u ? 0x7F800000u : 0u;  // Inf and NaN: exponent field was all ones
  return __builtin_bit_cast(float, bits | uint32_t(h & 0x8000) << 16);
}

KILTER_INLINE uint16_t float_to_half(float f) {
  const uint32_t u = __builtin_bit_cast(uint32_t, f);
  const float magnitude = __builtin_bit_cast(float, u & 0x7FFFFFFF);
  // Overflow becomes infinity by the first product; the addition of a power of two 13 places above the wanted last bit
  // makes the FPU round to nearest even at that bit, subnormals included (the power stops at the smallest one).
  float base = (magnitude * 0x1p112f) * 0x1p-110f;
  const uint32_t exponent = (u << 1) & 0xFF000000u;
  const uint32_t power = exponent > 0x71000000u ? exponent : 0x71000000u;
  base = __builtin_bit_cast(float, (power >> 1) + 0x07800000u) + base;
  const uint32_t bits = __builtin_bit_cast(uint32_t, base);
  const uint32_t rounded = ((bits >> 13) & 0x7C00) + (bits & 0x0FFF);
  const uint32_t sign = (u >> 16) & 0x8000;
  return uint16_t(sign | ((u & 0x7FFFFFFF) > 0x7F800000 ? 0x7E00u : rounded));
}

// A double rounded once to a 16-bit type: through fp32 with round-to-odd, so that the second rounding cannot tie wrongly.
inline float round_to_odd(double d) {
  const float f = float(d);
  if (double(f) == d || f != f) return f;
  const uint32_t u = __builtin_bit_cast(uint32_t, f);
  if (u & 1) return f;
  const bool away = (d > 0) == (double(f) > d);  // f was rounded away from zero: step back to the odd neighbour
  if ((u & 0x7FFFFFFF) == 0) return __builtin_bit_cast(float, (d < 0 ? 0x80000001u : 1u));
  return __builtin_bit_cast(float, away ? u - 1 : u + 1);
}

}  // namespace kilter

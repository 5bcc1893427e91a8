// One element at a time, in any type: what the float64 references read and write.
#pragma once

#include <cmath>

#include "core/view.h"

namespace kilter {

#if defined(__SIZEOF_FLOAT128__)
using Quad = __float128;
#else
using Quad = long double;  // IEEE binary128 where __float128 is missing
#endif

template <class R>
R read(const View& v, int64_t row, int64_t i) {
  const char* p = v.row(row) + i * item_size(v.dtype);
  switch (v.dtype) {
    case DType::f64:
      return R(*reinterpret_cast<const double*>(p));
    case DType::f32:
      return R(*reinterpret_cast<const float*>(p));
    case DType::f16:
      return R(half_to_float(*reinterpret_cast<const uint16_t*>(p)));
    case DType::bf16:
      return R(bf16_to_float(*reinterpret_cast<const uint16_t*>(p)));
    case DType::u8:
      return R(*reinterpret_cast<const uint8_t*>(p));
    case DType::i32:
      return R(*reinterpret_cast<const int32_t*>(p));
    case DType::i64:
      return R(*reinterpret_cast<const int64_t*>(p));
    case DType::none:
      break;
  }
  return R(0);
}

// value rounded once to `type`
template <class R>
R rounded(DType type, R value) {
  const double d = double(value);
  switch (type) {
    case DType::f32:
      return R(float(d));
    case DType::f16:
      return R(half_to_float(float_to_half(round_to_odd(d))));
    case DType::bf16:
      return R(bf16_to_float(float_to_bf16(round_to_odd(d))));
    default:
      return R(d);
  }
}

template <class R>
void write(const View& v, int64_t row, int64_t i, R value) {
  if (!v.present()) return;
  char* p = v.row(row) + i * item_size(v.dtype);
  const double d = double(value);
  switch (v.dtype) {
    case DType::f64:
      *reinterpret_cast<double*>(p) = d;
      break;
    case DType::f32:
      *reinterpret_cast<float*>(p) = float(d);
      break;
    case DType::f16:
      *reinterpret_cast<uint16_t*>(p) = float_to_half(round_to_odd(d));
      break;
    case DType::bf16:
      *reinterpret_cast<uint16_t*>(p) = float_to_bf16(round_to_odd(d));
      break;
    case DType::u8:
      *reinterpret_cast<uint8_t*>(p) = uint8_t(d);
      break;
    case DType::i32:
      *reinterpret_cast<int32_t*>(p) = int32_t(d);
      break;
    case DType::i64:
      *reinterpret_cast<int64_t*>(p) = int64_t(d);
      break;
    case DType::none:
      break;
  }
}

// x + residual as the contract defines it: summed in fp32 (fp64 rows: fp64), rounded to the residual's type.
template <class R>
R read_sum(const View& x, const View& residual, int64_t row, int64_t i) {
  if (!residual.present()) return read<R>(x, row, i);
  if (x.dtype == DType::f64) return rounded<R>(residual.dtype, R(read<double>(x, row, i) + read<double>(residual, row, i)));
  return rounded<R>(residual.dtype, R(read<float>(x, row, i) + read<float>(residual, row, i)));
}

inline double square_root(double v) { return std::sqrt(v); }

// Newton's iteration from double's root, at a scale where double neither overflows nor underflows.
inline Quad square_root(Quad v) {
  if (!(v > 0) || !(v <= Quad(1.7e308) * Quad(1.7e308) * Quad(1.7e308))) return Quad(std::sqrt(double(v)));
  Quad scale = 1;
  while (v > Quad(0x1p600)) v *= Quad(0x1p-600), scale *= Quad(0x1p300);
  while (v < Quad(0x1p-600)) v *= Quad(0x1p600), scale *= Quad(0x1p-300);
  Quad root = Quad(std::sqrt(double(v)));
  for (int i = 0; i < 2; ++i) root = (root + v / root) / 2;
  return root * scale;
}

}  // namespace kilter

// What the fast kernels of the row norms receive: rows of one or two strides, aligned for vectors.  Small, since every launch
// copies it (the checked problem's views take 4.8 KB and cost 1.5 us a launch).
#pragma once

#include <utility>

#include "families/rowwise/row_norm.h"

namespace kilter::cuda {

// Where row r of a tensor begins; null: absent.
struct RowAddress {
  char* data = nullptr;
  int64_t stride = 0;  // bytes
  int64_t outer = 0;   // bytes between runs of `inner` rows
  uint32_t inner = 0;  // 0: one stride is all

  KILTER_INLINE bool present() const { return data != nullptr; }
  KILTER_INLINE char* row(int64_t r) const {
    if (inner == 0) return data + r * stride;
    const uint32_t q = uint32_t(r) / inner;
    return data + (uint32_t(r) - q * inner) * stride + q * outer;
  }
};

inline bool compact(const View& v, int64_t rows, RowAddress* out) {
  const int64_t item = item_size(v.dtype);
  *out = {v.data, v.map.ndim > 0 ? v.map.stride[0] * item : 0, v.map.ndim > 1 ? v.map.stride[1] * item : 0, 0};
  if (!v.present() || v.map.ndim < 2) return true;
  if (v.map.ndim > 2 || rows > UINT32_MAX) return false;
  out->inner = uint32_t(v.map.size[0]);
  return true;
}
// Whether every row starts at a multiple of 16 bytes.
inline bool aligned(const RowAddress& a) {
  return ((reinterpret_cast<uintptr_t>(a.data) | uint64_t(a.stride) | uint64_t(a.outer)) & 15) == 0;
}

struct RowForwardParameters {
  RowAddress x, y, residual, residual_out, post_residual, mean, rstd;
  const char *weight, *bias;
  int64_t rows;
  int n;
  float eps, weight_offset;
  bool weight_is_float, bias_is_float;  // fp32 beside 16-bit rows
  bool round_then_multiply;
};

// False: the call needs the kernels for any row.
inline bool compact(const RowNormForward& p, RowForwardParameters* out) {
  const DType t = p.x.dtype;
  const int width = t == DType::f32 ? 4 : 8;
  if (t == DType::f64 || p.n % width != 0 || p.n > INT32_MAX) return false;
  for (const View* v : {&p.residual, &p.residual_out, &p.post_residual})
    if (v->present() && v->dtype != t) return false;
  RowForwardParameters& o = *out;
  const std::pair<const View*, RowAddress*> rows[] = {
      {&p.x, &o.x}, {&p.y, &o.y}, {&p.residual, &o.residual}, {&p.residual_out, &o.residual_out}, {&p.post_residual, &o.post_residual}};
  for (const auto& [view, address] : rows)
    if (!compact(*view, p.rows, address) || !aligned(*address)) return false;
  if (!compact(p.mean, p.rows, &o.mean) || !compact(p.rstd, p.rows, &o.rstd)) return false;
  if (((reinterpret_cast<uintptr_t>(p.weight.data) | reinterpret_cast<uintptr_t>(p.bias.data)) & 15) != 0) return false;
  o.weight = p.weight.data, o.bias = p.bias.data;
  o.weight_is_float = p.weight.dtype == DType::f32 && t != DType::f32;
  o.bias_is_float = p.bias.dtype == DType::f32 && t != DType::f32;
  o.rows = p.rows, o.n = int(p.n);
  o.eps = float(p.eps), o.weight_offset = float(p.weight_offset);
  o.round_then_multiply = p.round_then_multiply && t != DType::f32;
  return true;
}

}  // namespace kilter::cuda

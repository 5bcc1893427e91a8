// Memory of one tensor, contiguous, seen as the library's internals (View) and as the C ABI (kilter_tensor) see it.
#pragma once

#include <cstring>
#include <vector>

#include "core/element.h"
#include "core/schema.h"

namespace kilter::check {

class Buffer {
 public:
  Buffer() = default;  // absent

  static Buffer rows(DType dtype, int64_t rows, int64_t n) { return Buffer(dtype, rows, n, 2); }
  static Buffer vector(DType dtype, int64_t n) { return Buffer(dtype, 1, n, 1); }
  static Buffer per_row(DType dtype, int64_t rows) { return Buffer(dtype, rows, 1, 1); }
  // By a field's first shape: "... n", "n", "1" or "...".
  static Buffer of(const Field& f, DType dtype, int64_t rows, int64_t n) {
    const Shape& s = f.shapes[0];
    return s.dims[0] == kOne ? vector(dtype, 1)
           : s.any < 0       ? vector(dtype, n)
           : s.count == 1    ? per_row(dtype, rows)
                             : Buffer::rows(dtype, rows, n);
  }

  bool present() const { return dtype_ != DType::none; }
  DType dtype() const { return dtype_; }
  int64_t row_count() const { return rows_; }
  int64_t row_length() const { return n_; }
  size_t row_bytes() const { return size_t(n_) * size_t(item_size(dtype_)); }
  char* data() { return bytes_.data(); }
  const char* row(int64_t r) const { return bytes_.data() + size_t(r) * row_bytes(); }

  View view() const {
    View v;
    if (!present()) return v;
    v.data = const_cast<char*>(bytes_.data());
    v.dtype = dtype_;
    v.map.ndim = 1, v.map.size[0] = rows_, v.map.stride[0] = n_;
    return v;
  }
  // Points into this object: valid until it moves.
  kilter_tensor tensor() {
    if (!present()) return {};
    shape_[0] = ndim_ == 1 ? rows_ * n_ : rows_, shape_[1] = n_;
    return {bytes_.data(), {KILTER_DEVICE_CPU, 0}, ndim_, dlpack_of(dtype_), shape_, nullptr, 0};
  }
  double at(int64_t r, int64_t i) const {  // without a View, whose construction would dominate
    const char* p = row(r) + i * item_size(dtype_);
    switch (dtype_) {
      case DType::f64:
        return *reinterpret_cast<const double*>(p);
      case DType::f32:
        return *reinterpret_cast<const float*>(p);
      case DType::f16:
        return half_to_float(*reinterpret_cast<const uint16_t*>(p));
      case DType::bf16:
        return bf16_to_float(*reinterpret_cast<const uint16_t*>(p));
      case DType::none:
        break;
    }
    return 0;
  }

 private:
  // Never without memory, so that a tensor without elements is still present.  Outputs must overwrite the pattern.
  Buffer(DType dtype, int64_t rows, int64_t n, int ndim)
      : dtype_(dtype), rows_(rows), n_(n), ndim_(ndim), bytes_(size_t(rows) * size_t(n) * size_t(item_size(dtype)) + 8, char(0xA5)) {
    if (dtype == DType::none) *this = Buffer();
  }

  DType dtype_ = DType::none;
  int64_t rows_ = 0, n_ = 0;
  int ndim_ = 0;
  int64_t shape_[2] = {};
  std::vector<char> bytes_;
};

}  // namespace kilter::check

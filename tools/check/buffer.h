// Memory of one tensor, dense, seen as the library's internals (View) and as the C ABI (kilter_tensor) see it.
#pragma once

#include <cstring>
#include <vector>

#include "core/bits.h"
#include "core/element.h"
#include "core/schema.h"

namespace kilter::check {

class Buffer {
 public:
  Buffer() = default;  // absent

  static Buffer rows(DType dtype, int64_t rows, int64_t n) { return Buffer(dtype, rows, n, 2); }
  static Buffer vector(DType dtype, int64_t n) { return Buffer(dtype, 1, n, 1); }
  static Buffer per_row(DType dtype, int64_t rows) { return Buffer(dtype, rows, 1, 1); }
  // [batch, channels, spatial], whose rows are its samples.
  static Buffer planes(DType dtype, int64_t batch, int64_t channels, int64_t spatial, Layout layout) {
    Buffer b(dtype, batch, channels * spatial, 3);
    b.channels_ = channels, b.layout_ = layout;
    return b;
  }
  // By a field's first shape and what its dimensions are, "..." being one, or two.
  static Buffer of(const Field& f, DType dtype, const std::vector<int64_t>& shape, Layout layout) {
    const Shape& s = f.shapes[0];
    if (s.is_planes()) return planes(dtype, shape[0], shape[1], shape[2], layout);
    const bool split = s.any >= 0 && shape.size() > size_t(s.count);
    const int64_t leading = split ? shape[0] * shape[1] : shape[0];
    Buffer b = s.count == 2 ? rows(dtype, leading, shape.back()) : s.any >= 0 ? per_row(dtype, leading) : vector(dtype, leading);
    if (split) b.samples_ = shape[0];
    return b;
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
    if (ndim_ == 3) v.layout = channels_ <= 1 || places() <= 1 ? kChannelsFirst | kChannelsLast : layout_;
    return v;
  }
  // Points into this object: valid until it moves.
  kilter_tensor tensor() {
    if (!present()) return {};
    shape_[0] = ndim_ == 1 ? rows_ * n_ : rows_, shape_[1] = n_;
    if (samples_) shape_[0] = samples_, shape_[1] = rows_ / samples_, shape_[2] = n_;
    if (ndim_ == 3) shape_[1] = channels_, shape_[2] = places(), strides_[0] = n_, strides_[1] = 1, strides_[2] = channels_;
    const int32_t ndim = ndim_ + (samples_ ? 1 : 0);
    return {bytes_.data(), {KILTER_DEVICE_CPU, 0}, ndim, dlpack_of(dtype_), shape_, layout_ == kChannelsLast ? strides_ : nullptr, 0};
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
      case DType::u8:
        return *reinterpret_cast<const uint8_t*>(p);
      case DType::i32:
        return *reinterpret_cast<const int32_t*>(p);
      case DType::i64:
        return double(*reinterpret_cast<const int64_t*>(p));
      case DType::none:
        break;
    }
    return 0;
  }

  // Of planes, whichever way they lie: where a place of a channel is in its sample, and what is there.
  int64_t places() const { return channels_ ? n_ / channels_ : 0; }
  int64_t place_in_row(int64_t channel, int64_t place) const {
    return layout_ == kChannelsLast ? place * channels_ + channel : channel * places() + place;
  }
  double at(int64_t sample, int64_t channel, int64_t place) const { return at(sample, place_in_row(channel, place)); }

 private:
  // Never without memory, so that a tensor without elements is still present.  Outputs must overwrite the pattern.
  Buffer(DType dtype, int64_t rows, int64_t n, int ndim)
      : dtype_(dtype), rows_(rows), n_(n), ndim_(ndim), bytes_(size_t(rows) * size_t(n) * size_t(item_size(dtype)) + 8, char(0xA5)) {
    if (dtype == DType::none) *this = Buffer();
  }

  DType dtype_ = DType::none;
  int64_t rows_ = 0, n_ = 0;
  int ndim_ = 0;
  int64_t samples_ = 0;   // the first of two dimensions that rows are; 0: they are one
  int64_t channels_ = 1;  // one channel: a row as it is
  Layout layout_ = kChannelsFirst;
  int64_t shape_[3] = {}, strides_[3] = {};
  std::vector<char> bytes_;
};

}  // namespace kilter::check

#include "harness/matrix.h"

#include <cmath>
#include <cstring>

#include "core/element.h"

namespace kilter::test {

Matrix::Matrix(DType dtype, std::vector<int64_t> shape, const Placed& placed) {
  if (dtype == DType::none) return;
  dtype_ = dtype;
  shape_ = std::move(shape);
  const size_t leading = shape_.size() - 1;
  strides_ = placed.strides;
  if (strides_.empty()) {
    strides_.resize(leading);
    int64_t stride = shape_.back() + placed.pad;
    // Unsigned, as one beside an empty extent may be any size; the library reads no stride of a tensor without elements.
    for (size_t d = leading; d-- > 0; stride = int64_t(uint64_t(stride) * uint64_t(shape_[d])))
      strides_[d] = placed.reversed ? -stride : stride;
  }
  if (strides_.size() == leading) strides_.push_back(1);
  rows_ = 1;
  for (size_t d = 0; d < leading; ++d) rows_ *= shape_[d];
  int64_t low = 0, high = 0;  // offsets of elements
  for (size_t d = 0; d <= leading && rows_ * n() != 0; ++d) {
    const int64_t reach = strides_[d] * (shape_[d] - 1);
    (reach < 0 ? low : high) += reach;
  }
  const int64_t elements = rows_ * n() == 0 ? 0 : high - low + 1;
  const int item = item_size(dtype);
  memory_ = std::make_unique<GuardedBuffer>(size_t((elements + placed.shift) * item), placed.at_end);
  data_ = memory_->data() + ((placed.at_end ? 0 : placed.shift) - low) * item;
}

Matrix::~Matrix() { EXPECT_TRUE(gaps_intact()) << "bytes between rows were written"; }

kilter_tensor Matrix::tensor() const {
  if (!present()) return {};
  return {data_,
          {KILTER_DEVICE_CPU, 0},
          int32_t(shape_.size()),
          dlpack_of(dtype_),
          const_cast<int64_t*>(shape_.data()),
          const_cast<int64_t*>(strides_.data()),
          0};
}

int64_t Matrix::offset(int64_t r) const {
  int64_t at = 0;
  for (size_t d = shape_.size() - 1; d-- > 0; r /= shape_[d]) at += r % shape_[d] * strides_[d];
  return at;
}

double Matrix::get(int64_t r, int64_t i) const {
  const char* p = element(r, i);
  if (dtype_ == DType::f64) return *reinterpret_cast<const double*>(p);
  if (dtype_ == DType::f32) return *reinterpret_cast<const float*>(p);
  if (dtype_ == DType::u8) return *reinterpret_cast<const uint8_t*>(p);
  if (dtype_ == DType::i32) return *reinterpret_cast<const int32_t*>(p);
  if (dtype_ == DType::i64) return double(*reinterpret_cast<const int64_t*>(p));
  const uint16_t h = *reinterpret_cast<const uint16_t*>(p);
  return dtype_ == DType::f16 ? half_to_float(h) : bf16_to_float(h);
}

void Matrix::set(int64_t r, int64_t i, double value) {
  char* p = element(r, i);
  if (dtype_ == DType::f64)
    *reinterpret_cast<double*>(p) = value;
  else if (dtype_ == DType::f32)
    *reinterpret_cast<float*>(p) = float(value);
  else if (dtype_ == DType::u8)
    *reinterpret_cast<uint8_t*>(p) = uint8_t(int(value * 64));  // noise makes all bits of it
  else if (dtype_ == DType::i32)
    *reinterpret_cast<int32_t*>(p) = int32_t(value);
  else if (dtype_ == DType::i64)
    *reinterpret_cast<int64_t*>(p) = int64_t(value);
  else
    *reinterpret_cast<uint16_t*>(p) = dtype_ == DType::f16 ? float_to_half(round_to_odd(value)) : float_to_bf16(round_to_odd(value));
}

void Matrix::copy_from(const Matrix& other) {
  const size_t item = size_t(item_size(dtype_));
  for (int64_t r = 0; present() && r < rows_; ++r)
    if (dense_rows() && other.dense_rows())
      std::memcpy(row(r), other.row(r), size_t(n()) * item);
    else
      for (int64_t i = 0; i < n(); ++i) std::memcpy(element(r, i), other.element(r, i), item);
}

bool Matrix::gaps_intact() const {
  if (!memory_) return true;
  std::vector<bool> used(memory_->size());
  const int64_t item = item_size(dtype_);
  if (int64_t(used.size()) == rows_ * n() * item) return true;  // no gaps, unless rows overlap: inputs, which nobody writes
  for (int64_t r = 0; r < rows_; ++r)
    for (int64_t i = 0; i < n(); ++i)
      for (int64_t b = 0; b < item; ++b) used[size_t(element(r, i) - memory_->data() + b)] = true;
  for (size_t i = 0; i < used.size(); ++i)
    if (!used[i] && memory_->data()[i] != GuardedBuffer::kCanary) return false;
  return true;
}

double noise(uint64_t seed, int64_t r, int64_t i) {
  uint64_t z = (seed * 0x9E3779B97F4A7C15u) ^ (uint64_t(r) * 0xD1B54A32D192ED03u) ^ (uint64_t(i) * 0x8CB92BA72F3D8DD7u);
  double sum = 0;
  for (int k = 0; k < 6; ++k) {
    z += 0x9E3779B97F4A7C15u;
    uint64_t h = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    h = (h ^ (h >> 27)) * 0x94D049BB133111EBu;
    sum += double((h ^ (h >> 31)) >> 11) * 0x1p-53;
  }
  return (sum - 3) * 1.4142135623730951;
}

::testing::AssertionResult same_row(const Matrix& expected, int64_t expected_row, const Matrix& got, int64_t got_row, const char* name) {
  if (!expected.present() && !got.present()) return ::testing::AssertionSuccess();
  const size_t item = size_t(item_size(got.dtype()));
  if (expected.dtype() != got.dtype() || expected.n() != got.n()) return ::testing::AssertionFailure() << name << ": not comparable";
  if (expected.dense_rows() && got.dense_rows() && std::memcmp(expected.row(expected_row), got.row(got_row), size_t(got.n()) * item) == 0)
    return ::testing::AssertionSuccess();
  for (int64_t i = 0; i < got.n(); ++i) {
    const double want = expected.get(expected_row, i), have = got.get(got_row, i);
    if (std::memcmp(expected.element(expected_row, i), got.element(got_row, i), item) == 0 || (std::isnan(want) && std::isnan(have)))
      continue;
    return ::testing::AssertionFailure() << name << " row " << got_row << " column " << i << ": expected " << want << ", got " << have;
  }
  return ::testing::AssertionSuccess();
}

::testing::AssertionResult same(const Matrix& expected, const Matrix& got, const char* name) {
  if (expected.present() != got.present() || expected.rows() != got.rows())
    return ::testing::AssertionFailure() << name << ": not comparable";
  for (int64_t r = 0; r < got.rows(); ++r)
    if (auto result = same_row(expected, r, got, r, name); !result) return result;
  return ::testing::AssertionSuccess();
}

}  // namespace kilter::test

// A tensor of any rank and layout in guarded memory of its own: what tests pass and look at.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "core/view.h"
#include "harness/guarded_buffer.h"

namespace kilter::test {

struct Placed {
  int64_t pad = 0;                    // elements between one row and the next
  int64_t shift = 0;                  // elements between the data and the guard page it leans on
  bool at_end = true;                 // leans on the page behind, so that reading past the end faults; else on the one before
  bool reversed = false;              // without strides: rows in descending addresses
  std::vector<int64_t> strides = {};  // in elements, of every dimension, or of all but the last, whose is 1; empty: row-major with pad
};

class Matrix {
 public:
  Matrix() = default;  // absent
  Matrix(DType dtype, std::vector<int64_t> shape, const Placed& placed = {});
  Matrix(Matrix&&) = default;
  Matrix& operator=(Matrix&&) = default;
  ~Matrix();  // fails the running test if bytes between its elements were written

  bool present() const { return dtype_ != DType::none; }
  DType dtype() const { return dtype_; }
  int64_t rows() const { return rows_; }
  int64_t n() const { return present() ? shape_.back() : 0; }
  const std::vector<int64_t>& shape() const { return shape_; }

  kilter_tensor tensor() const;  // points into this object; all zero if absent
  char* row(int64_t r) const { return element(r, 0); }
  char* element(int64_t r, int64_t i) const { return data_ + (offset(r) + i * strides_.back()) * item_size(dtype_); }
  bool dense_rows() const { return strides_.back() == 1; }
  double get(int64_t r, int64_t i) const;
  void set(int64_t r, int64_t i, double value);  // rounded to nearest
  template <class F>
  void fill(F value) {  // value(r, i)
    for (int64_t r = 0; r < rows_; ++r)
      for (int64_t i = 0; i < n(); ++i) set(r, i, value(r, i));
  }
  void copy_from(const Matrix& other);  // the same type and sizes, any layout
  std::vector<char> bytes() const { return memory_ ? memory_->bytes() : std::vector<char>(); }
  bool gaps_intact() const;

 private:
  int64_t offset(int64_t r) const;

  DType dtype_ = DType::none;
  std::vector<int64_t> shape_, strides_;
  int64_t rows_ = 0;
  std::unique_ptr<GuardedBuffer> memory_;
  char* data_ = nullptr;  // of the first element
};

// Standard normal numbers: a function of its three arguments alone.
double noise(uint64_t seed, int64_t r, int64_t i);

// Equal bits, element by element (NaN equals NaN); layouts may differ.
::testing::AssertionResult same(const Matrix& expected, const Matrix& got, const char* name);
::testing::AssertionResult same_row(const Matrix& expected, int64_t expected_row, const Matrix& got, int64_t got_row, const char* name);

}  // namespace kilter::test

// One tensor in memory of its own between two pages that fault, in a layout of the test's choice; what is not its elements
// holds a pattern that must survive.
#pragma once

#include <cstdint>

#include "check/buffer.h"

namespace kilter::test {

struct Layout {
  int64_t gap = 0;        // elements between rows
  int64_t shift = 0;      // elements between the tensor and the guard page it leans on: misaligns it
  bool at_end = true;     // leans on the page behind it, so that reading past the end faults; else on the one before it
  bool reversed = false;  // rows in descending addresses: a negative stride
};

class Guarded {
 public:
  Guarded(const check::Buffer& from, const Layout& layout);
  ~Guarded();
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  kilter_tensor tensor();                     // points into this object
  void copy_to(check::Buffer& buffer) const;  // row by row
  bool pattern_intact() const;                // nothing around and between the rows was written

 private:
  char* row(int64_t r) const { return first_ + r * stride_ * item_; }

  bool present_ = false;
  DType dtype_ = DType::none;
  int64_t rows_ = 0, n_ = 0, stride_ = 0;
  int item_ = 1, ndim_ = 0;
  int64_t shape_[2] = {}, strides_[2] = {};
  char* mapping_ = nullptr;
  size_t mapped_ = 0, page_ = 0;
  char* first_ = nullptr;  // of row 0
};

}  // namespace kilter::test

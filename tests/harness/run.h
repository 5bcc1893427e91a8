// A check::Case run in guarded memory of a chosen layout, and bit comparison of two runs.
#pragma once

#include <gtest/gtest.h>

#include "check/check.h"
#include "harness/matrix.h"

namespace kilter::test {

struct Placement {
  Placed inputs, outputs;  // outputs: never reversed
  bool in_place = false;   // y is x; in backward dx is dy
};

// check::call, but with every tensor between guard pages; results end in t.  Fails the test if anything around them was written.
void call_guarded(const check::Case& c, const Placement& placement, check::Tensors& t);

// Inputs and results of a plain, contiguous call.
check::Tensors call_plain(const check::Case& c);

// Equal bits in every output; NaN equals NaN.  The message names output, row, column and the command that repeats the case.
::testing::AssertionResult same_bits(const check::Case& c, const check::Tensors& expected, const check::Tensors& got);

// As same_bits for single buffers, rows [row, row + rows) of `expected` against rows [0, rows) of `got`.
::testing::AssertionResult same_rows(const check::Buffer& expected, int64_t row, const check::Buffer& got, int64_t rows, const char* name);

}  // namespace kilter::test

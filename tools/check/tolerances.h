// The one table of error bounds.  A bound is a multiple of a unit; both are the numeric contract's (docs/numerics.md).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"

namespace kilter::check {

// When a row of the table applies; the first that matches is taken, so special cases stand first.
enum class When {
  always,
  constant_row,             // layer_norm, a row whose elements are all equal
  exact_row,                // layer_norm, fill `exact`: the sum has no rounding
  then_multiply,            // rounding then-multiply: T(xhat), T(times w)
  then_multiply_add,        // ... and T(plus b) or T(plus post_residual)
  then_multiply_add_twice,  // ... and both
  harder,                   // weight, bias or a residual, or an adversarial fill
  plain
};

// The unit of a sum over rows is ulp(max(|sum|, sqrt(sum terms^2))): rounding errors of terms are independent and proportional
// to each, also where rows differ in size.  A term of layer_norm's dweight counts at least |dy| * rms(xhat): xhat = (x - mean) *
// rstd is as exact as its row's size, not as its own.  docs/decisions/0005-restated-bounds.md has the figures.

struct Tolerance {
  const char* output;  // "y", "mean", "rstd", "residual_out", "dx" (also dresidual), "dweight" (also dbias)
  DType dtype;         // the output's type
  When when;
  double bound;
  const char* unit;
  const char* why;
};

const std::vector<Tolerance>& tolerances();

// The row for an output; `when` lists all conditions that hold (always is implied).
const Tolerance& tolerance(std::string_view output, DType dtype, std::initializer_list<When> when);

// The table for docs/numerics.md.
std::string tolerances_markdown();

}  // namespace kilter::check

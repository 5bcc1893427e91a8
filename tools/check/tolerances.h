// Error bounds, one table per family (families/<family>/check/bounds.cc).  A bound is a multiple of a unit; both are the numeric
// contract's (docs/numerics.md).
//
// The unit of a sum over rows is ulp(max(|sum|, sqrt(sum terms^2))): rounding errors of terms are independent and proportional
// to each, also where rows differ in size.  docs/decisions/0005-restated-bounds.md has the figures.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"

namespace kilter::check {

struct Tolerance {
  const char* output;
  DType dtype;       // the output's type
  const char* when;  // null: always.  The first row that matches is taken, so special cases stand first
  double bound;
  const char* unit;
  const char* why;
};

struct Bounds {
  const char* family;
  std::vector<Tolerance> table;
  const char* also;   // outputs that are judged as another: "dresidual as dx, dbias as dweight"
  const char* rules;  // a Markdown list, beside what holds everywhere
};

// The name of the output by whose rows another is judged.
std::string judged_as(const Bounds& bounds, std::string_view output);

// The row for an output; `when` lists all conditions that hold.
const Tolerance& tolerance(const Bounds& bounds, std::string_view output, DType dtype, std::initializer_list<const char*> when);

// The tables for docs/numerics.md.
std::string tolerances_markdown();

}  // namespace kilter::check

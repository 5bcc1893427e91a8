// What of an op no table says: its float64 reference.  A new op joins by one line in op.cc.
#pragma once

#include "check/arguments.h"
#include "families/rowwise/problem.h"

namespace kilter::check {

struct Op {
  const char* name;
  bool centered;  // has a mean
  kilter_status (*reference_forward)(const RowNormForward&, kilter_stream);
  kilter_status (*reference_backward)(const RowNormBackward&, kilter_stream);
};

const Op* find_op(std::string_view name);  // null if there is none

}  // namespace kilter::check

// The C ABI by an op's name: the union of all ops' argument structs, so that tools and tests are written once for all ops.
// A new op joins by one line in call.cc.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "families/rowwise/problem.h"
#include "kilter/kilter.h"

namespace kilter::check {

// Tensors that stay zero are absent.  Which of them a direction reads or writes is the ABI's business.
struct Call {
  std::string op;
  bool backward = false;
  kilter_tensor x{}, weight{}, bias{}, residual{}, residual_out{}, post_residual{}, y{}, mean{}, rstd{};
  kilter_tensor dy{}, dresidual_out{}, dx{}, dresidual{}, dweight{}, dbias{};
  double eps = KILTER_DEFAULT_EPS, weight_offset = 0;
  int rounding = KILTER_ROUND_ONCE;
  const char* impl = nullptr;
  void* workspace = nullptr;
  size_t workspace_size = 0;
  kilter_stream stream = nullptr;
  uint64_t launch_flags = 0;
};

struct Op {
  const char* name;
  bool centered;  // has a mean
  kilter_status (*forward)(const Call&);
  kilter_status (*backward)(const Call&);
  kilter_status (*backward_workspace)(const Call&, size_t*);
  kilter_status (*reference_forward)(const RowNormForward&, kilter_stream);
  kilter_status (*reference_backward)(const RowNormBackward&, kilter_stream);
};

const Op* find_op(const std::string& name);  // null if there is none

// What dispatch asks about the call.  Its strings are the call's.
kilter_query query_of(const Call& call);

// The implementation that would run, or `wanted` if the list has it; null if there is none.
const char* implementation(const kilter_query& query, const char* wanted = nullptr);

std::vector<std::string> op_names();

}  // namespace kilter::check

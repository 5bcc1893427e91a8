// The row norms (layer_norm, rms_norm) after their arguments were checked: what every implementation receives.
//
// Both ops share one problem per direction.  An op's C struct is copied into the Args form below, check_*() turns that into
// the problem, and the op's implementation list takes it from there.
#pragma once

#include <cstdint>

#include "core/dispatch.h"
#include "core/view.h"
#include "families/rowwise/partition.h"

namespace kilter {

struct RowNormForwardArgs {  // the union of the ops' C structs; mean stays zero where an op has none
  const char* op;
  bool centered;  // LayerNorm: subtract the mean
  kilter_tensor x, weight, bias, y, mean, rstd;
  double eps, weight_offset;
  int32_t rounding;
  const kilter_prologue* prologue;
  const kilter_epilogue* epilogue;
  const kilter_quantization* quantization;
  const char* impl;
  uint64_t launch_flags;
};

struct RowNormForward {
  kilter_device device = {KILTER_DEVICE_CPU, 0};
  int64_t rows = 0, n = 0;
  View x, residual, weight, bias, post_residual;
  View y, residual_out, mean, rstd;
  double eps = 0, weight_offset = 0;
  bool round_then_multiply = false;
  bool centered = false;
  bool dependent = false;  // KILTER_LAUNCH_DEPENDENT
  const char* op = "";
};

struct RowNormBackwardArgs {
  const char* op;
  bool centered;
  kilter_tensor x, weight, mean, rstd, dy, dresidual_out;
  kilter_tensor dx, dresidual, dweight, dbias;
  double weight_offset;
  void* workspace;
  size_t workspace_size;
  const char* impl;
  uint64_t launch_flags;
};

struct RowNormBackward {
  kilter_device device = {KILTER_DEVICE_CPU, 0};
  int64_t rows = 0, n = 0;
  View x, weight, mean, rstd, dy, dresidual_out;
  View dx, dresidual, dweight, dbias;
  double weight_offset = 0;
  bool centered = false;
  bool dependent = false;
  char* workspace = nullptr;
  size_t workspace_size = 0;
  const char* op = "";
};

// From caller's structs to a problem and the query that describes it.
[[nodiscard]] kilter_status check_forward(const RowNormForwardArgs& args, RowNormForward* problem, kilter_query* query);
[[nodiscard]] kilter_status check_backward(const RowNormBackwardArgs& args, RowNormBackward* problem, kilter_query* query);

// Reasons against a call that no implementation of the family takes yet, on any device; null if there are none.
const char* family_refuses(const kilter_query& query);

}  // namespace kilter

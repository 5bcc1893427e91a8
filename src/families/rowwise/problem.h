// The row norms (layer_norm, rms_norm) after their arguments were checked: what every implementation receives.  Both ops share one
// problem per direction; fields are named as in the C structs, and schema.h says how they are read.
#pragma once

#include <cstdint>

#include "core/partition.h"
#include "core/status.h"
#include "core/view.h"

namespace kilter {

struct RowNormForward {
  kilter_device device = {KILTER_DEVICE_CPU, 0};
  int64_t rows = 0, n = 0;
  View x, weight, bias, residual, gate, post_residual;
  View y, residual_out, mean, rstd;
  double eps = 0, weight_offset = 0;
  int32_t rounding = 0, activation = 0;
  const char* impl = nullptr;
  uint64_t launch_flags = 0;
  const char* op = "";
  bool round_then_multiply = false;  // by finish(): where it makes a difference
};

struct RowNormBackward {
  kilter_device device = {KILTER_DEVICE_CPU, 0};
  int64_t rows = 0, n = 0;
  View x, weight, mean, rstd, dy, dresidual_out;
  View dx, dresidual, dweight, dbias;
  double weight_offset = 0;
  char* workspace = nullptr;
  size_t workspace_size = 0;
  const char* impl = nullptr;
  uint64_t launch_flags = 0;
  const char* op = "";
};

// What no table states.
[[nodiscard]] inline kilter_status finish(RowNormForward* p) {
  // Rows without elements have statistics, if asked for, and nothing else: there may be 2^60 of them.
  if (p->n == 0 && p->mean.dtype == DType::none && p->rstd.dtype == DType::none) p->rows = 0;
  p->round_then_multiply = p->rounding == KILTER_ROUND_THEN_MULTIPLY && item_size(p->x.dtype) == 2;
  return KILTER_OK;
}

[[nodiscard]] inline kilter_status finish(RowNormBackward* p) {
  if (p->n == 0) p->rows = 0;
  return KILTER_OK;
}

// Reasons against a call that no implementation of the family takes yet, on any device; null if there are none.
inline const char* family_refuses(const RowNormForward& p) {
  if (p.activation != KILTER_ACTIVATION_NONE) return "activation: expected none, as no other has a kernel yet";
  if (p.gate.dtype != DType::none) return "gate: expected none, as gates have no kernel yet";
  return nullptr;
}
inline const char* family_refuses(const RowNormBackward&) { return nullptr; }

}  // namespace kilter

// The row norms (layer_norm, rms_norm, adaptive_layer_norm) after their arguments were checked: what every implementation receives.  The
// ops share one problem per direction; fields are named as in the C structs, and schema.h says how they are read.
#pragma once

#include <cstdint>

#include "core/partition.h"
#include "core/status.h"
#include "core/view.h"
#include "families/rowwise/modulation.h"

namespace kilter {

struct RowNormForward {
  kilter_device device = {KILTER_DEVICE_CPU, 0};
  int64_t rows = 0, n = 0;
  View x, weight, bias, residual, gate, post_residual;
  View y, residual_out, mean, rstd;
  double eps = 0, weight_offset = 0;
  int32_t rounding = 0, activation = 0;
  Modulation modulation;  // which row of scale, shift and gate
  View scale, shift, segments;
  double scale_offset = 0;
  int32_t norm = KILTER_NORM_LAYER;  // of an op that has both
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
  Modulation modulation;
  View bias, scale, gate, branch, segments;
  View dgate, dscale, dshift;
  double scale_offset = 0;
  int32_t norm = KILTER_NORM_LAYER;
  char* workspace = nullptr;
  size_t workspace_size = 0;
  const char* impl = nullptr;
  uint64_t launch_flags = 0;
  const char* op = "";
};

// What no table states.
template <class Problem>
[[nodiscard]] kilter_status finish_modulation(Problem* p) {
  if (p->scale.dtype == DType::none) return KILTER_OK;
  Modulation& m = p->modulation;
  m.lengths = p->segments.data, m.lengths_type = p->segments.dtype;
  if (m.count > 0) m.run = p->rows / m.count;
  return KILTER_OK;
}

[[nodiscard]] inline kilter_status finish(RowNormForward* p) {
  KILTER_RETURN_IF_ERROR(finish_modulation(p));
  if (p->norm == KILTER_NORM_RMS && p->mean.dtype != DType::none)
    return fail(KILTER_INVALID_ARGUMENT, p->op, "mean: expected none with norm rms, got %s", dtype_name(p->mean.dtype));
  // Rows without elements have statistics, if asked for, and nothing else: there may be 2^60 of them.
  if (p->n == 0 && p->mean.dtype == DType::none && p->rstd.dtype == DType::none) p->rows = 0;
  p->round_then_multiply = p->rounding == KILTER_ROUND_THEN_MULTIPLY && item_size(p->x.dtype) == 2;
  return KILTER_OK;
}

[[nodiscard]] inline kilter_status finish(RowNormBackward* p) {
  KILTER_RETURN_IF_ERROR(finish_modulation(p));
  const bool modulated = p->scale.dtype != DType::none, has_mean = p->mean.dtype != DType::none;
  if (modulated && has_mean != (p->norm == KILTER_NORM_LAYER))
    return fail(KILTER_INVALID_ARGUMENT, p->op, "mean: expected %s, got %s", has_mean ? "none with norm rms" : "a tensor with norm layer",
                dtype_name(p->mean.dtype));
  if (p->n == 0) p->rows = 0;
  return KILTER_OK;
}

// Reasons against a call that no implementation of the family takes yet, on any device; null if there are none.
inline const char* family_refuses(const RowNormForward& p) {
  if (p.activation != KILTER_ACTIVATION_NONE) return "activation: expected none, as no other has a kernel yet";
  if (p.gate.dtype != DType::none && p.scale.dtype == DType::none) return "gate: expected none, as gates have no kernel yet";
  return nullptr;
}
inline const char* family_refuses(const RowNormBackward&) { return nullptr; }

}  // namespace kilter

// weight_norm after its arguments were checked: what every implementation receives.  Fields are named as in the C structs, and schema.h
// says how they are read.
#pragma once

#include <cstdint>

#include "core/status.h"
#include "core/view.h"
#include "families/weights/slices.h"

namespace kilter {

struct WeightsForward {
  kilter_device device = {KILTER_DEVICE_CPU, 0};
  int64_t rows = 0, n = 0;
  Axis dim;
  View v, g, w, norm;
  char* workspace = nullptr;
  size_t workspace_size = 0;
  const char* impl = nullptr;
  uint64_t launch_flags = 0;
  const char* op = "";
  Slices slices;
};

struct WeightsBackward {
  kilter_device device = {KILTER_DEVICE_CPU, 0};
  int64_t rows = 0, n = 0;
  Axis dim;
  View v, g, norm, dw, dv, dg;
  char* workspace = nullptr;
  size_t workspace_size = 0;
  const char* impl = nullptr;
  uint64_t launch_flags = 0;
  const char* op = "";
  Slices slices;
};

inline const char* family_refuses(const WeightsForward&) { return nullptr; }
inline const char* family_refuses(const WeightsBackward&) { return nullptr; }

// What no table states.
[[nodiscard]] inline kilter_status finish(WeightsForward* p) {
  View* const tensors[] = {&p->v, &p->w};
  p->slices = Slices(p->dim, p->rows, p->n, tensors);
  return KILTER_OK;
}
[[nodiscard]] inline kilter_status finish(WeightsBackward* p) {
  View* const tensors[] = {&p->v, &p->dw, &p->dv};
  p->slices = Slices(p->dim, p->rows, p->n, tensors);
  return KILTER_OK;
}

}  // namespace kilter

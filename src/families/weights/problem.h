// weight_norm after its arguments were checked: what every implementation receives.  Fields are named as in the C structs, and schema.h
// says how they are read.
#pragma once

#include <cstdint>
#include <initializer_list>

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

// Of a tensor whose elements lie one after another the map says no more: element i is at data + i.
inline void flatten(View* v, int64_t rows, int64_t n) {
  if (v->present() && (rows == 1 || (v->map.ndim == 1 && v->map.size[0] == rows && v->map.stride[0] == n))) v->map.ndim = 0;
}
inline bool is_flat(const View& v) { return v.map.ndim == 0; }

// What no table states.
[[nodiscard]] inline kilter_status finish(WeightsForward* p) {
  p->slices = Slices(p->dim, p->n, !p->v.present());
  for (View* v : {&p->v, &p->w}) flatten(v, p->rows, p->n);
  return KILTER_OK;
}
[[nodiscard]] inline kilter_status finish(WeightsBackward* p) {
  p->slices = Slices(p->dim, p->n, !p->v.present());
  for (View* v : {&p->v, &p->dw, &p->dv}) flatten(v, p->rows, p->n);
  return KILTER_OK;
}

}  // namespace kilter

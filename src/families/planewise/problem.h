// The norms of planes (group_norm) after their arguments were checked: what every implementation receives.  All ops share one problem
// per direction; fields are named as in the C structs, and schema.h says how they are read.
#pragma once

#include <cstdint>

#include "core/status.h"
#include "core/view.h"

namespace kilter {

struct PlaneForward {
  kilter_device device = {KILTER_DEVICE_CPU, 0};
  int64_t batch = 0, channels = 0, spatial = 0, groups = 0;
  View x, weight, bias, residual, scale, shift;
  View y, residual_out, mean, rstd;
  double eps = 0, scale_offset = 0;
  int32_t activation = 0;
  char* workspace = nullptr;
  size_t workspace_size = 0;
  const char* impl = nullptr;
  uint64_t launch_flags = 0;
  const char* op = "";
  // Without places or channels: nothing is read, and statistics, if asked for, are NaN.
  bool empty() const { return batch == 0 || channels == 0 || spatial == 0; }
};

struct PlaneBackward {
  kilter_device device = {KILTER_DEVICE_CPU, 0};
  int64_t batch = 0, channels = 0, spatial = 0, groups = 0;
  View x, weight, bias, scale, shift, mean, rstd, dy, dresidual_out;
  View dx, dresidual, dweight, dbias, dscale, dshift;
  double scale_offset = 0;
  int32_t activation = 0;
  char* workspace = nullptr;
  size_t workspace_size = 0;
  const char* impl = nullptr;
  uint64_t launch_flags = 0;
  const char* op = "";
  bool empty() const { return batch == 0 || channels == 0 || spatial == 0; }
};

inline const char* family_refuses(const PlaneForward&) { return nullptr; }
inline const char* family_refuses(const PlaneBackward&) { return nullptr; }

// What no table states.
[[nodiscard]] inline kilter_status finish(PlaneForward*) { return KILTER_OK; }
[[nodiscard]] inline kilter_status finish(PlaneBackward*) { return KILTER_OK; }

}  // namespace kilter

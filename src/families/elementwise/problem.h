// The elementwise ops (dyt, derf) after their arguments were checked: what every implementation receives.  Both ops share one
// problem per direction; fields are named as in the C structs, and schema.h says how they are read.
#pragma once

#include <cstdint>

#include "core/partition.h"
#include "core/status.h"
#include "core/view.h"

namespace kilter {

// Rows whose terms of a sum add up in the compute type before they are widened: where all round alike, 8.5 units are lost.
constexpr int kBlockRows = 16;

struct ElementwiseForward {
  kilter_device device = {KILTER_DEVICE_CPU, 0};
  int64_t rows = 0, n = 0;
  View x, alpha, shift, weight, bias, residual;
  View y, residual_out;
  const char* impl = nullptr;
  uint64_t launch_flags = 0;
  const char* op = "";
};

struct ElementwiseBackward {
  kilter_device device = {KILTER_DEVICE_CPU, 0};
  int64_t rows = 0, n = 0;
  View x, alpha, shift, weight, dy, dresidual_out;
  View dx, dresidual, dalpha, dshift, dweight, dbias;
  char* workspace = nullptr;
  size_t workspace_size = 0;
  const char* impl = nullptr;
  uint64_t launch_flags = 0;
  const char* op = "";
  // By type: whether they are asked for is known without their memory.
  bool has_sums() const {
    return dalpha.dtype != DType::none || dshift.dtype != DType::none || dweight.dtype != DType::none || dbias.dtype != DType::none;
  }
};

inline const char* family_refuses(const ElementwiseForward&) { return nullptr; }
inline const char* family_refuses(const ElementwiseBackward&) { return nullptr; }

// What no table states.
[[nodiscard]] inline kilter_status finish(ElementwiseForward* p) {
  if (p->n == 0) p->rows = 0;
  return KILTER_OK;
}
[[nodiscard]] inline kilter_status finish(ElementwiseBackward* p) {
  if (p->n == 0) p->rows = 0;
  return KILTER_OK;
}

}  // namespace kilter

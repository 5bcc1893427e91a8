// Rows as fast kernels find them: one stride, or runs of rows with a second one.  Small: parameters are copied per launch.
#pragma once

#include "core/view.h"

namespace kilter::cuda {

// Where row r of a tensor begins.  Runs of `inner` rows (0: no runs), `outer` bytes apart.
struct RowAddress {
  char* data = nullptr;  // null: absent
  int64_t stride = 0;    // bytes
};
struct RowRuns {
  int64_t outer = 0;
  uint32_t inner = 0;
};

// Of a view with at most two strides; false: it has more.
inline bool to_address(const View& v, int64_t rows, RowAddress* address, RowRuns* runs) {
  const int64_t item = item_size(v.dtype);
  *address = {v.data, v.map.ndim > 0 ? v.map.stride[0] * item : 0};
  *runs = {};
  if (!v.present() || v.map.ndim < 2) return true;
  if (v.map.ndim > 2 || rows > UINT32_MAX) return false;
  *runs = {v.map.stride[1] * item, uint32_t(v.map.size[0])};
  return true;
}
// Whether every row starts at a multiple of 16 bytes.
inline bool aligned(const RowAddress& a, const RowRuns& runs) {
  return ((reinterpret_cast<uintptr_t>(a.data) | uint64_t(a.stride) | uint64_t(runs.outer)) & 15) == 0;
}

}  // namespace kilter::cuda

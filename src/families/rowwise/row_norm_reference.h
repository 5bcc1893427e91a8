// The float64 references of the row norms (fp64 rows: __float128), one per op in ops/<op>/reference.cc.
#pragma once

#include "core/element.h"
#include "families/rowwise/row_norm.h"

namespace kilter {

// Output views may have any type: an fp64 y receives the unrounded result, which is what `kilter check` compares with.
[[nodiscard]] kilter_status layer_norm_reference_forward(const RowNormForward& problem, kilter_stream);
[[nodiscard]] kilter_status layer_norm_reference_backward(const RowNormBackward& problem, kilter_stream);
[[nodiscard]] kilter_status rms_norm_reference_forward(const RowNormForward& problem, kilter_stream);
[[nodiscard]] kilter_status rms_norm_reference_backward(const RowNormBackward& problem, kilter_stream);

// Column sums in the workspace: two rows of n of the reference's type.
inline size_t row_norm_reference_workspace(int64_t n) { return sizeof(Quad) * size_t(2 * n); }

inline size_t reference_backward_workspace(const RowNormBackward& p) {
  if (p.dweight.dtype == DType::none && p.dbias.dtype == DType::none) return 0;
  if (p.n > int64_t(1) << 48) return SIZE_MAX;  // beyond any memory, and short of an overflow
  return row_norm_reference_workspace(p.n);
}

}  // namespace kilter

// The row norms on CUDA devices: what an op's list names.  Defined in ops/<op>/<op>.cu.
#pragma once

#include "families/rowwise/problem.h"

namespace kilter {

#define KILTER_ROW_NORM_ON_CUDA(op)                                                                                      \
  const char* op##_cuda_refuses(const RowNormForward& problem); /* what the fast kernels do not take; null if nothing */ \
  const char* op##_cuda_refuses(const RowNormBackward& problem);                                                         \
  const char* op##_cuda_singles_refuse(const RowNormForward& problem); /* the kernels of single elements */              \
  const char* op##_cuda_singles_refuse(const RowNormBackward& problem);                                                  \
  [[nodiscard]] kilter_status op##_cuda_singles_forward(const RowNormForward& problem, kilter_stream stream);            \
  [[nodiscard]] kilter_status op##_cuda_forward(const RowNormForward& problem, kilter_stream stream);                    \
  [[nodiscard]] kilter_status op##_cuda_general_forward(const RowNormForward& problem, kilter_stream stream);            \
  [[nodiscard]] kilter_status op##_cuda_backward(const RowNormBackward& problem, kilter_stream stream);                  \
  [[nodiscard]] kilter_status op##_cuda_singles_backward(const RowNormBackward& problem, kilter_stream stream);          \
  [[nodiscard]] kilter_status op##_cuda_general_backward(const RowNormBackward& problem, kilter_stream stream);
KILTER_ROW_NORM_ON_CUDA(layer_norm)
KILTER_ROW_NORM_ON_CUDA(rms_norm)
#undef KILTER_ROW_NORM_ON_CUDA

// Of the sums by modulation: rows, one for each modulation in each block of rows where it is.
inline int64_t modulation_slots(const RowNormBackward& p) { return p.rows / modulation_block(p.rows) + 1 + p.modulation.count; }
// Device memory that backward needs for these arguments, whichever kernels run.
size_t row_norm_cuda_workspace(const RowNormBackward& problem);

// What all CUDA entries of the row norms refuse; null if nothing.
const char* cuda_refuses(const RowNormForward& problem);
const char* cuda_refuses(const RowNormBackward& problem);

}  // namespace kilter

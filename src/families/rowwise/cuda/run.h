// The row norms on CUDA devices: what an op's list names.  Defined in ops/<op>/<op>.cu.
#pragma once

#include "families/rowwise/problem.h"

namespace kilter {

[[nodiscard]] kilter_status layer_norm_cuda_forward(const RowNormForward& problem, kilter_stream stream);
[[nodiscard]] kilter_status layer_norm_cuda_backward(const RowNormBackward& problem, kilter_stream stream);
[[nodiscard]] kilter_status rms_norm_cuda_forward(const RowNormForward& problem, kilter_stream stream);
[[nodiscard]] kilter_status rms_norm_cuda_backward(const RowNormBackward& problem, kilter_stream stream);

// Device memory that backward needs for these arguments.
size_t row_norm_cuda_workspace(const RowNormBackward& problem);

// What the CUDA entries of the row norms refuse; null if nothing.
const char* cuda_refuses(const kilter_query& query);

}  // namespace kilter

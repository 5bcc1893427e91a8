// weight_norm on CUDA devices: what the op's list names.
#pragma once

#include "families/weights/problem.h"

namespace kilter {

[[nodiscard]] kilter_status weights_cuda_forward(const WeightsForward& problem, kilter_stream stream);
[[nodiscard]] kilter_status weights_cuda_backward(const WeightsBackward& problem, kilter_stream stream);

// Device memory that a call needs.
size_t weights_cuda_workspace(const WeightsForward& problem);
size_t weights_cuda_workspace(const WeightsBackward& problem);

const char* weights_cuda_refuses(const WeightsForward& problem);
const char* weights_cuda_refuses(const WeightsBackward& problem);

}  // namespace kilter

// The norms of planes on CUDA devices: what an op's list names.  The kernels are the family's: no op has its own.
#pragma once

#include "families/planewise/problem.h"

namespace kilter {

[[nodiscard]] kilter_status planewise_cuda_forward(const PlaneForward& problem, kilter_stream stream);
[[nodiscard]] kilter_status planewise_cuda_backward(const PlaneBackward& problem, kilter_stream stream);

// Device memory that a call needs.
size_t planewise_cuda_workspace(const PlaneForward& problem);
size_t planewise_cuda_workspace(const PlaneBackward& problem);

const char* planewise_cuda_refuses(const PlaneForward& problem);
const char* planewise_cuda_refuses(const PlaneBackward& problem);

}  // namespace kilter

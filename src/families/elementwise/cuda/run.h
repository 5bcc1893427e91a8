// The elementwise ops on CUDA devices: what an op's list names.  Defined in ops/<op>/<op>.cu.
#pragma once

#include "families/elementwise/problem.h"

namespace kilter {

#define KILTER_ELEMENTWISE_ON_CUDA(op)                                                                                       \
  const char* op##_cuda_refuses(const ElementwiseForward& problem); /* what the fast kernels do not take; null if nothing */ \
  const char* op##_cuda_refuses(const ElementwiseBackward& problem);                                                         \
  [[nodiscard]] kilter_status op##_cuda_forward(const ElementwiseForward& problem, kilter_stream stream);                    \
  [[nodiscard]] kilter_status op##_cuda_general_forward(const ElementwiseForward& problem, kilter_stream stream);            \
  [[nodiscard]] kilter_status op##_cuda_backward(const ElementwiseBackward& problem, kilter_stream stream);                  \
  [[nodiscard]] kilter_status op##_cuda_general_backward(const ElementwiseBackward& problem, kilter_stream stream);
KILTER_ELEMENTWISE_ON_CUDA(dyt)
KILTER_ELEMENTWISE_ON_CUDA(derf)
#undef KILTER_ELEMENTWISE_ON_CUDA

// Device memory that backward needs for these arguments, whichever kernels run.
size_t elementwise_cuda_workspace(const ElementwiseBackward& problem);

// What all CUDA entries refuse; null if nothing.
const char* cuda_refuses(const ElementwiseForward& problem);
const char* cuda_refuses(const ElementwiseBackward& problem);

}  // namespace kilter

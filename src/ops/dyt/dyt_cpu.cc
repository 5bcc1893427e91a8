// dyt's passes for one SIMD target; compiled once per target (cmake/targets.cmake).
#include "families/elementwise/cpu/passes.inl.h"

namespace kilter::KILTER_TARGET_NAMESPACE {

extern const ElementwiseKernels dyt_kernels;
const ElementwiseKernels dyt_kernels = elementwise_kernels<Tanh>();

}  // namespace kilter::KILTER_TARGET_NAMESPACE

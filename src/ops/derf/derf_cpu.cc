// derf's passes for one SIMD target; compiled once per target (cmake/targets.cmake).
#include "families/elementwise/cpu/passes.inl.h"

namespace kilter::KILTER_TARGET_NAMESPACE {

extern const ElementwiseKernels derf_kernels;
const ElementwiseKernels derf_kernels = elementwise_kernels<Erf>();

}  // namespace kilter::KILTER_TARGET_NAMESPACE

// The planes' passes for one SIMD target; compiled once per target (cmake/targets.cmake).
#include "families/planewise/cpu/passes.inl.h"

namespace kilter::KILTER_TARGET_NAMESPACE {

extern const PlaneKernels plane_kernels_of_target;
const PlaneKernels plane_kernels_of_target = plane_kernels();

}  // namespace kilter::KILTER_TARGET_NAMESPACE

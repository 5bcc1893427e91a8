// weight_norm's passes for one SIMD target; compiled once per target (cmake/targets.cmake).
#include "families/weights/cpu/passes.inl.h"

namespace kilter::KILTER_TARGET_NAMESPACE {

extern const WeightsKernels weight_norm_kernels;
const WeightsKernels weight_norm_kernels = {weights_passes<float>(), weights_passes<double>()};

}  // namespace kilter::KILTER_TARGET_NAMESPACE

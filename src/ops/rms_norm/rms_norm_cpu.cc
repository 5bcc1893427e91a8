// RMSNorm's row passes for one SIMD target; compiled once per target (cmake/targets.cmake).
#include "families/rowwise/cpu/passes.inl.h"

namespace kilter::KILTER_TARGET_NAMESPACE {

extern const RowNormKernels rms_norm_kernels;
const RowNormKernels rms_norm_kernels = {
#define KILTER_INSTANCE(pass) .pass = pass</*kCentered=*/false>,
#include "ops/rms_norm/instances.def"
#undef KILTER_INSTANCE
};

}  // namespace kilter::KILTER_TARGET_NAMESPACE

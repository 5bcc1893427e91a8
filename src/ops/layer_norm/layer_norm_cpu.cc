// LayerNorm's row passes for one SIMD target; compiled once per target (cmake/targets.cmake).
#include "families/rowwise/cpu/passes.inl.h"

namespace kilter::KILTER_TARGET_NAMESPACE {

extern const RowNormKernels layer_norm_kernels;
const RowNormKernels layer_norm_kernels = {
#define KILTER_INSTANCE(pass) .pass = pass</*kCentered=*/true>,
#include "ops/layer_norm/instances.def"
#undef KILTER_INSTANCE
};

}  // namespace kilter::KILTER_TARGET_NAMESPACE

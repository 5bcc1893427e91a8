// layer_norm: 1. the implementation lists  2. the C entry points.
#include "families/rowwise/entry.h"
#if defined(KILTER_ENABLE_CUDA)
#include "families/rowwise/cuda/run.h"
#endif
#include "families/rowwise/reference.h"

namespace kilter {

#define KILTER_TARGET(name)                         \
  namespace cpu_##name {                            \
    extern const RowNormKernels layer_norm_kernels; \
  }
#include "kilter_targets.inc"
#undef KILTER_TARGET

namespace {

constexpr const char* kOp = "layer_norm";

constexpr const RowNormKernels* kKernels[] = {
#define KILTER_TARGET(name) &cpu_##name::layer_norm_kernels,
#include "kilter_targets.inc"
#undef KILTER_TARGET
};

constexpr Implementation<RowNormForward> kForward[] = {
#if defined(KILTER_ENABLE_CUDA)
    {"cuda:rowwise", layer_norm_cuda_refuses, layer_norm_cuda_forward},
    {"cuda:unaligned", layer_norm_cuda_singles_refuse, layer_norm_cuda_singles_forward},
    {"cuda:general", cuda_refuses, layer_norm_cuda_general_forward},
#endif
    {"cpu:rowwise", cpu_refuses, run_cpu<kKernels>, nullptr, cpu_ready},
    {"reference:f64", cpu_refuses, layer_norm_reference_forward},
};

constexpr Implementation<RowNormBackward> kBackward[] = {
#if defined(KILTER_ENABLE_CUDA)
    {"cuda:rowwise", layer_norm_cuda_refuses, layer_norm_cuda_backward, row_norm_cuda_workspace},
    {"cuda:unaligned", layer_norm_cuda_singles_refuse, layer_norm_cuda_singles_backward, row_norm_cuda_workspace},
    {"cuda:general", cuda_refuses, layer_norm_cuda_general_backward, row_norm_cuda_workspace},
#endif
    {"cpu:rowwise", cpu_refuses, run_cpu<kKernels>, cpu_backward_workspace, cpu_ready},
    {"reference:f64", cpu_refuses, layer_norm_reference_backward, reference_backward_workspace},
};

constexpr Schema kForwardSchema = row_norm_forward<kilter_layer_norm_forward_args>(kOp, KILTER_LAYER_NORM_FORWARD);
constexpr Schema kBackwardSchema = row_norm_backward<kilter_layer_norm_backward_args>(kOp, KILTER_LAYER_NORM_BACKWARD);
using ForwardEntry = Entry<kForwardSchema, RowNormForward, kForward, finish>;
using BackwardEntry = Entry<kBackwardSchema, RowNormBackward, kBackward, finish>;

}  // namespace

}  // namespace kilter

KILTER_FUNCTIONS(layer_norm, ForwardEntry, BackwardEntry)

// weight_norm: 1. the implementation lists  2. the C entry points.
#include "families/weights/entry.h"
#if defined(KILTER_ENABLE_CUDA)
#include "families/weights/cuda/run.h"
#endif

namespace kilter {

#define KILTER_TARGET(name)                          \
  namespace cpu_##name {                             \
    extern const WeightsKernels weight_norm_kernels; \
  }
#include "kilter_targets.inc"
#undef KILTER_TARGET

namespace {

constexpr const char* kOp = "weight_norm";

constexpr const WeightsKernels* kKernels[] = {
#define KILTER_TARGET(name) &cpu_##name::weight_norm_kernels,
#include "kilter_targets.inc"
#undef KILTER_TARGET
};

constexpr Implementation<WeightsForward> kForward[] = {
#if defined(KILTER_ENABLE_CUDA)
    {"cuda:weights", weights_cuda_refuses, weights_cuda_forward, weights_cuda_workspace},
#endif
    {"cpu:weights", weights_cpu_refuses, run_cpu<kKernels>, weights_cpu_workspace, cpu_ready},
    {"reference:f64", weights_cpu_refuses, weight_norm_reference_forward},
};

constexpr Implementation<WeightsBackward> kBackward[] = {
#if defined(KILTER_ENABLE_CUDA)
    {"cuda:weights", weights_cuda_refuses, weights_cuda_backward, weights_cuda_workspace},
#endif
    {"cpu:weights", weights_cpu_refuses, run_cpu<kKernels>, weights_cpu_workspace, cpu_ready},
    {"reference:f64", weights_cpu_refuses, weight_norm_reference_backward},
};

constexpr Schema kForwardSchema = weights_forward<kilter_weight_norm_forward_args>(kOp, KILTER_WEIGHT_NORM_FORWARD);
constexpr Schema kBackwardSchema = weights_backward<kilter_weight_norm_backward_args>(kOp, KILTER_WEIGHT_NORM_BACKWARD);
using ForwardEntry = Entry<kForwardSchema, WeightsForward, kForward, finish>;
using BackwardEntry = Entry<kBackwardSchema, WeightsBackward, kBackward, finish>;

}  // namespace

}  // namespace kilter

KILTER_FUNCTIONS(weight_norm, ForwardEntry, BackwardEntry)

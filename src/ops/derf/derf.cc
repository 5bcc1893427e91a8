// derf: 1. the implementation lists  2. the C entry points.
#include "families/elementwise/entry.h"
#if defined(KILTER_ENABLE_CUDA)
#include "families/elementwise/cuda/run.h"
#endif

namespace kilter {

#define KILTER_TARGET(name)                       \
  namespace cpu_##name {                          \
    extern const ElementwiseKernels derf_kernels; \
  }
#include "kilter_targets.inc"
#undef KILTER_TARGET

namespace {

constexpr const char* kOp = "derf";

constexpr const ElementwiseKernels* kKernels[] = {
#define KILTER_TARGET(name) &cpu_##name::derf_kernels,
#include "kilter_targets.inc"
#undef KILTER_TARGET
};

constexpr Implementation<ElementwiseForward> kForward[] = {
#if defined(KILTER_ENABLE_CUDA)
    {"cuda:elementwise", derf_cuda_refuses, derf_cuda_forward},
    {"cuda:general", cuda_refuses, derf_cuda_general_forward},
#endif
    {"cpu:elementwise", cpu_refuses, run_cpu<kKernels>, nullptr, cpu_ready},
    {"reference:f64", cpu_refuses, derf_reference_forward},
};

constexpr Implementation<ElementwiseBackward> kBackward[] = {
#if defined(KILTER_ENABLE_CUDA)
    {"cuda:elementwise", derf_cuda_refuses, derf_cuda_backward, elementwise_cuda_workspace},
    {"cuda:general", cuda_refuses, derf_cuda_general_backward, elementwise_cuda_workspace},
#endif
    {"cpu:elementwise", cpu_refuses, run_cpu<kKernels>, cpu_backward_workspace, cpu_ready},
    {"reference:f64", cpu_refuses, derf_reference_backward, reference_backward_workspace},
};

constexpr Schema kForwardSchema = elementwise_forward<kilter_derf_forward_args>(kOp, KILTER_DERF_FORWARD);
constexpr Schema kBackwardSchema = elementwise_backward<kilter_derf_backward_args>(kOp, KILTER_DERF_BACKWARD);
using ForwardEntry = Entry<kForwardSchema, ElementwiseForward, kForward, finish>;
using BackwardEntry = Entry<kBackwardSchema, ElementwiseBackward, kBackward, finish>;

}  // namespace

}  // namespace kilter

KILTER_FUNCTIONS(derf, ForwardEntry, BackwardEntry)

// dyt: 1. the implementation lists  2. the C entry points.
#include "families/elementwise/entry.h"
#if defined(KILTER_ENABLE_CUDA)
#include "families/elementwise/cuda/run.h"
#endif

namespace kilter {

#define KILTER_TARGET(name)                      \
  namespace cpu_##name {                         \
    extern const ElementwiseKernels dyt_kernels; \
  }
#include "kilter_targets.inc"
#undef KILTER_TARGET

namespace {

constexpr const char* kOp = "dyt";

constexpr const ElementwiseKernels* kKernels[] = {
#define KILTER_TARGET(name) &cpu_##name::dyt_kernels,
#include "kilter_targets.inc"
#undef KILTER_TARGET
};

constexpr Implementation<ElementwiseForward> kForward[] = {
#if defined(KILTER_ENABLE_CUDA)
    {"cuda:elementwise", dyt_cuda_refuses, dyt_cuda_forward},
    {"cuda:general", cuda_refuses, dyt_cuda_general_forward},
#endif
    {"cpu:elementwise", cpu_refuses, run_cpu<kKernels>, nullptr, cpu_ready},
    {"reference:f64", cpu_refuses, dyt_reference_forward},
};

constexpr Implementation<ElementwiseBackward> kBackward[] = {
#if defined(KILTER_ENABLE_CUDA)
    {"cuda:elementwise", dyt_cuda_refuses, dyt_cuda_backward, elementwise_cuda_workspace},
    {"cuda:general", cuda_refuses, dyt_cuda_general_backward, elementwise_cuda_workspace},
#endif
    {"cpu:elementwise", cpu_refuses, run_cpu<kKernels>, cpu_backward_workspace, cpu_ready},
    {"reference:f64", cpu_refuses, dyt_reference_backward, reference_backward_workspace},
};

constexpr Schema kForwardSchema = elementwise_forward<kilter_dyt_forward_args>(kOp, KILTER_DYT_FORWARD);
constexpr Schema kBackwardSchema = elementwise_backward<kilter_dyt_backward_args>(kOp, KILTER_DYT_BACKWARD);
using ForwardEntry = Entry<kForwardSchema, ElementwiseForward, kForward, finish>;
using BackwardEntry = Entry<kBackwardSchema, ElementwiseBackward, kBackward, finish>;

}  // namespace

}  // namespace kilter

KILTER_FUNCTIONS(dyt, ForwardEntry, BackwardEntry)

// rms_norm: 1. the implementation lists  2. the C entry points.
#include "families/rowwise/entry.h"
#if defined(KILTER_ENABLE_CUDA)
#include "families/rowwise/cuda/run.h"
#endif
#include "families/rowwise/reference.h"

namespace kilter {

#define KILTER_TARGET(name)                       \
  namespace cpu_##name {                          \
    extern const RowNormKernels rms_norm_kernels; \
  }
#include "kilter_targets.inc"
#undef KILTER_TARGET

namespace {

constexpr const char* kOp = "rms_norm";

constexpr const RowNormKernels* kKernels[] = {
#define KILTER_TARGET(name) &cpu_##name::rms_norm_kernels,
#include "kilter_targets.inc"
#undef KILTER_TARGET
};

constexpr Implementation<RowNormForward> kForward[] = {
#if defined(KILTER_ENABLE_CUDA)
    {"cuda:rowwise", rms_norm_cuda_refuses, rms_norm_cuda_forward},
    {"cuda:unaligned", rms_norm_cuda_singles_refuse, rms_norm_cuda_singles_forward},
    {"cuda:general", cuda_refuses, rms_norm_cuda_general_forward},
#endif
    {"cpu:rowwise", cpu_refuses, run_cpu<kKernels>, nullptr, cpu_ready},
    {"reference:f64", cpu_refuses, rms_norm_reference_forward},
};

constexpr Implementation<RowNormBackward> kBackward[] = {
#if defined(KILTER_ENABLE_CUDA)
    {"cuda:rowwise", rms_norm_cuda_refuses, rms_norm_cuda_backward, row_norm_cuda_workspace},
    {"cuda:unaligned", rms_norm_cuda_singles_refuse, rms_norm_cuda_singles_backward, row_norm_cuda_workspace},
    {"cuda:general", cuda_refuses, rms_norm_cuda_general_backward, row_norm_cuda_workspace},
#endif
    {"cpu:rowwise", cpu_refuses, run_cpu<kKernels>, cpu_backward_workspace, cpu_ready},
    {"reference:f64", cpu_refuses, rms_norm_reference_backward, reference_backward_workspace},
};

constexpr Schema kForwardSchema = row_norm_forward<kilter_rms_norm_forward_args>(kOp, KILTER_RMS_NORM_FORWARD);
constexpr Schema kBackwardSchema = row_norm_backward<kilter_rms_norm_backward_args>(kOp, KILTER_RMS_NORM_BACKWARD);
using ForwardEntry = Entry<kForwardSchema, RowNormForward, kForward, finish>;
using BackwardEntry = Entry<kBackwardSchema, RowNormBackward, kBackward, finish>;

}  // namespace

}  // namespace kilter

KILTER_FUNCTIONS(rms_norm, ForwardEntry, BackwardEntry)

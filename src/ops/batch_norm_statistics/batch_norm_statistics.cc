// batch_norm_statistics: 1. the implementation lists  2. the C entry points.
#include "families/planewise/entry.h"
#if defined(KILTER_ENABLE_CUDA)
#include "families/planewise/cuda/run.h"
#endif

namespace kilter {
namespace {

constexpr const char* kOp = "batch_norm_statistics";

constexpr Implementation<PlaneForward> kForward[] = {
#if defined(KILTER_ENABLE_CUDA)
    {"cuda:planewise", planewise_cuda_refuses, planewise_cuda_forward, planewise_cuda_workspace},
#endif
    {"cpu:planewise", cpu_refuses, run_cpu<kPlaneKernels>, plane_cpu_workspace, cpu_ready},
    {"reference:f64", cpu_refuses, batch_norm_statistics_reference_forward},
};

constexpr Implementation<PlaneBackward> kBackward[] = {
#if defined(KILTER_ENABLE_CUDA)
    {"cuda:planewise", planewise_cuda_refuses, planewise_cuda_backward, planewise_cuda_workspace},
#endif
    {"cpu:planewise", cpu_refuses, run_cpu<kPlaneKernels>, plane_cpu_workspace, cpu_ready},
    {"reference:f64", cpu_refuses, batch_norm_statistics_reference_backward, plane_reference_workspace},
};

constexpr Schema kForwardSchema =
    batch_norm_statistics_forward<kilter_batch_norm_statistics_forward_args>(kOp, KILTER_BATCH_NORM_STATISTICS_FORWARD);
constexpr Schema kBackwardSchema =
    batch_norm_statistics_backward<kilter_batch_norm_statistics_backward_args>(kOp, KILTER_BATCH_NORM_STATISTICS_BACKWARD);
using ForwardEntry = Entry<kForwardSchema, PlaneForward, kForward, finish_batch_norm_statistics>;
using BackwardEntry = Entry<kBackwardSchema, PlaneBackward, kBackward, finish_batch_norm_statistics>;

}  // namespace

}  // namespace kilter

KILTER_FUNCTIONS(batch_norm_statistics, ForwardEntry, BackwardEntry)

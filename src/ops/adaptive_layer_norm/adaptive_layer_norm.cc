// adaptive_layer_norm: 1. the implementation lists  2. the C entry points.
#include "families/rowwise/entry.h"
#if defined(KILTER_ENABLE_CUDA)
#include "families/rowwise/cuda/run.h"
#endif
#include "ops/adaptive_layer_norm/schema.h"

namespace kilter {

#define KILTER_TARGET(name)                                           \
  namespace cpu_##name {                                              \
    extern const RowNormKernels layer_norm_kernels, rms_norm_kernels; \
  }
#include "kilter_targets.inc"
#undef KILTER_TARGET

namespace {

constexpr const char* kOp = "adaptive_layer_norm";

// Those of the norm that is modulated: what differs is where a row finds its weight and bias.
constexpr const RowNormKernels* kLayer[] = {
#define KILTER_TARGET(name) &cpu_##name::layer_norm_kernels,
#include "kilter_targets.inc"
#undef KILTER_TARGET
};
constexpr const RowNormKernels* kRms[] = {
#define KILTER_TARGET(name) &cpu_##name::rms_norm_kernels,
#include "kilter_targets.inc"
#undef KILTER_TARGET
};

template <class Problem>
kilter_status run(const Problem& p, kilter_stream stream) {
  KILTER_RETURN_IF_ERROR(check_segments(p));
  return p.norm == KILTER_NORM_RMS ? run_cpu<kRms>(p, stream) : run_cpu<kLayer>(p, stream);
}

// A function of the norm that is modulated.
#define KILTER_OF_NORM(name) \
  [](const auto& p, auto... stream) { return p.norm == KILTER_NORM_RMS ? rms_norm_##name(p, stream...) : layer_norm_##name(p, stream...); }

constexpr Implementation<RowNormForward> kForward[] = {
#if defined(KILTER_ENABLE_CUDA)
    {"cuda:rowwise", KILTER_OF_NORM(cuda_refuses), KILTER_OF_NORM(cuda_forward)},
    {"cuda:unaligned", KILTER_OF_NORM(cuda_singles_refuse), KILTER_OF_NORM(cuda_singles_forward)},
    {"cuda:general", cuda_refuses, KILTER_OF_NORM(cuda_general_forward)},
#endif
    {"cpu:rowwise", cpu_refuses, run, nullptr, cpu_ready},
    {"reference:f64", cpu_refuses, adaptive_layer_norm_reference_forward},
};

constexpr Implementation<RowNormBackward> kBackward[] = {
#if defined(KILTER_ENABLE_CUDA)
    {"cuda:rowwise", KILTER_OF_NORM(cuda_refuses), KILTER_OF_NORM(cuda_backward), row_norm_cuda_workspace},
    {"cuda:unaligned", KILTER_OF_NORM(cuda_singles_refuse), KILTER_OF_NORM(cuda_singles_backward), row_norm_cuda_workspace},
    {"cuda:general", cuda_refuses, KILTER_OF_NORM(cuda_general_backward), row_norm_cuda_workspace},
#endif
    {"cpu:rowwise", cpu_refuses, run, cpu_backward_workspace, cpu_ready},
    {"reference:f64", cpu_refuses, adaptive_layer_norm_reference_backward, reference_backward_workspace},
};

constexpr Schema kForwardSchema = adaptive_norm_forward<kilter_adaptive_layer_norm_forward_args>(kOp, KILTER_ADAPTIVE_LAYER_NORM_FORWARD);
constexpr Schema kBackwardSchema =
    adaptive_norm_backward<kilter_adaptive_layer_norm_backward_args>(kOp, KILTER_ADAPTIVE_LAYER_NORM_BACKWARD);
using ForwardEntry = Entry<kForwardSchema, RowNormForward, kForward, finish>;
using BackwardEntry = Entry<kBackwardSchema, RowNormBackward, kBackward, finish>;

}  // namespace

}  // namespace kilter

KILTER_FUNCTIONS(adaptive_layer_norm, ForwardEntry, BackwardEntry)

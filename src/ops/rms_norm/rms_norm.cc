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
    {"cuda:rowwise", cuda_refuses, rms_norm_cuda_forward},
#endif
    {"cpu:rowwise", cpu_refuses, run_cpu_forward<kKernels>},
    {"reference:f64", cpu_refuses, rms_norm_reference_forward},
};

constexpr Implementation<RowNormBackward> kBackward[] = {
#if defined(KILTER_ENABLE_CUDA)
    {"cuda:rowwise", cuda_refuses, rms_norm_cuda_backward, row_norm_cuda_workspace},
#endif
    {"cpu:rowwise", cpu_refuses, run_cpu_backward<kKernels>, cpu_backward_workspace},
    {"reference:f64", cpu_refuses, rms_norm_reference_backward, reference_backward_workspace},
};

size_t walk_lists(const kilter_query& query, kilter_candidate* out, size_t capacity) {
  return query.direction == KILTER_FORWARD ? walk(kForward, query, out, capacity) : walk(kBackward, query, out, capacity);
}

}  // namespace

extern const OpInfo rms_norm_op;
const OpInfo rms_norm_op = {kOp, walk_lists};

}  // namespace kilter

using namespace kilter;

extern "C" {

kilter_status kilter_rms_norm_forward(const kilter_rms_norm_forward_args* args, kilter_stream stream) noexcept {
  return enter_forward(kOp, kForward, args, stream);
}

kilter_status kilter_rms_norm_backward(const kilter_rms_norm_backward_args* args, kilter_stream stream) noexcept {
  return enter_backward(kOp, kBackward, args, stream);
}

kilter_status kilter_rms_norm_backward_workspace(const kilter_rms_norm_backward_args* args, size_t* bytes) noexcept {
  return enter_backward_workspace(kOp, kBackward, args, bytes);
}

}  // extern "C"

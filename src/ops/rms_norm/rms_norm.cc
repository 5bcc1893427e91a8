// rms_norm: 1. C structs to the family's problem  2. the implementation lists  3. the C entry points.
#include "core/tensor.h"
#include "cpu/target.h"
#include "families/rowwise/row_norm_cpu.h"
#include "families/rowwise/row_norm_reference.h"

namespace kilter {

#define KILTER_TARGET(name)                       \
  namespace cpu_##name {                          \
    extern const RowNormKernels rms_norm_kernels; \
  }
#include "kilter_targets.inc"
#undef KILTER_TARGET

namespace {

constexpr const char* kOp = "rms_norm";

RowNormForwardArgs family_args(const kilter_rms_norm_forward_args& a) {
  return {kOp,        false,      a.x,        a.weight,       a.bias, a.y, {}, a.rstd, a.eps, a.weight_offset,
          a.rounding, a.prologue, a.epilogue, a.quantization, a.impl};
}

RowNormBackwardArgs family_args(const kilter_rms_norm_backward_args& a) {
  return {kOp,         false,     a.x,     a.weight,        {},          a.rstd,           a.dy,  a.dresidual_out, a.dx,
          a.dresidual, a.dweight, a.dbias, a.weight_offset, a.workspace, a.workspace_size, a.impl};
}

const RowNormKernels* const kKernels[] = {
#define KILTER_TARGET(name) &cpu_##name::rms_norm_kernels,
#include "kilter_targets.inc"
#undef KILTER_TARGET
};

kilter_status run_cpu_forward(const RowNormForward& p) {
  int target = 0;
  KILTER_RETURN_IF_ERROR(current_target(kOp, &target));
  return row_norm_cpu_forward(p, *kKernels[target]);
}

kilter_status run_cpu_backward(const RowNormBackward& p) {
  int target = 0;
  KILTER_RETURN_IF_ERROR(current_target(kOp, &target));
  return row_norm_cpu_backward(p, *kKernels[target]);
}

constexpr Implementation<RowNormForward> kForward[] = {
    {"cpu:rowwise", family_refuses, run_cpu_forward},
    {"reference:f64", family_refuses, rms_norm_reference_forward},
};

constexpr Implementation<RowNormBackward> kBackward[] = {
    {"cpu:rowwise", family_refuses, run_cpu_backward},
    {"reference:f64", family_refuses, rms_norm_reference_backward},
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

kilter_status kilter_rms_norm_forward(const kilter_rms_norm_forward_args* args, kilter_stream) noexcept {
  return guarded(kOp, [&] {
    KILTER_RETURN_IF_ERROR(check_struct(kOp, "args", args, sizeof *args, sizeof *args));
    RowNormForward problem;
    kilter_query query;
    KILTER_RETURN_IF_ERROR(check_forward(family_args(*args), &problem, &query));
    return dispatch(kForward, query, problem);
  });
}

kilter_status kilter_rms_norm_backward(const kilter_rms_norm_backward_args* args, kilter_stream) noexcept {
  return guarded(kOp, [&] {
    KILTER_RETURN_IF_ERROR(check_struct(kOp, "args", args, sizeof *args, sizeof *args));
    RowNormBackward problem;
    kilter_query query;
    KILTER_RETURN_IF_ERROR(check_backward(family_args(*args), &problem, &query));
    return dispatch(kBackward, query, problem);
  });
}

kilter_status kilter_rms_norm_backward_workspace(const kilter_rms_norm_backward_args* args, size_t* bytes) noexcept {
  return guarded(kOp, [&] {
    KILTER_RETURN_IF_ERROR(check_struct(kOp, "args", args, sizeof *args, sizeof *args));
    return backward_workspace(family_args(*args), bytes);
  });
}

}  // extern "C"

// What the C entry points of every row norm do; an op adds its kernels and its lists.
#pragma once

#include <cstddef>

#include "core/tensor.h"
#include "cpu/parallel.h"
#include "cpu/target.h"
#include "families/rowwise/cpu/run.h"
#include "families/rowwise/reference.h"

namespace kilter {

// What the entries that run on the CPU refuse.
inline const char* cpu_refuses(const kilter_query& query) {
  if (query.device.type != KILTER_DEVICE_CPU) return "x.device: expected the CPU (type 1)";
  return family_refuses(query);
}

// The CPU implementation of an op whose kernels are kKernels, one entry per SIMD target.
template <const auto& kKernels>
kilter_status run_cpu_forward(const RowNormForward& p, kilter_stream) {
  int target = 0;
  KILTER_RETURN_IF_ERROR(current_target(p.op, &target));
  KILTER_RETURN_IF_ERROR(check_thread_limit(p.op));
  return row_norm_cpu_forward(p, *kKernels[target]);
}

template <const auto& kKernels>
kilter_status run_cpu_backward(const RowNormBackward& p, kilter_stream) {
  int target = 0;
  KILTER_RETURN_IF_ERROR(current_target(p.op, &target));
  KILTER_RETURN_IF_ERROR(check_thread_limit(p.op));
  return row_norm_cpu_backward(p, *kKernels[target]);
}

inline size_t cpu_backward_workspace(const RowNormBackward& p) { return row_norm_cpu_workspace(p, kilter_get_num_threads()); }

// The ops' C structs differ in their mean, which centered ones have.
template <class Args>
concept Centered = requires(Args a) {
  a.mean;
};

template <class Args>
RowNormForwardArgs forward_args(const char* op, const Args& a) {
  RowNormForwardArgs f = {.op = op,
                          .centered = Centered<Args>,
                          .x = a.x,
                          .weight = a.weight,
                          .bias = a.bias,
                          .y = a.y,
                          .mean = {},
                          .rstd = a.rstd,
                          .eps = a.eps,
                          .weight_offset = a.weight_offset,
                          .rounding = a.rounding,
                          .prologue = a.prologue,
                          .epilogue = a.epilogue,
                          .quantization = a.quantization,
                          .impl = a.impl,
                          .launch_flags = a.launch_flags};
  if constexpr (Centered<Args>) f.mean = a.mean;
  return f;
}

template <class Args>
RowNormBackwardArgs backward_args(const char* op, const Args& a) {
  RowNormBackwardArgs b = {.op = op,
                           .centered = Centered<Args>,
                           .x = a.x,
                           .weight = a.weight,
                           .mean = {},
                           .rstd = a.rstd,
                           .dy = a.dy,
                           .dresidual_out = a.dresidual_out,
                           .dx = a.dx,
                           .dresidual = a.dresidual,
                           .dweight = a.dweight,
                           .dbias = a.dbias,
                           .weight_offset = a.weight_offset,
                           .workspace = a.workspace,
                           .workspace_size = a.workspace_size,
                           .impl = a.impl,
                           .launch_flags = a.launch_flags};
  if constexpr (Centered<Args>) b.mean = a.mean;
  return b;
}

// args as the caller's version of the struct has it.
template <size_t N, class Args>
kilter_status enter_forward(const char* op, const Implementation<RowNormForward> (&list)[N], const Args* args,
                            kilter_stream stream) noexcept {
  return catching(op, [&] {
    Args known;
    KILTER_RETURN_IF_ERROR(read_struct(op, "args", args, offsetof(Args, launch_flags), &known));
    RowNormForward problem;
    kilter_query query;
    KILTER_RETURN_IF_ERROR(check_forward(forward_args(op, known), &problem, &query));
    return dispatch(list, query, problem, stream);
  });
}

template <size_t N, class Args>
kilter_status enter_backward(const char* op, const Implementation<RowNormBackward> (&list)[N], const Args* args,
                             kilter_stream stream) noexcept {
  return catching(op, [&] {
    Args known;
    KILTER_RETURN_IF_ERROR(read_struct(op, "args", args, offsetof(Args, launch_flags), &known));
    RowNormBackward problem;
    kilter_query query;
    KILTER_RETURN_IF_ERROR(check_backward(backward_args(op, known), &problem, &query));
    return dispatch(list, query, problem, stream);
  });
}

template <size_t N, class Args>
kilter_status enter_backward_workspace(const char* op, const Implementation<RowNormBackward> (&list)[N], const Args* args,
                                       size_t* bytes) noexcept {
  return catching(op, [&] {
    Args known;
    KILTER_RETURN_IF_ERROR(read_struct(op, "args", args, offsetof(Args, launch_flags), &known));
    if (!bytes) return fail(KILTER_INVALID_ARGUMENT, op, "bytes: expected memory for the result, got null");
    RowNormBackward problem;
    kilter_query query;
    KILTER_RETURN_IF_ERROR(check_backward(backward_args(op, known), &problem, &query));
    return workspace_of(list, query, problem, bytes);
  });
}

}  // namespace kilter

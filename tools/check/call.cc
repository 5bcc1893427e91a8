#include "check/call.h"

#include <cstring>

#include "families/rowwise/reference.h"

namespace kilter::check {
namespace {

template <class Args, kilter_status (*function)(const Args*, kilter_stream)>
kilter_status forward(const Call& c) {
  kilter_prologue prologue{};
  prologue.struct_size = sizeof prologue;
  prologue.residual = c.residual;
  prologue.residual_out = c.residual_out;
  kilter_epilogue epilogue{};
  epilogue.struct_size = sizeof epilogue;
  epilogue.post_residual = c.post_residual;
  Args a{};
  a.struct_size = sizeof a;
  a.x = c.x, a.weight = c.weight, a.bias = c.bias, a.y = c.y, a.rstd = c.rstd;
  if constexpr (requires { a.mean; }) a.mean = c.mean;
  a.eps = c.eps, a.weight_offset = c.weight_offset, a.rounding = c.rounding, a.impl = c.impl, a.launch_flags = c.launch_flags;
  if (c.residual.dtype.bits || c.residual_out.dtype.bits) a.prologue = &prologue;
  if (c.post_residual.dtype.bits) a.epilogue = &epilogue;
  return function(&a, c.stream);
}

template <class Args>
Args backward_args(const Call& c) {
  Args a{};
  a.struct_size = sizeof a;
  a.x = c.x, a.weight = c.weight, a.rstd = c.rstd, a.dy = c.dy, a.dresidual_out = c.dresidual_out;
  if constexpr (requires { a.mean; }) a.mean = c.mean;
  a.dx = c.dx, a.dresidual = c.dresidual, a.dweight = c.dweight, a.dbias = c.dbias;
  a.weight_offset = c.weight_offset, a.workspace = c.workspace, a.workspace_size = c.workspace_size, a.impl = c.impl,
  a.launch_flags = c.launch_flags;
  return a;
}

template <class Args, kilter_status (*function)(const Args*, kilter_stream)>
kilter_status backward(const Call& c) {
  const Args a = backward_args<Args>(c);
  return function(&a, c.stream);
}

template <class Args, kilter_status (*function)(const Args*, size_t*)>
kilter_status workspace(const Call& c, size_t* bytes) {
  const Args a = backward_args<Args>(c);
  return function(&a, bytes);
}

#define KILTER_ROW_NORM(op, centered)                                                                                                \
  {                                                                                                                                  \
#op, centered, forward < kilter_##op##_forward_args, kilter_##op##_forward>, backward < kilter_##op##_backward_args,             \
        kilter_##op##_backward>, workspace < kilter_##op##_backward_args, kilter_##op##_backward_workspace>, op##_reference_forward, \
        op##_reference_backward                                                                                                      \
  }

constexpr Op kOps[] = {KILTER_ROW_NORM(layer_norm, true), KILTER_ROW_NORM(rms_norm, false)};

}  // namespace

const Op* find_op(const std::string& name) {
  for (const Op& op : kOps)
    if (name == op.name) return &op;
  return nullptr;
}

kilter_query query_of(const Call& c) {
  kilter_query q{};
  q.struct_size = sizeof q;
  q.op = c.op.c_str();
  q.direction = c.backward ? KILTER_BACKWARD : KILTER_FORWARD;
  q.device = c.x.device;
  q.x = c.x.dtype;
  q.weight = c.weight.dtype;
  if (c.backward) {
    q.dy = c.dy.dtype, q.dresidual_out = c.dresidual_out.dtype, q.dresidual = c.dresidual.dtype;
    q.dweight = c.dweight.dtype, q.dbias = c.dbias.dtype;
  } else {
    q.bias = c.bias.dtype, q.residual = c.residual.dtype, q.post_residual = c.post_residual.dtype;
    if (c.rounding == KILTER_ROUND_THEN_MULTIPLY) q.features |= KILTER_FEATURE_ROUND_THEN_MULTIPLY;
  }
  if (c.weight_offset != 0) q.features |= KILTER_FEATURE_WEIGHT_OFFSET;
  q.n = c.x.ndim > 0 ? c.x.shape[c.x.ndim - 1] : 1;
  q.rows = 1;
  for (int d = 0; d + 1 < c.x.ndim; ++d) q.rows *= c.x.shape[d];
  return q;
}

const char* implementation(const kilter_query& query, const char* wanted) {
  kilter_candidate list[32];
  size_t count = 0;
  if (kilter_explain(&query, list, 32, &count) != KILTER_OK) return nullptr;
  for (size_t i = 0; i < count && i < 32; ++i)
    if (wanted ? std::strcmp(wanted, list[i].impl) == 0 : !list[i].reason) return list[i].impl;
  return nullptr;
}

std::vector<std::string> op_names() {
  std::vector<std::string> names;
  for (const Op& op : kOps) names.push_back(op.name);
  return names;
}

}  // namespace kilter::check

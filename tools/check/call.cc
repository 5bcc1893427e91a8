#include "check/call.h"

#include <cstring>

#include "core/status.h"
#include "families/rowwise/reference.h"

namespace kilter::check {
namespace {

template <class Args>
Args forward_args(const Call& c) {
  Args a{};
  a.struct_size = sizeof a;
  a.x = c.x, a.weight = c.weight, a.bias = c.bias, a.y = c.y, a.rstd = c.rstd;
  a.residual = c.residual, a.residual_out = c.residual_out, a.post_residual = c.post_residual;
  if constexpr (requires { a.mean; }) a.mean = c.mean;
  a.eps = c.eps, a.weight_offset = c.weight_offset, a.rounding = c.rounding, a.impl = c.impl, a.launch_flags = c.launch_flags;
  return a;
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

// What to do with the call's struct: use(function, pointer to it).
template <class Use>
kilter_status with_args(const Call& c, Use&& use) {
  const auto one = [&](kilter_function function, const auto& args) { return use(function, &args); };
  const bool centered = find_op(c.op)->centered;
  if (c.backward)
    return centered ? one(KILTER_LAYER_NORM_BACKWARD, backward_args<kilter_layer_norm_backward_args>(c))
                    : one(KILTER_RMS_NORM_BACKWARD, backward_args<kilter_rms_norm_backward_args>(c));
  return centered ? one(KILTER_LAYER_NORM_FORWARD, forward_args<kilter_layer_norm_forward_args>(c))
                  : one(KILTER_RMS_NORM_FORWARD, forward_args<kilter_rms_norm_forward_args>(c));
}

kilter_status run(const Call& c) {
  return with_args(c, [&](kilter_function function, const void* args) { return kilter_call(function, args, c.stream); });
}

kilter_status workspace(const Call& c, size_t* bytes) {
  kilter_plan plan{};
  plan.struct_size = sizeof plan;
  KILTER_RETURN_IF_ERROR(with_args(c, [&](kilter_function function, const void* args) { return kilter_ask(function, args, &plan); }));
  *bytes = plan.workspace_size;
  return KILTER_OK;
}

constexpr Op kOps[] = {{"layer_norm", true, run, run, workspace, layer_norm_reference_forward, layer_norm_reference_backward},
                       {"rms_norm", false, run, run, workspace, rms_norm_reference_forward, rms_norm_reference_backward}};

}  // namespace

const Op* find_op(const std::string& name) {
  for (const Op& op : kOps)
    if (name == op.name) return &op;
  return nullptr;
}

const char* implementation(Call c, const char* wanted) {
  kilter_candidate list[32];
  size_t count = 0;
  c.impl = nullptr;
  if (with_args(c, [&](kilter_function function, const void* args) { return kilter_explain(function, args, list, 32, &count); }) !=
      KILTER_OK)
    return nullptr;
  for (size_t i = 0; i < count && i < 32; ++i)
    if (wanted ? std::strcmp(wanted, list[i].impl) == 0 : !list[i].reason) return list[i].impl;
  return nullptr;
}

}  // namespace kilter::check

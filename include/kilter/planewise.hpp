// Norms of planes: group_norm, instance_norm.  A part of kilter.hpp, which includes it where its types are known.
#if !defined(KILTER_KILTER_HPP_)
#include "kilter/kilter.hpp"
#elif !defined(KILTER_PLANEWISE_HPP_)
#define KILTER_PLANEWISE_HPP_

namespace kilter {

// from kilter schema --cpp group_norm instance_norm
struct group_norm_forward_args {
  const_tensor x = {};
  const_vector_tensor weight = {};
  const_vector_tensor bias = {};
  const_tensor residual = {};
  const_tensor scale = {};
  const_tensor shift = {};
  tensor y = {};
  tensor residual_out = {};
  tensor mean = {};
  tensor rstd = {};
  int64_t groups = 0;
  double eps = KILTER_DEFAULT_EPS;
  double scale_offset = 0;
  activation_kind activation = activation_kind::none;
  std::span<std::byte> workspace = {};
  const char* impl = nullptr;
  uint64_t launch_flags = 0;  // KILTER_LAUNCH_...

  [[nodiscard]] kilter_group_norm_forward_args c() const {
    const char* const op = "group_norm";
    kilter_group_norm_forward_args a = {};
    a.struct_size = sizeof a;
    a.x = x.c(op, "x");
    a.weight = weight.c(op, "weight");
    a.bias = bias.c(op, "bias");
    a.residual = residual.c(op, "residual");
    a.scale = scale.c(op, "scale");
    a.shift = shift.c(op, "shift");
    a.y = y.c(op, "y");
    a.residual_out = residual_out.c(op, "residual_out");
    a.mean = mean.c(op, "mean");
    a.rstd = rstd.c(op, "rstd");
    a.groups = groups;
    a.eps = eps;
    a.scale_offset = scale_offset;
    a.activation = int32_t(activation);
    a.workspace = workspace.data();
    a.workspace_size = workspace.size();
    a.impl = impl;
    a.launch_flags = launch_flags;
    return a;
  }
};

struct group_norm_backward_args {
  const_tensor x = {};
  const_vector_tensor weight = {};
  const_vector_tensor bias = {};
  const_tensor scale = {};
  const_tensor shift = {};
  const_tensor mean = {};
  const_tensor rstd = {};
  const_tensor dy = {};
  const_tensor dresidual_out = {};
  tensor dx = {};
  tensor dresidual = {};
  vector_tensor dweight = {};
  vector_tensor dbias = {};
  tensor dscale = {};
  tensor dshift = {};
  int64_t groups = 0;
  double scale_offset = 0;
  activation_kind activation = activation_kind::none;
  std::span<std::byte> workspace = {};
  const char* impl = nullptr;
  uint64_t launch_flags = 0;  // KILTER_LAUNCH_...

  [[nodiscard]] kilter_group_norm_backward_args c() const {
    const char* const op = "group_norm";
    kilter_group_norm_backward_args a = {};
    a.struct_size = sizeof a;
    a.x = x.c(op, "x");
    a.weight = weight.c(op, "weight");
    a.bias = bias.c(op, "bias");
    a.scale = scale.c(op, "scale");
    a.shift = shift.c(op, "shift");
    a.mean = mean.c(op, "mean");
    a.rstd = rstd.c(op, "rstd");
    a.dy = dy.c(op, "dy");
    a.dresidual_out = dresidual_out.c(op, "dresidual_out");
    a.dx = dx.c(op, "dx");
    a.dresidual = dresidual.c(op, "dresidual");
    a.dweight = dweight.c(op, "dweight");
    a.dbias = dbias.c(op, "dbias");
    a.dscale = dscale.c(op, "dscale");
    a.dshift = dshift.c(op, "dshift");
    a.groups = groups;
    a.scale_offset = scale_offset;
    a.activation = int32_t(activation);
    a.workspace = workspace.data();
    a.workspace_size = workspace.size();
    a.impl = impl;
    a.launch_flags = launch_flags;
    return a;
  }
};

struct instance_norm_forward_args {
  const_tensor x = {};
  const_vector_tensor weight = {};
  const_vector_tensor bias = {};
  const_tensor residual = {};
  const_tensor scale = {};
  const_tensor shift = {};
  const_vector_tensor running_mean = {};
  const_vector_tensor running_var = {};
  tensor y = {};
  tensor residual_out = {};
  tensor mean = {};
  tensor rstd = {};
  vector_tensor running_mean_out = {};
  vector_tensor running_var_out = {};
  double eps = KILTER_DEFAULT_EPS;
  double scale_offset = 0;
  activation_kind activation = activation_kind::none;
  double momentum = KILTER_DEFAULT_MOMENTUM;
  int64_t batches_tracked = 0;
  bool inference = false;
  averaging_kind averaging = averaging_kind::exponential;
  std::span<std::byte> workspace = {};
  const char* impl = nullptr;
  uint64_t launch_flags = 0;  // KILTER_LAUNCH_...

  [[nodiscard]] kilter_instance_norm_forward_args c() const {
    const char* const op = "instance_norm";
    kilter_instance_norm_forward_args a = {};
    a.struct_size = sizeof a;
    a.x = x.c(op, "x");
    a.weight = weight.c(op, "weight");
    a.bias = bias.c(op, "bias");
    a.residual = residual.c(op, "residual");
    a.scale = scale.c(op, "scale");
    a.shift = shift.c(op, "shift");
    a.running_mean = running_mean.c(op, "running_mean");
    a.running_var = running_var.c(op, "running_var");
    a.y = y.c(op, "y");
    a.residual_out = residual_out.c(op, "residual_out");
    a.mean = mean.c(op, "mean");
    a.rstd = rstd.c(op, "rstd");
    a.running_mean_out = running_mean_out.c(op, "running_mean_out");
    a.running_var_out = running_var_out.c(op, "running_var_out");
    a.eps = eps;
    a.scale_offset = scale_offset;
    a.activation = int32_t(activation);
    a.momentum = momentum;
    a.batches_tracked = batches_tracked;
    a.inference = int32_t(inference);
    a.averaging = int32_t(averaging);
    a.workspace = workspace.data();
    a.workspace_size = workspace.size();
    a.impl = impl;
    a.launch_flags = launch_flags;
    return a;
  }
};

struct instance_norm_backward_args {
  const_tensor x = {};
  const_vector_tensor weight = {};
  const_vector_tensor bias = {};
  const_tensor scale = {};
  const_tensor shift = {};
  const_vector_tensor running_mean = {};
  const_vector_tensor running_var = {};
  const_tensor mean = {};
  const_tensor rstd = {};
  const_tensor dy = {};
  const_tensor dresidual_out = {};
  tensor dx = {};
  tensor dresidual = {};
  vector_tensor dweight = {};
  vector_tensor dbias = {};
  tensor dscale = {};
  tensor dshift = {};
  double eps = KILTER_DEFAULT_EPS;
  double scale_offset = 0;
  activation_kind activation = activation_kind::none;
  bool inference = false;
  std::span<std::byte> workspace = {};
  const char* impl = nullptr;
  uint64_t launch_flags = 0;  // KILTER_LAUNCH_...

  [[nodiscard]] kilter_instance_norm_backward_args c() const {
    const char* const op = "instance_norm";
    kilter_instance_norm_backward_args a = {};
    a.struct_size = sizeof a;
    a.x = x.c(op, "x");
    a.weight = weight.c(op, "weight");
    a.bias = bias.c(op, "bias");
    a.scale = scale.c(op, "scale");
    a.shift = shift.c(op, "shift");
    a.running_mean = running_mean.c(op, "running_mean");
    a.running_var = running_var.c(op, "running_var");
    a.mean = mean.c(op, "mean");
    a.rstd = rstd.c(op, "rstd");
    a.dy = dy.c(op, "dy");
    a.dresidual_out = dresidual_out.c(op, "dresidual_out");
    a.dx = dx.c(op, "dx");
    a.dresidual = dresidual.c(op, "dresidual");
    a.dweight = dweight.c(op, "dweight");
    a.dbias = dbias.c(op, "dbias");
    a.dscale = dscale.c(op, "dscale");
    a.dshift = dshift.c(op, "dshift");
    a.eps = eps;
    a.scale_offset = scale_offset;
    a.activation = int32_t(activation);
    a.inference = int32_t(inference);
    a.workspace = workspace.data();
    a.workspace_size = workspace.size();
    a.impl = impl;
    a.launch_flags = launch_flags;
    return a;
  }
};

inline void group_norm_forward(const group_norm_forward_args& args, kilter_stream stream = nullptr) {
  const kilter_group_norm_forward_args call = args.c();
  check(kilter_group_norm_forward(&call, stream));
}

// Bytes of workspace for group_norm_forward with these arguments (their own is not looked at).
[[nodiscard]] inline size_t group_norm_forward_workspace(const group_norm_forward_args& args) {
  const kilter_group_norm_forward_args call = args.c();
  return detail::workspace_of(KILTER_GROUP_NORM_FORWARD, &call);
}

inline void group_norm_backward(const group_norm_backward_args& args, kilter_stream stream = nullptr) {
  const kilter_group_norm_backward_args call = args.c();
  check(kilter_group_norm_backward(&call, stream));
}

// Bytes of workspace for group_norm_backward with these arguments (their own is not looked at).
[[nodiscard]] inline size_t group_norm_backward_workspace(const group_norm_backward_args& args) {
  const kilter_group_norm_backward_args call = args.c();
  return detail::workspace_of(KILTER_GROUP_NORM_BACKWARD, &call);
}

inline void instance_norm_forward(const instance_norm_forward_args& args, kilter_stream stream = nullptr) {
  const kilter_instance_norm_forward_args call = args.c();
  check(kilter_instance_norm_forward(&call, stream));
}

// Bytes of workspace for instance_norm_forward with these arguments (their own is not looked at).
[[nodiscard]] inline size_t instance_norm_forward_workspace(const instance_norm_forward_args& args) {
  const kilter_instance_norm_forward_args call = args.c();
  return detail::workspace_of(KILTER_INSTANCE_NORM_FORWARD, &call);
}

inline void instance_norm_backward(const instance_norm_backward_args& args, kilter_stream stream = nullptr) {
  const kilter_instance_norm_backward_args call = args.c();
  check(kilter_instance_norm_backward(&call, stream));
}

// Bytes of workspace for instance_norm_backward with these arguments (their own is not looked at).
[[nodiscard]] inline size_t instance_norm_backward_workspace(const instance_norm_backward_args& args) {
  const kilter_instance_norm_backward_args call = args.c();
  return detail::workspace_of(KILTER_INSTANCE_NORM_BACKWARD, &call);
}

// end

}  // namespace kilter

#endif  // KILTER_PLANEWISE_HPP_

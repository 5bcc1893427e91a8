// batch_norm and its steps.  A part of kilter.hpp, which includes it where its types are known.
#if !defined(KILTER_KILTER_HPP_)
#include "kilter/kilter.hpp"
#elif !defined(KILTER_BATCH_NORM_HPP_)
#define KILTER_BATCH_NORM_HPP_

namespace kilter {

// from kilter schema --cpp batch_norm batch_norm_statistics batch_norm_combine batch_norm_apply
struct batch_norm_forward_args {
  const_tensor x = {};
  const_vector_tensor weight = {};
  const_vector_tensor bias = {};
  const_tensor residual = {};
  const_vector_tensor running_mean = {};
  const_vector_tensor running_var = {};
  tensor y = {};
  vector_tensor mean = {};
  vector_tensor rstd = {};
  vector_tensor running_mean_out = {};
  vector_tensor running_var_out = {};
  tensor mask = {};
  double eps = KILTER_DEFAULT_EPS;
  double momentum = KILTER_DEFAULT_MOMENTUM;
  int64_t batches_tracked = 0;
  bool training = false;
  activation_kind activation = activation_kind::none;
  averaging_kind averaging = averaging_kind::exponential;
  std::span<std::byte> workspace = {};
  const char* impl = nullptr;
  uint64_t launch_flags = 0;  // KILTER_LAUNCH_...

  [[nodiscard]] kilter_batch_norm_forward_args c() const {
    const char* const op = "batch_norm";
    kilter_batch_norm_forward_args a = {};
    a.struct_size = sizeof a;
    a.x = x.c(op, "x");
    a.weight = weight.c(op, "weight");
    a.bias = bias.c(op, "bias");
    a.residual = residual.c(op, "residual");
    a.running_mean = running_mean.c(op, "running_mean");
    a.running_var = running_var.c(op, "running_var");
    a.y = y.c(op, "y");
    a.mean = mean.c(op, "mean");
    a.rstd = rstd.c(op, "rstd");
    a.running_mean_out = running_mean_out.c(op, "running_mean_out");
    a.running_var_out = running_var_out.c(op, "running_var_out");
    a.mask = mask.c(op, "mask");
    a.eps = eps;
    a.momentum = momentum;
    a.batches_tracked = batches_tracked;
    a.training = int32_t(training);
    a.activation = int32_t(activation);
    a.averaging = int32_t(averaging);
    a.workspace = workspace.data();
    a.workspace_size = workspace.size();
    a.impl = impl;
    a.launch_flags = launch_flags;
    return a;
  }
};

struct batch_norm_backward_args {
  const_tensor x = {};
  const_vector_tensor weight = {};
  const_vector_tensor bias = {};
  const_tensor residual = {};
  const_vector_tensor running_mean = {};
  const_vector_tensor running_var = {};
  const_vector_tensor mean = {};
  const_vector_tensor rstd = {};
  const_tensor mask = {};
  const_tensor dy = {};
  tensor dx = {};
  tensor dresidual = {};
  vector_tensor dweight = {};
  vector_tensor dbias = {};
  double eps = KILTER_DEFAULT_EPS;
  bool training = false;
  activation_kind activation = activation_kind::none;
  std::span<std::byte> workspace = {};
  const char* impl = nullptr;
  uint64_t launch_flags = 0;  // KILTER_LAUNCH_...

  [[nodiscard]] kilter_batch_norm_backward_args c() const {
    const char* const op = "batch_norm";
    kilter_batch_norm_backward_args a = {};
    a.struct_size = sizeof a;
    a.x = x.c(op, "x");
    a.weight = weight.c(op, "weight");
    a.bias = bias.c(op, "bias");
    a.residual = residual.c(op, "residual");
    a.running_mean = running_mean.c(op, "running_mean");
    a.running_var = running_var.c(op, "running_var");
    a.mean = mean.c(op, "mean");
    a.rstd = rstd.c(op, "rstd");
    a.mask = mask.c(op, "mask");
    a.dy = dy.c(op, "dy");
    a.dx = dx.c(op, "dx");
    a.dresidual = dresidual.c(op, "dresidual");
    a.dweight = dweight.c(op, "dweight");
    a.dbias = dbias.c(op, "dbias");
    a.eps = eps;
    a.training = int32_t(training);
    a.activation = int32_t(activation);
    a.workspace = workspace.data();
    a.workspace_size = workspace.size();
    a.impl = impl;
    a.launch_flags = launch_flags;
    return a;
  }
};

struct batch_norm_apply_forward_args {
  const_tensor x = {};
  const_vector_tensor weight = {};
  const_vector_tensor bias = {};
  const_tensor residual = {};
  const_vector_tensor mean = {};
  const_vector_tensor rstd = {};
  tensor y = {};
  activation_kind activation = activation_kind::none;
  std::span<std::byte> workspace = {};
  const char* impl = nullptr;
  uint64_t launch_flags = 0;  // KILTER_LAUNCH_...

  [[nodiscard]] kilter_batch_norm_apply_forward_args c() const {
    const char* const op = "batch_norm_apply";
    kilter_batch_norm_apply_forward_args a = {};
    a.struct_size = sizeof a;
    a.x = x.c(op, "x");
    a.weight = weight.c(op, "weight");
    a.bias = bias.c(op, "bias");
    a.residual = residual.c(op, "residual");
    a.mean = mean.c(op, "mean");
    a.rstd = rstd.c(op, "rstd");
    a.y = y.c(op, "y");
    a.activation = int32_t(activation);
    a.workspace = workspace.data();
    a.workspace_size = workspace.size();
    a.impl = impl;
    a.launch_flags = launch_flags;
    return a;
  }
};

struct batch_norm_apply_backward_args {
  const_tensor x = {};
  const_vector_tensor weight = {};
  const_vector_tensor bias = {};
  const_tensor residual = {};
  const_vector_tensor mean = {};
  const_vector_tensor rstd = {};
  const_vector_tensor count = {};
  const_vector_tensor sum_u = {};
  const_vector_tensor sum_u_xhat = {};
  const_tensor dy = {};
  tensor dx = {};
  tensor dresidual = {};
  activation_kind activation = activation_kind::none;
  std::span<std::byte> workspace = {};
  const char* impl = nullptr;
  uint64_t launch_flags = 0;  // KILTER_LAUNCH_...

  [[nodiscard]] kilter_batch_norm_apply_backward_args c() const {
    const char* const op = "batch_norm_apply";
    kilter_batch_norm_apply_backward_args a = {};
    a.struct_size = sizeof a;
    a.x = x.c(op, "x");
    a.weight = weight.c(op, "weight");
    a.bias = bias.c(op, "bias");
    a.residual = residual.c(op, "residual");
    a.mean = mean.c(op, "mean");
    a.rstd = rstd.c(op, "rstd");
    a.count = count.c(op, "count");
    a.sum_u = sum_u.c(op, "sum_u");
    a.sum_u_xhat = sum_u_xhat.c(op, "sum_u_xhat");
    a.dy = dy.c(op, "dy");
    a.dx = dx.c(op, "dx");
    a.dresidual = dresidual.c(op, "dresidual");
    a.activation = int32_t(activation);
    a.workspace = workspace.data();
    a.workspace_size = workspace.size();
    a.impl = impl;
    a.launch_flags = launch_flags;
    return a;
  }
};

struct batch_norm_combine_forward_args {
  const_tensor means = {};
  const_tensor m2s = {};
  const_vector_tensor counts = {};
  const_vector_tensor running_mean = {};
  const_vector_tensor running_var = {};
  vector_tensor count = {};
  vector_tensor mean = {};
  vector_tensor rstd = {};
  vector_tensor running_mean_out = {};
  vector_tensor running_var_out = {};
  double eps = KILTER_DEFAULT_EPS;
  double momentum = KILTER_DEFAULT_MOMENTUM;
  int64_t batches_tracked = 0;
  averaging_kind averaging = averaging_kind::exponential;
  std::span<std::byte> workspace = {};
  const char* impl = nullptr;
  uint64_t launch_flags = 0;  // KILTER_LAUNCH_...

  [[nodiscard]] kilter_batch_norm_combine_forward_args c() const {
    const char* const op = "batch_norm_combine";
    kilter_batch_norm_combine_forward_args a = {};
    a.struct_size = sizeof a;
    a.means = means.c(op, "means");
    a.m2s = m2s.c(op, "m2s");
    a.counts = counts.c(op, "counts");
    a.running_mean = running_mean.c(op, "running_mean");
    a.running_var = running_var.c(op, "running_var");
    a.count = count.c(op, "count");
    a.mean = mean.c(op, "mean");
    a.rstd = rstd.c(op, "rstd");
    a.running_mean_out = running_mean_out.c(op, "running_mean_out");
    a.running_var_out = running_var_out.c(op, "running_var_out");
    a.eps = eps;
    a.momentum = momentum;
    a.batches_tracked = batches_tracked;
    a.averaging = int32_t(averaging);
    a.workspace = workspace.data();
    a.workspace_size = workspace.size();
    a.impl = impl;
    a.launch_flags = launch_flags;
    return a;
  }
};

struct batch_norm_combine_backward_args {
  const_tensor sums_u = {};
  const_tensor sums_u_xhat = {};
  vector_tensor sum_u = {};
  vector_tensor sum_u_xhat = {};
  std::span<std::byte> workspace = {};
  const char* impl = nullptr;
  uint64_t launch_flags = 0;  // KILTER_LAUNCH_...

  [[nodiscard]] kilter_batch_norm_combine_backward_args c() const {
    const char* const op = "batch_norm_combine";
    kilter_batch_norm_combine_backward_args a = {};
    a.struct_size = sizeof a;
    a.sums_u = sums_u.c(op, "sums_u");
    a.sums_u_xhat = sums_u_xhat.c(op, "sums_u_xhat");
    a.sum_u = sum_u.c(op, "sum_u");
    a.sum_u_xhat = sum_u_xhat.c(op, "sum_u_xhat");
    a.workspace = workspace.data();
    a.workspace_size = workspace.size();
    a.impl = impl;
    a.launch_flags = launch_flags;
    return a;
  }
};

struct batch_norm_statistics_forward_args {
  const_tensor x = {};
  vector_tensor count = {};
  vector_tensor mean = {};
  vector_tensor m2 = {};
  std::span<std::byte> workspace = {};
  const char* impl = nullptr;
  uint64_t launch_flags = 0;  // KILTER_LAUNCH_...

  [[nodiscard]] kilter_batch_norm_statistics_forward_args c() const {
    const char* const op = "batch_norm_statistics";
    kilter_batch_norm_statistics_forward_args a = {};
    a.struct_size = sizeof a;
    a.x = x.c(op, "x");
    a.count = count.c(op, "count");
    a.mean = mean.c(op, "mean");
    a.m2 = m2.c(op, "m2");
    a.workspace = workspace.data();
    a.workspace_size = workspace.size();
    a.impl = impl;
    a.launch_flags = launch_flags;
    return a;
  }
};

struct batch_norm_statistics_backward_args {
  const_tensor x = {};
  const_vector_tensor weight = {};
  const_vector_tensor bias = {};
  const_tensor residual = {};
  const_vector_tensor mean = {};
  const_vector_tensor rstd = {};
  const_tensor dy = {};
  vector_tensor sum_u = {};
  vector_tensor sum_u_xhat = {};
  vector_tensor dweight = {};
  vector_tensor dbias = {};
  activation_kind activation = activation_kind::none;
  std::span<std::byte> workspace = {};
  const char* impl = nullptr;
  uint64_t launch_flags = 0;  // KILTER_LAUNCH_...

  [[nodiscard]] kilter_batch_norm_statistics_backward_args c() const {
    const char* const op = "batch_norm_statistics";
    kilter_batch_norm_statistics_backward_args a = {};
    a.struct_size = sizeof a;
    a.x = x.c(op, "x");
    a.weight = weight.c(op, "weight");
    a.bias = bias.c(op, "bias");
    a.residual = residual.c(op, "residual");
    a.mean = mean.c(op, "mean");
    a.rstd = rstd.c(op, "rstd");
    a.dy = dy.c(op, "dy");
    a.sum_u = sum_u.c(op, "sum_u");
    a.sum_u_xhat = sum_u_xhat.c(op, "sum_u_xhat");
    a.dweight = dweight.c(op, "dweight");
    a.dbias = dbias.c(op, "dbias");
    a.activation = int32_t(activation);
    a.workspace = workspace.data();
    a.workspace_size = workspace.size();
    a.impl = impl;
    a.launch_flags = launch_flags;
    return a;
  }
};

inline void batch_norm_forward(const batch_norm_forward_args& args, kilter_stream stream = nullptr) {
  const kilter_batch_norm_forward_args call = args.c();
  check(kilter_batch_norm_forward(&call, stream));
}

// Bytes of workspace for batch_norm_forward with these arguments (their own is not looked at).
[[nodiscard]] inline size_t batch_norm_forward_workspace(const batch_norm_forward_args& args) {
  const kilter_batch_norm_forward_args call = args.c();
  return detail::workspace_of(KILTER_BATCH_NORM_FORWARD, &call);
}

inline void batch_norm_backward(const batch_norm_backward_args& args, kilter_stream stream = nullptr) {
  const kilter_batch_norm_backward_args call = args.c();
  check(kilter_batch_norm_backward(&call, stream));
}

// Bytes of workspace for batch_norm_backward with these arguments (their own is not looked at).
[[nodiscard]] inline size_t batch_norm_backward_workspace(const batch_norm_backward_args& args) {
  const kilter_batch_norm_backward_args call = args.c();
  return detail::workspace_of(KILTER_BATCH_NORM_BACKWARD, &call);
}

inline void batch_norm_apply_forward(const batch_norm_apply_forward_args& args, kilter_stream stream = nullptr) {
  const kilter_batch_norm_apply_forward_args call = args.c();
  check(kilter_batch_norm_apply_forward(&call, stream));
}

// Bytes of workspace for batch_norm_apply_forward with these arguments (their own is not looked at).
[[nodiscard]] inline size_t batch_norm_apply_forward_workspace(const batch_norm_apply_forward_args& args) {
  const kilter_batch_norm_apply_forward_args call = args.c();
  return detail::workspace_of(KILTER_BATCH_NORM_APPLY_FORWARD, &call);
}

inline void batch_norm_apply_backward(const batch_norm_apply_backward_args& args, kilter_stream stream = nullptr) {
  const kilter_batch_norm_apply_backward_args call = args.c();
  check(kilter_batch_norm_apply_backward(&call, stream));
}

// Bytes of workspace for batch_norm_apply_backward with these arguments (their own is not looked at).
[[nodiscard]] inline size_t batch_norm_apply_backward_workspace(const batch_norm_apply_backward_args& args) {
  const kilter_batch_norm_apply_backward_args call = args.c();
  return detail::workspace_of(KILTER_BATCH_NORM_APPLY_BACKWARD, &call);
}

inline void batch_norm_combine_forward(const batch_norm_combine_forward_args& args, kilter_stream stream = nullptr) {
  const kilter_batch_norm_combine_forward_args call = args.c();
  check(kilter_batch_norm_combine_forward(&call, stream));
}

// Bytes of workspace for batch_norm_combine_forward with these arguments (their own is not looked at).
[[nodiscard]] inline size_t batch_norm_combine_forward_workspace(const batch_norm_combine_forward_args& args) {
  const kilter_batch_norm_combine_forward_args call = args.c();
  return detail::workspace_of(KILTER_BATCH_NORM_COMBINE_FORWARD, &call);
}

inline void batch_norm_combine_backward(const batch_norm_combine_backward_args& args, kilter_stream stream = nullptr) {
  const kilter_batch_norm_combine_backward_args call = args.c();
  check(kilter_batch_norm_combine_backward(&call, stream));
}

// Bytes of workspace for batch_norm_combine_backward with these arguments (their own is not looked at).
[[nodiscard]] inline size_t batch_norm_combine_backward_workspace(const batch_norm_combine_backward_args& args) {
  const kilter_batch_norm_combine_backward_args call = args.c();
  return detail::workspace_of(KILTER_BATCH_NORM_COMBINE_BACKWARD, &call);
}

inline void batch_norm_statistics_forward(const batch_norm_statistics_forward_args& args, kilter_stream stream = nullptr) {
  const kilter_batch_norm_statistics_forward_args call = args.c();
  check(kilter_batch_norm_statistics_forward(&call, stream));
}

// Bytes of workspace for batch_norm_statistics_forward with these arguments (their own is not looked at).
[[nodiscard]] inline size_t batch_norm_statistics_forward_workspace(const batch_norm_statistics_forward_args& args) {
  const kilter_batch_norm_statistics_forward_args call = args.c();
  return detail::workspace_of(KILTER_BATCH_NORM_STATISTICS_FORWARD, &call);
}

inline void batch_norm_statistics_backward(const batch_norm_statistics_backward_args& args, kilter_stream stream = nullptr) {
  const kilter_batch_norm_statistics_backward_args call = args.c();
  check(kilter_batch_norm_statistics_backward(&call, stream));
}

// Bytes of workspace for batch_norm_statistics_backward with these arguments (their own is not looked at).
[[nodiscard]] inline size_t batch_norm_statistics_backward_workspace(const batch_norm_statistics_backward_args& args) {
  const kilter_batch_norm_statistics_backward_args call = args.c();
  return detail::workspace_of(KILTER_BATCH_NORM_STATISTICS_BACKWARD, &call);
}

// end

}  // namespace kilter

#endif  // KILTER_BATCH_NORM_HPP_

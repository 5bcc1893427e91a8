// adaptive_layer_norm.  A part of kilter.hpp, which includes it where its types are known.
#if !defined(KILTER_KILTER_HPP_)
#include "kilter/kilter.hpp"
#elif !defined(KILTER_ADAPTIVE_HPP_)
#define KILTER_ADAPTIVE_HPP_

namespace kilter {

enum class norm_kind : int32_t { layer = KILTER_NORM_LAYER, rms = KILTER_NORM_RMS };

// from kilter schema --cpp adaptive_layer_norm
struct adaptive_layer_norm_forward_args {
  const_tensor x = {};
  const_vector_tensor weight = {};
  const_vector_tensor bias = {};
  const_vector_tensor segments = {};
  const_tensor scale = {};
  const_tensor shift = {};
  const_tensor residual = {};
  const_tensor gate = {};
  tensor y = {};
  tensor residual_out = {};
  vector_tensor mean = {};
  vector_tensor rstd = {};
  double eps = KILTER_DEFAULT_EPS;
  double scale_offset = 1;
  norm_kind norm = norm_kind::layer;
  const char* impl = nullptr;
  uint64_t launch_flags = 0;  // KILTER_LAUNCH_...

  [[nodiscard]] kilter_adaptive_layer_norm_forward_args c() const {
    const char* const op = "adaptive_layer_norm";
    kilter_adaptive_layer_norm_forward_args a = {};
    a.struct_size = sizeof a;
    a.x = x.c(op, "x");
    a.weight = weight.c(op, "weight");
    a.bias = bias.c(op, "bias");
    a.segments = segments.c(op, "segments");
    a.scale = scale.c(op, "scale");
    a.shift = shift.c(op, "shift");
    a.residual = residual.c(op, "residual");
    a.gate = gate.c(op, "gate");
    a.y = y.c(op, "y");
    a.residual_out = residual_out.c(op, "residual_out");
    a.mean = mean.c(op, "mean");
    a.rstd = rstd.c(op, "rstd");
    a.eps = eps;
    a.scale_offset = scale_offset;
    a.norm = int32_t(norm);
    a.impl = impl;
    a.launch_flags = launch_flags;
    return a;
  }
};

struct adaptive_layer_norm_backward_args {
  const_tensor x = {};
  const_vector_tensor weight = {};
  const_vector_tensor bias = {};
  const_vector_tensor segments = {};
  const_tensor scale = {};
  const_tensor gate = {};
  const_tensor branch = {};
  const_vector_tensor mean = {};
  const_vector_tensor rstd = {};
  const_tensor dy = {};
  const_tensor dresidual_out = {};
  tensor dx = {};
  tensor dresidual = {};
  tensor dgate = {};
  tensor dscale = {};
  tensor dshift = {};
  vector_tensor dweight = {};
  vector_tensor dbias = {};
  double scale_offset = 1;
  norm_kind norm = norm_kind::layer;
  std::span<std::byte> workspace = {};
  const char* impl = nullptr;
  uint64_t launch_flags = 0;  // KILTER_LAUNCH_...

  [[nodiscard]] kilter_adaptive_layer_norm_backward_args c() const {
    const char* const op = "adaptive_layer_norm";
    kilter_adaptive_layer_norm_backward_args a = {};
    a.struct_size = sizeof a;
    a.x = x.c(op, "x");
    a.weight = weight.c(op, "weight");
    a.bias = bias.c(op, "bias");
    a.segments = segments.c(op, "segments");
    a.scale = scale.c(op, "scale");
    a.gate = gate.c(op, "gate");
    a.branch = branch.c(op, "branch");
    a.mean = mean.c(op, "mean");
    a.rstd = rstd.c(op, "rstd");
    a.dy = dy.c(op, "dy");
    a.dresidual_out = dresidual_out.c(op, "dresidual_out");
    a.dx = dx.c(op, "dx");
    a.dresidual = dresidual.c(op, "dresidual");
    a.dgate = dgate.c(op, "dgate");
    a.dscale = dscale.c(op, "dscale");
    a.dshift = dshift.c(op, "dshift");
    a.dweight = dweight.c(op, "dweight");
    a.dbias = dbias.c(op, "dbias");
    a.scale_offset = scale_offset;
    a.norm = int32_t(norm);
    a.workspace = workspace.data();
    a.workspace_size = workspace.size();
    a.impl = impl;
    a.launch_flags = launch_flags;
    return a;
  }
};

inline void adaptive_layer_norm_forward(const adaptive_layer_norm_forward_args& args, kilter_stream stream = nullptr) {
  const kilter_adaptive_layer_norm_forward_args call = args.c();
  check(kilter_adaptive_layer_norm_forward(&call, stream));
}

inline void adaptive_layer_norm_backward(const adaptive_layer_norm_backward_args& args, kilter_stream stream = nullptr) {
  const kilter_adaptive_layer_norm_backward_args call = args.c();
  check(kilter_adaptive_layer_norm_backward(&call, stream));
}

// Bytes of workspace for adaptive_layer_norm_backward with these arguments (their own is not looked at).
[[nodiscard]] inline size_t adaptive_layer_norm_backward_workspace(const adaptive_layer_norm_backward_args& args) {
  const kilter_adaptive_layer_norm_backward_args call = args.c();
  return detail::workspace_of(KILTER_ADAPTIVE_LAYER_NORM_BACKWARD, &call);
}

// end

}  // namespace kilter

#endif  // KILTER_ADAPTIVE_HPP_

// Norms of weights: weight_norm.  A part of kilter.hpp, which includes it where its types are known.
#if !defined(KILTER_KILTER_HPP_)
#include "kilter/kilter.hpp"
#elif !defined(KILTER_WEIGHTS_HPP_)
#define KILTER_WEIGHTS_HPP_

namespace kilter {

// from kilter schema --cpp weight_norm
struct weight_norm_forward_args {
  const_tensor v = {};
  const_vector_tensor g = {};
  tensor w = {};
  vector_tensor norm = {};
  int64_t dim = 0;
  std::span<std::byte> workspace = {};
  const char* impl = nullptr;
  uint64_t launch_flags = 0;  // KILTER_LAUNCH_...

  [[nodiscard]] kilter_weight_norm_forward_args c() const {
    const char* const op = "weight_norm";
    kilter_weight_norm_forward_args a = {};
    a.struct_size = sizeof a;
    a.v = v.c(op, "v");
    a.g = g.c(op, "g");
    a.w = w.c(op, "w");
    a.norm = norm.c(op, "norm");
    a.dim = dim;
    a.workspace = workspace.data();
    a.workspace_size = workspace.size();
    a.impl = impl;
    a.launch_flags = launch_flags;
    return a;
  }
};

struct weight_norm_backward_args {
  const_tensor v = {};
  const_vector_tensor g = {};
  const_vector_tensor norm = {};
  const_tensor dw = {};
  tensor dv = {};
  vector_tensor dg = {};
  int64_t dim = 0;
  std::span<std::byte> workspace = {};
  const char* impl = nullptr;
  uint64_t launch_flags = 0;  // KILTER_LAUNCH_...

  [[nodiscard]] kilter_weight_norm_backward_args c() const {
    const char* const op = "weight_norm";
    kilter_weight_norm_backward_args a = {};
    a.struct_size = sizeof a;
    a.v = v.c(op, "v");
    a.g = g.c(op, "g");
    a.norm = norm.c(op, "norm");
    a.dw = dw.c(op, "dw");
    a.dv = dv.c(op, "dv");
    a.dg = dg.c(op, "dg");
    a.dim = dim;
    a.workspace = workspace.data();
    a.workspace_size = workspace.size();
    a.impl = impl;
    a.launch_flags = launch_flags;
    return a;
  }
};

inline void weight_norm_forward(const weight_norm_forward_args& args, kilter_stream stream = nullptr) {
  const kilter_weight_norm_forward_args call = args.c();
  check(kilter_weight_norm_forward(&call, stream));
}

// Bytes of workspace for weight_norm_forward with these arguments (their own is not looked at).
[[nodiscard]] inline size_t weight_norm_forward_workspace(const weight_norm_forward_args& args) {
  const kilter_weight_norm_forward_args call = args.c();
  return detail::workspace_of(KILTER_WEIGHT_NORM_FORWARD, &call);
}

inline void weight_norm_backward(const weight_norm_backward_args& args, kilter_stream stream = nullptr) {
  const kilter_weight_norm_backward_args call = args.c();
  check(kilter_weight_norm_backward(&call, stream));
}

// Bytes of workspace for weight_norm_backward with these arguments (their own is not looked at).
[[nodiscard]] inline size_t weight_norm_backward_workspace(const weight_norm_backward_args& args) {
  const kilter_weight_norm_backward_args call = args.c();
  return detail::workspace_of(KILTER_WEIGHT_NORM_BACKWARD, &call);
}

// end

}  // namespace kilter

#endif  // KILTER_WEIGHTS_HPP_

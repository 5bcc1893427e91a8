// What the functions of the norms of planes take.  An op whose structs lack a field has none here.
#pragma once

#include "core/schema.h"
#include "families/planewise/problem.h"

namespace kilter {

constexpr const char* kPlanes = "batch channels ...";

template <class Args>
constexpr Schema plane_norm_forward(const char* op, kilter_function number) {
  using Problem = PlaneForward;
  Schema s(op, number, KILTER_FORWARD, offsetof(Problem, device));
  s.size("batch", offsetof(Problem, batch));
  s.size("channels", offsetof(Problem, channels));
  s.product("spatial", offsetof(Problem, spatial));
  s.size("groups", offsetof(Problem, groups));
  s.need(KILTER_NAME(x), kPlanes, kFloats, "what is normalized").is_t();
  s.in(KILTER_NAME(weight), "channels", "T|fp32", "scales what was normalized");
  s.in(KILTER_NAME(bias), "channels", "T|fp32", "is added to it");
  s.in(KILTER_NAME(residual), kPlanes, "T|fp32", "is added to x before the norm");
  s.in(KILTER_NAME(scale), "batch channels", "T|fp32", "scales each sample after weight and bias");
  s.in(KILTER_NAME(shift), "batch channels", "T|fp32", "is added to that");
  s.out(KILTER_NAME(y), kPlanes, "T", "x residual", "the result").must();
  s.out(KILTER_NAME(residual_out), kPlanes, "residual", "x residual", "x + residual").needs("residual");
  s.out(KILTER_NAME(mean), "batch groups", "stat", "", "of each group");
  s.out(KILTER_NAME(rstd), "batch groups", "stat", "", "1 / standard deviation of each group");
  s.count_of(KILTER_NAME(groups), "channels", "how many groups the channels are in");
  s.real(KILTER_NAME(eps), KILTER_DEFAULT_EPS, "is added to the variance");
  s.real(KILTER_NAME(scale_offset), 0, "is added to scale").needs("scale");
  s.choice(KILTER_NAME(activation), kActivations, "of the result, behind all else");
  s.reserved(offsetof(Args, reserved));
  s.rest(KILTER_NAME(workspace), Kind::memory, "scratch");
  s.rest(KILTER_NAME(workspace_size), Kind::bytes, "of workspace");
  s.rest(KILTER_NAME(impl), Kind::text, "the implementation, by its name");
  s.flags(KILTER_NAME(launch_flags), "dependent", "how kernels are queued");
  s.template covers<Args>();
  return s;
}

template <class Args>
constexpr Schema plane_norm_backward(const char* op, kilter_function number) {
  using Problem = PlaneBackward;
  Schema s(op, number, KILTER_BACKWARD, offsetof(Problem, device));
  s.size("batch", offsetof(Problem, batch));
  s.size("channels", offsetof(Problem, channels));
  s.product("spatial", offsetof(Problem, spatial));
  s.size("groups", offsetof(Problem, groups));
  s.need(KILTER_NAME(x), kPlanes, "T|fp32", "what was normalized: residual_out if a residual was added");
  s.in(KILTER_NAME(weight), "channels", "T|fp32", "as in forward");
  s.in(KILTER_NAME(bias), "channels", "T|fp32", "as in forward");
  s.in(KILTER_NAME(scale), "batch channels", "T|fp32", "as in forward");
  s.in(KILTER_NAME(shift), "batch channels", "T|fp32", "as in forward");
  s.need(KILTER_NAME(mean), "batch groups", "stat", "as forward wrote it");
  s.need(KILTER_NAME(rstd), "batch groups", "stat", "as forward wrote it");
  s.need(KILTER_NAME(dy), kPlanes, kFloats, "the gradient of y").is_t();
  s.in(KILTER_NAME(dresidual_out), kPlanes, "T|fp32", "the gradient that reaches residual_out from elsewhere");
  s.out(KILTER_NAME(dx), kPlanes, "T", "x dy dresidual_out", "the gradient of x").of("x");
  s.out(KILTER_NAME(dresidual), kPlanes, "T|fp32", "x dy dresidual_out", "dx in a type of its own");
  s.out(KILTER_NAME(dweight), "channels", "weight|fp32", "", "the gradient of weight").of("weight");
  s.out(KILTER_NAME(dbias), "channels", "weight|fp32", "", "the gradient of bias").of("bias");
  s.out(KILTER_NAME(dscale), "batch channels", "scale|fp32", "", "the gradient of scale").of("scale");
  s.out(KILTER_NAME(dshift), "batch channels", "scale|fp32", "", "the gradient of shift").of("shift");
  s.count_of(KILTER_NAME(groups), "channels", "as in forward");
  s.real(KILTER_NAME(scale_offset), 0, "as in forward").needs("scale");
  s.choice(KILTER_NAME(activation), kActivations, "as in forward");
  s.reserved(offsetof(Args, reserved));
  s.rest(KILTER_NAME(workspace), Kind::memory, "scratch");
  s.rest(KILTER_NAME(workspace_size), Kind::bytes, "of workspace");
  s.rest(KILTER_NAME(impl), Kind::text, "the implementation, by its name");
  s.flags(KILTER_NAME(launch_flags), "dependent", "how kernels are queued");
  s.template covers<Args>();
  return s;
}

}  // namespace kilter

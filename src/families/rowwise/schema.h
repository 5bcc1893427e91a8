// What the functions of the row norms take.  An op whose structs have no mean has none here.
#pragma once

#include "core/schema.h"
#include "families/rowwise/problem.h"

namespace kilter {

template <class Args>
concept Centered = requires(Args a) {
  a.mean;
};

constexpr const char* kRoundings = "once then_multiply";

template <class Args>
constexpr Schema row_norm_forward(const char* op, kilter_function number) {
  using Problem = RowNormForward;
  Schema s(op, number, KILTER_FORWARD, offsetof(Problem, device));
  s.product("rows", offsetof(Problem, rows));
  s.size("n", offsetof(Problem, n));
  s.need(KILTER_NAME(x), "... n", kFloats, "what is normalized").is_t();
  s.in(KILTER_NAME(weight), "n", "T|fp32", "scales the normalized row");
  s.in(KILTER_NAME(bias), "n", "T|fp32", "is added to it");
  s.in(KILTER_NAME(residual), "... n", "T|fp32", "is added to x before the norm");
  s.in(KILTER_NAME(gate), "... n", "T|fp32", "scales x before residual is added").needs("residual");
  s.in(KILTER_NAME(post_residual), "... n", "T|fp32", "is added after the norm");
  s.out(KILTER_NAME(y), "... n", "T", "x residual post_residual", "the normalized rows").must();
  s.out(KILTER_NAME(residual_out), "... n", "residual", "x residual", "x + residual").needs("residual");
  if constexpr (Centered<Args>) s.out(KILTER_NAME(mean), "...|... 1", "stat", "", "of each row");
  s.out(KILTER_NAME(rstd), "...|... 1", "stat", "", "1 / standard deviation of each row");
  s.real(KILTER_NAME(eps), KILTER_DEFAULT_EPS, "is added to the variance");
  s.real(KILTER_NAME(weight_offset), 0, "is added to weight").needs("weight");
  s.choice(KILTER_NAME(rounding), kRoundings, "y is rounded once, or after every step");
  s.choice(KILTER_NAME(activation), kActivations, "of the normalized rows");
  s.rest(KILTER_NAME(impl), Kind::text, "the implementation, by its name");
  s.flags(KILTER_NAME(launch_flags), "dependent", "how kernels are queued");
  s.template covers<Args>();
  return s;
}

template <class Args>
constexpr Schema row_norm_backward(const char* op, kilter_function number) {
  using Problem = RowNormBackward;
  Schema s(op, number, KILTER_BACKWARD, offsetof(Problem, device));
  s.product("rows", offsetof(Problem, rows));
  s.size("n", offsetof(Problem, n));
  s.need(KILTER_NAME(x), "... n", "T|fp32", "what was normalized: residual_out if a residual was added");
  s.in(KILTER_NAME(weight), "n", "T|fp32", "as in forward");
  if constexpr (Centered<Args>) s.need(KILTER_NAME(mean), "...|... 1", "stat", "as forward wrote it");
  s.need(KILTER_NAME(rstd), "...|... 1", "stat", "as forward wrote it");
  s.need(KILTER_NAME(dy), "... n", kFloats, "the gradient of y").is_t();
  s.in(KILTER_NAME(dresidual_out), "... n", "T|fp32", "the gradient that reaches residual_out from elsewhere");
  s.out(KILTER_NAME(dx), "... n", "T", "x dy dresidual_out", "the gradient of x").of("x");
  s.out(KILTER_NAME(dresidual), "... n", "T|fp32", "x dy dresidual_out", "dx in a type of its own");
  s.out(KILTER_NAME(dweight), "n", "weight|fp32", "", "the gradient of weight").of("weight");
  s.out(KILTER_NAME(dbias), "n", "weight|fp32", "", "the gradient of bias");
  s.real(KILTER_NAME(weight_offset), 0, "as in forward").needs("weight");
  s.rest(KILTER_NAME(workspace), Kind::memory, "scratch");
  s.rest(KILTER_NAME(workspace_size), Kind::bytes, "of workspace");
  s.rest(KILTER_NAME(impl), Kind::text, "the implementation, by its name");
  s.flags(KILTER_NAME(launch_flags), "dependent", "how kernels are queued");
  s.template covers<Args>();
  return s;
}

}  // namespace kilter

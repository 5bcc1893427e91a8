// What the elementwise functions take: y = f(x) * weight + bias, f with scalars of its own.  An op whose structs have no shift has
// none here.
#pragma once

#include "core/schema.h"
#include "families/elementwise/problem.h"

namespace kilter {

template <class Args>
concept Shifted = requires(Args a) {
  a.shift;
};

template <class Args>
constexpr Schema elementwise_forward(const char* op, kilter_function number) {
  using Problem = ElementwiseForward;
  Schema s(op, number, KILTER_FORWARD, offsetof(Problem, device));
  s.product("rows", offsetof(Problem, rows));
  s.size("n", offsetof(Problem, n));
  s.need(KILTER_NAME(x), "... n", "fp64|fp32|fp16|bf16", "what the function is of").is_t();
  s.need(KILTER_NAME(alpha), "1", "T|fp32", "scales x: one value");
  if constexpr (Shifted<Args>) s.in(KILTER_NAME(shift), "1", "T|fp32", "is added to alpha * x: one value");
  s.in(KILTER_NAME(weight), "n", "T|fp32", "scales the function");
  s.in(KILTER_NAME(bias), "n", "T|fp32", "is added to it");
  s.in(KILTER_NAME(residual), "... n", "T|fp32", "is added to x before all else");
  s.out(KILTER_NAME(y), "... n", "T", "x residual", "the result").must();
  s.out(KILTER_NAME(residual_out), "... n", "residual", "x residual", "x + residual").needs("residual");
  s.rest(KILTER_NAME(impl), Kind::text, "the implementation, by its name");
  s.flags(KILTER_NAME(launch_flags), "dependent", "how kernels are queued");
  s.template covers<Args>();
  return s;
}

template <class Args>
constexpr Schema elementwise_backward(const char* op, kilter_function number) {
  using Problem = ElementwiseBackward;
  Schema s(op, number, KILTER_BACKWARD, offsetof(Problem, device));
  s.product("rows", offsetof(Problem, rows));
  s.size("n", offsetof(Problem, n));
  s.need(KILTER_NAME(x), "... n", "T|fp32", "what forward took: residual_out if a residual was added");
  s.need(KILTER_NAME(alpha), "1", "T|fp32", "as in forward");
  if constexpr (Shifted<Args>) s.in(KILTER_NAME(shift), "1", "T|fp32", "as in forward");
  s.in(KILTER_NAME(weight), "n", "T|fp32", "as in forward");
  s.need(KILTER_NAME(dy), "... n", "fp64|fp32|fp16|bf16", "the gradient of y").is_t();
  s.in(KILTER_NAME(dresidual_out), "... n", "T|fp32", "the gradient that reaches residual_out from elsewhere");
  s.out(KILTER_NAME(dx), "... n", "T", "x dy dresidual_out", "the gradient of x").of("x");
  s.out(KILTER_NAME(dresidual), "... n", "T|fp32", "x dy dresidual_out", "dx in a type of its own");
  s.out(KILTER_NAME(dalpha), "1", "alpha|fp32", "", "the gradient of alpha").of("alpha");
  if constexpr (Shifted<Args>) s.out(KILTER_NAME(dshift), "1", "alpha|fp32", "", "the gradient of shift").of("shift");
  s.out(KILTER_NAME(dweight), "n", "weight|fp32", "", "the gradient of weight").of("weight");
  s.out(KILTER_NAME(dbias), "n", "weight|fp32", "", "the gradient of bias");
  s.rest(KILTER_NAME(workspace), Kind::memory, "scratch");
  s.rest(KILTER_NAME(workspace_size), Kind::bytes, "of workspace");
  s.rest(KILTER_NAME(impl), Kind::text, "the implementation, by its name");
  s.flags(KILTER_NAME(launch_flags), "dependent", "how kernels are queued");
  s.template covers<Args>();
  return s;
}

}  // namespace kilter

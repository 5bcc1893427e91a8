// What weight_norm's functions take.
#pragma once

#include "core/schema.h"
#include "families/weights/problem.h"

namespace kilter {

template <class Args>
constexpr Schema weights_forward(const char* op, kilter_function number) {
  using Problem = WeightsForward;
  Schema s(op, number, KILTER_FORWARD, offsetof(Problem, device));
  s.product("rows", offsetof(Problem, rows));
  s.size("n", offsetof(Problem, n));
  s.need(KILTER_NAME(v), "... n", kFloats, "the direction").is_t();
  s.in(KILTER_NAME(g), "kept", "T|fp32", "the length of each slice of w");
  s.out(KILTER_NAME(w), "... n", "T", "v", "the weight").needs("g");
  s.out(KILTER_NAME(norm), "kept", "stat", "", "the length of each slice of v");
  s.axis(KILTER_NAME(dim), "the dimension that is kept");
  s.rest(KILTER_NAME(workspace), Kind::memory, "scratch");
  s.rest(KILTER_NAME(workspace_size), Kind::bytes, "of workspace");
  s.rest(KILTER_NAME(impl), Kind::text, "the implementation, by its name");
  s.flags(KILTER_NAME(launch_flags), "dependent", "how kernels are queued");
  s.template covers<Args>();
  return s;
}

template <class Args>
constexpr Schema weights_backward(const char* op, kilter_function number) {
  using Problem = WeightsBackward;
  Schema s(op, number, KILTER_BACKWARD, offsetof(Problem, device));
  s.product("rows", offsetof(Problem, rows));
  s.size("n", offsetof(Problem, n));
  s.need(KILTER_NAME(v), "... n", "T", "as in forward");
  s.need(KILTER_NAME(g), "kept", "T|fp32", "as in forward");
  s.need(KILTER_NAME(norm), "kept", "stat", "as forward wrote it");
  s.need(KILTER_NAME(dw), "... n", kFloats, "the gradient of w").is_t();
  s.out(KILTER_NAME(dv), "... n", "T", "v dw", "the gradient of v").of("v");
  s.out(KILTER_NAME(dg), "kept", "g|fp32", "", "the gradient of g").of("g");
  s.axis(KILTER_NAME(dim), "as in forward");
  s.rest(KILTER_NAME(workspace), Kind::memory, "scratch");
  s.rest(KILTER_NAME(workspace_size), Kind::bytes, "of workspace");
  s.rest(KILTER_NAME(impl), Kind::text, "the implementation, by its name");
  s.flags(KILTER_NAME(launch_flags), "dependent", "how kernels are queued");
  s.template covers<Args>();
  return s;
}

}  // namespace kilter

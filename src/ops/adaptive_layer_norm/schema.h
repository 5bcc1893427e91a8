// What adaptive_layer_norm takes.
#pragma once

#include "core/schema.h"
#include "families/rowwise/problem.h"

namespace kilter {

constexpr const char* kNorms = "layer rms";
// What modulates: a row for each row, for neighbours (all dimensions of x but the last ones), or for the rows of a segment.
constexpr const char* kModulation = "...? n|segments n";

template <class Args>
constexpr Schema adaptive_norm_forward(const char* op, kilter_function number) {
  using Problem = RowNormForward;
  Schema s(op, number, KILTER_FORWARD, offsetof(Problem, device));
  s.product("rows", offsetof(Problem, rows));
  s.size("n", offsetof(Problem, n));
  s.shared("segments", offsetof(Problem, modulation) + offsetof(Modulation, count));
  s.need(KILTER_NAME(x), "... n", kFloats, "what is normalized").is_t();
  s.in(KILTER_NAME(weight), "n", "T|fp32", "scales the normalized row");
  s.in(KILTER_NAME(bias), "n", "T|fp32", "is added to it");
  s.in(KILTER_NAME(segments), "segments+1", "int64|int32", "cumulative lengths, from 0 to rows: row s of scale is of the s-th rows");
  s.need(KILTER_NAME(scale), kModulation, "T|fp32", "with scale_offset, scales what was normalized");
  s.in(KILTER_NAME(shift), "scale", "T|fp32", "is added to that");
  s.in(KILTER_NAME(residual), "... n", "T|fp32", "is added to x, or to gate * x, before the norm");
  s.in(KILTER_NAME(gate), "scale", "scale", "scales x before residual is added").needs("residual");
  s.out(KILTER_NAME(y), "... n", "T", "x residual", "the modulated rows").must();
  s.out(KILTER_NAME(residual_out), "... n", "residual", "x residual", "x + residual, or residual + gate * x").needs("residual");
  s.out(KILTER_NAME(mean), "...|... 1", "stat", "", "of each row; not of norm rms");
  s.out(KILTER_NAME(rstd), "...|... 1", "stat", "", "1 / standard deviation of each row");
  s.real(KILTER_NAME(eps), KILTER_DEFAULT_EPS, "is added to the variance");
  s.real(KILTER_NAME(scale_offset), 1, "is added to scale");
  s.choice(KILTER_NAME(norm), kNorms, "LayerNorm or RMSNorm");
  s.reserved(offsetof(Args, reserved));
  s.rest(KILTER_NAME(impl), Kind::text, "the implementation, by its name");
  s.flags(KILTER_NAME(launch_flags), "dependent", "how kernels are queued");
  s.template covers<Args>();
  return s;
}

template <class Args>
constexpr Schema adaptive_norm_backward(const char* op, kilter_function number) {
  using Problem = RowNormBackward;
  Schema s(op, number, KILTER_BACKWARD, offsetof(Problem, device));
  s.product("rows", offsetof(Problem, rows));
  s.size("n", offsetof(Problem, n));
  s.shared("segments", offsetof(Problem, modulation) + offsetof(Modulation, count));
  s.need(KILTER_NAME(x), "... n", "T|fp32", "what was normalized: residual_out if a residual was added");
  s.in(KILTER_NAME(weight), "n", "T|fp32", "as in forward");
  s.in(KILTER_NAME(bias), "n", "T|fp32", "as in forward");
  s.in(KILTER_NAME(segments), "segments+1", "int64|int32", "as in forward");
  s.need(KILTER_NAME(scale), kModulation, "T|fp32", "as in forward");
  s.in(KILTER_NAME(gate), "scale", "scale", "as in forward");
  s.in(KILTER_NAME(branch), "... n", "T", "forward's x, for dgate").needs("gate");
  s.in(KILTER_NAME(mean), "...|... 1", "stat", "as forward wrote it; not of norm rms");
  s.need(KILTER_NAME(rstd), "...|... 1", "stat", "as forward wrote it");
  s.need(KILTER_NAME(dy), "... n", kFloats, "the gradient of y").is_t();
  s.in(KILTER_NAME(dresidual_out), "... n", "T|fp32", "the gradient that reaches residual_out from elsewhere");
  s.out(KILTER_NAME(dx), "... n", "T", "x branch dy dresidual_out", "the gradient of forward's x").of("x");
  s.out(KILTER_NAME(dresidual), "... n", "T|fp32", "x branch dy dresidual_out", "the gradient of residual, and of x without a gate");
  s.out(KILTER_NAME(dgate), "scale", "gate|fp32", "", "the gradient of gate").of("gate").needs("branch");
  s.out(KILTER_NAME(dscale), "scale", "scale|fp32", "", "the gradient of scale").of("scale");
  s.out(KILTER_NAME(dshift), "scale", "scale|fp32", "", "the gradient of shift");
  s.out(KILTER_NAME(dweight), "n", "weight|fp32", "", "the gradient of weight").of("weight");
  s.out(KILTER_NAME(dbias), "n", "weight|fp32", "", "the gradient of bias").of("bias");
  s.real(KILTER_NAME(scale_offset), 1, "as in forward");
  s.choice(KILTER_NAME(norm), kNorms, "as in forward");
  s.reserved(offsetof(Args, reserved));
  s.rest(KILTER_NAME(workspace), Kind::memory, "scratch");
  s.rest(KILTER_NAME(workspace_size), Kind::bytes, "of workspace");
  s.rest(KILTER_NAME(impl), Kind::text, "the implementation, by its name");
  s.flags(KILTER_NAME(launch_flags), "dependent", "how kernels are queued");
  s.template covers<Args>();
  return s;
}

}  // namespace kilter

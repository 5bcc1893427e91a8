// What the functions of the norms of planes take.  An op whose structs lack a field has none here.
#pragma once

#include "core/schema.h"
#include "families/planewise/problem.h"

namespace kilter {

constexpr const char* kPlanes = "batch channels ...";
constexpr const char* kBitsOfPlanes = "batch bits";
constexpr const char* kNoYes = "no yes";
constexpr const char* kRunningMean = "over batches before this one";
constexpr const char* kRunningVar = "over batches before this one, unbiased";
constexpr const char* kHowAveraged = "how running statistics follow those of batches";
constexpr const char* kAveragings = "exponential cumulative";

template <class Args>
concept Grouped = requires(Args a) {
  a.groups;
};
template <class Args>
concept Running = requires(Args a) {
  a.running_mean;
};

template <class Problem>
constexpr void plane_sizes(Schema* s) {
  s->size("batch", offsetof(Problem, batch));
  s->size("channels", offsetof(Problem, channels));
  s->product("spatial", offsetof(Problem, spatial));
}

// What every struct ends with.
template <class Problem, class Args>
constexpr void plane_rest(Schema* s) {
  s->rest(KILTER_NAME(workspace), Kind::memory, "scratch");
  s->rest(KILTER_NAME(workspace_size), Kind::bytes, "of workspace");
  s->rest(KILTER_NAME(impl), Kind::text, "the implementation, by its name");
  s->flags(KILTER_NAME(launch_flags), "dependent", "how kernels are queued");
  s->template covers<Args>();
}

// The statistics that are kept over batches, as what a call reads.
template <class Problem, class Args>
constexpr void running_inputs(Schema* s, const char* types, const char* of_mean, const char* of_var) {
  s->in(KILTER_NAME(running_mean), "channels", types, of_mean);
  s->in(KILTER_NAME(running_var), "channels", types, of_var).needs("running_mean");
}
// And as what it writes, by what.
template <class Problem, class Args>
constexpr void running_outputs(Schema* s) {
  s->out(KILTER_NAME(running_mean_out), "channels", "running_mean", "running_mean", "with this batch").needs("running_mean");
  s->out(KILTER_NAME(running_var_out), "channels", "running_var", "running_var", "with this batch").needs("running_var");
}
template <class Problem, class Args>
constexpr void running_numbers(Schema* s) {
  s->real(KILTER_NAME(momentum), KILTER_DEFAULT_MOMENTUM, "the weight of this batch in running statistics");
  s->integer(KILTER_NAME(batches_tracked), "batches before this one");
}

template <class Args>
constexpr Schema plane_norm_forward(const char* op, kilter_function number) {
  using Problem = PlaneForward;
  Schema s(op, number, KILTER_FORWARD, offsetof(Problem, device));
  plane_sizes<Problem>(&s);
  if constexpr (Grouped<Args>) s.size("groups", offsetof(Problem, groups));
  constexpr const char* kStatistics = Grouped<Args> ? "batch groups" : "batch channels";
  s.need(KILTER_NAME(x), kPlanes, kFloats, "what is normalized").is_t();
  s.in(KILTER_NAME(weight), "channels", "T|fp32", "scales what was normalized");
  s.in(KILTER_NAME(bias), "channels", "T|fp32", "is added to it");
  s.in(KILTER_NAME(residual), kPlanes, "T|fp32", "is added to x before the norm");
  s.in(KILTER_NAME(scale), "batch channels", "T|fp32", "scales each sample after weight and bias");
  s.in(KILTER_NAME(shift), "batch channels", "T|fp32", "is added to that");
  if constexpr (Running<Args>) running_inputs<Problem, Args>(&s, "T|fp32", kRunningMean, kRunningVar);
  s.out(KILTER_NAME(y), kPlanes, "T", "x residual", "the result").must();
  s.out(KILTER_NAME(residual_out), kPlanes, "residual", "x residual", "x + residual").needs("residual");
  s.out(KILTER_NAME(mean), kStatistics, "stat", "", "of each plane");
  s.out(KILTER_NAME(rstd), kStatistics, "stat", "", "1 / standard deviation of each plane");
  if constexpr (Running<Args>) running_outputs<Problem, Args>(&s);
  if constexpr (Grouped<Args>) s.count_of(KILTER_NAME(groups), "channels", "how many groups the channels are in");
  s.real(KILTER_NAME(eps), KILTER_DEFAULT_EPS, "is added to the variance");
  s.real(KILTER_NAME(scale_offset), 0, "is added to scale").needs("scale");
  s.choice(KILTER_NAME(activation), kActivations, "of the result, behind all else");
  if constexpr (Running<Args>) {
    running_numbers<Problem, Args>(&s);
    s.choice(KILTER_NAME(inference), kNoYes, "by running statistics instead of each sample's");
    s.choice(KILTER_NAME(averaging), kAveragings, kHowAveraged);
  }
  s.reserved(offsetof(Args, reserved));
  plane_rest<Problem, Args>(&s);
  return s;
}

template <class Args>
constexpr Schema plane_norm_backward(const char* op, kilter_function number) {
  using Problem = PlaneBackward;
  Schema s(op, number, KILTER_BACKWARD, offsetof(Problem, device));
  plane_sizes<Problem>(&s);
  if constexpr (Grouped<Args>) s.size("groups", offsetof(Problem, groups));
  constexpr const char* kStatistics = Grouped<Args> ? "batch groups" : "batch channels";
  s.need(KILTER_NAME(x), kPlanes, "T|fp32", "what was normalized: residual_out if a residual was added");
  s.in(KILTER_NAME(weight), "channels", "T|fp32", "as in forward");
  s.in(KILTER_NAME(bias), "channels", "T|fp32", "as in forward");
  s.in(KILTER_NAME(scale), "batch channels", "T|fp32", "as in forward");
  s.in(KILTER_NAME(shift), "batch channels", "T|fp32", "as in forward");
  if constexpr (Running<Args>) {
    running_inputs<Problem, Args>(&s, "T|fp32", "as in forward", "as in forward");
    s.in(KILTER_NAME(mean), kStatistics, "stat", "as forward wrote it");
    s.in(KILTER_NAME(rstd), kStatistics, "stat", "as forward wrote it").needs("mean");
  } else {
    s.need(KILTER_NAME(mean), kStatistics, "stat", "as forward wrote it");
    s.need(KILTER_NAME(rstd), kStatistics, "stat", "as forward wrote it");
  }
  s.need(KILTER_NAME(dy), kPlanes, kFloats, "the gradient of y").is_t();
  s.in(KILTER_NAME(dresidual_out), kPlanes, "T|fp32", "the gradient that reaches residual_out from elsewhere");
  s.out(KILTER_NAME(dx), kPlanes, "T", "x dy dresidual_out", "the gradient of x").of("x");
  s.out(KILTER_NAME(dresidual), kPlanes, "T|fp32", "x dy dresidual_out", "dx in a type of its own");
  s.out(KILTER_NAME(dweight), "channels", "weight|fp32", "", "the gradient of weight").of("weight");
  s.out(KILTER_NAME(dbias), "channels", "weight|fp32", "", "the gradient of bias").of("bias");
  s.out(KILTER_NAME(dscale), "batch channels", "scale|fp32", "", "the gradient of scale").of("scale");
  s.out(KILTER_NAME(dshift), "batch channels", "scale|fp32", "", "the gradient of shift").of("shift");
  if constexpr (Grouped<Args>) s.count_of(KILTER_NAME(groups), "channels", "as in forward");
  if constexpr (Running<Args>) s.real(KILTER_NAME(eps), KILTER_DEFAULT_EPS, "as in forward");
  s.real(KILTER_NAME(scale_offset), 0, "as in forward").needs("scale");
  s.choice(KILTER_NAME(activation), kActivations, "as in forward");
  if constexpr (Running<Args>) s.choice(KILTER_NAME(inference), kNoYes, "as in forward");
  if constexpr (!Running<Args>) s.reserved(offsetof(Args, reserved));
  plane_rest<Problem, Args>(&s);
  return s;
}

template <class Args>
constexpr Schema batch_norm_forward(const char* op, kilter_function number) {
  using Problem = PlaneForward;
  Schema s(op, number, KILTER_FORWARD, offsetof(Problem, device));
  plane_sizes<Problem>(&s);
  s.need(KILTER_NAME(x), kPlanes, kFloats, "what is normalized").is_t();
  s.in(KILTER_NAME(weight), "channels", "T|fp32", "scales what was normalized");
  s.in(KILTER_NAME(bias), "channels", "T|fp32", "is added to it");
  s.in(KILTER_NAME(residual), kPlanes, "T|fp32", "is added to that");
  running_inputs<Problem, Args>(&s, "T|fp32", kRunningMean, kRunningVar);
  s.out(KILTER_NAME(y), kPlanes, "T", "x residual", "the result").must();
  s.out(KILTER_NAME(mean), "channels", "stat", "", "of each channel");
  s.out(KILTER_NAME(rstd), "channels", "stat", "", "1 / standard deviation of each channel");
  running_outputs<Problem, Args>(&s);
  s.out(KILTER_NAME(mask), kBitsOfPlanes, "uint8", "", "relu's derivative, a bit for each element");
  s.real(KILTER_NAME(eps), KILTER_DEFAULT_EPS, "is added to the variance");
  running_numbers<Problem, Args>(&s);
  s.choice(KILTER_NAME(training), kNoYes, "by the batch's statistics instead of running ones");
  s.choice(KILTER_NAME(activation), kActivations, "of the result, behind all else");
  s.choice(KILTER_NAME(averaging), kAveragings, kHowAveraged);
  s.reserved(offsetof(Args, reserved));
  plane_rest<Problem, Args>(&s);
  return s;
}

template <class Args>
constexpr Schema batch_norm_backward(const char* op, kilter_function number) {
  using Problem = PlaneBackward;
  Schema s(op, number, KILTER_BACKWARD, offsetof(Problem, device));
  plane_sizes<Problem>(&s);
  s.need(KILTER_NAME(x), kPlanes, "T|fp32", "what was normalized");
  s.in(KILTER_NAME(weight), "channels", "T|fp32", "as in forward");
  s.in(KILTER_NAME(bias), "channels", "T|fp32", "as in forward");
  s.in(KILTER_NAME(residual), kPlanes, "T|fp32", "as in forward");
  running_inputs<Problem, Args>(&s, "T|fp32", "as in forward", "as in forward");
  s.in(KILTER_NAME(mean), "channels", "stat", "as forward wrote it");
  s.in(KILTER_NAME(rstd), "channels", "stat", "as forward wrote it").needs("mean");
  s.in(KILTER_NAME(mask), kBitsOfPlanes, "uint8", "as forward wrote it, in the place of bias and residual");
  s.need(KILTER_NAME(dy), kPlanes, kFloats, "the gradient of y").is_t();
  s.out(KILTER_NAME(dx), kPlanes, "T", "x residual dy", "the gradient of x").of("x");
  s.out(KILTER_NAME(dresidual), kPlanes, "T|fp32", "x residual dy", "the gradient of residual").of("residual");
  s.out(KILTER_NAME(dweight), "channels", "weight|fp32", "", "the gradient of weight").of("weight");
  s.out(KILTER_NAME(dbias), "channels", "weight|fp32", "", "the gradient of bias").of("bias");
  s.real(KILTER_NAME(eps), KILTER_DEFAULT_EPS, "as in forward");
  s.choice(KILTER_NAME(training), kNoYes, "as in forward");
  s.choice(KILTER_NAME(activation), kActivations, "as in forward");
  plane_rest<Problem, Args>(&s);
  return s;
}

// The steps of batch_norm.
template <class Args>
constexpr Schema batch_norm_statistics_forward(const char* op, kilter_function number) {
  using Problem = PlaneForward;
  Schema s(op, number, KILTER_FORWARD, offsetof(Problem, device));
  plane_sizes<Problem>(&s);
  s.need(KILTER_NAME(x), kPlanes, kFloats, "this rank's samples").is_t();
  s.out(KILTER_NAME(count), "1", "fp64", "", "of a channel's values").must();
  s.out(KILTER_NAME(mean), "channels", "fp64", "", "of each channel").must();
  s.out(KILTER_NAME(m2), "channels", "fp64", "", "the sum of (x - mean)^2").must();
  plane_rest<Problem, Args>(&s);
  return s;
}

template <class Args>
constexpr Schema batch_norm_statistics_backward(const char* op, kilter_function number) {
  using Problem = PlaneBackward;
  Schema s(op, number, KILTER_BACKWARD, offsetof(Problem, device));
  plane_sizes<Problem>(&s);
  s.need(KILTER_NAME(x), kPlanes, "T|fp32", "this rank's samples");
  s.in(KILTER_NAME(weight), "channels", "T|fp32", "as in batch_norm");
  s.in(KILTER_NAME(bias), "channels", "T|fp32", "as in batch_norm");
  s.in(KILTER_NAME(residual), kPlanes, "T|fp32", "as in batch_norm");
  s.need(KILTER_NAME(mean), "channels", "fp64", "of all ranks' samples");
  s.need(KILTER_NAME(rstd), "channels", "fp64", "of all ranks' samples");
  s.need(KILTER_NAME(dy), kPlanes, kFloats, "the gradient of y").is_t();
  s.out(KILTER_NAME(sum_u), "channels", "fp64", "", "of u = dy * activation'").must();
  s.out(KILTER_NAME(sum_u_xhat), "channels", "fp64", "", "of u * xhat").must();
  s.out(KILTER_NAME(dweight), "channels", "weight|fp32", "", "this rank's part of the gradient of weight").of("weight");
  s.out(KILTER_NAME(dbias), "channels", "weight|fp32", "", "this rank's part of the gradient of bias").of("bias");
  s.choice(KILTER_NAME(activation), kActivations, "as in batch_norm");
  s.reserved(offsetof(Args, reserved));
  plane_rest<Problem, Args>(&s);
  return s;
}

template <class Args>
constexpr Schema batch_norm_apply_forward(const char* op, kilter_function number) {
  using Problem = PlaneForward;
  Schema s(op, number, KILTER_FORWARD, offsetof(Problem, device));
  plane_sizes<Problem>(&s);
  s.need(KILTER_NAME(x), kPlanes, kFloats, "this rank's samples").is_t();
  s.in(KILTER_NAME(weight), "channels", "T|fp32", "scales what was normalized");
  s.in(KILTER_NAME(bias), "channels", "T|fp32", "is added to it");
  s.in(KILTER_NAME(residual), kPlanes, "T|fp32", "is added to that");
  s.need(KILTER_NAME(mean), "channels", "fp64", "of all ranks' samples");
  s.need(KILTER_NAME(rstd), "channels", "fp64", "of all ranks' samples");
  s.out(KILTER_NAME(y), kPlanes, "T", "x residual", "the result").must();
  s.choice(KILTER_NAME(activation), kActivations, "of the result, behind all else");
  s.reserved(offsetof(Args, reserved));
  plane_rest<Problem, Args>(&s);
  return s;
}

template <class Args>
constexpr Schema batch_norm_apply_backward(const char* op, kilter_function number) {
  using Problem = PlaneBackward;
  Schema s(op, number, KILTER_BACKWARD, offsetof(Problem, device));
  plane_sizes<Problem>(&s);
  s.need(KILTER_NAME(x), kPlanes, "T|fp32", "this rank's samples");
  s.in(KILTER_NAME(weight), "channels", "T|fp32", "as in batch_norm");
  s.in(KILTER_NAME(bias), "channels", "T|fp32", "as in batch_norm");
  s.in(KILTER_NAME(residual), kPlanes, "T|fp32", "as in batch_norm");
  s.need(KILTER_NAME(mean), "channels", "fp64", "of all ranks' samples");
  s.need(KILTER_NAME(rstd), "channels", "fp64", "of all ranks' samples");
  s.need(KILTER_NAME(count), "1", "fp64", "of a channel's values on all ranks");
  s.need(KILTER_NAME(sum_u), "channels", "fp64", "over all ranks");
  s.need(KILTER_NAME(sum_u_xhat), "channels", "fp64", "over all ranks");
  s.need(KILTER_NAME(dy), kPlanes, kFloats, "the gradient of y").is_t();
  s.out(KILTER_NAME(dx), kPlanes, "T", "x residual dy", "the gradient of x").of("x");
  s.out(KILTER_NAME(dresidual), kPlanes, "T|fp32", "x residual dy", "the gradient of residual").of("residual");
  s.choice(KILTER_NAME(activation), kActivations, "as in batch_norm");
  s.reserved(offsetof(Args, reserved));
  plane_rest<Problem, Args>(&s);
  return s;
}

}  // namespace kilter

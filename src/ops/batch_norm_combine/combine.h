// batch_norm_combine: what its functions take, and what they do with a channel, which no vectors or threads would make faster than the
// memory that it comes from.
#pragma once

#include "core/element.h"
#include "core/schema.h"
#include "core/status.h"
#include "core/wide_sum.h"

namespace kilter {

struct CombineForward {
  kilter_device device = {KILTER_DEVICE_CPU, 0};
  int64_t ranks = 0, channels = 0;
  View means, m2s, counts, running_mean, running_var;
  View count, mean, rstd, running_mean_out, running_var_out;
  double eps = 0, momentum = 0;
  int64_t batches_tracked = 0;
  int32_t averaging = 0;
  char* workspace = nullptr;
  size_t workspace_size = 0;
  const char* impl = nullptr;
  uint64_t launch_flags = 0;
  const char* op = "";
};

struct CombineBackward {
  kilter_device device = {KILTER_DEVICE_CPU, 0};
  int64_t ranks = 0, channels = 0;
  View sums_u, sums_u_xhat, sum_u, sum_u_xhat;
  char* workspace = nullptr;
  size_t workspace_size = 0;
  const char* impl = nullptr;
  uint64_t launch_flags = 0;
  const char* op = "";
};

[[nodiscard]] kilter_status batch_norm_combine_reference_forward(const CombineForward& problem, kilter_stream);
[[nodiscard]] kilter_status batch_norm_combine_reference_backward(const CombineBackward& problem, kilter_stream);

[[nodiscard]] inline kilter_status finish_combine(CombineForward* p) {
  if (p->running_mean.dtype != DType::none && p->running_var.dtype == DType::none)
    return fail(KILTER_INVALID_ARGUMENT, p->op, "running_var: expected a tensor beside running_mean, got none");
  return KILTER_OK;
}
[[nodiscard]] inline kilter_status finish_combine(CombineBackward*) { return KILTER_OK; }

// A row is a rank, and has an element for each channel.
template <class Args>
constexpr Schema combine_forward(const char* op, kilter_function number) {
  using Problem = CombineForward;
  Schema s(op, number, KILTER_FORWARD, offsetof(Problem, device));
  s.size("rows", offsetof(Problem, ranks));
  s.size("n", offsetof(Problem, channels));
  s.need(KILTER_NAME(means), "rows n", "fp64", "of each rank's values of a channel").is_t();
  s.need(KILTER_NAME(m2s), "rows n", "fp64", "the sums of (x - mean)^2");
  s.need(KILTER_NAME(counts), "rows", "fp64", "of a channel's values");
  s.in(KILTER_NAME(running_mean), "n", kFloats, "over batches before this one");
  s.in(KILTER_NAME(running_var), "n", kFloats, "over batches before this one, unbiased").needs("running_mean");
  s.out(KILTER_NAME(count), "1", "fp64", "", "of all ranks' values of a channel").must();
  s.out(KILTER_NAME(mean), "n", "fp64", "", "of all ranks' values").must();
  s.out(KILTER_NAME(rstd), "n", "fp64", "", "1 / standard deviation of all ranks' values").must();
  s.out(KILTER_NAME(running_mean_out), "n", "running_mean", "running_mean", "with this batch").needs("running_mean");
  s.out(KILTER_NAME(running_var_out), "n", "running_var", "running_var", "with this batch").needs("running_var");
  s.real(KILTER_NAME(eps), KILTER_DEFAULT_EPS, "is added to the variance");
  s.real(KILTER_NAME(momentum), KILTER_DEFAULT_MOMENTUM, "the weight of this batch in running statistics");
  s.integer(KILTER_NAME(batches_tracked), "batches before this one");
  s.choice(KILTER_NAME(averaging), "exponential cumulative", "how running statistics follow those of batches");
  s.reserved(offsetof(Args, reserved));
  s.rest(KILTER_NAME(workspace), Kind::memory, "scratch");
  s.rest(KILTER_NAME(workspace_size), Kind::bytes, "of workspace");
  s.rest(KILTER_NAME(impl), Kind::text, "the implementation, by its name");
  s.flags(KILTER_NAME(launch_flags), "dependent", "how kernels are queued");
  s.covers<Args>();
  return s;
}

template <class Args>
constexpr Schema combine_backward(const char* op, kilter_function number) {
  using Problem = CombineBackward;
  Schema s(op, number, KILTER_BACKWARD, offsetof(Problem, device));
  s.size("rows", offsetof(Problem, ranks));
  s.size("n", offsetof(Problem, channels));
  s.need(KILTER_NAME(sums_u), "rows n", "fp64", "each rank's").is_t();
  s.need(KILTER_NAME(sums_u_xhat), "rows n", "fp64", "each rank's");
  s.out(KILTER_NAME(sum_u), "n", "fp64", "", "over all ranks").must();
  s.out(KILTER_NAME(sum_u_xhat), "n", "fp64", "", "over all ranks").must();
  s.rest(KILTER_NAME(workspace), Kind::memory, "scratch");
  s.rest(KILTER_NAME(workspace_size), Kind::bytes, "of workspace");
  s.rest(KILTER_NAME(impl), Kind::text, "the implementation, by its name");
  s.flags(KILTER_NAME(launch_flags), "dependent", "how kernels are queued");
  s.covers<Args>();
  return s;
}

// What of running statistics this batch replaces.
inline double share_of(const CombineForward& p) {
  return p.averaging == KILTER_AVERAGING_CUMULATIVE ? 1 / double(p.batches_tracked + 1) : p.momentum;
}

// On CUDA devices.
const char* combine_cuda_refuses(const CombineForward& problem);
const char* combine_cuda_refuses(const CombineBackward& problem);
[[nodiscard]] kilter_status combine_cuda_forward(const CombineForward& problem, kilter_stream stream);
[[nodiscard]] kilter_status combine_cuda_backward(const CombineBackward& problem, kilter_stream stream);

// A channel's values on all ranks; get(which, rank): its count (0), mean (1), sum of squares (2).  Ranks without any count nothing,
// whatever their mean is.
struct Combined {
  double count = 0, mean = 0, m2 = 0;
};
template <class Get>
KILTER_INLINE Combined combine_channel(int64_t ranks, Get get) {
  Twofold sum, squares, off;
  double count = 0;
  for (int64_t r = 0; r < ranks; ++r) count = count + get(0, r);
  for (int64_t r = 0; r < ranks; ++r)
    if (const double n = get(0, r); n > 0) add_to(sum, Twofold{get(1, r) * (n / count), 0});
  const double mean = value_of(sum);
  for (int64_t r = 0; r < ranks; ++r) {
    const double n = get(0, r);
    if (!(n > 0)) continue;
    const double apart = get(1, r) - mean;  // of a mean that may be off by a rounding
    add_to(off, Twofold{apart * n, 0});
    add_to(squares, Twofold{get(2, r), 0});
    add_to(squares, Twofold{apart * apart * n, 0});
  }
  if (!(count > 0)) return {};
  const double lost = value_of(off) / count;
  add_to(squares, Twofold{-(value_of(off) * lost), 0});
  return {count, mean + lost, value_of(squares)};
}
template <class Get>
KILTER_INLINE double sum_of_ranks(int64_t ranks, Get get) {
  Twofold sum;
  for (int64_t r = 0; r < ranks; ++r) add_to(sum, Twofold{get(r), 0});
  return value_of(sum);
}

// What becomes of running statistics: `value` replaces `share` of what they were.
KILTER_INLINE double averaged(double before, double value, double share) { return (1 - share) * before + share * value; }

}  // namespace kilter

// The norms of planes after their arguments were checked: what every implementation receives.  All ops share one problem
// per direction; fields are named as in the C structs, and schema.h says how they are read.
#pragma once

#include <cstdint>

#include "core/bits.h"
#include "core/status.h"
#include "core/view.h"

namespace kilter {

// What a call does of a norm, for those that let something happen between statistics and elements (other ranks' samples).
enum class PlaneStep : uint8_t { whole, statistics, apply };

// A plane is what shares statistics: a group of a sample, or, over_batch, a channel of all samples (then groups = channels).
struct PlaneForward {
  kilter_device device = {KILTER_DEVICE_CPU, 0};
  int64_t batch = 0, channels = 0, spatial = 0, groups = 0;
  View x, weight, bias, residual, scale, shift, running_mean, running_var;
  View y, residual_out, mean, rstd, running_mean_out, running_var_out;  // mean, rstd: inputs of the step apply
  View mask;                                                            // relu's derivative in bits (core/bits.h)
  View count, m2;                                                       // the step statistics': outputs, fp64 as its mean
  double eps = 0, scale_offset = 0, momentum = 0;
  int64_t batches_tracked = 0;
  int32_t activation = 0, training = 1, inference = 0, averaging = 0;
  char* workspace = nullptr;
  size_t workspace_size = 0;
  const char* impl = nullptr;
  uint64_t launch_flags = 0;
  const char* op = "";
  // By finish().
  PlaneStep step = PlaneStep::whole;
  bool by_channel = false;  // a group is a channel; without channels there is no plane, though groups is 1
  bool over_batch = false;
  bool residual_behind = false;  // residual is added to what the activation is of, instead of to x
  // Without places or channels: nothing is read, and statistics, if asked for, are NaN.
  bool empty() const { return batch == 0 || channels == 0 || spatial == 0; }
};

struct PlaneBackward {
  kilter_device device = {KILTER_DEVICE_CPU, 0};
  int64_t batch = 0, channels = 0, spatial = 0, groups = 0;
  View x, weight, bias, residual, scale, shift, mean, rstd, running_mean, running_var, dy, dresidual_out;
  View mask;  // takes the place of what the activation is of
  View dx, dresidual, dweight, dbias, dscale, dshift;
  View sum_u, sum_u_xhat, count;  // outputs of the step statistics, inputs of the step apply
  double eps = 0, scale_offset = 0;
  int32_t activation = 0, training = 1, inference = 0;
  char* workspace = nullptr;
  size_t workspace_size = 0;
  const char* impl = nullptr;
  uint64_t launch_flags = 0;
  const char* op = "";
  // By finish().
  PlaneStep step = PlaneStep::whole;
  bool by_channel = false;  // a group is a channel; without channels there is no plane, though groups is 1
  bool over_batch = false;
  bool residual_behind = false;  // residual is added to what the activation is of, instead of to x
  // Without places or channels: nothing is read, and statistics, if asked for, are NaN.
  bool empty() const { return batch == 0 || channels == 0 || spatial == 0; }
};

// Planes of a set.
template <class Problem>
constexpr int64_t planes_of_set(const Problem& p) {
  return p.by_channel ? p.channels : p.groups;
}
// Sets of samples, each with a plane for each group, and the samples of one.
template <class Problem>
constexpr int64_t sets_of(const Problem& p) {
  return p.over_batch ? 1 : p.batch;
}
template <class Problem>
constexpr int64_t samples_of_set(const Problem& p) {
  return p.over_batch ? p.batch : 1;
}

// A sample's bits.
template <class Problem>
constexpr BitRows bits_of(const Problem& p) {
  return BitRows(p.channels, p.spatial, p.x.layout);
}

inline const char* family_refuses(const PlaneForward&) { return nullptr; }
inline const char* family_refuses(const PlaneBackward&) { return nullptr; }

// What no table states, by op.
template <class Problem>
[[nodiscard]] kilter_status finish_group_norm(Problem*) {
  return KILTER_OK;
}
[[nodiscard]] kilter_status finish_instance_norm(PlaneForward* p);
[[nodiscard]] kilter_status finish_instance_norm(PlaneBackward* p);
[[nodiscard]] kilter_status finish_batch_norm(PlaneForward* p);
[[nodiscard]] kilter_status finish_batch_norm(PlaneBackward* p);
[[nodiscard]] kilter_status finish_batch_norm_statistics(PlaneForward* p);
[[nodiscard]] kilter_status finish_batch_norm_statistics(PlaneBackward* p);
[[nodiscard]] kilter_status finish_batch_norm_apply(PlaneForward* p);
[[nodiscard]] kilter_status finish_batch_norm_apply(PlaneBackward* p);

}  // namespace kilter

// The norms of planes (group_norm) after their arguments were checked: what every implementation receives.  All ops share one problem
// per direction; fields are named as in the C structs, and schema.h says how they are read.
#pragma once

#include <cstdint>

#include "core/status.h"
#include "core/view.h"

namespace kilter {

// A plane is what shares statistics: a group of a sample, or, over_batch, a channel of all samples (then groups = channels).
struct PlaneForward {
  kilter_device device = {KILTER_DEVICE_CPU, 0};
  int64_t batch = 0, channels = 0, spatial = 0, groups = 0;
  View x, weight, bias, residual, scale, shift, running_mean, running_var;
  View y, residual_out, mean, rstd, running_mean_out, running_var_out;
  double eps = 0, scale_offset = 0, momentum = 0;
  int64_t batches_tracked = 0;
  int32_t activation = 0, training = 1, averaging = 0;
  char* workspace = nullptr;
  size_t workspace_size = 0;
  const char* impl = nullptr;
  uint64_t launch_flags = 0;
  const char* op = "";
  // By finish().
  bool over_batch = false;
  bool residual_behind = false;  // residual is added to what the activation is of, instead of to x
  // Without places or channels: nothing is read, and statistics, if asked for, are NaN.
  bool empty() const { return batch == 0 || channels == 0 || spatial == 0; }
};

struct PlaneBackward {
  kilter_device device = {KILTER_DEVICE_CPU, 0};
  int64_t batch = 0, channels = 0, spatial = 0, groups = 0;
  View x, weight, bias, residual, scale, shift, mean, rstd, running_mean, running_var, dy, dresidual_out;
  View dx, dresidual, dweight, dbias, dscale, dshift;
  double eps = 0, scale_offset = 0;
  int32_t activation = 0, training = 1;
  char* workspace = nullptr;
  size_t workspace_size = 0;
  const char* impl = nullptr;
  uint64_t launch_flags = 0;
  const char* op = "";
  // By finish().
  bool over_batch = false;
  bool residual_behind = false;  // residual is added to what the activation is of, instead of to x
  // Without places or channels: nothing is read, and statistics, if asked for, are NaN.
  bool empty() const { return batch == 0 || channels == 0 || spatial == 0; }
};

// Sets of samples, each with a plane for each group, and the samples of one.
template <class Problem>
constexpr int64_t sets_of(const Problem& p) {
  return p.over_batch ? 1 : p.batch;
}
template <class Problem>
constexpr int64_t samples_of_set(const Problem& p) {
  return p.over_batch ? p.batch : 1;
}

inline const char* family_refuses(const PlaneForward&) { return nullptr; }
inline const char* family_refuses(const PlaneBackward&) { return nullptr; }

// What no table states, by op.
template <class Problem>
[[nodiscard]] kilter_status finish_group_norm(Problem*) {
  return KILTER_OK;
}
template <class Problem>
[[nodiscard]] kilter_status finish_instance_norm(Problem* p) {
  p->groups = p->channels > 0 ? p->channels : 1;
  return KILTER_OK;
}
[[nodiscard]] kilter_status finish_batch_norm(PlaneForward* p);
[[nodiscard]] kilter_status finish_batch_norm(PlaneBackward* p);

}  // namespace kilter

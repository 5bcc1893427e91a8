// What a call on a CUDA device does around its launches: an error that was pending before is told from one of its own, the
// current device is put back.  Nothing here synchronizes or allocates.
#pragma once

#include "core/status.h"

namespace kilter::cuda {

struct DeviceTraits {
  int multiprocessors = 132;
  int architecture = 90;  // 10 * major + minor
  bool has_clusters() const { return architecture >= 90; }
  bool has_dependent_launch() const { return architecture >= 90; }
};

class DeviceCall {
 public:
  DeviceCall(const char* op, kilter_device device);
  ~DeviceCall();
  DeviceCall(const DeviceCall&) = delete;
  DeviceCall& operator=(const DeviceCall&) = delete;

  [[nodiscard]] kilter_status begin();   // before the first launch
  [[nodiscard]] kilter_status finish();  // after the last: what the launches reported

 private:
  const char* op_;
  int wanted_, previous_ = -1;
};

// Of a plan for which nothing was compiled.
[[nodiscard]] inline kilter_status no_kernel(const char* op) {
  return fail(KILTER_INTERNAL, op, "plan: expected a compiled kernel for it, got none");
}

// Devices that this process can use; 0 without a driver.
int device_count();

// What a launch plan depends on; cached.  KILTER_TEST_SMS=N pretends another number of multiprocessors.
DeviceTraits traits_of(int device);

// Blocks of a launch over `items`: at most what one dimension of a grid holds.
int grid_for(int64_t items);

// What the entries that run on CUDA devices refuse; null if nothing.
const char* cuda_refuses_device(const kilter_device& device);

}  // namespace kilter::cuda

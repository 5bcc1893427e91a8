#include "cuda/runtime.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>

namespace kilter::cuda {

DeviceCall::DeviceCall(const char* op, kilter_device device) : op_(op), wanted_(device.id) {}

kilter_status DeviceCall::begin() {
  if (const cudaError_t pending = cudaPeekAtLastError(); pending != cudaSuccess)
    return fail(KILTER_PENDING_DEVICE_ERROR, op_, "device: expected no error before the call, got %s", cudaGetErrorString(pending));
  int current = 0;
  cudaError_t error = cudaGetDevice(&current);
  if (error == cudaSuccess && current != wanted_) {
    error = cudaSetDevice(wanted_);
    previous_ = current;
  }
  if (error == cudaSuccess) return KILTER_OK;
  (void)cudaGetLastError();  // reported here
  return fail(KILTER_DEVICE_ERROR, op_, "device: expected CUDA device %d, got %s", wanted_, cudaGetErrorString(error));
}

kilter_status DeviceCall::finish() {
  const cudaError_t error = cudaGetLastError();
  if (error == cudaSuccess) return KILTER_OK;
  return fail(KILTER_DEVICE_ERROR, op_, "launch: expected success, got %s", cudaGetErrorString(error));
}

DeviceCall::~DeviceCall() {
  if (previous_ >= 0) (void)cudaSetDevice(previous_);
}

int device_count() {
  static std::atomic<int> known{-1};
  int count = known.load(std::memory_order_relaxed);
  if (count < 0) {
    if (cudaGetDeviceCount(&count) != cudaSuccess) {
      (void)cudaGetLastError();  // no driver, or one too old: not an error of the caller's
      count = 0;
    }
    known.store(count, std::memory_order_relaxed);
  }
  return count;
}

DeviceTraits traits_of(int device) {
  constexpr int kKnown = 64;
  static std::atomic<uint64_t> known[kKnown];  // multiprocessors and architecture, 0: not asked yet
  uint64_t packed = device >= 0 && device < kKnown ? known[device].load(std::memory_order_relaxed) : 0;
  if (packed == 0) {
    int count = 0, major = 0, minor = 0;
    (void)cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device);
    (void)cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    (void)cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
    packed = uint64_t(count) << 32 | uint64_t(10 * major + minor);
    if (device >= 0 && device < kKnown) known[device].store(packed, std::memory_order_relaxed);
  }
  DeviceTraits traits{int(packed >> 32), int(packed & 0xFFFFFFFF)};
  if (const char* const pretended = std::getenv("KILTER_TEST_SMS")) traits.multiprocessors = std::max(1, std::atoi(pretended));
  return traits;
}

int grid_for(int64_t items) { return int(std::min<int64_t>(items, 0x7FFFFFFF)); }

const char* cuda_refuses_device(const kilter_device& device) {
  if (device.type != KILTER_DEVICE_CUDA) return "x.device: expected a CUDA device (type 2)";
  if (device_count() == 0) return "x.device: expected a CUDA device, got none in this machine, or no driver for it";
  if (device.id < 0 || device.id >= device_count()) return "x.device.id: expected one of this machine's CUDA devices";
  return nullptr;
}

}  // namespace kilter::cuda

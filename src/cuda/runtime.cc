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

int multiprocessors(int device) {
  if (const char* const assumed = std::getenv("KILTER_TEST_SMS"))
    if (const int count = std::atoi(assumed); count > 0) return count;
  constexpr int kKnown = 64;  // devices whose answer is kept
  static std::atomic<int> known[kKnown];
  const bool kept = device >= 0 && device < kKnown;
  int count = kept ? known[device].load(std::memory_order_relaxed) : 0;
  if (count > 0) return count;
  if (cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device) != cudaSuccess) {
    (void)cudaGetLastError();  // the launch itself will say what is wrong
    return 1;
  }
  if (kept) known[device].store(count, std::memory_order_relaxed);
  return count;
}

int grid_for(int64_t items) { return int(std::min<int64_t>(items, 0x7FFFFFFF)); }

const char* cuda_refuses_device(const kilter_query& query) {
  if (query.device.type != KILTER_DEVICE_CUDA) return "x.device: expected a CUDA device (type 2), got another";
  if (device_count() == 0) return "x.device: expected a CUDA device, got none in this machine, or no driver for it";
  if (query.device.id < 0 || query.device.id >= device_count())
    return "x.device.id: expected one of this machine's CUDA devices, got another";
  return nullptr;
}

}  // namespace kilter::cuda

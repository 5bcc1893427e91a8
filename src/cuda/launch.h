// A kernel's launch; what differs from the ordinary is said by name.  Errors stay pending, DeviceCall::finish asks for them.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace kilter::cuda {

class Launch {
 public:
  Launch(dim3 blocks, int threads, cudaStream_t stream) : blocks_(blocks), threads_(threads), stream_(stream) {}
  Launch(int64_t blocks, int threads, cudaStream_t stream) : Launch(dim3(unsigned(blocks)), threads, stream) {}

  Launch& shared(int bytes) { return shared_ = bytes, *this; }
  Launch& cluster(int blocks) { return cluster_ = blocks, *this; }
  Launch& together(bool is) { return together_ = is, *this; }    // all blocks at once, or an error
  Launch& dependent(bool is) { return dependent_ = is, *this; }  // may start before the kernel before it has ended

  template <class... Parameters, class... Arguments>
  void operator()(void (*kernel)(Parameters...), Arguments&&... arguments) const {
    if (shared_ > 48 << 10) (void)cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_);
    if (cluster_ > 8) (void)cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
    cudaLaunchAttribute attributes[3];
    cudaLaunchConfig_t config = {};
    config.gridDim = blocks_, config.blockDim = dim3(unsigned(threads_)), config.stream = stream_;
    config.dynamicSmemBytes = size_t(shared_), config.attrs = attributes;
    if (cluster_ > 1) {
      attributes[config.numAttrs].id = cudaLaunchAttributeClusterDimension;
      attributes[config.numAttrs++].val.clusterDim = {unsigned(cluster_), 1, 1};
    }
    if (together_) {
      attributes[config.numAttrs].id = cudaLaunchAttributeCooperative;
      attributes[config.numAttrs++].val.cooperative = 1;
    }
    if (dependent_) {
      attributes[config.numAttrs].id = cudaLaunchAttributeProgrammaticStreamSerialization;
      attributes[config.numAttrs++].val.programmaticStreamSerializationAllowed = 1;
    }
    (void)cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...);
  }

 private:
  dim3 blocks_;
  int threads_, shared_ = 0, cluster_ = 1;
  bool together_ = false, dependent_ = false;
  cudaStream_t stream_;
};

}  // namespace kilter::cuda

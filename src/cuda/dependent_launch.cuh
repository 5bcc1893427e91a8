// Programmatic dependent launch, the kernel's side.  On architectures below 90, and in kernels that were launched without it: nothing.
//
// Predicates instead of branches: in a kernel of a microsecond the fetch of code behind a branch shows.
#pragma once

#include <cstdint>

namespace kilter::cuda {

// If `is`: until the kernel before this one has ended and what it wrote can be read.
__device__ __forceinline__ void wait_for_predecessor(bool is) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("{ .reg .pred p; setp.ne.u32 p, %0, 0; @p griddepcontrol.wait; }" ::"r"(uint32_t(is)) : "memory");
#endif
}

// If `is`: the kernel after this one may start, as far as this block is concerned.  Never before wait_for_predecessor: the memory
// that a successor reads ahead of its own wait would otherwise have to be older than two kernels.
__device__ __forceinline__ void let_successor_start(bool is) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("{ .reg .pred p; setp.ne.u32 p, %0, 0; @p griddepcontrol.launch_dependents; }" ::"r"(uint32_t(is)));
#endif
}

// If `is`: the line of memory at p starts on its way to the second cache.
__device__ __forceinline__ void prefetch(const char* p, bool is) {
  asm volatile("{ .reg .pred p; setp.ne.u32 p, %1, 0; @p prefetch.global.L2 [%0]; }" ::"l"(p), "r"(uint32_t(is)));
}

}  // namespace kilter::cuda

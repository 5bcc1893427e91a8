// Programmatic dependent launch, the kernel's side.  On architectures below 90, and in kernels that were launched without it: nothing.
#pragma once

namespace kilter::cuda {

// Until the kernel before this one has ended and what it wrote can be read.
__device__ __forceinline__ void wait_for_predecessor() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// The kernel after this one may start, as far as this block is concerned.  Never before wait_for_predecessor: the memory that a
// successor reads ahead of its own wait would otherwise have to be older than two kernels.
__device__ __forceinline__ void let_successor_start() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

}  // namespace kilter::cuda

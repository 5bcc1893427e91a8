#include "families/planewise/cuda/run.h"

#include "cuda/runtime.h"
#include "families/planewise/cuda/memory.h"

namespace kilter {

size_t planewise_cuda_workspace(const PlaneForward& p) {
  return cuda::is_too_large(p) ? SIZE_MAX : cuda::ForwardMemory(p).arena.used + cuda::kWorkspaceAlignment - 1;
}
size_t planewise_cuda_workspace(const PlaneBackward& p) {
  return cuda::is_too_large(p) ? SIZE_MAX : cuda::BackwardMemory(p).arena.used + cuda::kWorkspaceAlignment - 1;
}

namespace {
template <class Problem>
const char* refuses(const Problem& p) {
  if (const char* const reason = cuda::cuda_refuses_device(p.device)) return reason;
  return p.batch > UINT32_MAX ? "batch: expected less than 2^32 samples" : nullptr;
}
}  // namespace

const char* planewise_cuda_refuses(const PlaneForward& p) { return refuses(p); }
const char* planewise_cuda_refuses(const PlaneBackward& p) { return refuses(p); }

}  // namespace kilter

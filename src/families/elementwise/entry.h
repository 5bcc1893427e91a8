// What an elementwise op puts together: its functions from the family's tables, and the CPU's entries from its kernels.
#pragma once

#include "core/dispatch.h"
#include "cpu/ready.h"
#include "families/elementwise/cpu/run.h"
#include "families/elementwise/reference.h"
#include "families/elementwise/schema.h"

namespace kilter {

// What the entries that run on the CPU refuse.
template <class Problem>
const char* cpu_refuses(const Problem& p) {
  return cpu_refuses_device(p.device);
}

// The CPU implementation of an op whose kernels are kKernels, one entry per SIMD target.
template <const auto& kKernels, class Problem>
kilter_status run_cpu(const Problem& p, kilter_stream) {
  int target = 0;
  KILTER_RETURN_IF_ERROR(current_target(p.op, &target));
  return elementwise_cpu(p, *kKernels[target]);
}

inline size_t cpu_backward_workspace(const ElementwiseBackward& p) { return elementwise_cpu_workspace(p, kilter_get_num_threads()); }

}  // namespace kilter

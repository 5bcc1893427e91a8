// What an op of the row norms puts together: its functions from the family's tables, and the CPU's entries from its kernels.
#pragma once

#include "core/dispatch.h"
#include "cpu/ready.h"
#include "families/rowwise/cpu/run.h"
#include "families/rowwise/reference.h"
#include "families/rowwise/schema.h"

namespace kilter {

// What the entries that run on the CPU refuse.
template <class Problem>
const char* cpu_refuses(const Problem& p) {
  const char* const reason = cpu_refuses_device(p.device);
  return reason ? reason : family_refuses(p);
}

// The CPU implementation of an op whose kernels are kKernels, one entry per SIMD target.
template <const auto& kKernels, class Problem>
kilter_status run_cpu(const Problem& p, kilter_stream) {
  int target = 0;
  KILTER_RETURN_IF_ERROR(current_target(p.op, &target));
  return row_norm_cpu(p, *kKernels[target]);
}

inline size_t cpu_backward_workspace(const RowNormBackward& p) { return row_norm_cpu_workspace(p, kilter_get_num_threads()); }

}  // namespace kilter

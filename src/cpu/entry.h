// The entries that run on the CPU.  A family has family_refuses(problem), what none of its implementations takes, and
// run_on_cpu(problem, kernels).
#pragma once

#include "cpu/parallel.h"
#include "cpu/target.h"

namespace kilter {

// The settings of the environment that every call on the CPU asks for.
inline kilter_status cpu_ready(const char* op) {
  int target = 0;
  KILTER_RETURN_IF_ERROR(current_target(op, &target));
  return check_thread_limit(op);
}

template <class Problem>
const char* cpu_refuses(const Problem& p) {
  return p.device.type == KILTER_DEVICE_CPU ? family_refuses(p) : "x.device: expected the CPU (type 1)";
}

// The CPU implementation of an op whose kernels are kKernels, one entry per SIMD target.
template <const auto& kKernels, class Problem>
kilter_status run_cpu(const Problem& p, kilter_stream) {
  int target = 0;
  KILTER_RETURN_IF_ERROR(current_target(p.op, &target));
  return run_on_cpu(p, *kKernels[target]);
}

}  // namespace kilter

// SIMD targets.  Every kernel file is compiled once per target, with that target's compiler flags, inside a namespace of the
// target's name; this picks the one to call.  docs/decisions/0001-simd.md says why.
#pragma once

#include "core/status.h"

namespace kilter {

enum CpuTarget : int {
#define KILTER_TARGET(name) kTarget##name,
#include "kilter_targets.inc"  // best first; SCALAR is always last
#undef KILTER_TARGET
  kTargetCount
};

// The target in use; INVALID_ARGUMENT if KILTER_CPU_TARGET names one that this CPU or build lacks.
[[nodiscard]] kilter_status current_target(const char* op, int* target);

}  // namespace kilter

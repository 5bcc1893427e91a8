// What a norm of planes puts together: its functions from the family's tables, and the CPU's entries, whose kernels all ops share.
#pragma once

#include "core/dispatch.h"
#include "cpu/entry.h"
#include "families/planewise/cpu/run.h"
#include "families/planewise/reference.h"
#include "families/planewise/schema.h"

namespace kilter {

#define KILTER_TARGET(name)                            \
  namespace cpu_##name {                               \
    extern const PlaneKernels plane_kernels_of_target; \
  }
#include "kilter_targets.inc"
#undef KILTER_TARGET

inline constexpr const PlaneKernels* kPlaneKernels[] = {
#define KILTER_TARGET(name) &cpu_##name::plane_kernels_of_target,
#include "kilter_targets.inc"
#undef KILTER_TARGET
};

}  // namespace kilter

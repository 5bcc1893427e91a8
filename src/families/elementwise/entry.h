// What an elementwise op puts together: its functions from the family's tables, and the CPU's entries from its kernels.
#pragma once

#include "core/dispatch.h"
#include "cpu/entry.h"
#include "families/elementwise/cpu/run.h"
#include "families/elementwise/reference.h"
#include "families/elementwise/schema.h"

namespace kilter {

inline size_t cpu_backward_workspace(const ElementwiseBackward& p) { return elementwise_cpu_workspace(p, kilter_get_num_threads()); }

}  // namespace kilter

// What an op of the row norms puts together: its functions from the family's tables, and the CPU's entries from its kernels.
#pragma once

#include "core/dispatch.h"
#include "cpu/entry.h"
#include "families/rowwise/cpu/run.h"
#include "families/rowwise/reference.h"
#include "families/rowwise/schema.h"

namespace kilter {

inline size_t cpu_backward_workspace(const RowNormBackward& p) { return row_norm_cpu_workspace(p, kilter_get_num_threads()); }

}  // namespace kilter

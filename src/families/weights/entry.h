// What weight_norm puts together: its functions from the tables, and the CPU's entries from its kernels.
#pragma once

#include "core/dispatch.h"
#include "cpu/entry.h"
#include "families/weights/cpu/run.h"
#include "families/weights/reference.h"
#include "families/weights/schema.h"

namespace kilter {

template <class Problem>
const char* weights_cpu_refuses(const Problem& p) {
  return p.device.type == KILTER_DEVICE_CPU ? nullptr : "v.device: expected the CPU (type 1)";
}

}  // namespace kilter

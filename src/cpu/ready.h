// What every entry that runs on the CPU asks for before it runs.
#pragma once

#include "cpu/parallel.h"
#include "cpu/target.h"

namespace kilter {

inline const char* cpu_refuses_device(const kilter_device& device) {
  return device.type == KILTER_DEVICE_CPU ? nullptr : "x.device: expected the CPU (type 1)";
}

// The settings of the environment that every call on the CPU asks for.
inline kilter_status cpu_ready(const char* op) {
  int target = 0;
  KILTER_RETURN_IF_ERROR(current_target(op, &target));
  return check_thread_limit(op);
}

}  // namespace kilter

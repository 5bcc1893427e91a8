// How much memory this process may still take.
#pragma once

#include <cstdint>
#include <string>

namespace kilter::cli {

// What the machine has left, or the tightest of the control groups (version 1 or 2) that this process is in; page cache that
// the kernel gives back counts as free.  -1 if nothing is known.  `root`: before /proc and /sys, for tests.
int64_t available_memory(const std::string& root = "");

}  // namespace kilter::cli

// The only place where kilter starts threads.  Work is split into blocks whose results do not depend on who runs them.
#pragma once

#include <cstdint>

#include "core/status.h"

namespace kilter {

// What the calling thread may use: its kilter_set_num_threads or OpenMP's default, within the process's limit.
int available_threads();

// INVALID_ARGUMENT if KILTER_NUM_THREADS is none: every call on the CPU asks.
[[nodiscard]] kilter_status check_thread_limit(const char* op);

using BlockFunction = void (*)(void* context, int64_t block, int thread);
void run_blocks(int64_t blocks, int threads, BlockFunction function, void* context);

// Calls body(block, thread) for every block in [0, blocks), thread in [0, threads).
template <class F>
void parallel_for(int64_t blocks, int threads, F&& body) {
  run_blocks(
      blocks, threads, [](void* f, int64_t block, int thread) { (*static_cast<F*>(f))(block, thread); }, &body);
}

}  // namespace kilter

#include "cpu/parallel.h"

#ifdef _OPENMP
#include <omp.h>
#endif

#include "core/status.h"

namespace kilter {
namespace {

thread_local int requested_threads = 0;

}  // namespace

int available_threads() {
  if (requested_threads > 0) return requested_threads;
#ifdef _OPENMP
  return omp_in_parallel() ? 1 : omp_get_max_threads();
#else
  return 1;
#endif
}

void run_blocks(int64_t blocks, int threads, BlockFunction function, void* context) {
  if (threads > blocks) threads = int(blocks);
  if (threads <= 1) {
    for (int64_t b = 0; b < blocks; ++b) function(context, b, 0);
    return;
  }
#ifdef _OPENMP
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
  for (int64_t b = 0; b < blocks; ++b) function(context, b, omp_get_thread_num());
#else
  for (int64_t b = 0; b < blocks; ++b) function(context, b, 0);
#endif
}

}  // namespace kilter

extern "C" {

kilter_status kilter_set_num_threads(int threads) noexcept {
  if (threads < 0 || threads > 4096)
    return kilter::fail(KILTER_INVALID_ARGUMENT, "set_num_threads", "threads: expected 0 to 4096, got %d", threads);
  kilter::requested_threads = threads;
  return KILTER_OK;
}

int kilter_get_num_threads(void) noexcept { return kilter::available_threads(); }

}  // extern "C"

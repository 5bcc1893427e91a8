#include "cpu/parallel.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <system_error>

#ifdef _OPENMP
#include <omp.h>
#endif
#if defined(_OPENMP) && __has_include(<pthread.h>)
#include <pthread.h>
#define KILTER_FORKS
#endif

namespace kilter {
namespace {

constexpr int kMostThreads = 4096;
constexpr int kUnreadable = -1;

thread_local int requested_threads = 0;
std::atomic<int> set_limit{0};

// KILTER_NUM_THREADS: 0 if it is not set, kUnreadable if it is no number of threads.
int limit_of_environment() {
  const char* text = std::getenv("KILTER_NUM_THREADS");
  if (!text || !*text) return 0;
  int limit = 0;
  const char* const end = text + std::strlen(text);
  const auto [read_to, error] = std::from_chars(text, end, limit);
  return read_to != end || error != std::errc() || limit < 1 || limit > kMostThreads ? kUnreadable : limit;
}

int environment_limit() {
  static const int limit = limit_of_environment();
  return limit;
}

// 0: none.
int thread_limit() {
  const int limit = set_limit.load(std::memory_order_relaxed);
  return limit ? limit : std::max(0, environment_limit());
}

#ifdef KILTER_FORKS
// GCC's runtime keeps the threads of a thread's teams waiting for its next one.  In a forked process they are gone, and it would
// wait for them forever: what that thread calls there runs on itself alone.
thread_local bool has_team = false;
thread_local bool lost_team = false;

void in_child() { lost_team = lost_team || has_team; }

void expect_forks() {
  static const int watched = pthread_atfork(nullptr, nullptr, in_child);
  (void)watched;
  has_team = true;
}
bool may_have_team() { return !lost_team; }
#else
void expect_forks() {}
bool may_have_team() { return true; }
#endif

}  // namespace

int available_threads() {
  if (!may_have_team()) return 1;
  int threads = requested_threads;
#ifdef _OPENMP
  if (threads == 0) threads = omp_in_parallel() ? 1 : omp_get_max_threads();
#else
  threads = 1;
#endif
  const int limit = thread_limit();
  return limit ? std::min(threads, limit) : threads;
}

kilter_status check_thread_limit(const char* op) {
  if (environment_limit() != kUnreadable) return KILTER_OK;
  const char* const text = std::getenv("KILTER_NUM_THREADS");
  return fail(KILTER_INVALID_ARGUMENT, op, "KILTER_NUM_THREADS: expected 1 to %d, got %s", kMostThreads, text ? text : "");
}

void run_blocks(int64_t blocks, int threads, BlockFunction function, void* context) {
  if (threads > blocks) threads = int(blocks);
  if (threads <= 1) {
    for (int64_t b = 0; b < blocks; ++b) function(context, b, 0);
    return;
  }
#ifdef _OPENMP
  expect_forks();
#pragma omp parallel num_threads(threads)
  {
    const FloatEnvironment environment;
#pragma omp for schedule(dynamic, 1) nowait
    for (int64_t b = 0; b < blocks; ++b) function(context, b, omp_get_thread_num());
  }
#else
  for (int64_t b = 0; b < blocks; ++b) function(context, b, 0);
#endif
}

}  // namespace kilter

extern "C" {

kilter_status kilter_set_num_threads(int threads) noexcept {
  if (threads < 0 || threads > kilter::kMostThreads)
    return kilter::fail(KILTER_INVALID_ARGUMENT, "set_num_threads", "threads: expected 0 to %d, got %d", kilter::kMostThreads, threads);
  kilter::requested_threads = threads;
  return KILTER_OK;
}

int kilter_get_num_threads(void) noexcept { return kilter::available_threads(); }

kilter_status kilter_set_thread_limit(int threads) noexcept {
  if (threads < 0 || threads > kilter::kMostThreads)
    return kilter::fail(KILTER_INVALID_ARGUMENT, "set_thread_limit", "threads: expected 0 to %d, got %d", kilter::kMostThreads, threads);
  kilter::set_limit.store(threads, std::memory_order_relaxed);
  return KILTER_OK;
}

int kilter_get_thread_limit(void) noexcept { return kilter::thread_limit(); }

}  // extern "C"

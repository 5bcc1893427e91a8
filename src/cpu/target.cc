#include "cpu/target.h"

#include <atomic>
#include <cstdlib>
#include <cstring>

namespace kilter {
namespace {

constexpr const char* kNames[] = {
#define KILTER_TARGET(name) #name,
#include "kilter_targets.inc"
#undef KILTER_TARGET
};

constexpr int kUnknown = -1;  // a name was forced that does not exist or run here
constexpr int kNotChosen = -2;

bool runs_here(const char* name) {
#if defined(__x86_64__)
  // The same feature sets that cmake/targets.cmake compiles for (x86-64-v4, v3, v2).
  if (std::strcmp(name, "AVX3") == 0)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi2");
  if (std::strcmp(name, "AVX2") == 0)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  if (std::strcmp(name, "SSE4") == 0) return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt");
#endif
  (void)name;
  return true;
}

int find(const char* name) {
  for (int t = 0; t < kTargetCount; ++t)
    if (std::strcmp(kNames[t], name) == 0 && runs_here(kNames[t])) return t;
  return kUnknown;
}

int default_target() {
  const char* forced = std::getenv("KILTER_CPU_TARGET");
  if (forced && *forced) return find(forced);
  for (int t = 0; t < kTargetCount; ++t)
    if (runs_here(kNames[t])) return t;
  return kTargetCount - 1;
}

std::atomic<int> chosen{kNotChosen};

int get() {
  int t = chosen.load(std::memory_order_relaxed);
  if (t == kNotChosen) chosen.store(t = default_target(), std::memory_order_relaxed);
  return t;
}

}  // namespace

kilter_status current_target(const char* op, int* target) {
  *target = get();
  if (*target != kUnknown) return KILTER_OK;
  const char* forced = std::getenv("KILTER_CPU_TARGET");
  return fail(KILTER_INVALID_ARGUMENT, op, "KILTER_CPU_TARGET: expected a target that kilter info lists, got %s", forced ? forced : "");
}

}  // namespace kilter

extern "C" {

const char* kilter_cpu_target(void) noexcept {
  const int t = kilter::get();
  return t == kilter::kUnknown ? "none" : kilter::kNames[t];
}

const char* kilter_cpu_target_at(int index) noexcept {
  for (int t = 0; t < kilter::kTargetCount && index >= 0; ++t)
    if (kilter::runs_here(kilter::kNames[t]) && index-- == 0) return kilter::kNames[t];
  return nullptr;
}

kilter_status kilter_set_cpu_target(const char* name) noexcept {
  const int t = name ? kilter::find(name) : kilter::default_target();
  if (t == kilter::kUnknown && name)
    return kilter::fail(KILTER_INVALID_ARGUMENT, "set_cpu_target", "name: expected a target that this CPU runs, got %s", name);
  kilter::chosen.store(t, std::memory_order_relaxed);
  return KILTER_OK;
}

}  // extern "C"

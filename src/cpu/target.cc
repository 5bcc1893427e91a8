#include "cpu/target.h"

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace kilter {

#define KILTER_TARGET(name)         \
  namespace cpu_##name {            \
    extern const uint64_t features; \
  }
#include "kilter_targets.inc"
#undef KILTER_TARGET

namespace {

constexpr const char* kNames[] = {
#define KILTER_TARGET(name) #name,
#include "kilter_targets.inc"
#undef KILTER_TARGET
};

// What each target's objects may use (target_features.cc), as bits in the order of features.def.
constexpr const uint64_t* kFeatures[] = {
#define KILTER_TARGET(name) &cpu_##name::features,
#include "kilter_targets.inc"
#undef KILTER_TARGET
};

constexpr int kUnknown = -1;  // a name was forced that does not exist or run here
constexpr int kNotChosen = -2;

#if defined(__x86_64__)
struct Feature {
  const char* name;
  unsigned leaf;
  int reg;  // of eax, ebx, ecx, edx
  int bit;
};
constexpr Feature kKnown[] = {
#define KILTER_FEATURE(macro, name, leaf, reg, bit) {name, leaf, reg, bit},
#include "cpu/features.def"
#undef KILTER_FEATURE
};

// Registers that the operating system saves: XCR0's bits of the upper halves of vectors, and of AVX-512's.
bool system_saves(uint64_t state) {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1)) return false;
  unsigned low = 0, high = 0;
  asm("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & state) == state;
}

bool cpu_has(const Feature& f) {
  unsigned r[4] = {};
  if (!__get_cpuid_count(f.leaf, 0, &r[0], &r[1], &r[2], &r[3]) || !(r[f.reg] >> f.bit & 1)) return false;
  if (std::strncmp(f.name, "avx512", 6) == 0) return system_saves(0xE6);
  return std::strncmp(f.name, "avx", 3) != 0 || system_saves(0x06);
}
#endif

// The first feature that the target's objects may use and this CPU lacks; null: none, it runs here.
const char* lacking(int target) {
#if defined(__x86_64__)
  for (uint64_t bits = *kFeatures[target]; bits != 0; bits &= bits - 1)
    if (const Feature& f = kKnown[__builtin_ctzll(bits)]; !cpu_has(f)) return f.name;
#endif
  (void)target;
  return nullptr;
}

// Asked of the CPU once.
bool runs_here(int target) {
  static const uint64_t runs = [] {
    uint64_t bits = 0;
    for (int t = 0; t < kTargetCount; ++t) bits |= uint64_t(lacking(t) == nullptr) << t;
    return bits;
  }();
  return runs >> target & 1;
}

int find(const char* name) {
  for (int t = 0; t < kTargetCount; ++t)
    if (std::strcmp(kNames[t], name) == 0 && runs_here(t)) return t;
  return kUnknown;
}

int default_target() {
  const char* forced = std::getenv("KILTER_CPU_TARGET");
  if (forced && *forced) return find(forced);
  for (int t = 0; t < kTargetCount; ++t)
    if (runs_here(t)) return t;
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
    if (kilter::runs_here(t) && index-- == 0) return kilter::kNames[t];
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

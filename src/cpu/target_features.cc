// Which of features.def the compiler may use for one SIMD target; compiled once per target, with the flags of its kernels.
#include <cstdint>

namespace kilter::KILTER_TARGET_NAMESPACE {

// A macro's text: "1" where it is defined, else its own name.
#define KILTER_TEXT(text) #text
constexpr const char* kMacros[] = {
#define KILTER_FEATURE(macro, name, leaf, reg, bit) KILTER_TEXT(macro),
#include "cpu/features.def"
#undef KILTER_FEATURE
};

constexpr uint64_t used() {
  uint64_t bits = 0;
  for (unsigned i = 0; i < sizeof kMacros / sizeof *kMacros; ++i) bits |= uint64_t(kMacros[i][0] != '_') << i;
  return bits;
}

extern const uint64_t features;
const uint64_t features = used();

}  // namespace kilter::KILTER_TARGET_NAMESPACE

// The floating-point environment that the contract is stated in: round to nearest even, subnormals kept, no traps.  A caller may
// have another one (fesetround, flush-to-zero by -ffast-math or an audio library, feenableexcept), and so may threads of a
// runtime that were born under another; each thread that computes therefore sets this one and puts back what it found, flags
// included.
#pragma once

#include <cstdint>
#if defined(__SSE2__)
#include <xmmintrin.h>
#elif !defined(__aarch64__)
#include <cfenv>
#endif

// -fno-math-errno and -fno-trapping-math change no value; these do.
#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__) || defined(__ASSOCIATIVE_MATH__) || \
    defined(__RECIPROCAL_MATH__) || defined(__NO_SIGNED_ZEROS__) || defined(__USE_FAST_MATH__)
#error \
    "kilter: compiled with -ffast-math, -Ofast, --use_fast_math or a part of them, which break its numeric contract: leave them out for these files (kilter's own CMake project undoes them for C++)"
#endif

namespace kilter {

class FloatEnvironment {
 public:
  FloatEnvironment() {
#if defined(__SSE2__)
    found_ = _mm_getcsr();
    _mm_setcsr(0x1F80);  // all exceptions masked, no flag raised, nearest even, neither FTZ nor DAZ
#elif defined(__aarch64__)
    asm volatile("mrs %0, fpcr\n\tmrs %1, fpsr" : "=r"(found_), "=r"(flags_));
    asm volatile("msr fpcr, %0" : : "r"(uint64_t(0)));
#else
    std::fegetenv(&found_);
    std::fesetenv(FE_DFL_ENV);
#endif
    asm volatile("" : : : "memory");  // what is loaded from here on is computed with here
  }
  ~FloatEnvironment() {
    asm volatile("" : : : "memory");
#if defined(__SSE2__)
    _mm_setcsr(found_);
#elif defined(__aarch64__)
    asm volatile("msr fpcr, %0\n\tmsr fpsr, %1" : : "r"(found_), "r"(flags_));
#else
    std::fesetenv(&found_);
#endif
  }
  FloatEnvironment(const FloatEnvironment&) = delete;
  FloatEnvironment& operator=(const FloatEnvironment&) = delete;

 private:
#if defined(__SSE2__)
  unsigned found_;
#elif defined(__aarch64__)
  uint64_t found_, flags_;
#else
  std::fenv_t found_;
#endif
};

}  // namespace kilter

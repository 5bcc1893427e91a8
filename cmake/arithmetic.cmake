# The arithmetic that the numeric contract is stated in, whatever flags come from outside (CMAKE_CXX_FLAGS, CXXFLAGS, a parent
# project's compile options): every operation rounds once, none is reordered, replaced by an approximation or fused, and no
# start-up code switches the process to flush-to-zero.  The options go behind all others; -ffast-math and -Ofast are undone, flag
# by flag for those who pass single ones.  src/core/float_environment.h stops a compiler that they do not reach.
include(CheckCXXCompilerFlag)
set(kilter_arithmetic "")
foreach(flag -fno-fast-math -fno-unsafe-math-optimizations -fno-associative-math -fno-reciprocal-math -fno-finite-math-only -fsigned-zeros
             -fno-single-precision-constant -fno-rounding-math -fno-approx-func -ffp-contract=off)
  string(MAKE_C_IDENTIFIER "KILTER_HAS${flag}" known)
  check_cxx_compiler_flag("-Werror ${flag}" ${known})
  if(${known})
    string(APPEND kilter_arithmetic " ${flag}")
  endif()
endforeach()
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  string(APPEND kilter_arithmetic " -mfpmath=sse")  # not the x87 unit, which rounds twice
endif()
set(KILTER_ARITHMETIC "SHELL:${kilter_arithmetic}")  # as one, so that none is left out as a repetition of what they undo

# A large frame touches its pages in order, so that a stack that is too small ends at its guard page.
check_cxx_compiler_flag(-fstack-clash-protection KILTER_HAS_STACK_PROBES)
if(KILTER_HAS_STACK_PROBES)
  set(KILTER_STACK_PROBES -fstack-clash-protection)
endif()

# Linking with -ffast-math would add the start-up code of flush-to-zero.
check_cxx_compiler_flag(-mno-daz-ftz KILTER_HAS_NO_DAZ_FTZ)
set(KILTER_LINK_ARITHMETIC "SHELL:-fno-fast-math -fno-unsafe-math-optimizations -O2")
if(KILTER_HAS_NO_DAZ_FTZ)
  string(APPEND KILTER_LINK_ARITHMETIC " -mno-daz-ftz")
endif()

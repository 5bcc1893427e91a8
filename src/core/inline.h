// Helpers used by code that is compiled once per SIMD target must never leave an out-of-line copy behind: the linker keeps
// one copy of an inline function for the whole library, and it could be the one with instructions this CPU lacks.
#pragma once

#if defined(__CUDACC__)
#define KILTER_INLINE __host__ __device__ __forceinline__
#else
#define KILTER_INLINE [[gnu::always_inline]] inline
#endif

// For lambdas inside kernel loops: [..](int i) KILTER_INLINE_LAMBDA { .. }
#define KILTER_INLINE_LAMBDA __attribute__((always_inline))

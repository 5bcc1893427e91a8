// Functions that every unit which uses them compiles into itself.  Code that is compiled once per SIMD target must never leave an
// out-of-line copy behind: the linker keeps one copy of an inline function for the whole library, and it could be the one with
// instructions this CPU lacks.
#pragma once

#if defined(__CUDACC__)
#define KILTER_INLINE __host__ __device__ __forceinline__
#else
#define KILTER_INLINE [[gnu::always_inline]] inline
#endif

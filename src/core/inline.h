// Helpers used by code that is compiled once per SIMD target must never leave an out-of-line copy behind: the linker keeps
// one copy of an inline function for the whole library, and it could be the one with instructions this CPU lacks.
#pragma once

#define KILTER_INLINE [[gnu::always_inline]] inline

// For lambdas inside kernel loops: [..](int i) KILTER_INLINE_LAMBDA { .. }
#define KILTER_INLINE_LAMBDA __attribute__((always_inline))

// What the functions of every unit are declared with.
#pragma once

#include "kilter/device/inline.h"

// For lambdas inside kernel loops: [..](int i) KILTER_INLINE_LAMBDA { .. }
#define KILTER_INLINE_LAMBDA __attribute__((always_inline))

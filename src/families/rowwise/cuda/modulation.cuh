// Which row of scale, shift and gate a row is modulated by (families/rowwise/modulation.h).
#pragma once

#include "families/rowwise/modulation.h"

namespace kilter::cuda {

// Lengths are read where they are: what they should be, increasing from 0 to the number of rows, is not checked on the device.
__device__ __forceinline__ int64_t modulation_of(const Modulation& m, int64_t row) {
  if (m.run == 1 && !m.lengths) return row;
  if (!m.lengths) return (row | m.run) >> 32 ? row / m.run : uint32_t(row) / uint32_t(m.run);
  int64_t low = 0, high = m.count;  // the last one that begins at the row or before it
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (m.start_of(middle) <= row ? low : high) = middle;
  }
  return low;
}

}  // namespace kilter::cuda

// Which rows' terms of dweight and dbias add up together (docs/numerics.md, "dweight and dbias"), on the host and on devices.
#pragma once

#include <cstdint>

#include "core/inline.h"

namespace kilter {

struct RowPartition {
  int64_t chunk;   // rows per chunk, a multiple of 4
  int64_t chunks;  // P
};

constexpr int kBlockRows = 128;  // of a chunk, whose terms add up in the terms' type

// Why these numbers: docs/decisions/0006-partition-by-row-length.md.
KILTER_INLINE constexpr RowPartition row_partition(int64_t rows, int64_t n) {
  int64_t length = 128;  // n', from 65536 on without effect
  while (length < n && length < 65536) length *= 2;
  const int64_t most = (length <= 4096 ? 1 << 19 : 1 << 20) / length;  // Pmax
  const int64_t groups = rows / (4 * most) + (rows % (4 * most) != 0);
  const int64_t chunk = 4 * (groups > 1 ? groups : 1);
  return {chunk, rows / chunk + (rows % chunk != 0)};
}

}  // namespace kilter

// Which rows' terms of dweight and dbias add up together (docs/numerics.md, "dweight and dbias"), on the host and on devices.
#pragma once

#include <cstdint>

#include "core/inline.h"

namespace kilter {

constexpr int kGroupRows = 4;     // whose terms add up first
constexpr int kBlockGroups = 32;  // of a chunk, whose sums add up in the terms' type

// Groups of four rows are dealt to P chunks in turn: chunk c has the groups c, c + P, c + 2P, ...
struct RowPartition {
  int64_t groups;  // of all rows; the last may have fewer than four
  int64_t chunks;  // P

  // Groups of the longest chunk, which chunk 0 is.
  KILTER_INLINE constexpr int64_t steps() const { return chunks == 0 ? 0 : groups / chunks + (groups % chunks != 0); }
  // Groups of chunk c: steps() of them or one fewer.
  KILTER_INLINE constexpr int64_t groups_of(int64_t c) const { return c < groups ? (groups - c - 1) / chunks + 1 : 0; }
  // The first row of group k of chunk c.
  KILTER_INLINE constexpr int64_t row(int64_t c, int64_t k) const { return (c + k * chunks) * kGroupRows; }
};

// Why these numbers: docs/decisions/0006-partition-by-row-length.md.
KILTER_INLINE constexpr RowPartition row_partition(int64_t rows, int64_t n) {
  int64_t length = 128;  // n', from 65536 on without effect
  while (length < n && length < 65536) length *= 2;
  const int64_t most = (length <= 4096 ? 1 << 19 : 1 << 20) / length;  // Pmax
  const int64_t groups = rows / kGroupRows + (rows % kGroupRows != 0);
  return {groups, groups < most ? groups : most};
}

}  // namespace kilter

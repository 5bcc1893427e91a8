// Sums over rows for dweight and dbias (docs/numerics.md, "dweight and dbias"): rows of columns that add up.
// Included per SIMD target.
#pragma once

#include <cstring>

#include "families/rowwise/row_norm_cpu.h"

namespace kilter::KILTER_TARGET_NAMESPACE {

// Adds what is in `from` and starts it again from zero, for the columns of one segment.  Unused places hold zeros.
template <class Sum, class C>
void flush(Sum* __restrict sum, C* __restrict from, int extent) {
  for (int i = 0; i < extent; ++i) {
    if constexpr (sizeof(Sum) == sizeof(C))
      sum[i] = sum[i] + from[i];
    else
      add_to(sum[i], widen(from[i]));
    from[i] = 0;
  }
}

template <class W>
void add_rows(W* __restrict left, const W* __restrict right, int64_t n) {
  for (int64_t i = 0; i < n; ++i) add_to(left[i], right[i]);
}

// In place over `count` rows: row 0 ends as the binary tree's root, lowest bit first.
template <class W>
void add_tree(W* rows, int64_t stride, int64_t count, int64_t begin, int64_t end) {
  for (int64_t step = 1; step < count; step *= 2)
    for (int64_t i = 0; i + step < count; i += 2 * step)
      add_rows(rows + i * stride + begin, rows + (i + step) * stride + begin, end - begin);
}

// The binary tree over a column of kRows rows.
template <int kRows, class C>
KILTER_INLINE Wide<C> column_tree(const C* rows, int64_t stride) {
  if constexpr (kRows == 1) {
    return widen(rows[0]);
  } else {
    Wide<C> sum = column_tree<kRows / 2>(rows, stride);
    add_to(sum, column_tree<kRows / 2>(rows + kRows / 2 * stride, stride));
    return sum;
  }
}

// The sum of chunk (or of the chunks in turn) `index` joins the subtrees on its left, as in a binary counter: one for each
// trailing one bit, for the last all that are left.  What results is the next subtree, or the root.  Chunks in turn that are
// missing are zeros, which change no sum.  Memory is cleared in small pieces: for short rows the loops that compilers make of
// longer ones cost as much as all the rest.
template <class C>
void join_subtrees(const ColumnSum<C>& sum, const ColumnSums<C>& sums, int64_t index, bool last) {
  constexpr int64_t kTile = 512;
  const int64_t stride = sums.stride;
  Wide<C> tile[kTile];
  for (int64_t start = 0; start < stride; start += kTile) {
    const int64_t count = stride - start < kTile ? stride - start : kTile;
    if (sum.blocks) {
      for (int64_t i = 0; i < count; ++i) tile[i] = sum.blocks[start + i];
      for (int64_t i = 0; i < count; ++i) sum.blocks[start + i] = {};
    } else if (sums.in_turn == 1) {
      for (int64_t i = 0; i < count; ++i) tile[i] = widen(sum.block[start + i]);
    } else {
      for (int64_t i = 0; i < count; ++i) tile[i] = column_tree<kChunksInTurn>(sum.block + start + i, stride);
    }
    for (int k = 0; k < sums.in_turn; ++k)
      for (int64_t i = 0; i < count; i += kPadding) std::memset(sum.block + k * stride + start + i, 0, kPadding * sizeof(C));
    int b = 0;
    for (; last ? index >> b != 0 : (index >> b & 1) != 0; ++b)
      if (index >> b & 1) add_rows(tile, sum.levels + b * stride + start, count);
    Wide<C>* const to = (last ? sum.out : sum.levels + b * stride) + start;
    for (int64_t i = 0; i < count; i += kPadding) std::memcpy(to + i, tile + i, kPadding * sizeof(Wide<C>));
  }
}

}  // namespace kilter::KILTER_TARGET_NAMESPACE

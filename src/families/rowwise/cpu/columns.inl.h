// Sums over rows for dweight and dbias (docs/numerics.md, "dweight and dbias"): rows of columns that add up.
// Included per SIMD target.
#pragma once

#include <cstring>
#include <type_traits>

#include "cpu/vec_io.inl.h"
#include "families/rowwise/cpu/run.h"

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

// The binary tree over a column of kRows rows, of terms or of sums.
template <class C, int kRows, class Row>
KILTER_INLINE Wide<C> column_tree(const Row* rows, int64_t stride) {
  if constexpr (kRows > 1) {
    Wide<C> sum = column_tree<C, kRows / 2>(rows, stride);
    add_to(sum, column_tree<C, kRows / 2>(rows + kRows / 2 * stride, stride));
    return sum;
  } else if constexpr (std::is_same_v<Row, Wide<C>>) {
    return rows[0];
  } else {
    return widen(rows[0]);
  }
}

// Moves the sums of kRows rows to one, which is wide.  Memory is cleared in small pieces: for short rows the loops that compilers
// make of longer ones cost as much as all the rest.
template <class C, int kRows, class Row>
void take_tree(Wide<C>* __restrict to, Row* __restrict rows, int64_t stride, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = column_tree<C, kRows>(rows + i, stride);
  for (int k = 0; k < kRows; ++k)
    for (int64_t i = 0; i < count; i += kPadding) std::memset(static_cast<void*>(rows + k * stride + i), 0, kPadding * sizeof(Row));
}

template <class C, class Row>
void take_rows(Wide<C>* to, Row* rows, int64_t stride, int64_t count, int joined) {
  static_assert(kJoined == 8);
  if (joined == 1) take_tree<C, 1>(to, rows, stride, count);
  if (joined == 2) take_tree<C, 2>(to, rows, stride, count);
  if (joined == 4) take_tree<C, 4>(to, rows, stride, count);
  if (joined == 8) take_tree<C, 8>(to, rows, stride, count);
}

// The sums of `joined` chunks, from `turn` of the set on, join as number `index` the subtrees on their left, as in a binary
// counter: one for each trailing one bit, for the last all that are left.  What results is the next subtree, or the root.  Chunks
// that are missing are zeros, which change no sum.
template <class C>
void join_subtrees(const ColumnSum<C>& sum, int64_t stride, int turn, int joined, int64_t index, bool last) {
  constexpr int64_t kTile = kPiece<Wide<C>>;
  Wide<C> tile[kTile];
  for (int64_t start = 0; start < stride; start += kTile) {
    const int64_t count = stride - start < kTile ? stride - start : kTile, from = turn * stride + start;
    if (sum.blocks)
      take_rows<C>(tile, sum.blocks + from, stride, count, joined);
    else
      take_rows<C>(tile, sum.block + from, stride, count, joined);
    int b = 0;
    for (; last ? index >> b != 0 : (index >> b & 1) != 0; ++b)
      if (index >> b & 1) add_rows(tile, sum.levels + b * stride + start, count);
    Wide<C>* const to = (last ? sum.out : sum.levels + b * stride) + start;
    for (int64_t i = 0; i < count; i += kPadding) std::memcpy(static_cast<void*>(to + i), tile + i, kPadding * sizeof(Wide<C>));
  }
}

// All chunks of a set; `index`: how many joined before.
template <class C>
void join_set(const ColumnSums<C>& sums, int chunks, int64_t* index, bool last) {
  const int joined = sums.set < kJoined ? sums.set : kJoined;
  for (int turn = 0; turn < chunks; turn += joined, ++*index)
    for (const ColumnSum<C>* sum : {&sums.weight, &sums.bias})
      if (sum->block) join_subtrees(*sum, sums.stride, turn, joined, *index, last && turn + joined >= chunks);
}

}  // namespace kilter::KILTER_TARGET_NAMESPACE

// What the kernels of the elementwise ops receive, and which thread does what: pure functions of the call.
#pragma once

#include "cuda/row_address.h"
#include "families/elementwise/problem.h"

namespace kilter::cuda {

constexpr int kElementwiseThreads = 256;

// A vector over columns, or one value.
struct Column {
  const char* data = nullptr;  // null: absent
  DType type = DType::none;
  Column() = default;
  explicit Column(const View& v) : data(v.data), type(v.dtype) {}
};

// A block's threads lie over `across` accesses of a row and `down` rows; `tiles` such blocks make a row.
struct ElementwiseTile {
  int across, down;
  int64_t tiles;
};
inline ElementwiseTile elementwise_tile(int64_t n, int width, int64_t rows_for_a_block) {
  ElementwiseTile t;
  const int64_t accesses = n > 0 ? (n + width - 1) / width : 1;
  t.tiles = (accesses + kElementwiseThreads - 1) / kElementwiseThreads;
  t.across = int((accesses + t.tiles - 1) / t.tiles);
  const int64_t fit = kElementwiseThreads / t.across;
  t.down = int(fit < rows_for_a_block ? fit : rows_for_a_block);
  return t;
}

// The row norms' chunks, or fewer, so that a chunk has a group for each of a block's rows of threads.
inline RowPartition elementwise_partition(int64_t rows, int64_t n, int width) {
  RowPartition partition = row_partition(rows, n);
  const int64_t down = kElementwiseThreads / elementwise_tile(n, width, 1).across, full = (partition.groups + down - 1) / down;
  if (full < partition.chunks) partition.chunks = full;
  return partition;
}

// Rows that a thread takes in forward: more of them share the loads of weight and bias, fewer make blocks for every multiprocessor.
constexpr int kMostRowsOfAThread = 8;
inline int elementwise_rows(int64_t rows, const ElementwiseTile& tile, int multiprocessors) {
  int count = kMostRowsOfAThread;
  while (count > 1 && (rows + tile.down * count - 1) / (tile.down * count) * tile.tiles < 8 * int64_t(multiprocessors)) count /= 2;
  return count;
}

// Rows: how a kernel's accesses find and convert a tensor's rows (rows.cuh).
template <class Rows>
struct ElementwiseForwardParameters {
  int64_t rows, n;
  ElementwiseTile tile;
  int rows_of_a_thread;
  int64_t first_block;  // of this launch: a grid has at most 65535 beside the tiles
  bool dependent;       // launched so: nothing may be read before the wait
  Column alpha, shift, weight, bias;
  typename Rows::Tensor x, residual, y, residual_out;
};

// Sums of a chunk's rows go to the workspace, each rounded once, and the finish adds them up: `columns` has dweight's and dbias's terms,
// two rows of n per chunk; `scalars` dalpha's and dshift's, two values per chunk and tile.
template <class Rows>
struct ElementwiseBackwardParameters {
  int64_t rows, n;
  ElementwiseTile tile;
  RowPartition partition;
  bool dependent;
  Column alpha, shift, weight;
  typename Rows::Tensor x, dy, dresidual_out, dx, dresidual;
  typename Rows::C *columns, *scalars;  // null: no sums are asked for
};

struct ElementwiseFinishParameters {
  int64_t n, chunks, tiles;
  const void *columns, *scalars;
  View dweight, dbias, dalpha, dshift;
};

}  // namespace kilter::cuda

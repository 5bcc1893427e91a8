// The row norms on the CPU: who does which rows, where scratch lies.  The row passes themselves are row_norm_cpu.inl.h.
#pragma once

#include "families/rowwise/column_sum.h"
#include "families/rowwise/row_norm.h"

namespace kilter {

// The sum over a chunk's rows of one gradient's terms, n columns (docs/numerics.md, "dweight and dbias"): the blocks' sum, where
// a chunk has more than one block, else null; the sum of a block's groups, zero at first, for each chunk in turn; a group's rows 0 and 1,
// and 2 and 3, where they do not come together, zero between groups.
template <class C>
struct ColumnSum {
  Wide<C>* blocks = nullptr;
  C* block = nullptr;  // null: not asked for; else as many rows as there are chunks in turn
  C* half[2] = {};
  Wide<C>* levels = nullptr;  // of the tree over chunks, one row of `stride` each
  Wide<C>* out = nullptr;     // the root
};

// Chunks of short rows whose sums wait for each other in the first-level cache, to join the tree over chunks together.
constexpr int kChunksInTurn = 8;

constexpr int kPadding = 32;

template <class C>
struct ColumnSums {
  ColumnSum<C> weight, bias;
  int64_t chunk = INT64_MAX;  // rows, a multiple of four
  int64_t stride = 0;         // columns, padded to a multiple of kPadding
  int in_turn = 1;            // or kChunksInTurn
  bool pairs = false;         // columns of a segment in pairs order (cpu/vec_io.inl.h): even ones first, then odd ones
};

// Where column i of n stands in pairs order.
int64_t pairs_index(int64_t i, int64_t n);

// One op's row passes for one SIMD target, rows [begin, end), where a chunk begins.  past_caches: streaming stores.
template <class C>
struct RowBackwardKernels {
  void (*rows)(const RowNormBackward&, int64_t begin, int64_t end, const ColumnSums<C>&, bool past_caches);
  // The tree over what several such calls left: row_columns.inl.h.
  void (*add_tree)(Wide<C>* rows, int64_t stride, int64_t count, int64_t begin, int64_t end);
};

struct RowNormKernels {
  void (*forward_f32)(const RowNormForward&, int64_t begin, int64_t end, bool past_caches);
  void (*forward_f64)(const RowNormForward&, int64_t begin, int64_t end, bool past_caches);
  RowBackwardKernels<float> backward_f32;
  RowBackwardKernels<double> backward_f64;
};

[[nodiscard]] kilter_status row_norm_cpu_forward(const RowNormForward& problem, const RowNormKernels& kernels);
[[nodiscard]] kilter_status row_norm_cpu_backward(const RowNormBackward& problem, const RowNormKernels& kernels);

// Bytes of workspace with which row_norm_cpu_backward uses that many threads.
size_t row_norm_cpu_workspace(const RowNormBackward& problem, int threads);

}  // namespace kilter

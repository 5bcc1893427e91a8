// The row norms on the CPU: who does which rows, where scratch lies.  The row passes themselves are passes.inl.h.
#pragma once

#include <type_traits>

#include "core/wide_sum.h"
#include "families/rowwise/cpu/walk.h"
#include "families/rowwise/problem.h"

namespace kilter {

// The sums of one gradient's terms over the rows of a set of chunks, n columns each (docs/numerics.md, "dweight and dbias"): a
// chunk's blocks, where it has more than one, else null; a block's groups, zero at first; a group's rows 0 and 1, and 2 and 3,
// where they do not come together, zero between groups.
template <class C>
struct ColumnSum {
  Wide<C>* blocks = nullptr;  // one row of `stride` for each chunk of a set
  C* block = nullptr;         // likewise; null: not asked for
  C* half[2] = {};
  Wide<C>* levels = nullptr;  // of the tree over chunks, one row each
  Wide<C>* out = nullptr;     // the root
};

// So many chunks of a set, or all if it has fewer, join the tree over chunks together.
constexpr int kJoined = 8;

constexpr int kPadding = 32;

template <class C, class Row>
KILTER_INLINE Wide<C> wide_of(Row v) {
  if constexpr (std::is_same_v<Row, C>)
    return widen(v);
  else
    return v;
}

// Where the sums of modulations go, each from those of its terms (docs/numerics.md, "Modulation"): those that lie in rows [begin,
// end) as a whole to the call's tensors, of others the share to `head` or `tail`, by whether they begin there; and what the rows add to
// dweight and dbias.
template <class C>
struct ModulationSums {
  int64_t begin = 0, end = 0;
  bool many_blocks = false;                     // a modulation's blocks of groups may be several
  Wide<C>*head[3] = {}, *tail[3] = {};          // by plane: dy * h, dy, d * branch
  Wide<C>*dweight = nullptr, *dbias = nullptr;  // null: not asked for
  C* weight = nullptr;                          // a row of scratch, for W
};

template <class C>
struct ColumnSums {
  ColumnSum<C> weight, bias, gate;          // of dy * h, dy, d * branch
  ModulationSums<C>* modulation = nullptr;  // where rows are modulated
  int64_t stride = 0;                       // columns, padded to a multiple of kPadding
  int set = 1;                              // chunks, a power of two
  bool pairs = false;                       // columns of a segment in pairs order (cpu/vec_io.inl.h): even ones first, then odd ones
};

// bf16 rows are worked on in pairs order; an fp32 residual stream is not.
inline bool in_pairs(const RowNormBackward& p) { return p.x.dtype == DType::bf16 && p.dy.dtype == DType::bf16; }
// Where column i of n stands in pairs order.
int64_t pairs_index(int64_t i, int64_t n);

// One op's row passes for one SIMD target, over the rows of a walk.  past_caches: streaming stores.
template <class C>
struct RowBackwardKernels {
  void (*rows)(const RowNormBackward&, const RowWalk& walk, const ColumnSums<C>&, bool past_caches);
  // The tree over what several such calls left: columns.inl.h.
  void (*add_tree)(Wide<C>* rows, int64_t stride, int64_t count, int64_t begin, int64_t end);
};

struct RowNormKernels {
  void (*forward_f32)(const RowNormForward&, int64_t begin, int64_t end, bool past_caches);
  void (*forward_f64)(const RowNormForward&, int64_t begin, int64_t end, bool past_caches);
  RowBackwardKernels<float> backward_f32;
  RowBackwardKernels<double> backward_f64;
};

[[nodiscard]] kilter_status run_on_cpu(const RowNormForward& problem, const RowNormKernels& kernels);
[[nodiscard]] kilter_status run_on_cpu(const RowNormBackward& problem, const RowNormKernels& kernels);

// Bytes of workspace with which backward uses that many threads.
size_t row_norm_cpu_workspace(const RowNormBackward& problem, int threads);

}  // namespace kilter

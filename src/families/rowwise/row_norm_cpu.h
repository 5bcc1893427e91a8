// The row norms on the CPU: who does which rows, where scratch lies.  The row passes themselves are row_norm_cpu.inl.h.
#pragma once

#include "families/rowwise/row_norm.h"

namespace kilter {

// A sum over rows in more precision than its terms: fp64 for fp32 terms, an unevaluated sum of two fp64 for fp64 terms.
struct Twofold {
  double hi = 0, lo = 0;
};
template <class C>
struct WideOf {
  using type = double;
};
template <>
struct WideOf<double> {
  using type = Twofold;
};
template <class C>
using Wide = typename WideOf<C>::type;

KILTER_INLINE void add_to(double& sum, double v) { sum = sum + v; }
KILTER_INLINE void add_to(Twofold& sum, Twofold v) {  // Knuth, TAOCP vol. 2, 4.2.2, theorem B
  const double hi = sum.hi + v.hi, taken = hi - sum.hi;
  const double lost = (sum.hi - (hi - taken)) + (v.hi - taken);
  sum = {hi, (sum.lo + v.lo) + lost};
}
KILTER_INLINE double widen(float v) { return v; }
KILTER_INLINE Twofold widen(double v) { return {v, 0}; }
KILTER_INLINE double value_of(double v) { return v; }
KILTER_INLINE double value_of(Twofold v) { return v.hi - v.hi == 0 ? v.hi + v.lo : v.hi; }  // lo is NaN beside an infinity

// The sum over a chunk's rows of one gradient's terms, n columns (docs/numerics.md, "dweight and dbias"): the blocks' sum, where
// a chunk has more than one block, else null; the sum of a block's groups, zero at first; a group's rows 0 and 1, and 2 and 3,
// where they do not come together, zero between groups.
template <class C>
struct ColumnSum {
  Wide<C>* blocks = nullptr;
  C* block = nullptr;  // null: not asked for
  C* half[2] = {};
};

template <class C>
struct ColumnSums {
  ColumnSum<C> weight, bias;
  bool pairs = false;  // columns of a segment in pairs order (cpu/vec_io.inl.h): even ones first, then odd ones
};

// Where column i of n stands in pairs order.
int64_t pairs_index(int64_t i, int64_t n);

// One op's row passes for one SIMD target, rows [begin, end).  past_caches: streaming stores.
template <class C>
struct RowBackwardKernels {
  void (*rows)(const RowNormBackward&, int64_t begin, int64_t end, const ColumnSums<C>&, bool past_caches);
  // Trees over chunks, and over blocks of them: row_columns.inl.h.
  void (*join_subtrees)(const ColumnSum<C>&, Wide<C>* levels, int64_t stride, int64_t index, bool last, Wide<C>* out);
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

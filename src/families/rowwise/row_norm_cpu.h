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

// Sums over a chunk's rows for dweight and dbias (null where not asked for), n columns each.
template <class C>
struct ColumnSums {
  Wide<C>* weight = nullptr;
  Wide<C>* bias = nullptr;
  C* halves = nullptr;  // four rows of `stride`: what rows 0 and 1, 2 and 3 of a group of four add up to, for weight and bias
  int64_t stride = 0;
  bool pairs = false;  // columns of a segment in pairs order (cpu/vec_io.inl.h): even ones first, then odd ones
};

// Where column i of n stands in pairs order.
int64_t pairs_index(int64_t i, int64_t n);

// One op's row passes for one SIMD target, rows [begin, end).  past_caches: streaming stores.
struct RowNormKernels {
  void (*forward_f32)(const RowNormForward&, int64_t begin, int64_t end, bool past_caches);
  void (*forward_f64)(const RowNormForward&, int64_t begin, int64_t end, bool past_caches);
  void (*backward_f32)(const RowNormBackward&, int64_t begin, int64_t end, const ColumnSums<float>&, bool past_caches);
  void (*backward_f64)(const RowNormBackward&, int64_t begin, int64_t end, const ColumnSums<double>&, bool past_caches);
};

[[nodiscard]] kilter_status row_norm_cpu_forward(const RowNormForward& problem, const RowNormKernels& kernels);
[[nodiscard]] kilter_status row_norm_cpu_backward(const RowNormBackward& problem, const RowNormKernels& kernels);

// Bytes of workspace with which row_norm_cpu_backward uses that many threads.
size_t row_norm_cpu_workspace(const RowNormBackward& problem, int threads);

}  // namespace kilter

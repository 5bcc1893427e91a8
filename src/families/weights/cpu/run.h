// weight_norm on the CPU: who does which parts of which slices, where sums lie.  The passes themselves are passes.inl.h.
#pragma once

#include "families/weights/problem.h"

namespace kilter {

// Elements are read, worked on and written in pieces of at most so many; they are columns of a vector loop as well.
template <class C>
constexpr int64_t kWeightsPiece = sizeof(C) == 4 ? 1024 : 256;

// Elements [begin, end) of rows [first, last) of a slice.
struct SlicePart {
  const Slices* slices;
  int64_t slice, first, last, begin, end;
};
// Columns [start, start + m) of rows [first, last).
struct ColumnPart {
  const Slices* slices;
  int64_t first, last, start;
  int m;
};

// For each column what forward or backward multiplies by: those of its slice.  d: backward's sum.
template <class C>
struct ColumnFactors {
  C *scale, *inverse, *factor, *rest, *d;
};

// For one SIMD target.  past_caches: streaming stores.
template <class C>
struct WeightsPasses {
  // Adds the part's terms: (v * scale)^2, or with a dw: dw * (v * scale * inverse).
  void (*sum)(const SlicePart&, const View& v, const View& dw, C scale, C inverse, Wide<C>* sum);
  C (*largest)(const SlicePart&, const View& v);  // of |v|
  void (*forward)(const SlicePart&, const WeightsForward&, const ForwardFactors<C>&, bool past_caches);
  void (*backward)(const SlicePart&, const WeightsBackward&, const BackwardFactors<C>&, C d, bool past_caches);
  // Of the rows by column; factors: null in forward.
  void (*column_sums)(const ColumnPart&, const View& v, const View& dw, const ColumnFactors<C>* factors, Wide<C>* sums);
  void (*forward_columns)(const ColumnPart&, const WeightsForward&, const ColumnFactors<C>&, bool past_caches);
  void (*backward_columns)(const ColumnPart&, const WeightsBackward&, const ColumnFactors<C>&, bool past_caches);
};
struct WeightsKernels {
  WeightsPasses<float> f32;
  WeightsPasses<double> f64;
};

[[nodiscard]] kilter_status run_on_cpu(const WeightsForward& problem, const WeightsKernels& kernels);
[[nodiscard]] kilter_status run_on_cpu(const WeightsBackward& problem, const WeightsKernels& kernels);

size_t weights_cpu_workspace(const WeightsForward& problem);
size_t weights_cpu_workspace(const WeightsBackward& problem);

}  // namespace kilter

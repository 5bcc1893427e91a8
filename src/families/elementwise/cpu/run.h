// The elementwise ops on the CPU: who does which pieces, where sums lie.  The passes themselves are passes.inl.h.
#pragma once

#include "core/wide_sum.h"
#include "families/elementwise/problem.h"

namespace kilter {

// A row in pieces of at most so many elements; what 16 rows add to a piece's sums stays in the first-level cache.
template <class C>
constexpr int64_t kPieceLength = sizeof(C) == 4 ? 1024 : 256;

// One piece's sums over the rows of a chunk: of dweight's and dbias's terms by column, and of dalpha's and dshift's, which then add up
// over the columns as well.  block: of up to kBlockRows rows; wide: of all blocks.
enum Term { kWeightTerm, kBiasTerm, kAlphaTerm, kShiftTerm, kTerms };
template <class C>
struct PieceSums {
  C block[kTerms][kPieceLength<C>];
  Wide<C> wide[kTerms][kPieceLength<C>];
};

// One op's passes for one SIMD target.  past_caches: streaming stores.
template <class C>
struct ElementwisePasses {
  // Pieces [begin, end) of all rows' pieces, row by row.
  void (*forward)(const ElementwiseForward&, int64_t begin, int64_t end, bool past_caches);
  // Elements [start, start + m) of the rows of a chunk; sums: null if none are asked for.
  void (*backward)(const ElementwiseBackward&, const RowPartition&, int64_t chunk, int64_t start, int m, PieceSums<C>* sums,
                   bool past_caches);
};
struct ElementwiseKernels {
  ElementwisePasses<float> f32;
  ElementwisePasses<double> f64;
};

[[nodiscard]] kilter_status run_on_cpu(const ElementwiseForward& problem, const ElementwiseKernels& kernels);
[[nodiscard]] kilter_status run_on_cpu(const ElementwiseBackward& problem, const ElementwiseKernels& kernels);

// Bytes of workspace with which backward uses that many threads.
size_t elementwise_cpu_workspace(const ElementwiseBackward& problem, int threads);

}  // namespace kilter

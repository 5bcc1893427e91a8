// The elementwise ops' passes over pieces of rows.  Included per SIMD target.
//
// A piece is read, converted to the compute type C, worked on by one loop that the compiler makes vectors of, and written.  Products
// and sums round one by one: no fused multiply-add, which not every target has.
#pragma once

#include "cpu/arithmetic.inl.h"
#include "cpu/weights.inl.h"
#include "families/elementwise/cpu/run.h"
#include "families/elementwise/functions.h"

namespace kilter::KILTER_TARGET_NAMESPACE {

// What a piece needs of the call's scalars.
template <class C>
struct Scalars {
  C alpha, shift;
  template <class Problem>
  explicit Scalars(const Problem& p)
      : alpha(one(p.alpha)), shift(p.shift.present() ? one(p.shift) : C(-0.0)) {}  // minus 0 changes no number

 private:
  static C one(const View& v) {
    C value;
    return *Natural<C>::load(v.dtype, v.data, 1, &value);
  }
};

template <class C>
KILTER_INLINE const C* load(const View& v, const char* row, int64_t start, int m, C* buffer) {
  return Natural<C>::load(v.dtype, row + start * item_size(v.dtype), m, buffer);
}

static_assert(kPieceLength<float> <= kPiece<float> && kPieceLength<double> <= kPiece<double>, "Weights holds a piece");

template <class F, class C>
void forward_pieces(const ElementwiseForward& p, int64_t begin, int64_t end, bool past_caches) {
  alignas(64) C value[kPieceLength<C>], other[kPieceLength<C>];
  Weights<Natural<C>> weights(p.weight, C(0), p.n), biases(p.bias, C(0), p.n);
  const Scalars<C> scalars(p);
  const C alpha = scalars.alpha, shift = scalars.shift;
  constexpr int64_t kLength = kPieceLength<C>;
  const int64_t pieces = (p.n + kLength - 1) / kLength;
  for (int64_t piece = begin; piece < end; ++piece) {
    const int64_t r = piece / pieces, start = piece % pieces * kLength;
    const int m = int(p.n - start < kLength ? p.n - start : kLength);
    const C* x = load<C>(p.x, p.x.row(r), start, m, value);
    if (p.residual.present()) {
      const C* residual = load<C>(p.residual, p.residual.row(r), start, m, other);
      for (int i = 0; i < m; ++i) value[i] = x[i] + residual[i];
      round_to(p.residual.dtype, value, m);
      x = value;
      if (p.residual_out.present()) {
        const View& out = p.residual_out;
        Natural<C>::store(out.dtype, value, m, out.row(r) + start * item_size(out.dtype), false);
      }
    }
    // Where there is no weight, times 1 and plus 0 would not keep -0.
    const C *w = weights.at(start, m), *b = biases.at(start, m);
    C* const y = value;
    with_flags(w, b, [&](auto has_weight, auto has_bias) KILTER_INLINE_LAMBDA {
      KILTER_NO_DEPENDENCE
      for (int i = 0; i < m; ++i) {
        C v = F::template both<Plain>(alpha * x[i] + shift).value;
        if constexpr (has_weight.value) v = v * w[i];
        if constexpr (has_bias.value) v = v + b[i];
        y[i] = v;
      }
    });
    Natural<C>::store(p.y.dtype, y, m, p.y.row(r) + start * item_size(p.y.dtype), past_caches);
  }
  if (past_caches) stream_fence();
}

template <class C>
void add_block(PieceSums<C>* sums, int m) {
  for (int k = 0; k < kTerms; ++k)
    for (int i = 0; i < m; ++i) {
      add_to(sums->wide[k][i], widen(sums->block[k][i]));
      sums->block[k][i] = 0;
    }
}

template <class F, class C>
void backward_piece(const ElementwiseBackward& p, const RowPartition& partition, int64_t chunk, int64_t start, int m, PieceSums<C>* sums,
                    bool past_caches) {
  alignas(64) C x_buffer[kPieceLength<C>], dy_buffer[kPieceLength<C>];
  Weights<Natural<C>> weights(p.weight, C(0), p.n);
  const Scalars<C> scalars(p);
  const C alpha = scalars.alpha, shift = scalars.shift;
  const C* const w = weights.at(start, m);
  for (int k = 0; sums && k < kTerms; ++k)
    for (int i = 0; i < m; ++i) sums->block[k][i] = 0, sums->wide[k][i] = {};
  int in_block = 0;
  for (int64_t group = 0, groups = partition.groups_of(chunk); group < groups; ++group) {
    const int64_t first = partition.row(chunk, group), last = p.rows - first < kGroupRows ? p.rows : first + kGroupRows;
    for (int64_t r = first; r < last; ++r) {
      const C *x = load<C>(p.x, p.x.row(r), start, m, x_buffer), *dy = load<C>(p.dy, p.dy.row(r), start, m, dy_buffer);
      C* const dx = dy_buffer;  // element by element behind what is read
      with_flags(w, sums, [&](auto has_weight, auto has_sums) KILTER_INLINE_LAMBDA {
        KILTER_NO_DEPENDENCE
        for (int i = 0; i < m; ++i) {
          const ValueAndSlope<C> f = F::template both<Plain>(alpha * x[i] + shift);
          const C upstream = dy[i];
          C g = upstream;
          if constexpr (has_weight.value) g = g * w[i];
          const C slope = g * f.slope;
          if constexpr (has_sums.value) {
            sums->block[kWeightTerm][i] += upstream * f.value;
            sums->block[kBiasTerm][i] += upstream;
            sums->block[kAlphaTerm][i] += slope * x[i];
            sums->block[kShiftTerm][i] += slope;
          }
          dx[i] = slope * alpha;
        }
      });
      if (p.dresidual_out.present()) {
        const C* up = load<C>(p.dresidual_out, p.dresidual_out.row(r), start, m, x_buffer);
        for (int i = 0; i < m; ++i) dx[i] = dx[i] + up[i];
      }
      for (const View* out : {&p.dx, &p.dresidual})
        if (out->present()) Natural<C>::store(out->dtype, dx, m, out->row(r) + start * item_size(out->dtype), past_caches);
      if (sums && ++in_block == kBlockRows) add_block(sums, m), in_block = 0;
    }
  }
  if (sums && in_block) add_block(sums, m);
  if (past_caches) stream_fence();
}

template <class F>
constexpr ElementwiseKernels elementwise_kernels() {
  return {{forward_pieces<F, float>, backward_piece<F, float>}, {forward_pieces<F, double>, backward_piece<F, double>}};
}

}  // namespace kilter::KILTER_TARGET_NAMESPACE

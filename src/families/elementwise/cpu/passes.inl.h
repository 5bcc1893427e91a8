// The elementwise ops' passes over pieces of rows.  Included per SIMD target.
//
// A piece is read, converted to the compute type C, worked on by one loop that the compiler makes vectors of, and written.  Products
// and sums round one by one: no fused multiply-add, which not every target has.
#pragma once

#include "cpu/weights.inl.h"
#include "families/elementwise/cpu/run.h"
#include "families/elementwise/functions.h"

// The next loop's elements have nothing to do with one another, although outputs may lie where inputs do.  (Clang's pragma would be
// an order, and a warning where vectors are off.)
#if defined(__clang__)
#define KILTER_NO_DEPENDENCE
#else
#define KILTER_NO_DEPENDENCE _Pragma("GCC ivdep")
#endif

namespace kilter::KILTER_TARGET_NAMESPACE {

struct Plain {
  template <class C>
  KILTER_INLINE static C mad(C a, C b, C c) {
    return a * b + c;
  }
  template <class C>
  KILTER_INLINE static C select(bool is, C a, C b) {
    return is ? a : b;
  }
  KILTER_INLINE static float inverse(float v) { return 1.0f / v; }
  // 2^v by 2^k times a polynomial in v - k, k the nearest integer; below the normal numbers, 0.
  KILTER_INLINE static float exp2(float v) {
    constexpr float kToInteger = 0x1.8p23f;  // a float this large has no fraction: k is left in its last bits
    const float shifted = v + kToInteger, f = v - (shifted - kToInteger);
    float p = mad(0x1.41fbbcp-13f, f, 0x1.5f3e54p-10f);
    p = mad(p, f, 0x1.3b2d4cp-7f);
    p = mad(p, f, 0x1.c6aee8p-5f);
    p = mad(p, f, 0x1.ebfbdcp-3f);
    p = mad(p, f, 0x1.62e430p-1f);
    p = mad(p, f, 1.0f);
    const uint32_t power = (__builtin_bit_cast(uint32_t, shifted) + 127u) << 23;
    return v < -126.0f ? 0.0f : p * __builtin_bit_cast(float, power);
  }
};

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

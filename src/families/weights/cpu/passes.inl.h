// weight_norm's passes over parts of slices.  Included per SIMD target.
//
// A piece is read, converted to the compute type C, worked on by one loop that the compiler makes vectors of, and written.  Products
// and sums round one by one: no fused multiply-add, which not every target has.
#pragma once

#include "cpu/arithmetic.inl.h"
#include "cpu/vec_io.inl.h"
#include "families/weights/cpu/run.h"

namespace kilter::KILTER_TARGET_NAMESPACE {

// Elements [start, start + m) of a row of a tensor's slices; f(address, begin, count) for each run of them.
template <class F>
KILTER_INLINE void over_memory(const Slices& s, const View& v, int64_t row, int64_t start, int m, F&& f) {
  const int64_t first = row * s.n + start, item = item_size(v.dtype);
  if (is_flat(v)) return f(v.data + first * item, 0, m);
  for (int done = 0; done < m;) {
    const int64_t at = (first + done) % s.row_length, left = s.row_length - at;
    const int count = left < m - done ? int(left) : m - done;
    f(v.row((first + done) / s.row_length) + at * item, done, count);
    done += count;
  }
}
template <class C>
KILTER_INLINE const C* load(const Slices& s, const View& v, int64_t row, int64_t start, int m, C* buffer) {
  const C* values = buffer;
  over_memory(s, v, row, start, m, [&](const char* from, int begin, int count) {
    const C* const own = Natural<C>::load(v.dtype, from, count, buffer + begin);
    if (count == m)
      values = own;
    else if (own != buffer + begin)
      std::memcpy(buffer + begin, own, size_t(count) * sizeof(C));
  });
  return values;
}
template <class C>
KILTER_INLINE void store(const Slices& s, const View& v, int64_t row, int64_t start, const C* values, int m, bool past_caches) {
  over_memory(s, v, row, start, m,
              [&](char* to, int begin, int count) { Natural<C>::store(v.dtype, values + begin, count, to, past_caches); });
}

// f(row, start, m): the part's pieces.
template <class C, class F>
KILTER_INLINE void over_pieces(const SlicePart& part, F&& f) {
  for (int64_t j = part.first; j < part.last; ++j) {
    const int64_t row = part.slices->row(part.slice, j);
    for (int64_t start = part.begin; start < part.end; start += kWeightsPiece<C>)
      f(row, start, int(part.end - start < kWeightsPiece<C> ? part.end - start : kWeightsPiece<C>));
  }
}

// Lanes of a sum: element i of a piece belongs to lane i % kLanes, four elements of which are a chain.
constexpr int kLanes = 64;

// term(i) for i < m.
template <class C, class F>
KILTER_INLINE void add_piece(Wide<C> (&lanes)[kLanes], int m, F&& term) {
  int i = 0;
  for (; i + kChain * kLanes <= m; i += kChain * kLanes) {
    KILTER_NO_DEPENDENCE
    for (int k = 0; k < kLanes; ++k) {
      const C chain = ((term(i + k) + term(i + kLanes + k)) + term(i + 2 * kLanes + k)) + term(i + 3 * kLanes + k);
      add_to(lanes[k], widen(chain));
    }
  }
  const int used = m - i < kLanes ? m - i : kLanes;
  for (int k = 0; k < used; ++k) {
    C chain = term(i + k);
    for (int at = i + kLanes + k; at < m; at += kLanes) chain = chain + term(at);
    add_to(lanes[k], widen(chain));
  }
}

template <class C>
void sum_part(const SlicePart& part, const View& v, const View& dw, C scale, C inverse, Wide<C>* sum) {
  alignas(64) C v_buffer[kWeightsPiece<C>], dw_buffer[kWeightsPiece<C>];
  alignas(64) Wide<C> lanes[kLanes];
  const int used = int(part.end - part.begin < kLanes ? part.end - part.begin : kLanes);
  for (int k = 0; k < used; ++k) lanes[k] = {};
  over_pieces<C>(part, [&](int64_t row, int64_t start, int m) {
    const C* const x = load<C>(*part.slices, v, row, start, m, v_buffer);
    if (dw.present()) {
      const C* const up = load<C>(*part.slices, dw, row, start, m, dw_buffer);
      add_piece<C>(lanes, m, [=](int i) KILTER_INLINE_LAMBDA { return up[i] * ((x[i] * scale) * inverse); });
    } else {
      add_piece<C>(lanes, m, [=](int i) KILTER_INLINE_LAMBDA {
        const C scaled = x[i] * scale;
        return scaled * scaled;
      });
    }
  });
  for (int k = 0; k < used; ++k) add_to(*sum, lanes[k]);
}

template <class C>
C largest_of_part(const SlicePart& part, const View& v) {
  alignas(64) C buffer[kWeightsPiece<C>];
  C most = 0;
  over_pieces<C>(part, [&](int64_t row, int64_t start, int m) {
    const C* const x = load<C>(*part.slices, v, row, start, m, buffer);
    for (int i = 0; i < m; ++i) {
      const C a = x[i] < 0 ? -x[i] : x[i];
      most = a > most ? a : most;
    }
  });
  return most;
}

template <class C>
void forward_part(const SlicePart& part, const WeightsForward& p, const ForwardFactors<C>& f, bool past_caches) {
  alignas(64) C value[kWeightsPiece<C>];
  const C scale = f.scale, factor = f.factor, rest = f.rest;
  over_pieces<C>(part, [&](int64_t row, int64_t start, int m) {
    const C* const x = load<C>(*part.slices, p.v, row, start, m, value);
    C* const w = value;
    KILTER_NO_DEPENDENCE
    for (int i = 0; i < m; ++i) w[i] = ((x[i] * scale) * factor) * rest;
    store<C>(*part.slices, p.w, row, start, w, m, past_caches);
  });
  if (past_caches) stream_fence();
}

template <class C>
void backward_part(const SlicePart& part, const WeightsBackward& p, const BackwardFactors<C>& f, C d, bool past_caches) {
  alignas(64) C v_buffer[kWeightsPiece<C>], dw_buffer[kWeightsPiece<C>];
  const C scale = f.scale, inverse = f.inverse, factor = f.factor, rest = f.rest;
  over_pieces<C>(part, [&](int64_t row, int64_t start, int m) {
    const C *const x = load<C>(*part.slices, p.v, row, start, m, v_buffer), *up = load<C>(*part.slices, p.dw, row, start, m, dw_buffer);
    C* const dv = dw_buffer;
    KILTER_NO_DEPENDENCE
    for (int i = 0; i < m; ++i) dv[i] = (((up[i] - ((x[i] * scale) * inverse) * d) * factor) * scale) * rest;
    store<C>(*part.slices, p.dv, row, start, dv, m, past_caches);
  });
  if (past_caches) stream_fence();
}

// ---------------------------------------------------------------- by columns

// f(row, m): the rows, and how many of the part's columns each has.
template <class F>
KILTER_INLINE void over_rows(const ColumnPart& part, F&& f) {
  for (int64_t row = part.first; row < part.last; ++row) {
    const int64_t left = part.slices->length(row) - part.start;
    f(row, int(left < part.m ? (left > 0 ? left : 0) : part.m));
  }
}

template <class C>
void column_sums(const ColumnPart& part, const View& v, const View& dw, const ColumnFactors<C>* factors, Wide<C>* sums) {
  alignas(64) C v_buffer[kWeightsPiece<C>], dw_buffer[kWeightsPiece<C>], chain[kWeightsPiece<C>];
  const C* const scale = factors ? factors->scale + part.start : nullptr;
  const C* const inverse = factors ? factors->inverse + part.start : nullptr;
  for (int i = 0; i < part.m; ++i) sums[i] = {}, chain[i] = 0;
  int in_chain = 0;
  const auto widen_chain = [&] {
    for (int i = 0; i < part.m; ++i) {
      add_to(sums[i], widen(chain[i]));
      chain[i] = 0;
    }
    in_chain = 0;
  };
  over_rows(part, [&](int64_t row, int m) {
    const C* const x = load<C>(*part.slices, v, row, part.start, m, v_buffer);
    if (factors) {
      const C* const up = load<C>(*part.slices, dw, row, part.start, m, dw_buffer);
      KILTER_NO_DEPENDENCE
      for (int i = 0; i < m; ++i) chain[i] = chain[i] + up[i] * ((x[i] * scale[i]) * inverse[i]);
    } else {
      KILTER_NO_DEPENDENCE
      for (int i = 0; i < m; ++i) chain[i] = chain[i] + x[i] * x[i];
    }
    if (++in_chain == kChain) widen_chain();
  });
  widen_chain();
}

template <class C>
void forward_columns(const ColumnPart& part, const WeightsForward& p, const ColumnFactors<C>& f, bool past_caches) {
  alignas(64) C value[kWeightsPiece<C>];
  const C *const scale = f.scale + part.start, *const factor = f.factor + part.start, *const rest = f.rest + part.start;
  over_rows(part, [&](int64_t row, int m) {
    const C* const x = load<C>(*part.slices, p.v, row, part.start, m, value);
    C* const w = value;
    KILTER_NO_DEPENDENCE
    for (int i = 0; i < m; ++i) w[i] = ((x[i] * scale[i]) * factor[i]) * rest[i];
    store<C>(*part.slices, p.w, row, part.start, w, m, past_caches);
  });
  if (past_caches) stream_fence();
}

template <class C>
void backward_columns(const ColumnPart& part, const WeightsBackward& p, const ColumnFactors<C>& f, bool past_caches) {
  alignas(64) C v_buffer[kWeightsPiece<C>], dw_buffer[kWeightsPiece<C>];
  const C *const scale = f.scale + part.start, *const inverse = f.inverse + part.start, *const factor = f.factor + part.start;
  const C *const rest = f.rest + part.start, *const d = f.d + part.start;
  over_rows(part, [&](int64_t row, int m) {
    const C* const x = load<C>(*part.slices, p.v, row, part.start, m, v_buffer);
    const C* const up = load<C>(*part.slices, p.dw, row, part.start, m, dw_buffer);
    C* const dv = dw_buffer;
    KILTER_NO_DEPENDENCE
    for (int i = 0; i < m; ++i) dv[i] = (((up[i] - ((x[i] * scale[i]) * inverse[i]) * d[i]) * factor[i]) * scale[i]) * rest[i];
    store<C>(*part.slices, p.dv, row, part.start, dv, m, past_caches);
  });
  if (past_caches) stream_fence();
}

template <class C>
constexpr WeightsPasses<C> weights_passes() {
  return {sum_part<C>, largest_of_part<C>, forward_part<C>, backward_part<C>, column_sums<C>, forward_columns<C>, backward_columns<C>};
}

}  // namespace kilter::KILTER_TARGET_NAMESPACE

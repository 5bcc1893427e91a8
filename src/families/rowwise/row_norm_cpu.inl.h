// The row passes of LayerNorm (kCentered) and RMSNorm, forward and backward, in C = float or double.
//
// One thread owns a row and reads it in 1024-element segments.  Forward: statistics (row_statistics.inl.h), then one pass
// that writes y; after the first pass the row comes from cache.  Backward: one pass over x and dy for the row's three sums,
// a second, from cache, that writes dx and adds to dweight and dbias: both rows leave memory once.  No barriers.
// Included once per SIMD target.
#pragma once

#include "families/rowwise/row_norm_cpu.h"
#include "families/rowwise/row_statistics.inl.h"

namespace kilter::KILTER_TARGET_NAMESPACE {

// weight + offset as C, or null without a weight.
template <class C>
const C* load_weight(const View& weight, C offset, int64_t start, int m, C* __restrict buffer) {
  if (!weight.present()) return nullptr;
  const C* w = load(weight.dtype, weight.data + start * item_size(weight.dtype), m, buffer);
  if (offset == 0) return w;
  for (int i = 0; i < m; ++i) buffer[i] = w[i] + offset;
  return buffer;
}

template <class C>
void write_value(const View& v, int64_t row, C value) {
  if (v.present()) *reinterpret_cast<C*>(v.row(row)) = value;
}

// The sum of x and residual, where the caller wants it: written first, so that y may overwrite either.
template <class C>
void write_sum(const RowSource<C>& source, const View& out, int64_t row, int64_t n, bool stream) {
  alignas(64) C buffer[kSegment];
  for (int64_t start = 0; start < n; start += kSegment) {
    const int m = int(n - start < kSegment ? n - start : kSegment);
    store(out.dtype, source.segment(start, m, buffer), m, out.row(row) + start * item_size(out.dtype), stream);
  }
}

template <class C, bool kCentered>
void normalize(const C* __restrict x, const C* __restrict w, const C* __restrict b, int m, const RowStatistics<C>& s, C* __restrict out) {
  const C mean = s.m.mean, lo = s.m.lo, lo2 = s.m.lo2, rstd = s.rstd;
  if (kCentered && lo2 != 0) {
    for (int i = 0; i < m; ++i) out[i] = (((x[i] - mean) - lo) - lo2) * rstd;
    x = nullptr;
  }
  if (!x) {
    if (w)
      for (int i = 0; i < m; ++i) out[i] = out[i] * w[i];
    if (b)
      for (int i = 0; i < m; ++i) out[i] = out[i] + b[i];
    return;
  }
  const auto xhat = [=](int i) { return kCentered ? ((x[i] - mean) - lo) * rstd : x[i] * rstd; };
  if (w && b)
    for (int i = 0; i < m; ++i) out[i] = xhat(i) * w[i] + b[i];
  else if (w)
    for (int i = 0; i < m; ++i) out[i] = xhat(i) * w[i];
  else if (b)
    for (int i = 0; i < m; ++i) out[i] = xhat(i) + b[i];
  else
    for (int i = 0; i < m; ++i) out[i] = xhat(i);
}

template <class C, bool kCentered>
void forward_rows(const RowNormForward& p, int64_t begin, int64_t end, bool stream) {
  const C eps = C(p.eps), offset = C(p.weight_offset);
  const DType t = p.x.dtype;
  alignas(64) C x_buffer[kSegment], w_buffer[kSegment], b_buffer[kSegment], out[kSegment];
  for (int64_t r = begin; r < end; ++r) {
    RowSource<C> source{p.x.row(r), p.x.dtype, p.residual.present() ? p.residual.row(r) : nullptr, p.residual.dtype};
    if (p.residual_out.present()) {
      write_sum(source, p.residual_out, r, p.n, false);
      source = {p.residual_out.row(r), p.residual_out.dtype, nullptr, DType::none};
    }
    RowStatistics<C> s = row_statistics<C, kCentered>(source, p.n, eps);
    if (kCentered) write_value(p.mean, r, s.saved_mean);
    write_value(p.rstd, r, s.saved_rstd);
    const char* next = r + 1 < end ? p.x.row(r + 1) : nullptr;
    for (int64_t start = 0; start < p.n; start += kSegment) {
      const int m = int(p.n - start < kSegment ? p.n - start : kSegment);
      if (next) prefetch(next + start * item_size(t), int64_t(m) * item_size(t));
      const C* x = source.segment(start, m, x_buffer);
      const C* w = load_weight(p.weight, offset, start, m, w_buffer);
      const C* b = load_weight(p.bias, C(0), start, m, b_buffer);
      if (p.round_then_multiply) {
        normalize<C, kCentered>(x, nullptr, nullptr, m, s, out);
        round_to(t, out, m);
        if (w) {
          for (int i = 0; i < m; ++i) out[i] = out[i] * w[i];
          round_to(t, out, m);
        }
        if (b) {
          for (int i = 0; i < m; ++i) out[i] = out[i] + b[i];
          round_to(t, out, m);
        }
      } else {
        normalize<C, kCentered>(x, w, b, m, s, out);
      }
      if (p.post_residual.present()) {
        const C* after = load(p.post_residual.dtype, p.post_residual.row(r) + start * item_size(p.post_residual.dtype), m, x_buffer);
        for (int i = 0; i < m; ++i) out[i] = out[i] + after[i];
      }
      store(t, out, m, p.y.row(r) + start * item_size(t), stream);
    }
  }
  if (stream) stream_fence();
}

// h = (x - mean) * rstd for one row, from the saved statistics.
template <class C>
struct Normalized {
  C mean, rstd, shrink;
  bool halve;  // x - mean could overflow: both are halved, rstd doubled

  Normalized(C saved_mean, C saved_rstd) : mean(saved_mean), rstd(saved_rstd), shrink(C(1)), halve(false) {
    constexpr C kLarge = sizeof(C) == 8 ? C(0x1p1000) : C(0x1p100);
    if (!(saved_mean >= kLarge || saved_mean <= -kLarge)) return;
    halve = true;
    shrink = C(0.5);
    mean = mean * C(0.5);
    rstd = rstd * C(2);
  }

  const C* load_row(const View& x, int64_t r, int64_t start, int m, C* __restrict buffer) const {
    const C* v = load(x.dtype, x.row(r) + start * item_size(x.dtype), m, buffer);
    if (!halve) return v;
    for (int i = 0; i < m; ++i) buffer[i] = v[i] * C(0.5);
    return buffer;
  }
};

template <class C>
struct BackwardRow {  // what the second pass needs
  C mean, h_rstd, rstd, lo, lo2, c1, c2;
};

template <class C, bool kCentered>
void gradients(const C* __restrict x, const C* __restrict dy, const C* __restrict w, const C* __restrict upstream, int m,
               const BackwardRow<C>& s, C* __restrict dx, C* __restrict dw, C* __restrict db) {
  alignas(64) C h[kSegment];
  const C mean = s.mean, h_rstd = s.h_rstd, rstd = s.rstd, lo = s.lo, lo2 = s.lo2, c1 = s.c1, c2 = s.c2;
  for (int i = 0; i < m; ++i) h[i] = kCentered ? (x[i] - mean) * h_rstd - lo : x[i] * h_rstd;
  if (kCentered && lo2 != 0)
    for (int i = 0; i < m; ++i) h[i] = h[i] - lo2;
  const auto gradient = [=, &h](int i, C g) { return kCentered ? rstd * ((g - c2) - h[i] * c1) : rstd * (g - h[i] * c1); };
  if (dw && db && w && dx) {  // the usual call, in one loop
    for (int i = 0; i < m; ++i) {
      const C g = dy[i];
      dx[i] = gradient(i, g * w[i]);
      dw[i] = dw[i] + g * h[i];
      db[i] = db[i] + g;
    }
  } else {
    if (dx && w)
      for (int i = 0; i < m; ++i) dx[i] = gradient(i, dy[i] * w[i]);
    else if (dx)
      for (int i = 0; i < m; ++i) dx[i] = gradient(i, dy[i]);
    if (dw)
      for (int i = 0; i < m; ++i) dw[i] = dw[i] + dy[i] * h[i];
    if (db)
      for (int i = 0; i < m; ++i) db[i] = db[i] + dy[i];
  }
  if (dx && upstream)
    for (int i = 0; i < m; ++i) dx[i] = dx[i] + upstream[i];
}

template <class C, bool kCentered>
BackwardRow<C> backward_sums(const RowNormBackward& p, int64_t r) {
  constexpr int N = kCentered ? 3 : 1;
  using S = Sums<N, C>;
  alignas(64) C x_buffer[kSegment], dy_buffer[kSegment], w_buffer[kSegment];
  const C offset = C(p.weight_offset), n = C(p.n);
  C mean = 0;
  if constexpr (kCentered) mean = *reinterpret_cast<const C*>(p.mean.row(r));
  const C rstd = *reinterpret_cast<const C*>(p.rstd.row(r));
  const Normalized<C> norm(mean, rstd);
  const auto pass = [&](C lo) {
    TreeCounter<S> tree;
    for (int64_t start = 0; start < p.n; start += kSegment) {
      const int m = int(p.n - start < kSegment ? p.n - start : kSegment);
      const C* __restrict x = norm.load_row(p.x, r, start, m, x_buffer);
      const C* __restrict dy = load(p.dy.dtype, p.dy.row(r) + start * item_size(p.dy.dtype), m, dy_buffer);
      const C* __restrict w = load_weight(p.weight, offset, start, m, w_buffer);
      const auto term = [&](int i, C g, C* t) {
        C h = kCentered ? (x[i] - norm.mean) * norm.rstd : x[i] * norm.rstd;
        if constexpr (kCentered) {
          h = h - lo;
          t[1] = g;
          t[2] = h;
        }
        t[0] = g * h;
      };
      S s;
      if (w)
        segment_sums<N>(m, s.v, [&](int i, C* t) { term(i, dy[i] * w[i], t); });
      else
        segment_sums<N>(m, s.v, [&](int i, C* t) { term(i, dy[i], t); });
      tree.push(s, S::add);
    }
    return tree.finish(S::add);
  };
  S s = pass(C(0));
  BackwardRow<C> out{norm.mean, norm.rstd, rstd, 0, 0, s.v[0] / n, 0};
  if constexpr (kCentered) {
    out.lo = s.v[2] / n;
    C correction = out.lo;
    if (out.lo > C(0.5) || out.lo < C(-0.5)) {  // the saved mean is coarse against this row's deviation
      s = pass(out.lo);
      correction = out.lo2 = s.v[2] / n;
    }
    out.c1 = (s.v[0] - correction * s.v[1]) / n;
    out.c2 = s.v[1] / n;
  }
  return out;
}

template <class C, bool kCentered>
void backward_rows(const RowNormBackward& p, int64_t begin, int64_t end, const Accumulators<C>& acc, bool stream) {
  alignas(64) C x_buffer[kSegment], dy_buffer[kSegment], w_buffer[kSegment], up_buffer[kSegment], out[kSegment];
  const bool want_dx = p.dx.present() || p.dresidual.present();
  for (int64_t r = begin; r < end; ++r) {
    const C rstd = *reinterpret_cast<const C*>(p.rstd.row(r));
    const BackwardRow<C> s = want_dx || kCentered ? backward_sums<C, kCentered>(p, r) : BackwardRow<C>{0, rstd, rstd, 0, 0, 0, 0};
    const Normalized<C> norm(kCentered ? *reinterpret_cast<const C*>(p.mean.row(r)) : C(0), rstd);
    const int64_t a = (r - begin) % acc.count * acc.stride;
    const bool more = r + 1 < end;
    for (int64_t start = 0; start < p.n; start += kSegment) {
      const int m = int(p.n - start < kSegment ? p.n - start : kSegment);
      if (more) {
        prefetch(p.x.row(r + 1) + start * item_size(p.x.dtype), int64_t(m) * item_size(p.x.dtype));
        prefetch(p.dy.row(r + 1) + start * item_size(p.dy.dtype), int64_t(m) * item_size(p.dy.dtype));
      }
      const C* x = norm.load_row(p.x, r, start, m, x_buffer);
      const C* dy = load(p.dy.dtype, p.dy.row(r) + start * item_size(p.dy.dtype), m, dy_buffer);
      const C* w = want_dx ? load_weight(p.weight, C(p.weight_offset), start, m, w_buffer) : nullptr;
      const C* upstream = nullptr;
      if (p.dresidual_out.present())
        upstream = load(p.dresidual_out.dtype, p.dresidual_out.row(r) + start * item_size(p.dresidual_out.dtype), m, up_buffer);
      gradients<C, kCentered>(x, dy, w, upstream, m, s, want_dx ? out : nullptr, acc.weight ? acc.weight + a + start : nullptr,
                              acc.bias ? acc.bias + a + start : nullptr);
      if (p.dx.present()) store(p.dx.dtype, out, m, p.dx.row(r) + start * item_size(p.dx.dtype), stream);
      if (p.dresidual.present())
        store(p.dresidual.dtype, out, m, p.dresidual.row(r) + start * item_size(p.dresidual.dtype), stream);
    }
  }
  if (stream) stream_fence();
}

}  // namespace kilter::KILTER_TARGET_NAMESPACE

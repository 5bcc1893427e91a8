// weight_norm in float64 (fp64 rows: wider), the obvious way: the definition that everything else is tested against.
#include "families/weights/reference.h"

#include "core/element.h"

namespace kilter {
namespace {

// f(row, column) for the elements of a slice.
template <class Problem, class F>
void over_slice(const Problem& p, int64_t slice, F&& f) {
  const Axis& a = p.dim;
  for (int64_t o = 0; !p.slices.empty() && o < a.outer; ++o)
    for (int64_t i = 0; i < a.inner; ++i) {
      const int64_t element = (o * a.kept + slice) * a.inner + i;
      f(element / p.n, element % p.n);
    }
}
// Of a tensor that may be flat.
template <class R>
R at(const View& v, int64_t n, int64_t row, int64_t i) {
  return is_flat(v) ? read<R>(v, 0, row * n + i) : read<R>(v, row, i);
}
template <class R>
void put(const View& v, int64_t n, int64_t row, int64_t i, R value) {
  is_flat(v) ? write(v, 0, row * n + i, value) : write(v, row, i, value);
}

template <class R>
kilter_status forward(const WeightsForward& p) {
  for (int64_t k = 0; k < p.dim.kept; ++k) {
    R squares = 0;
    over_slice(p, k, [&](int64_t r, int64_t i) { squares += at<R>(p.v, p.n, r, i) * at<R>(p.v, p.n, r, i); });
    const R norm = square_root(squares);
    write(p.norm, 0, k, norm);
    if (p.w.present())
      over_slice(p, k, [&, g = read<R>(p.g, 0, k)](int64_t r, int64_t i) { put(p.w, p.n, r, i, g * at<R>(p.v, p.n, r, i) / norm); });
  }
  return KILTER_OK;
}

template <class R>
kilter_status backward(const WeightsBackward& p) {
  for (int64_t k = 0; k < p.dim.kept; ++k) {
    const R norm = read<R>(p.norm, 0, k), g = read<R>(p.g, 0, k);
    R d = 0;
    over_slice(p, k, [&](int64_t r, int64_t i) { d += at<R>(p.dw, p.n, r, i) * (at<R>(p.v, p.n, r, i) / norm); });
    write(p.dg, 0, k, d);
    if (p.dv.present())
      over_slice(p, k, [&](int64_t r, int64_t i) {
        put(p.dv, p.n, r, i, g / norm * (at<R>(p.dw, p.n, r, i) - at<R>(p.v, p.n, r, i) / norm * d));
      });
  }
  return KILTER_OK;
}

}  // namespace

kilter_status weight_norm_reference_forward(const WeightsForward& p, kilter_stream) {
  return p.v.dtype == DType::f64 ? forward<Quad>(p) : forward<double>(p);
}
kilter_status weight_norm_reference_backward(const WeightsBackward& p, kilter_stream) {
  return p.dw.dtype == DType::f64 ? backward<Quad>(p) : backward<double>(p);
}

}  // namespace kilter

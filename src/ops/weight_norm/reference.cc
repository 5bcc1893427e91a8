// weight_norm in float64 (fp64 rows: wider), the obvious way: the definition that everything else is tested against.
#include "families/weights/reference.h"

#include "core/element.h"

namespace kilter {
namespace {

// f(row, column) for the elements of a slice.
template <class Problem, class F>
void over_slice(const Problem& p, int64_t slice, F&& f) {
  const Slices& s = p.slices;
  for (int64_t j = 0; j < s.rows_of_slice(); ++j) {
    const int64_t r = s.columns ? j : s.row(slice, j), run = s.columns ? s.inner : s.n, period = s.columns ? s.kept * s.inner : s.n;
    for (int64_t first = s.columns ? slice * s.inner : 0; first < s.length(r); first += period)
      for (int64_t i = first; i < first + run; ++i) f(r, i);
  }
}

template <class R>
kilter_status forward(const WeightsForward& p) {
  for (int64_t k = 0; k < p.dim.kept; ++k) {
    R squares = 0;
    over_slice(p, k, [&](int64_t r, int64_t i) { squares += read<R>(p.v, r, i) * read<R>(p.v, r, i); });
    const R norm = square_root(squares);
    write(p.norm, 0, k, norm);
    if (p.w.present())
      over_slice(p, k, [&, g = read<R>(p.g, 0, k)](int64_t r, int64_t i) { write(p.w, r, i, g * read<R>(p.v, r, i) / norm); });
  }
  return KILTER_OK;
}

template <class R>
kilter_status backward(const WeightsBackward& p) {
  for (int64_t k = 0; k < p.dim.kept; ++k) {
    const R norm = read<R>(p.norm, 0, k), g = read<R>(p.g, 0, k);
    R d = 0;
    over_slice(p, k, [&](int64_t r, int64_t i) { d += read<R>(p.dw, r, i) * (read<R>(p.v, r, i) / norm); });
    write(p.dg, 0, k, d);
    if (p.dv.present())
      over_slice(p, k, [&](int64_t r, int64_t i) {
        write(p.dv, r, i, g / norm * (read<R>(p.dw, r, i) - read<R>(p.v, r, i) / norm * d));
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

// RMSNorm in float64 (fp64 rows in __float128), the obvious way: the definition that everything else is tested against.
#include "families/rowwise/reference.h"

#include "core/element.h"

namespace kilter {
namespace {

template <class R>
kilter_status forward(const RowNormForward& p) {
  ModulationCursor modulation(p.modulation);
  for (int64_t r = 0; r < p.rows; ++r) {
    modulation.seek(r);
    const int64_t m = modulation.index();
    write_residual_out<R>(p, r, m);
    R square = 0;
    for (int64_t i = 0; i < p.n; ++i) {
      const R x = source_at<R>(p, r, m, i);
      square += x * x;
    }
    const R rstd = 1 / square_root(square / R(p.n) + R(p.eps));
    for (int64_t i = 0; i < p.n; ++i) finish_element(p, r, m, i, source_at<R>(p, r, m, i) * rstd);
    write(p.rstd, r, 0, rstd);
  }
  return KILTER_OK;
}

template <class R>
kilter_status backward(const RowNormBackward& p) {
  ReferenceSums<R> sums(p);
  KILTER_RETURN_IF_ERROR(sums.start());
  ModulationCursor modulation(p.modulation);
  for (int64_t r = 0; r < p.rows; ++r) {
    modulation.seek(r);
    const int64_t m = modulation.index();
    sums.enter(m);
    const auto weight = [&](int64_t i) { return weight_at<R>(p, i) * factor_at<R>(p, m, i); };
    const R rstd = read<R>(p.rstd, r, 0);
    R sum_gx = 0;
    for (int64_t i = 0; i < p.n; ++i) sum_gx += read<R>(p.dy, r, i) * weight(i) * (read<R>(p.x, r, i) * rstd);
    for (int64_t i = 0; i < p.n; ++i) {
      const R xhat = read<R>(p.x, r, i) * rstd, dy = read<R>(p.dy, r, i);
      R dx = rstd * (dy * weight(i) - xhat * (sum_gx / R(p.n)));
      if (p.dresidual_out.present()) dx += read<R>(p.dresidual_out, r, i);
      sums.add(r, i, dy, xhat, dx);
      write_gradients(p, r, m, i, dx);
    }
  }
  sums.finish();
  return KILTER_OK;
}

}  // namespace

kilter_status rms_norm_reference_forward(const RowNormForward& p, kilter_stream) {
  return p.x.dtype == DType::f64 ? forward<Quad>(p) : forward<double>(p);
}

kilter_status rms_norm_reference_backward(const RowNormBackward& p, kilter_stream) {
  return p.dy.dtype == DType::f64 ? backward<Quad>(p) : backward<double>(p);
}

}  // namespace kilter

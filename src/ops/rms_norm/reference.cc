// RMSNorm in float64 (fp64 rows in __float128), the obvious way: the definition that everything else is tested against.
#include "families/rowwise/reference.h"

#include "core/element.h"

namespace kilter {
namespace {

template <class R>
kilter_status forward(const RowNormForward& p) {
  for (int64_t r = 0; r < p.rows; ++r) {
    for (int64_t i = 0; i < p.n && p.residual_out.present(); ++i) write(p.residual_out, r, i, read_sum<R>(p.x, p.residual, r, i));
    const View& s = p.residual_out.present() ? p.residual_out : p.x;
    const View residual = p.residual_out.present() ? View{} : p.residual;
    R square = 0;
    for (int64_t i = 0; i < p.n; ++i) {
      const R x = read_sum<R>(s, residual, r, i);
      square += x * x;
    }
    const R rstd = 1 / square_root(square / R(p.n) + R(p.eps));
    for (int64_t i = 0; i < p.n; ++i) finish_element(p, r, i, read_sum<R>(s, residual, r, i) * rstd);
    write(p.rstd, r, 0, rstd);
  }
  return KILTER_OK;
}

template <class R>
kilter_status backward(const RowNormBackward& p) {
  ReferenceSums<R> sums;
  KILTER_RETURN_IF_ERROR(sums.start(p));
  for (int64_t r = 0; r < p.rows; ++r) {
    const R rstd = read<R>(p.rstd, r, 0);
    R sum_gx = 0;
    for (int64_t i = 0; i < p.n; ++i) sum_gx += read<R>(p.dy, r, i) * weight_at<R>(p, i) * (read<R>(p.x, r, i) * rstd);
    for (int64_t i = 0; i < p.n; ++i) {
      const R xhat = read<R>(p.x, r, i) * rstd, dy = read<R>(p.dy, r, i);
      R dx = rstd * (dy * weight_at<R>(p, i) - xhat * (sum_gx / R(p.n)));
      sums.add(i, dy * xhat, dy);
      if (p.dresidual_out.present()) dx += read<R>(p.dresidual_out, r, i);
      write(p.dx, r, i, dx);
      write(p.dresidual, r, i, dx);
    }
  }
  sums.finish(p);
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

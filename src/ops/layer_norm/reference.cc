// LayerNorm in float64 (fp64 rows in __float128), the obvious way: the definition that everything else is tested against.
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
    R mean = 0, variance = 0;
    for (int64_t i = 0; i < p.n; ++i) mean += read_sum<R>(s, residual, r, i);
    mean /= R(p.n);
    for (int64_t i = 0; i < p.n; ++i) {
      const R d = read_sum<R>(s, residual, r, i) - mean;
      variance += d * d;
    }
    const R rstd = 1 / square_root(variance / R(p.n) + R(p.eps));
    for (int64_t i = 0; i < p.n; ++i) finish_element(p, r, i, (read_sum<R>(s, residual, r, i) - mean) * rstd);
    write(p.mean, r, 0, mean);
    write(p.rstd, r, 0, rstd);
  }
  return KILTER_OK;
}

template <class R>
kilter_status backward(const RowNormBackward& p) {
  ReferenceSums<R> sums;
  KILTER_RETURN_IF_ERROR(sums.start(p));
  const R n = R(p.n);
  for (int64_t r = 0; r < p.rows; ++r) {
    R mean = 0;  // again from x: the saved one was rounded
    for (int64_t i = 0; i < p.n; ++i) mean += read<R>(p.x, r, i);
    mean /= n;
    const R rstd = read<R>(p.rstd, r, 0);
    R sum_g = 0, sum_gx = 0;
    for (int64_t i = 0; i < p.n; ++i) {
      const R xhat = (read<R>(p.x, r, i) - mean) * rstd, g = read<R>(p.dy, r, i) * weight_at<R>(p, i);
      sum_g += g;
      sum_gx += g * xhat;
    }
    for (int64_t i = 0; i < p.n; ++i) {
      const R xhat = (read<R>(p.x, r, i) - mean) * rstd, dy = read<R>(p.dy, r, i);
      R dx = rstd * (dy * weight_at<R>(p, i) - sum_g / n - xhat * (sum_gx / n));
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

kilter_status layer_norm_reference_forward(const RowNormForward& p, kilter_stream) {
  return p.x.dtype == DType::f64 ? forward<Quad>(p) : forward<double>(p);
}

kilter_status layer_norm_reference_backward(const RowNormBackward& p, kilter_stream) {
  return p.dy.dtype == DType::f64 ? backward<Quad>(p) : backward<double>(p);
}

}  // namespace kilter

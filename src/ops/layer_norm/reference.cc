// LayerNorm in float64 (fp64 rows in __float128), the obvious way: the definition that everything else is tested against.
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
    R mean = 0, variance = 0;
    for (int64_t i = 0; i < p.n; ++i) mean += source_at<R>(p, r, m, i);
    mean /= R(p.n);
    for (int64_t i = 0; i < p.n; ++i) {
      const R d = source_at<R>(p, r, m, i) - mean;
      variance += d * d;
    }
    const R rstd = 1 / square_root(variance / R(p.n) + R(p.eps));
    for (int64_t i = 0; i < p.n; ++i) finish_element(p, r, m, i, (source_at<R>(p, r, m, i) - mean) * rstd);
    write(p.mean, r, 0, mean);
    write(p.rstd, r, 0, rstd);
  }
  return KILTER_OK;
}

template <class R>
kilter_status backward(const RowNormBackward& p) {
  ReferenceSums<R> sums(p);
  KILTER_RETURN_IF_ERROR(sums.start());
  ModulationCursor modulation(p.modulation);
  const R n = R(p.n);
  for (int64_t r = 0; r < p.rows; ++r) {
    modulation.seek(r);
    const int64_t m = modulation.index();
    sums.enter(m);
    const auto weight = [&](int64_t i) { return weight_at<R>(p, i) * factor_at<R>(p, m, i); };
    R mean = 0;  // again from x: the saved one was rounded
    for (int64_t i = 0; i < p.n; ++i) mean += read<R>(p.x, r, i);
    mean /= n;
    const R rstd = read<R>(p.rstd, r, 0);
    R sum_g = 0, sum_gx = 0;
    for (int64_t i = 0; i < p.n; ++i) {
      const R xhat = (read<R>(p.x, r, i) - mean) * rstd, g = read<R>(p.dy, r, i) * weight(i);
      sum_g += g;
      sum_gx += g * xhat;
    }
    for (int64_t i = 0; i < p.n; ++i) {
      const R xhat = (read<R>(p.x, r, i) - mean) * rstd, dy = read<R>(p.dy, r, i);
      R dx = rstd * (dy * weight(i) - sum_g / n - xhat * (sum_gx / n));
      if (p.dresidual_out.present()) dx += read<R>(p.dresidual_out, r, i);
      sums.add(r, i, dy, xhat, dx);
      write_gradients(p, r, m, i, dx);
    }
  }
  sums.finish();
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

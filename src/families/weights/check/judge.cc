// The reference, the units, the comparison.
#include "check/meter.h"
#include "families/weights/check/check.h"
#include "families/weights/problem.h"
#include "families/weights/reference.h"

namespace kilter::check {
namespace {

// The slice of an element.
class SliceOf {
 public:
  explicit SliceOf(const Case& c) : n_(c.n), by_row_(c.number("dim") == 0), whole_(c.number("dim") == double(KILTER_DIM_NONE)) {}
  int64_t operator()(int64_t row, int64_t i) const { return whole_ ? 0 : by_row_ ? row : i; }
  int64_t count(int64_t rows) const { return whole_ ? 1 : by_row_ ? rows : n_; }

 private:
  int64_t n_;
  bool by_row_, whole_;
};

bool failed(kilter_status status, Report* r) {
  if (status != KILTER_OK) r->problems.push_back(std::string("the reference failed: ") + kilter_last_error());
  return status != KILTER_OK;
}

void judge_forward(const Case& c, const Tensors& t, Report* r) {
  const SliceOf slice_of(c);
  const Buffer &got = t["w"], &got_norm = t["norm"], &g = t["g"];
  const DType stat = c.x == DType::f64 ? DType::f64 : DType::f32;
  Buffer w = Buffer::rows(got.present() ? DType::f64 : DType::none, c.rows, c.n);
  Buffer norms = Buffer::vector(DType::f64, slice_of.count(c.rows));
  WeightsForward p;
  set_problem(c, false, t, &p);
  p.w = w.view(), p.norm = norms.view();
  if (failed(finish(&p), r) || failed(weight_norm_reference_forward(p, nullptr), r)) return;
  Meter norm("norm", stat, tolerance(weights_bounds, "norm", stat, {})), weight("w", c.x, tolerance(weights_bounds, "w", c.x, {}));
  for (int64_t k = 0; got_norm.present() && k < norms.row_length(); ++k)
    norm.add(got_norm.at(0, k), norms.at(0, k), ulp(stat, norms.at(0, k)), 0, k);
  for (int64_t row = 0; got.present() && !c.backward && row < c.rows; ++row)
    for (int64_t i = 0; i < c.n; ++i) {
      const double want = w.at(row, i), least = 0x1p-100 * std::fabs(g.at(0, slice_of(row, i)));
      weight.add(got.at(row, i), want, ulp(c.x, std::max(std::fabs(want), least)), row, i);
    }
  norm.report(r, true), weight.report(r);
}

void judge_backward(const Case& c, const Tensors& t, Report* r) {
  const SliceOf slice_of(c);
  const int64_t slices = slice_of.count(c.rows);
  Buffer dv = Buffer::rows(DType::f64, c.rows, c.n), dg = Buffer::vector(DType::f64, slices);
  WeightsBackward p;
  set_problem(c, true, t, &p);
  p.dv = dv.view(), p.dg = dg.view();
  if (failed(finish(&p), r) || failed(weight_norm_reference_backward(p, nullptr), r)) return;
  const Buffer &v = t["v"], &dw = t["dw"], &norms = t["norm"], &got = t["dv"];
  const double least = c.x == DType::f64 ? 0x1p-1022 : 0x1p-126;
  ColumnSizes terms(slices);
  const auto h = [&](int64_t row, int64_t i) { return std::fabs(v.at(row, i) / norms.at(0, slice_of(row, i))); };
  for (int64_t row = 0; row < c.rows; ++row)
    for (int64_t i = 0; i < c.n; ++i) terms.add(slice_of(row, i), std::max(std::fabs(dw.at(row, i)) * h(row, i), least));
  judge_sums(weights_bounds, "dg", t["dg"], dg, terms, r, true);
  if (!got.present()) return;
  const auto unit = [&](long double size) {  // g / norm alone may be beyond fp64
    return size <= 0x1p1023 ? ulp(c.x, double(size)) : ulp(c.x, double(size * 0x1p-64L)) * 0x1p64;
  };
  Meter meter("dv", c.x, tolerance(weights_bounds, "dv", c.x, {}), true);
  for (int64_t row = 0; row < c.rows; ++row)
    for (int64_t i = 0; i < c.n; ++i) {
      const int64_t k = slice_of(row, i);
      const long double factor = std::fabs(t["g"].at(0, k) / static_cast<long double>(norms.at(0, k)));
      const long double size = factor * (std::fabs(dw.at(row, i)) + h(row, i) * terms.size(k, dg.at(0, k)));
      meter.add(got.at(row, i), dv.at(row, i), unit(size), row, i);
    }
  meter.report(r);
}

}  // namespace

void judge_weights(const Case& c, const Tensors& t, Report* r) {
  judge_forward(c, t, r);
  if (c.backward) judge_backward(c, t, r);
}

void vary_weights(Case* c, int variant) {
  Case& v = *c;
  v["g"] = variant == 1 ? DType::f32 : v.x;
  if (variant == 1 && v.x == DType::f64) v["g"] = DType::f64;
  if (variant == 2) v.numbers["dim"] = -1;
  if (variant == 3) v.numbers["dim"] = double(KILTER_DIM_NONE);
  if (variant == 4) v.numbers["dim"] = -1, v["g"] = DType::f32, v["dg"] = DType::f32;
}

}  // namespace kilter::check

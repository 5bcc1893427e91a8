// What a call should have given, computed here, independently of the library, in a wider type; and how far off it was, in the
// units of the numeric contract (docs/numerics.md).  fp64 rows in __float128, all others in long double, two passes.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "check/units.h"
#include "core/element.h"
#include "families/rowwise/check/check.h"
#include "harness/rowwise.h"

namespace kilter::test {

struct Worst {
  double error = 0;  // infinity: a NaN or infinity where there should be none, or the other way round
  int64_t row = -1, column = -1;
  double got = 0, expected = 0;

  void add(double have, long double want, double unit, int64_t r, int64_t i, DType type) {
    const double limit = check::max_of(type);
    if (std::fabs(want) > limit) {  // beyond the type: the infinity counts as the number after the largest
      const double after = limit + check::ulp(type, limit);
      if (std::isinf(have)) have = std::copysign(after, have);
      want = std::copysign(std::fmin(std::fabs(want), static_cast<long double>(after)), want);
    }
    double e = std::isnan(have) && std::isnan(want) ? 0 : double(std::fabs(have - want)) / unit;
    if (std::isnan(e)) e = std::numeric_limits<double>::infinity();
    if (have == want) e = 0;
    if (row >= 0 && !(e > error)) return;
    error = e, row = r, column = i, got = have, expected = double(want);
  }
};

inline ::testing::AssertionResult within(const Worst& w, double bound, const char* name) {
  if (w.error <= bound) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << name << ": " << w.error << " units, expected at most " << bound << ", at row " << w.row
                                       << " column " << w.column << ": expected " << w.expected << ", got " << w.got;
}

template <class R>
R root(R v) {
  if constexpr (std::is_same_v<R, long double>)
    return std::sqrt(v);
  else
    return square_root(v);
}

template <class R>
R magnitude(R v) {
  return v < 0 ? -v : v;
}

// eps and weight_offset reach fp32 rows as fp32.
inline double as_computed(DType t, double v) { return t == DType::f64 ? v : double(float(v)); }

template <class R>
struct ExactRow {
  R mean = 0, rstd = 0, deviation = 0;
};

template <class R>
ExactRow<R> exact_statistics(const Matrix& x, int64_t r, bool centered, double eps) {
  ExactRow<R> s;
  const R n = R(x.n());
  for (int64_t i = 0; i < x.n() && centered; ++i) s.mean += R(x.get(r, i));
  s.mean /= n;
  R squares = 0;
  for (int64_t i = 0; i < x.n(); ++i) {
    const R d = R(x.get(r, i)) - s.mean;
    squares += d * d;
  }
  s.deviation = root<R>(squares / n);
  s.rstd = 1 / root<R>(squares / n + R(eps));
  return s;
}

struct ForwardErrors {
  Worst y, mean, rstd;
};

template <class R, class Op>
ForwardErrors forward_errors(const Forward<Op>& f) {
  ForwardErrors worst;
  const Spec& s = f.spec;
  const Matrix& x = f.normalized();
  const double eps = as_computed(s.t, s.eps), offset = as_computed(s.t, s.weight_offset);
  std::vector<R> want(size_t(s.n));
  for (int64_t r = 0; r < x.rows(); ++r) {
    const ExactRow<R> row = exact_statistics<R>(x, r, Op::centered, eps);
    R largest = 0;
    for (int64_t i = 0; i < s.n; ++i) {
      const R w = f.weight.present() ? R(f.weight.get(0, i)) + R(offset) : R(1), b = f.bias.present() ? R(f.bias.get(0, i)) : R(0);
      const R scaled = (R(x.get(r, i)) - row.mean) * row.rstd * w;
      want[size_t(i)] = scaled + b;
      largest = std::max(largest, magnitude(scaled) + magnitude(b));
    }
    const double unit = check::ulp(s.t, static_cast<long double>(largest));
    for (int64_t i = 0; i < s.n; ++i) worst.y.add(f.y.get(r, i), static_cast<long double>(want[size_t(i)]), unit, r, i, s.t);
    const DType t = s.statistics();
    if (f.mean.present()) {
      const R size = std::max(magnitude(row.mean), row.deviation);
      worst.mean.add(f.mean.get(r, 0), static_cast<long double>(row.mean), check::ulp(t, static_cast<long double>(size)), r, 0, t);
    }
    const long double rstd = static_cast<long double>(row.rstd);
    worst.rstd.add(f.rstd.get(r, 0), rstd, check::ulp(t, rstd), r, 0, t);
  }
  return worst;
}

struct BackwardErrors {
  Worst dx, dweight, dbias;
};

// In float64 from what the call was given: mean and rstd from x itself, with the eps that prepare() used.
template <class R, class Op>
BackwardErrors backward_errors(const Backward<Op>& b) {
  BackwardErrors worst;
  const Spec& s = b.spec;
  const R n = R(s.n);
  const int64_t rows = b.x.rows();
  const double eps = as_computed(s.t, s.eps), offset = as_computed(s.t, s.weight_offset);
  std::vector<R> dweight(size_t(s.n)), dbias(size_t(s.n)), weight_terms(size_t(s.n)), bias_terms(size_t(s.n));
  for (int64_t r = 0; r < rows; ++r) {
    const ExactRow<R> row = exact_statistics<R>(b.x, r, Op::centered, eps);
    R sum_g = 0, sum_gh = 0, largest = 0;
    const auto h = [&](int64_t i) { return (R(b.x.get(r, i)) - row.mean) * row.rstd; };
    const auto g = [&](int64_t i) { return R(b.dy.get(r, i)) * (b.weight.present() ? R(b.weight.get(0, i)) + R(offset) : R(1)); };
    for (int64_t i = 0; i < s.n; ++i) {
      const size_t k = size_t(i);
      const R gi = g(i), hi = h(i), dy = R(b.dy.get(r, i));
      sum_g += gi, sum_gh += gi * hi;
      // xhat is as exact as its row's size, not as its own.
      const R weight_term = dy * std::max(magnitude(hi), Op::centered ? row.rstd * row.deviation : R(0));
      dweight[k] += dy * hi, weight_terms[k] += weight_term * weight_term;
      dbias[k] += dy, bias_terms[k] += dy * dy;
    }
    if (!Op::centered) sum_g = 0;
    for (int64_t i = 0; i < s.n; ++i) largest = std::max(largest, magnitude(g(i)) + magnitude(sum_g / n) + magnitude(h(i) * (sum_gh / n)));
    const double unit = check::ulp(s.t, static_cast<long double>(row.rstd * largest));
    for (int64_t i = 0; i < s.n && b.dx.present(); ++i) {
      const long double want = static_cast<long double>(row.rstd * (g(i) - sum_g / n - h(i) * (sum_gh / n)));
      worst.dx.add(b.dx.get(r, i), want, unit, r, i, s.t);
    }
  }
  const auto judge = [&](const Matrix& out, const std::vector<R>& sum, const std::vector<R>& terms, Worst* w) {
    for (int64_t i = 0; i < s.n && out.present(); ++i) {
      const long double want = static_cast<long double>(sum[size_t(i)]), total = static_cast<long double>(terms[size_t(i)]);
      const long double size = std::max(std::fabs(want), std::sqrt(total));
      w->add(out.get(0, i), want, check::ulp(out.dtype(), size), 0, i, out.dtype());
    }
  };
  judge(b.dweight, dweight, weight_terms, &worst.dweight);
  judge(b.dbias, dbias, bias_terms, &worst.dbias);
  return worst;
}

// Runs the call and holds it against the contract's bounds.  harder: affine or adversarial rows.
template <class Op>
void expect_forward_within(Forward<Op>& f, bool harder) {
  ASSERT_EQ(f.run(), KILTER_OK) << kilter_last_error();
  const ForwardErrors e = f.spec.t == DType::f64 ? forward_errors<Quad>(f) : forward_errors<long double>(f);
  const bool affine = f.weight.present() || f.bias.present();
  const check::When rounding = f.spec.rounding == KILTER_ROUND_ONCE ? check::When::always : check::When::then_multiply;
  const double bound = check::tolerance("y", f.spec.t, {rounding, harder || affine ? check::When::harder : check::When::plain}).bound;
  const auto where = [&] {
    return std::string(Op::name) + " " + dtype_name(f.spec.t) + " rows=" + std::to_string(f.y.rows()) + " n=" + std::to_string(f.spec.n);
  };
  EXPECT_TRUE(within(e.y, bound, "y")) << where();
  const DType statistics = f.spec.statistics();
  EXPECT_TRUE(!f.mean.present() || within(e.mean, check::tolerance("mean", statistics, {}).bound, "mean")) << where();
  EXPECT_TRUE(within(e.rstd, check::tolerance("rstd", statistics, {}).bound, "rstd")) << where();
}

// only_sums: dweight and dbias, not dx.
template <class Op>
void expect_backward_within(Backward<Op>& b, bool only_sums = false) {
  ASSERT_EQ(b.run(), KILTER_OK) << kilter_last_error();
  const BackwardErrors e = b.spec.t == DType::f64 ? backward_errors<Quad>(b) : backward_errors<long double>(b);
  const auto where = [&] {
    return std::string(Op::name) + " " + dtype_name(b.spec.t) + " rows=" + std::to_string(b.dy.rows()) + " n=" + std::to_string(b.spec.n);
  };
  const auto bound = [](const char* name, const Matrix& m) { return m.present() ? check::tolerance(name, m.dtype(), {}).bound : 0; };
  EXPECT_TRUE(only_sums || within(e.dx, bound("dx", b.dx), "dx")) << where();
  EXPECT_TRUE(within(e.dweight, bound("dweight", b.dweight), "dweight")) << where();
  EXPECT_TRUE(within(e.dbias, bound("dbias", b.dbias), "dbias")) << where();
}

}  // namespace kilter::test

// One output's elements against the reference's, the worst of them kept.
#pragma once

#include <cmath>
#include <limits>
#include <string>

#include "check/check.h"
#include "check/units.h"

namespace kilter::check {

inline constexpr double kInf = std::numeric_limits<double>::infinity();

// A number of the call as the contract converts it.
inline double as_computed(DType t, double v) {
  if (t == DType::f64) return v;
  volatile const float narrow = float(v);  // GCC 12 at -O2 drops a pair of double -> float -> double conversions side by side
  return narrow;
}

// any_non_finite: which of NaN and infinity comes out of a non-finite input depends on the order of operations (inf - inf) where an
// output is built from sums: there either will do.
inline double error_of(double got, double want, double unit, DType type, bool any_non_finite) {
  if (any_non_finite && !std::isfinite(want)) return std::isfinite(got) ? kInf : 0;
  if (want != want) return got != got ? 0 : kInf;
  if (std::isinf(want)) return got == want ? 0 : kInf;
  if (got != got) return kInf;
  // A finite value beyond the type's range is expected as an infinity, which counts as the number after the largest.
  const double beyond = type == DType::f64 ? kInf : std::ldexp(1.0, format_of(type).max_exponent + 1);
  const double a = std::clamp(got, -beyond, beyond), b = std::clamp(want, -beyond, beyond);
  return a == b ? 0 : std::fabs(a - b) / unit;
}

class Meter {
 public:
  Meter(const std::string& output, DType dtype, const Tolerance& t, bool any_non_finite = false) : any_non_finite_(any_non_finite) {
    m_.output = output, m_.dtype = dtype, m_.bound = t.bound, m_.unit = t.unit;
  }
  void add(double got, double want, double unit, int64_t row, int64_t i) {
    worst(error_of(got, want, unit, m_.dtype, any_non_finite_), got, want, row, i);
  }
  // Defined to the bit (NaN equals NaN).
  void add_exact(double got, double want, int64_t row, int64_t i) {
    worst(got == want || (got != got && want != want) ? 0 : kInf, got, want, row, i);
  }
  // sum: over rows, which have no worst one.
  void report(Report* r, bool sum = false) const {
    if (m_.row < 0) return;
    r->outputs.push_back(m_);
    r->outputs.back().sum = sum;
  }

 private:
  void worst(double error, double got, double want, int64_t row, int64_t i) {
    if (m_.row >= 0 && !(error > m_.error)) return;
    m_.error = error, m_.row = row, m_.index = i, m_.got = got, m_.expected = want;
  }
  Measure m_;
  bool any_non_finite_ = false;
};

// The size of each column's sum: the root of the sum of its squared terms, and the sum's own.
class ColumnSizes {
 public:
  explicit ColumnSizes(int64_t n) : squares_(size_t(n)) {}
  void add(int64_t i, long double term) { squares_[size_t(i)] += term * term; }
  long double size(int64_t i, long double sum) const { return std::max(std::fabs(sum), std::sqrt(squares_[size_t(i)])); }

 private:
  std::vector<long double> squares_;
};

// Sums over rows, if asked for.
inline void judge_sums(const Bounds& bounds, const char* name, const Buffer& got, const Buffer& want, const ColumnSizes& sizes, Report* r,
                       bool any_non_finite = false) {
  if (!got.present()) return;
  Meter meter(name, got.dtype(), tolerance(bounds, name, got.dtype(), {}), any_non_finite);
  for (int64_t i = 0; i < got.row_length(); ++i)
    meter.add(got.at(0, i), want.at(0, i), ulp(got.dtype(), sizes.size(i, want.at(0, i))), 0, i);
  meter.report(r, true);
}

}  // namespace kilter::check

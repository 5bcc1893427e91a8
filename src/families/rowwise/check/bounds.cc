// The bounds of the row norms, and why they are what they are.
#include "families/rowwise/check/check.h"

namespace kilter::check {
namespace {

constexpr const char* kForwardUnit = "ulp of the row's max(\\|xhat * w * f\\| + \\|b * f\\| + \\|shift\\| + \\|post_residual\\|)";
constexpr const char* kMeanUnit = "ulp(max(\\|mean\\|, std))";
constexpr const char* kRstdUnit = "ulp(rstd)";
// The terms that dx is computed from, which no arithmetic in the saved type can keep better: h * c1 alone is up to sqrt(n) / 2
// times dy * w.
constexpr const char* kDxUnit = "ulp(rstd * max(\\|dy * w * f\\| + \\|c2\\| + \\|h * c1\\|) + max\\|dresidual_out\\|), times \\|gate\\|";
constexpr const char* kSumUnit =
    "ulp(max(\\|sum\\|, sqrt(sum terms^2))); layer_norm's dweight, dscale: xhat counts at least rms(xhat); dgate: \\|branch\\| times dx's "
    "unit";

const char* when_text(When when) {
  switch (when) {
    case When::always:
      return nullptr;
    case When::constant_row:
      return "constant row of layer_norm, eps > 0";
    case When::exact_row:
      return "fill `exact`, layer_norm, no residual, n <= 2^20";
    case When::modulated:
      return "adaptive_layer_norm";
    case When::then_multiply:
      return "rounding `then-multiply`, no bias or post_residual";
    case When::then_multiply_add:
      return "rounding `then-multiply`, bias or post_residual";
    case When::then_multiply_add_twice:
      return "rounding `then-multiply`, bias and post_residual";
    case When::harder:
      return "weight, bias or residual, or an adversarial row";
    case When::plain:
      return "no weight, bias or residual; well-scaled rows";
  }
  return nullptr;
}

const std::vector<Tolerance>& rows() {
  constexpr DType f64 = DType::f64, f32 = DType::f32, f16 = DType::f16, bf16 = DType::bf16;
  static const std::vector<Tolerance> table = {
      // y.  A constant row has xhat = 0, so y is bias (+ post_residual), rounded once: nothing may remain of the mean's rounding.
      {"y", f64, when_text(When::constant_row), 0, kForwardUnit, "xhat is exactly 0"},
      {"y", f32, when_text(When::constant_row), 0, kForwardUnit, "xhat is exactly 0"},
      {"y", f16, when_text(When::constant_row), 0, kForwardUnit, "xhat is exactly 0"},
      {"y", bf16, when_text(When::constant_row), 0, kForwardUnit, "xhat is exactly 0"},
      // Subtraction, lo, product with rstd: 1.5; rstd itself (division, root, division, eps, the tree over squares): 2 to 2.5.
      // The weight (product, the weight offset's sum) and the bias round once more each; adversarial rows lose the second-order part of lo.
      {"y", f32, when_text(When::modulated), 6, kForwardUnit, "as below, and half each for f and its products, their sum with shift"},
      {"y", f64, when_text(When::modulated), 6, kForwardUnit, "the same operations in fp64"},
      {"y", f32, when_text(When::harder), 5, kForwardUnit, "as below, and one rounding each for weight, offset, bias, post_residual"},
      {"y", f32, when_text(When::plain), 4, kForwardUnit, "x - mean - lo and its product: 1.5; rstd: 2.5"},
      // fp64 rows do the same in fp64; their __float128 reference is read out as fp64, which adds at most 0.5 to what is measured.
      {"y", f64, nullptr, 4, kForwardUnit, "the same operations in fp64"},
      // The order is defined by its roundings: xhat to T, enlarged by w, is up to one ulp of the product; each rounding after it, 0.5.
      {"y", f16, when_text(When::then_multiply), 1.5, kForwardUnit, "T(xhat), enlarged by w: 1; T(product): 0.5"},
      {"y", bf16, when_text(When::then_multiply), 1.5, kForwardUnit, "T(xhat), enlarged by w: 1; T(product): 0.5"},
      {"y", f16, when_text(When::then_multiply_add), 2, kForwardUnit, "one more rounding: 0.5"},
      {"y", bf16, when_text(When::then_multiply_add), 2, kForwardUnit, "one more rounding: 0.5"},
      {"y", f16, when_text(When::then_multiply_add_twice), 2.5, kForwardUnit, "two more roundings: 1"},
      {"y", bf16, when_text(When::then_multiply_add_twice), 2.5, kForwardUnit, "two more roundings: 1"},
      // The final rounding is 0.5; 5 fp32 ulp before it are 5/2^13 (fp16) and 5/2^16 (bf16) of T's ulp.
      {"y", f16, nullptr, 0.51, kForwardUnit, "one rounding: 0.5; fp32 error before it: 0.001"},
      {"y", bf16, nullptr, 0.51, kForwardUnit, "one rounding: 0.5; fp32 error before it: 0.0001"},
      // Statistics.  mean = S/n + lo, rounded once: 0.5; lo carries the tree's rounding of differences of size std.
      {"mean", f64, when_text(When::exact_row), 0, kMeanUnit, "every partial sum is representable"},
      {"mean", f32, when_text(When::exact_row), 0, kMeanUnit, "every partial sum is representable"},
      {"mean", f64, nullptr, 4, kMeanUnit, "one rounding of the saved mean; the tree's rounding of sum(x - mean) / n"},
      {"mean", f32, nullptr, 4, kMeanUnit, "one rounding of the saved mean; the tree's rounding of sum(x - mean) / n"},
      {"rstd", f64, nullptr, 4, kRstdUnit, "half the relative error of var + eps, then root and division: part of y's error, so y's bound"},
      {"rstd", f32, nullptr, 4, kRstdUnit, "half the relative error of var + eps, then root and division: part of y's error, so y's bound"},
      {"residual_out", f64, nullptr, 0, "bits", "one sum, one rounding: defined to the bit"},
      {"residual_out", f32, nullptr, 0, "bits", "one sum, one rounding: defined to the bit"},
      {"residual_out", f16, nullptr, 0, "bits", "one sum, one rounding: defined to the bit"},
      {"residual_out", bf16, nullptr, 0, "bits", "one sum, one rounding: defined to the bit"},
      // dx = rstd * (g - c2 - h * c1): saved rstd 2.5, h from the saved mean 2, g, three operations and the two sums' share.
      {"dx", f64, when_text(When::modulated), 10, kDxUnit, "as fp32, in fp64"},
      {"dx", f32, when_text(When::modulated), 10, kDxUnit, "as below, and half each for f and the products with w and gate"},
      {"dx", f64, nullptr, 8, kDxUnit, "the same operations as fp32, in fp64"},
      {"dx", f32, nullptr, 8, kDxUnit, "saved rstd: 2.5; h: 2; products, differences and two row sums: 3.5"},
      {"dx", f16, nullptr, 0.6, kDxUnit, "one rounding: 0.5; fp32 error before it: 0.1"},
      {"dx", bf16, nullptr, 0.6, kDxUnit, "one rounding: 0.5; fp32 error before it: 0.1"},
      // Sums over rows: groups of four in C, then wider than their terms, so that the number of rows adds nothing.
      {"dweight", f64, nullptr, 8, kSumUnit, "as fp32; the wide sum is an unevaluated pair"},
      {"dweight", f32, nullptr, 8, kSumUnit,
       "a term: 1.5 (h, product, saved rstd); 32 groups of four in fp32: 1.2; the worst of many columns: 4 times their root sum; any "
       "number of "
       "rows"},
      {"dweight", f16, nullptr, 0.6, kSumUnit, "one rounding: 0.5; fp32 error before it"},
      {"dweight", bf16, nullptr, 0.6, kSumUnit, "one rounding: 0.5; fp32 error before it"},
  };
  return table;
}

}  // namespace

const Bounds row_norm_bounds = {
    "Row norms", rows(), "dresidual as dx, dbias as dweight, dscale as dweight, dshift as dweight, dgate as dweight",
    "- In mean, dx and dresidual NaN and infinity stand for each other.\n"
    "- f = scale_offset + scale and gate of adaptive_layer_norm, else 1; the unit is at least |gate| times that without it.  A term of "
    "dscale "
    "counts |dy| * (|xhat * w| + |b|), of dgate |branch| times dx's unit.\n"
    "- A term of layer_norm's dweight counts at least |dy| * rms(xhat): xhat = (x - mean) * rstd is as exact as its row's size.\n"
    "- Rows whose rstd is beyond the saved type's range (eps near 0, subnormal rows) have no gradients to judge, and their call no "
    "dweight.\n"
    "- The bounds are for eps >= 0 and for rows whose terms do not underflow against one another (dy of subnormals, eps beyond 1e30 of\n"
    "  the moment).  The roundings of a tree count as they fall by themselves; a row built to push each of them one way loses up to\n"
    "  half a unit at every level, so that rstd and y are off by log2(n) / 2 units (9.5 measured at n = 2^20) and dweight likewise.\n"
    "- Constant rows: 16-bit outputs with a post_residual round twice by definition and keep the general bound.\n"};

const Tolerance& tolerance(std::string_view output, DType dtype, std::initializer_list<When> when) {
  const auto text = [&](size_t i) { return i < when.size() ? when_text(when.begin()[i]) : nullptr; };
  return tolerance(row_norm_bounds, output, dtype, {text(0), text(1), text(2)});
}

}  // namespace kilter::check

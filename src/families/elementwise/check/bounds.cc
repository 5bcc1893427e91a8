// The bounds of the elementwise ops, and why they are what they are.
#include "families/elementwise/check/check.h"

namespace kilter::check {
namespace {

constexpr const char* kForwardUnit = "ulp(\\|w\\| * (\\|f\\| + 2 f' \\|shift\\|) + \\|b\\|)";
constexpr const char* kSlopeUnit = "ulp(\\|dy * w * alpha\\| * (f' + \\|f''\\| * (\\|alpha * x\\| + \\|shift\\|)) + \\|dresidual_out\\|)";
constexpr const char* kSumUnit = "ulp(max(\\|sum\\|, sqrt(sum terms^2))), terms of y's and dx's sizes";

const std::vector<Tolerance>& rows() {
  constexpr DType f64 = DType::f64, f32 = DType::f32, f16 = DType::f16, bf16 = DType::bf16;
  constexpr const char* kBits = "one sum, one rounding: defined to the bit";
  static const std::vector<Tolerance> table = {
      // u = alpha * x (+ shift) rounds once or twice; what that does to f is at most an ulp of f's own and of 2 f' |shift|.
      {"y", f64, nullptr, 4, kForwardUnit, "u: 1; f: 2; weight, bias: 1"},
      {"y", f32, nullptr, 5, kForwardUnit, "u: 1; f: 3; weight, bias: 1"},
      {"y", f16, nullptr, 0.51, kForwardUnit, "one rounding: 0.5; fp32 error before it: 0.001"},
      {"y", bf16, nullptr, 0.51, kForwardUnit, "one rounding: 0.5; fp32 error before it: 0.0001"},
      {"residual_out", f64, nullptr, 0, "bits", kBits},
      {"residual_out", f32, nullptr, 0, "bits", kBits},
      {"residual_out", f16, nullptr, 0, "bits", kBits},
      {"residual_out", bf16, nullptr, 0, "bits", kBits},
      // An exponential's argument rounds as u does, and counts in |f''| * |u|.
      {"dx", f64, nullptr, 8, kSlopeUnit, "as fp32, in fp64"},
      {"dx", f32, nullptr, 12, kSlopeUnit,
       "u, the exponent: 2; a GPU's 2^v: 1.5; its inverse, squared: 3; six products and sums: 5.5 (the CPU: 8 in all)"},
      {"dx", f16, nullptr, 0.6, kSlopeUnit, "one rounding: 0.5; fp32 error before it"},
      {"dx", bf16, nullptr, 0.6, kSlopeUnit, "one rounding: 0.5; fp32 error before it"},
      // Blocks of 16 rows in C, then wider than their terms, so that the number of rows adds nothing.
      {"dweight", f64, nullptr, 14, kSumUnit, "as fp32; the wide sum is an unevaluated pair"},
      {"dweight", f32, nullptr, 14, kSumUnit, "a term: 4.5; 16 in turn that round alike: 8.5; the block's sum and the result: 1"},
      {"dweight", f16, nullptr, 0.6, kSumUnit, "one rounding: 0.5; fp32 error before it"},
      {"dweight", bf16, nullptr, 0.6, kSumUnit, "one rounding: 0.5; fp32 error before it"},
  };
  return table;
}

}  // namespace

const Bounds elementwise_bounds = {
    "Elementwise", rows(), "dresidual as dx, dbias as dweight, dalpha as dweight, dshift as dweight",
    "- f and f' are of u = alpha * x + shift. In y and dweight f counts at least 2^-126, in dx, dalpha and dshift f' at least 2^-100 "
    "(fp64:\n"
    "  2^-1022, 2^-900): where 4 exp(-2 |u|) or exp(-u^2) is below the smallest normal number, f' is 0 in fp32. A term of a sum counts at\n"
    "  least as F's smallest normal number.\n"
    "- In dx, dresidual and the sums NaN and infinity stand for each other: an infinite dy or x times an f' that is 0 is NaN.\n"
    "- dy * weight and its products with f', alpha and x are taken neither to overflow nor to underflow.\n"
    "- Errors of f and f' are functions of u: where many terms with errors of one sign cancel in a sum, up to 5 units of the sum of the\n"
    "  terms' sizes are lost.\n"};

}  // namespace kilter::check

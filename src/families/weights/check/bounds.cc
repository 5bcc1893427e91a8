// The bounds of weight_norm, and why they are what they are.
#include "families/weights/check/check.h"

namespace kilter::check {
namespace {

constexpr const char* kUlp = "ulp";
constexpr const char* kWeightUnit = "ulp(max(\\|w\\|, 2^-100 \\|g\\|))";
constexpr const char* kGradientUnit = "ulp(\\|g / norm\\| * (\\|dw\\| + \\|h\\| * size)), size: of dg";
constexpr const char* kSumUnit = "ulp(max(\\|dg\\|, sqrt(sum terms^2)))";

const std::vector<Tolerance>& rows() {
  constexpr DType f64 = DType::f64, f32 = DType::f32, f16 = DType::f16, bf16 = DType::bf16;
  constexpr const char* kOnce = "one rounding: 0.5; fp32 error before it";
  static const std::vector<Tolerance> table = {
      // A chain of 4 terms that round alike loses (2 + 3 + 4) / 4 = 2.25 of 2^-24 of its sum, each up to an ulp of what is built from it;
      // the root halves them.
      {"norm", f64, nullptr, 3, kUlp, "as fp32; the wide sum is an unevaluated pair"},
      {"norm", f32, nullptr, 3, kUlp, "half of a square's 1 and a chain's 2.25; the result: 0.5"},
      {"w", f64, nullptr, 5, kWeightUnit, "as fp32, and the root's own 1"},
      {"w", f32, nullptr, 4, kWeightUnit, "the norm before its rounding: 1.65; g / norm: 1; a product: 1"},
      {"w", f16, nullptr, 0.51, kWeightUnit, kOnce},
      {"w", bf16, nullptr, 0.51, kWeightUnit, kOnce},
      {"dv", f64, nullptr, 8, kGradientUnit, "as fp32, in fp64"},
      {"dv", f32, nullptr, 8, kGradientUnit, "h: 1; its product: 0.5; dg: 3.75; the difference: 0.5; g / norm, a product: 2"},
      {"dv", f16, nullptr, 0.6, kGradientUnit, kOnce},
      {"dv", bf16, nullptr, 0.6, kGradientUnit, kOnce},
      {"dg", f64, nullptr, 6, kSumUnit, "as fp32; the wide sum is an unevaluated pair"},
      {"dg", f32, nullptr, 6, kSumUnit, "a term: 2.5 (1 / norm, two products); a chain: 2.25; the result: 0.5"},
      {"dg", f16, nullptr, 0.6, kSumUnit, kOnce},
      {"dg", bf16, nullptr, 0.6, kSumUnit, kOnce},
  };
  return table;
}

}  // namespace

const Bounds weights_bounds = {
    "Weights", rows(), "",
    "- h = v / norm, with the norm that forward saved; dg's terms are dw * h. A term counts at least as F's smallest normal number.\n"
    "- In dv and dg NaN and infinity stand for each other.\n"
    "- g / norm * dw and dw * h are taken neither to overflow nor to underflow.\n"};

}  // namespace kilter::check

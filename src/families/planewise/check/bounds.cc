// The bounds of the norms of planes, and why they are what they are.
#include "families/planewise/check/check.h"

namespace kilter::check {
namespace {

// f = scale_offset + scale.  b * f and shift count each by itself: each rounds in proportion to its own size.
constexpr const char* kForwardUnit = "ulp of the group's max(\\|xhat * w * f\\| + \\|b * f\\| + \\|shift\\| + \\|r\\|)";
constexpr const char* kMeanUnit = "ulp(max(\\|mean\\|, std))";
constexpr const char* kRstdUnit = "ulp(rstd)";
// As of the row norms: no arithmetic keeps the terms of dx better.
constexpr const char* kDxUnit = "ulp(rstd * max(\\|u * f * w\\| + \\|c2\\| + \\|h * c1\\|) + max\\|dresidual_out\\|)";
constexpr const char* kUUnit = "ulp(u)";
constexpr const char* kRunningUnit = "ulp(max(\\|out\\|, \\|old\\|, \\|new\\|))";
constexpr const char* kMeanInUnit = "max(std * 2^-23, ulp64(mean)); T fp64: 2^-52";
constexpr const char* kM2Unit = "max(m2 * 2^-23, count * ulp64(mean)^2); T fp64: 2^-52";
constexpr const char* kSumUnit = "ulp(max(\\|sum\\|, sqrt(sum terms^2)))";

const std::vector<Tolerance>& rows() {
  constexpr DType f64 = DType::f64, f32 = DType::f32, f16 = DType::f16, bf16 = DType::bf16;
  constexpr const char* kBits = "one sum, one rounding: defined to the bit";
  constexpr const char* kRoot = "half the relative error of var + eps, then root and division: part of y's error, so y's bound";
  constexpr const char* kOnce = "one rounding: 0.5; fp32 error before it";
  static const std::vector<Tolerance> table = {
      // Silu's slope is at most 1.10, gelu's 1.13: what v is off by grows by no more.  The function itself is off by a share of |v|.
      {"y", f64, kWithActivation, 9, kForwardUnit, "as fp32, in fp64"},
      {"y", f32, kWithActivation, 9, kForwardUnit, "v: 5 times a slope of 1.13; exponential (or erf): 1.5; its sum, inverse, product: 1.5"},
      {"y", f64, nullptr, 5, kForwardUnit, "as fp32, in fp64"},
      {"y", f32, nullptr, 5, kForwardUnit, "x - mean and its product: 1.5; rstd: 1.5; half each for weight, bias, factor, shift (or r)"},
      {"y", f16, nullptr, 0.51, kForwardUnit, "one rounding: 0.5; fp32 error before it: 0.001"},
      {"y", bf16, nullptr, 0.51, kForwardUnit, "one rounding: 0.5; fp32 error before it: 0.0001"},
      {"mean", f64, nullptr, 4, kMeanUnit, "one rounding of the saved mean; that of sum(x - mean) / m"},
      {"mean", f32, nullptr, 4, kMeanUnit, "one rounding of the saved mean; that of sum(x - mean) / m"},
      {"rstd", f64, nullptr, 4, kRstdUnit, kRoot},
      {"rstd", f32, nullptr, 4, kRstdUnit, kRoot},
      {"running_mean_out", f64, kMostlyNew, 8, kRunningUnit, "as fp32; the products and their sum: 1"},
      {"running_mean_out", f32, kMostlyNew, 7, kRunningUnit,
       "the batch's variance: 6, twice rstd's bound without root and division; one rounding, momentum"},
      {"running_mean_out", f64, nullptr, 4, kRunningUnit, "as fp32, in fp64"},
      {"running_mean_out", f32, nullptr, 4, kRunningUnit, "half of the batch's at most: 3; one rounding: 0.5; momentum in fp32: 0.5"},
      {"running_mean_out", f16, nullptr, 0.51, kRunningUnit, "one rounding: 0.5; fp32 error before it"},
      {"running_mean_out", bf16, nullptr, 0.51, kRunningUnit, "one rounding: 0.5; fp32 error before it"},
      {"mask", DType::u8, nullptr, 0, "bits", "whether v is above 0"},
      {"count", f64, nullptr, 0, "bits", "the sizes' product"},
      {"mean in fp64", f64, nullptr, 4, kMeanInUnit, "as mean"},
      {"mean in fp64", f32, nullptr, 4, kMeanInUnit, "that of sum(x - mean) / m"},
      {"m2", f64, nullptr, 8, kM2Unit, "as fp32, in fp64"},
      {"m2", f32, nullptr, 8, kM2Unit, "x - mean, twice: 2; its square: 0.5; tens of terms in fp32: 1.5; the mean's: 4"},
      {"residual_out", f64, nullptr, 0, "bits", kBits},
      {"residual_out", f32, nullptr, 0, "bits", kBits},
      {"residual_out", f16, nullptr, 0, "bits", kBits},
      {"residual_out", bf16, nullptr, 0, "bits", kBits},
      // v comes from the saved mean and rstd, and is off by up to 4 units of its own; what that does to the slope is counted in u.
      {"dx", f64, kWithActivation, 12, kDxUnit, "as fp32, in fp64"},
      {"dx", f32, kWithActivation, 12, kDxUnit, "as without: 8; the slope's exponential: 1.5, its sum, inverse and products: 2.5"},
      {"dx", f64, nullptr, 8, kDxUnit, "the same operations as fp32, in fp64"},
      {"dx", f32, nullptr, 8, kDxUnit, "saved rstd: 2.5; h: 2; products, differences and the sums' share: 3.5"},
      {"dx", f16, nullptr, 0.6, kDxUnit, kOnce},
      {"dx", bf16, nullptr, 0.6, kDxUnit, kOnce},
      {"u", f64, kWithActivation, 6, kUUnit, "as fp32, in fp64"},
      {"u", f32, kWithActivation, 6, kUUnit, "the slope's exponential: 1.5, its sum, inverse and products: 2.5; v: 5 of V; product: 0.5"},
      {"u", f64, nullptr, 0, "bits", "dy as it is"},
      {"u", f32, nullptr, 0.5, kUUnit, "dy, rounded where it is wider"},
      {"u", f16, kWithActivation, 0.51, kUUnit, kOnce},
      {"u", bf16, kWithActivation, 0.51, kUUnit, kOnce},
      {"u", f16, nullptr, 0, "bits", "dy as it is"},
      {"u", bf16, nullptr, 0, "bits", "dy as it is"},
      {"dweight", f64, kWithActivation, 12, kSumUnit, "as fp32, in fp64"},
      {"dweight", f32, kWithActivation, 12, kSumUnit, "as without: 8; the slope: 4"},
      {"dweight", f64, nullptr, 8, kSumUnit, "as fp32; the wide sum is an unevaluated pair"},
      {"dweight", f32, nullptr, 8, kSumUnit,
       "a term: 2.5 (h, products, saved rstd); tens of terms in fp32, then a wider type: 1.2; the worst of many: 4 times their root sum"},
      {"dweight", f16, nullptr, 0.6, kSumUnit, kOnce},
      {"dweight", bf16, nullptr, 0.6, kSumUnit, kOnce},
  };
  return table;
}

}  // namespace

const Bounds planewise_bounds = {
    "Norms of planes", rows(),
    "dresidual as dx, dbias as dweight, dscale as dweight, dshift as dweight, running_var_out as running_mean_out, "
    "sum_u as dweight, sum_u_xhat as dweight",
    "- f = scale_offset + scale, r is a residual that is added behind the affine. c1 and c2 are the means over a group of g * xhat and g,\n"
    "  g = u * f * weight, and 0 where running statistics were used. A channel of batch_norm is a group.\n"
    "- u is the dresidual of a residual that is added behind the affine; another one's is dx.\n"
    "- Steps of batch_norm: mean, m2, sum_u and sum_u_xhat are fp64, their units those of fp32 unless T is fp64.\n"
    "- Where running statistics were used, mean is theirs to the bit.\n"
    "- Of running statistics new is what the batch brings: the unbiased variance; of the mean max(\\|mean\\|, std), since no mean is as "
    "exact\n"
    "  as its own size where terms cancel (instance_norm: the means of these over the samples).\n"
    "- Terms: of dweight |u * f| * max(|xhat|, rms), of dbias |u * f|, of dscale |u| * (max(|xhat|, rms) * |w| + |b|), of dshift |u|; rms\n"
    "  is the group's rms of xhat: xhat = (x - mean) * rstd is as exact as its group's size.\n"
    "- u = dy without an activation. With one, |u| counts as |dy| * (|act'| + |act''| * V), V = (|xhat| + |mean| * rstd) * |w * f| +\n"
    "  |b * f| + |shift| + |r| (with running statistics without the mean): v is computed again from the saved mean, whose rounding alone "
    "moves it by ulp(mean) / 2 * rstd * |w * f|, and "
    "from\n"
    "  terms that round each. act'' is the largest within 8 ulp(V) of v, for silu at most s (1 - s) max(2, |v|) with s its sigmoid, for\n"
    "  gelu and gelu_tanh exp(-v^2 / 2) / sqrt(2 pi) max(2, v^2). act' counts at least 2^-99 (fp64: 2^-900): the\n"
    "  exponential may underflow, of which up to 88 * 2^-126 are lost.\n"
    "- relu's slope is either 0 or 1 where v is within 8 ulp(V) of 0 (|u| counts as |dy|); what that changes in dx and in sums is\n"
    "  not counted as an error.\n"
    "- A bit of mask is either where v is within 5 units of y's, in fp32 (T fp64: fp64), of 0. Backward is judged with forward's mask,\n"
    "  whose bit is relu's slope then; |u| counts as |dy|.\n"
    "- In mean, gradients and sums NaN and infinity stand for each other.\n"
    "- Groups whose rstd is beyond the saved type's range (eps near 0, subnormal groups) have no gradients to judge, and their call no\n"
    "  sums; nor those whose xhat or V is beyond the range computed in, as running statistics allow. Where the terms of a group's sums "
    "add\n"
    "  up to more than that, the call has no sums to judge.\n"
    "- A term of a sum counts at least as fp32's (fp64's) smallest normal number. The bounds are for eps >= 0 and for groups whose terms\n"
    "  do not underflow against one another.\n"};

}  // namespace kilter::check

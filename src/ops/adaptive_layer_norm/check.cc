// How adaptive_layer_norm is judged: as the norm that it modulates.
#include "families/rowwise/check/check.h"

namespace kilter::check {
namespace {

void judge(const Case& c, const Tensors& t, Report* r) { judge_row_norm(c.number("norm") != 0 ? kRmsNorm : kLayerNorm, c, t, r); }

// Per token, per sample, by segments; either norm.
void vary(Case* c, int variant) {
  const DType x = c->x;
  Case& v = *c;
  v.sizes["segments"] = v.rows;
  if (variant == 0) v.sizes["segments"] = 1;
  if (variant == 1) v["weight"] = v["bias"] = v["shift"] = x, v.sizes["segments"] = v.rows % 4 == 0 ? 4 : 1;
  if (variant == 2) v["shift"] = v["residual"] = v["dresidual"] = v["scale"] = DType::f32, v["dresidual_out"] = x, v.numbers["norm"] = 1;
  if (variant == 3) v["shift"] = v["residual"] = v["gate"] = v["branch"] = v["dresidual"] = x, v["segments"] = DType::i64;
  if (variant == 3) v.sizes["segments"] = v.rows / 2 + 1;
  if (variant == 4) v["weight"] = v["bias"] = v["shift"] = DType::f32, v["segments"] = DType::i32, v.sizes["segments"] = 3;
  if (variant == 4) v.numbers["norm"] = 1, v.numbers["scale_offset"] = 0, v["residual"] = v["gate"] = v["branch"] = x;
}

// There is a mean where the norm has one.
DType type(const Case& c, const Field& f, DType usual) {
  return std::string_view(f.name) == "mean" && c.number("norm") != 0 ? DType::none : usual;
}

}  // namespace

extern const Op adaptive_layer_norm_check;
const Op adaptive_layer_norm_check = {"adaptive_layer_norm", &row_norm_bounds, "shift", true, false, judge, vary, nullptr, type};

}  // namespace kilter::check

// How the row norms are judged: what ops/<op>/check.cc of this family puts together.
#pragma once

#include "check/check.h"
#include "families/rowwise/problem.h"
#include "families/rowwise/reference.h"

namespace kilter::check {

// When a row of the bounds applies.
enum class When {
  always,
  constant_row,             // layer_norm, a row whose elements are all equal
  exact_row,                // layer_norm, fill `exact`: the sum has no rounding
  modulated,                // adaptive_layer_norm
  then_multiply,            // rounding then-multiply: T(xhat), T(times w)
  then_multiply_add,        // ... and T(plus b) or T(plus post_residual)
  then_multiply_add_twice,  // ... and both
  harder,                   // weight, bias or a residual, or an adversarial fill
  plain
};

extern const Bounds row_norm_bounds;

// Of at most three conditions.
const Tolerance& tolerance(std::string_view output, DType dtype, std::initializer_list<When> when);

struct RowNorm {
  bool centered;  // has a mean
  kilter_status (*forward)(const RowNormForward&, kilter_stream);
  kilter_status (*backward)(const RowNormBackward&, kilter_stream);
};
constexpr RowNorm kLayerNorm = {true, layer_norm_reference_forward, layer_norm_reference_backward};
constexpr RowNorm kRmsNorm = {false, rms_norm_reference_forward, rms_norm_reference_backward};

void judge_row_norm(const RowNorm& op, const Case& c, const Tensors& t, Report* r);
void vary_row_norm(Case* c, int variant);

template <const RowNorm& kOp>
constexpr Op row_norm(const char* name, const char* usual) {
  return {
      name,         &row_norm_bounds, usual, true, false, [](const Case& c, const Tensors& t, Report* r) { judge_row_norm(kOp, c, t, r); },
      vary_row_norm};
}

}  // namespace kilter::check

// How layer_norm is judged.
#include "families/rowwise/check/check.h"

namespace kilter::check {

static constexpr RowNorm kOp = {true, layer_norm_reference_forward, layer_norm_reference_backward};
extern const Op layer_norm_check;
const Op layer_norm_check = row_norm<kOp>("layer_norm", "weight bias");

}  // namespace kilter::check

// How rms_norm is judged.
#include "families/rowwise/check/check.h"

namespace kilter::check {

static constexpr RowNorm kOp = {false, rms_norm_reference_forward, rms_norm_reference_backward};
extern const Op rms_norm_check;
const Op rms_norm_check = row_norm<kOp>("rms_norm", "weight");

}  // namespace kilter::check

// How rms_norm is judged.
#include "families/rowwise/check/check.h"

namespace kilter::check {

extern const Op rms_norm_check;
const Op rms_norm_check = row_norm<kRmsNorm>("rms_norm", "weight");

}  // namespace kilter::check

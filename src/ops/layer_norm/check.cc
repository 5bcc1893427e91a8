// How layer_norm is judged.
#include "families/rowwise/check/check.h"

namespace kilter::check {

extern const Op layer_norm_check;
const Op layer_norm_check = row_norm<kLayerNorm>("layer_norm", "weight bias");

}  // namespace kilter::check

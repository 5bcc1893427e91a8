// How group_norm is judged.
#include "check/check.h"

namespace kilter::check {

extern const Op group_norm_check;
const Op group_norm_check = {"group_norm", nullptr, "weight bias", false, false, [](const Case&, const Tensors&, Report*) {}, [](Case*, int) {}};

}  // namespace kilter::check

// How group_norm is judged.
#include "families/planewise/check/check.h"

namespace kilter::check {

static void share(const Case& c, Sharing* s) { s->width = s->channels / std::max<int64_t>(c.size("groups"), 1); }

static constexpr PlaneNorm kOp = {group_norm_reference_forward, group_norm_reference_backward, finish_group_norm, finish_group_norm};
extern const Op group_norm_check;
const Op group_norm_check = planewise<kOp>("group_norm", "weight bias", share);

}  // namespace kilter::check

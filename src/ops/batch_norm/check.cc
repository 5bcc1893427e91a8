// How batch_norm is judged.
#include "families/planewise/check/check.h"

namespace kilter::check {

static void share(const Case&, Sharing* s) { s->width = 1, s->all_samples = true; }

static constexpr PlaneNorm kOp = {batch_norm_reference_forward, batch_norm_reference_backward, finish_batch_norm, finish_batch_norm};
extern const Op batch_norm_check;
const Op batch_norm_check = planewise<kOp>("batch_norm", "weight bias running_mean running_var", share);

}  // namespace kilter::check

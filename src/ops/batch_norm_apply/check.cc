// How batch_norm_apply is judged.
#include "families/planewise/check/check.h"

namespace kilter::check {

static void share(const Case&, Sharing* s) { s->width = 1, s->all_samples = true; }

static constexpr PlaneNorm kOp = {batch_norm_apply_reference_forward, batch_norm_apply_reference_backward, finish_batch_norm_apply,
                                  finish_batch_norm_apply};
extern const Op batch_norm_apply_check;
const Op batch_norm_apply_check = planewise<kOp>("batch_norm_apply", "weight bias", share);

}  // namespace kilter::check

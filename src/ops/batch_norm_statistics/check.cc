// How batch_norm_statistics is judged.
#include "families/planewise/check/check.h"

namespace kilter::check {

static void share(const Case&, Sharing* s) { s->width = 1, s->all_samples = true; }

static constexpr PlaneNorm kOp = {batch_norm_statistics_reference_forward, batch_norm_statistics_reference_backward,
                                  finish_batch_norm_statistics, finish_batch_norm_statistics};
extern const Op batch_norm_statistics_check;
const Op batch_norm_statistics_check = planewise<kOp>("batch_norm_statistics", "weight bias", share);

}  // namespace kilter::check

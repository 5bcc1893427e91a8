// How instance_norm is judged.
#include "families/planewise/check/check.h"

namespace kilter::check {

static void share(const Case&, Sharing* s) { s->width = 1; }

static constexpr PlaneNorm kOp = {instance_norm_reference_forward, instance_norm_reference_backward, finish_instance_norm,
                                  finish_instance_norm};
extern const Op instance_norm_check;
const Op instance_norm_check = planewise<kOp>("instance_norm", "weight bias", share);

}  // namespace kilter::check

// weight_norm: 1. the implementation lists  2. the C entry points.
#include "families/weights/entry.h"

namespace kilter {
namespace {

constexpr const char* kOp = "weight_norm";

constexpr Implementation<WeightsForward> kForward[] = {
    {"reference:f64", weights_cpu_refuses, weight_norm_reference_forward},
};

constexpr Implementation<WeightsBackward> kBackward[] = {
    {"reference:f64", weights_cpu_refuses, weight_norm_reference_backward},
};

constexpr Schema kForwardSchema = weights_forward<kilter_weight_norm_forward_args>(kOp, KILTER_WEIGHT_NORM_FORWARD);
constexpr Schema kBackwardSchema = weights_backward<kilter_weight_norm_backward_args>(kOp, KILTER_WEIGHT_NORM_BACKWARD);
using ForwardEntry = Entry<kForwardSchema, WeightsForward, kForward, finish>;
using BackwardEntry = Entry<kBackwardSchema, WeightsBackward, kBackward, finish>;

}  // namespace

}  // namespace kilter

KILTER_FUNCTIONS(weight_norm, ForwardEntry, BackwardEntry)

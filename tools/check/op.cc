#include "check/op.h"

#include "families/rowwise/reference.h"

namespace kilter::check {

const Op* find_op(std::string_view name) {
  static constexpr Op kOps[] = {{"layer_norm", true, layer_norm_reference_forward, layer_norm_reference_backward},
                                {"rms_norm", false, rms_norm_reference_forward, rms_norm_reference_backward}};
  for (const Op& op : kOps)
    if (name == op.name) return &op;
  return nullptr;
}

}  // namespace kilter::check

#include "check/op.h"

namespace kilter::check {

#define KILTER_OP(name) extern const Op name##_check;
#include "kilter_ops.inc"
#undef KILTER_OP

const Op* find_op(std::string_view name) {
  static const Op* const kOps[] = {
#define KILTER_OP(name) &name##_check,
#include "kilter_ops.inc"
#undef KILTER_OP
  };
  for (const Op* op : kOps)
    if (name == op->name) return op;
  return nullptr;
}

}  // namespace kilter::check

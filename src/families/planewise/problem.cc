#include "families/planewise/problem.h"

namespace kilter {
namespace {

template <class Problem>
kilter_status finish(Problem* p) {
  p->groups = p->channels > 0 ? p->channels : 1;
  p->over_batch = p->residual_behind = true;
  if (!p->training && p->running_var.dtype == DType::none)
    return fail(KILTER_INVALID_ARGUMENT, p->op, "running_mean, running_var: expected tensors where training is 0, got none");
  return KILTER_OK;
}

}  // namespace

kilter_status finish_batch_norm(PlaneForward* p) {
  KILTER_RETURN_IF_ERROR(finish(p));
  if (p->running_mean.dtype != DType::none && p->running_var.dtype == DType::none)
    return fail(KILTER_INVALID_ARGUMENT, p->op, "running_var: expected a tensor beside running_mean, got none");
  if (!p->training && (p->running_mean_out.dtype != DType::none || p->running_var_out.dtype != DType::none))
    return fail(KILTER_INVALID_ARGUMENT, p->op, "running_mean_out, running_var_out: expected none where training is 0, got tensors");
  if (p->training && p->batch == 1 && p->spatial == 1)
    return fail(KILTER_INVALID_ARGUMENT, p->op, "x.shape: expected more than one value per channel in training, got one");
  return KILTER_OK;
}

kilter_status finish_batch_norm(PlaneBackward* p) {
  KILTER_RETURN_IF_ERROR(finish(p));
  if (p->training && p->rstd.dtype == DType::none)
    return fail(KILTER_INVALID_ARGUMENT, p->op, "mean, rstd: expected tensors in training, got none");
  return KILTER_OK;
}

}  // namespace kilter

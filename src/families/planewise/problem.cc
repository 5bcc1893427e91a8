#include "families/planewise/problem.h"

namespace kilter {
namespace {

bool given(const View& v) { return v.dtype != DType::none; }  // it may be empty

template <class Problem>
void by_channel(Problem* p) {
  p->by_channel = true, p->groups = p->channels > 0 ? p->channels : 1;
}

// when: "where training is 0"
template <class Problem>
kilter_status finish_running(const Problem& p, const char* when) {
  if (!p.training && !given(p.running_var))
    return fail(KILTER_INVALID_ARGUMENT, p.op, "running_mean, running_var: expected tensors %s, got none", when);
  if (given(p.running_mean) && !given(p.running_var))
    return fail(KILTER_INVALID_ARGUMENT, p.op, "running_var: expected a tensor beside running_mean, got none");
  return KILTER_OK;
}
kilter_status finish_running_out(const PlaneForward& p, const char* when) {
  KILTER_RETURN_IF_ERROR(finish_running(p, when));
  if (!p.training && (given(p.running_mean_out) || given(p.running_var_out)))
    return fail(KILTER_INVALID_ARGUMENT, p.op, "running_mean_out, running_var_out: expected none %s, got tensors", when);
  return KILTER_OK;
}
template <class Problem>
kilter_status finish_statistics(const Problem& p, const char* when) {
  if (p.training && !given(p.rstd)) return fail(KILTER_INVALID_ARGUMENT, p.op, "mean, rstd: expected tensors unless %s, got none", when);
  return KILTER_OK;
}

template <class Problem>
kilter_status finish_mask(const Problem& p) {
  if (!given(p.mask) || p.activation == KILTER_ACTIVATION_RELU) return KILTER_OK;
  return fail(KILTER_INVALID_ARGUMENT, p.op, "mask: expected none unless activation is relu, got %s", dtype_name(p.mask.dtype));
}

constexpr const char *kNotTraining = "where training is 0", *kInference = "where inference is 1";

template <class Problem>
void over_batch(Problem* p) {
  by_channel(p);
  p->over_batch = p->residual_behind = true;
}
template <class Problem>
kilter_status finish_step(Problem* p, PlaneStep step) {
  over_batch(p);
  p->step = step;
  return KILTER_OK;
}

}  // namespace

kilter_status finish_instance_norm(PlaneForward* p) {
  by_channel(p);
  p->training = !p->inference;
  KILTER_RETURN_IF_ERROR(finish_running_out(*p, kInference));
  if (p->spatial == 1 && (given(p->running_mean_out) || given(p->running_var_out)))
    return fail(KILTER_INVALID_ARGUMENT, p->op,
                "x.shape: expected more than one value per plane beside running statistics to write, got 1");
  return KILTER_OK;
}

kilter_status finish_instance_norm(PlaneBackward* p) {
  by_channel(p);
  p->training = !p->inference;
  KILTER_RETURN_IF_ERROR(finish_running(*p, kInference));
  return finish_statistics(*p, "inference is 1");
}

kilter_status finish_batch_norm(PlaneForward* p) {
  over_batch(p);
  KILTER_RETURN_IF_ERROR(finish_mask(*p));
  KILTER_RETURN_IF_ERROR(finish_running_out(*p, kNotTraining));
  if (p->training && p->batch == 1 && p->spatial == 1)
    return fail(KILTER_INVALID_ARGUMENT, p->op, "x.shape: expected more than one value per channel in training, got 1");
  return KILTER_OK;
}

kilter_status finish_batch_norm(PlaneBackward* p) {
  over_batch(p);
  KILTER_RETURN_IF_ERROR(finish_mask(*p));
  KILTER_RETURN_IF_ERROR(finish_running(*p, kNotTraining));
  return finish_statistics(*p, "training is 0");
}

kilter_status finish_batch_norm_statistics(PlaneForward* p) { return finish_step(p, PlaneStep::statistics); }
kilter_status finish_batch_norm_statistics(PlaneBackward* p) { return finish_step(p, PlaneStep::statistics); }
kilter_status finish_batch_norm_apply(PlaneForward* p) { return finish_step(p, PlaneStep::apply); }
kilter_status finish_batch_norm_apply(PlaneBackward* p) { return finish_step(p, PlaneStep::apply); }

}  // namespace kilter

/* Uses all that kilter.h and helpers.h define; headers_test.sh compiles it as C and as C++, by every compiler and for every standard. */
#include <kilter/kilter.h>

kilter_status every_function(void* memory, float* input);

kilter_status every_function(void* memory, float* input) {
  const int64_t shape[2] = {2, 3};
  const kilter_dtype types[4] = {KILTER_FP64, KILTER_FP32, KILTER_FP16, KILTER_BF16};
  kilter_layer_norm_forward_args layer_norm_forward = kilter_layer_norm_forward_defaults();
  kilter_layer_norm_backward_args layer_norm_backward = kilter_layer_norm_backward_defaults();
  kilter_rms_norm_forward_args rms_norm_forward = kilter_rms_norm_forward_defaults();
  kilter_rms_norm_backward_args rms_norm_backward = kilter_rms_norm_backward_defaults();
  kilter_dyt_forward_args dyt_forward = kilter_dyt_forward_defaults();
  kilter_dyt_backward_args dyt_backward = kilter_dyt_backward_defaults();
  kilter_derf_forward_args derf_forward = kilter_derf_forward_defaults();
  kilter_derf_backward_args derf_backward = kilter_derf_backward_defaults();
  kilter_group_norm_forward_args group_norm_forward = kilter_group_norm_forward_defaults();
  kilter_group_norm_backward_args group_norm_backward = kilter_group_norm_backward_defaults();
  kilter_instance_norm_forward_args instance_norm_forward = kilter_instance_norm_forward_defaults();
  kilter_instance_norm_backward_args instance_norm_backward = kilter_instance_norm_backward_defaults();
  kilter_batch_norm_forward_args batch_norm_forward = kilter_batch_norm_forward_defaults();
  kilter_batch_norm_backward_args batch_norm_backward = kilter_batch_norm_backward_defaults();
  kilter_batch_norm_statistics_forward_args statistics_forward = kilter_batch_norm_statistics_forward_defaults();
  kilter_batch_norm_statistics_backward_args statistics_backward = kilter_batch_norm_statistics_backward_defaults();
  kilter_batch_norm_combine_forward_args combine_forward = kilter_batch_norm_combine_forward_defaults();
  kilter_batch_norm_combine_backward_args combine_backward = kilter_batch_norm_combine_backward_defaults();
  kilter_batch_norm_apply_forward_args apply_forward = kilter_batch_norm_apply_forward_defaults();
  kilter_batch_norm_apply_backward_args apply_backward = kilter_batch_norm_apply_backward_defaults();
  kilter_plan plan;
  kilter_function_info info;
  kilter_field field;
  kilter_candidate candidate;
  size_t count = 0;
  plan.struct_size = sizeof plan;
  info.struct_size = sizeof info;
  field.struct_size = sizeof field;
  rms_norm_forward.x = layer_norm_forward.x = kilter_cpu_tensor(input, types[1], 2, shape);
  rms_norm_forward.y = layer_norm_forward.y = kilter_cpu_tensor(memory, KILTER_FP32, 2, shape);
  if (kilter_layer_norm_forward(&layer_norm_forward, NULL) != KILTER_OK) return KILTER_INTERNAL;
  if (kilter_ask(KILTER_LAYER_NORM_BACKWARD, &layer_norm_backward, &plan) != KILTER_OK) return KILTER_INTERNAL;
  if (kilter_explain(KILTER_LAYER_NORM_BACKWARD, &layer_norm_backward, &candidate, 1, &count) != KILTER_OK) return KILTER_INTERNAL;
  if (kilter_call(KILTER_LAYER_NORM_BACKWARD, &layer_norm_backward, NULL) != KILTER_OK) return KILTER_INTERNAL;
  if (kilter_function_at(0, &info) != KILTER_OK) return KILTER_INTERNAL;
  if (kilter_field_at(KILTER_RMS_NORM_FORWARD, 0, &field) != KILTER_OK) return KILTER_INTERNAL;
  if (kilter_rms_norm_backward(&rms_norm_backward, NULL) != KILTER_OK) return KILTER_INTERNAL;
  if (kilter_dyt_forward(&dyt_forward, NULL) != KILTER_OK || kilter_dyt_backward(&dyt_backward, NULL) != KILTER_OK) return KILTER_INTERNAL;
  if (kilter_derf_forward(&derf_forward, NULL) != KILTER_OK) return KILTER_INTERNAL;
  if (kilter_derf_backward(&derf_backward, NULL) != KILTER_OK) return KILTER_INTERNAL;
  group_norm_backward.groups = group_norm_forward.groups = 1;
  group_norm_forward.activation = KILTER_ACTIVATION_RELU;
  if (kilter_group_norm_forward(&group_norm_forward, NULL) != KILTER_OK) return KILTER_INTERNAL;
  if (kilter_group_norm_backward(&group_norm_backward, NULL) != KILTER_OK) return KILTER_INTERNAL;
  batch_norm_backward.training = batch_norm_forward.training = 1;
  batch_norm_forward.averaging = instance_norm_forward.averaging = KILTER_AVERAGING_CUMULATIVE;
  if (kilter_instance_norm_forward(&instance_norm_forward, NULL) != KILTER_OK) return KILTER_INTERNAL;
  if (kilter_instance_norm_backward(&instance_norm_backward, NULL) != KILTER_OK) return KILTER_INTERNAL;
  if (kilter_batch_norm_forward(&batch_norm_forward, NULL) != KILTER_OK) return KILTER_INTERNAL;
  if (kilter_batch_norm_backward(&batch_norm_backward, NULL) != KILTER_OK) return KILTER_INTERNAL;
  if (kilter_batch_norm_statistics_forward(&statistics_forward, NULL) != KILTER_OK) return KILTER_INTERNAL;
  if (kilter_batch_norm_statistics_backward(&statistics_backward, NULL) != KILTER_OK) return KILTER_INTERNAL;
  if (kilter_batch_norm_combine_forward(&combine_forward, NULL) != KILTER_OK) return KILTER_INTERNAL;
  if (kilter_batch_norm_combine_backward(&combine_backward, NULL) != KILTER_OK) return KILTER_INTERNAL;
  if (kilter_batch_norm_apply_forward(&apply_forward, NULL) != KILTER_OK) return KILTER_INTERNAL;
  if (kilter_batch_norm_apply_backward(&apply_backward, NULL) != KILTER_OK) return KILTER_INTERNAL;
  return kilter_rms_norm_forward(&rms_norm_forward, NULL);
}

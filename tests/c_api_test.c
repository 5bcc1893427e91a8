/* A C program can use all of the header. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kilter/kilter.h"

_Static_assert(sizeof(kilter_tensor) == 48, "the size on every 64-bit platform");
_Static_assert(offsetof(kilter_layer_norm_forward_args, struct_size) == 0, "size first");
_Static_assert(offsetof(kilter_layer_norm_backward_args, struct_size) == 0, "size first");
_Static_assert(offsetof(kilter_rms_norm_forward_args, struct_size) == 0, "size first");
_Static_assert(offsetof(kilter_rms_norm_backward_args, struct_size) == 0, "size first");
_Static_assert(offsetof(kilter_plan, struct_size) == 0, "size first");
_Static_assert(offsetof(kilter_function_info, struct_size) == 0, "size first");
_Static_assert(offsetof(kilter_field, struct_size) == 0, "size first");

static int failures = 0;
#define CHECK(condition)                                                                  \
  do {                                                                                    \
    if (!(condition)) {                                                                   \
      ++failures;                                                                         \
      printf("line %d: %s; last error: %s\n", __LINE__, #condition, kilter_last_error()); \
    }                                                                                     \
  } while (0)

enum { ROWS = 2, WIDTH = 4 };
static int64_t matrix_shape[2] = {ROWS, WIDTH}, vector_shape[1] = {WIDTH}, row_shape[1] = {ROWS};

static kilter_tensor tensor(float* data, int32_t ndim, int64_t* shape) { return kilter_cpu_tensor(data, KILTER_FP32, ndim, shape); }
static kilter_tensor matrix(float* data) { return tensor(data, 2, matrix_shape); }
static kilter_tensor vector(float* data) { return tensor(data, 1, vector_shape); }
static kilter_tensor per_row(float* data) { return tensor(data, 1, row_shape); }
static int near(double a, double b) { return fabs(a - b) <= 1e-6 * (1 + fabs(b)); }

static void layer_norm(void) {
  float x[] = {1, 3, 5, 7, -2, 2, -2, 2}, weight[] = {1, 1, 2, 1}, bias[] = {0, 0, 0, 1}, y[8], mean[2], rstd[2];
  float residual[] = {0, 0, 0, 0, 0, 0, 0, 0}, sum[8];
  kilter_layer_norm_forward_args forward = {.struct_size = sizeof forward,
                                            .x = matrix(x),
                                            .weight = vector(weight),
                                            .bias = vector(bias),
                                            .residual = matrix(residual),
                                            .y = matrix(y),
                                            .residual_out = matrix(sum),
                                            .mean = per_row(mean),
                                            .rstd = per_row(rstd),
                                            .rounding = KILTER_ROUND_ONCE,
                                            .activation = KILTER_ACTIVATION_NONE};
  CHECK(kilter_layer_norm_forward(&forward, NULL) == KILTER_OK);
  CHECK(mean[0] == 4 && mean[1] == 0 && near(rstd[0], 1 / sqrt(5)) && rstd[1] == 0.5f);
  for (int i = 0; i < 8; ++i) CHECK(sum[i] == x[i]);
  CHECK(near(y[0], -3 / sqrt(5)) && near(y[2], 2 / sqrt(5)) && y[4] == -1 && y[7] == 2);

  float dy[] = {1, 0, 0, 0, 0, 0, 0, 1}, dx[8], dweight[4], dbias[4];
  kilter_layer_norm_backward_args backward = {.struct_size = sizeof backward,
                                              .x = matrix(x),
                                              .mean = per_row(mean),
                                              .rstd = per_row(rstd),
                                              .dy = matrix(dy),
                                              .dx = matrix(dx),
                                              .dweight = vector(dweight),
                                              .dbias = vector(dbias)};
  kilter_plan plan = {.struct_size = sizeof plan};
  CHECK(kilter_ask(KILTER_LAYER_NORM_BACKWARD, &backward, &plan) == KILTER_OK && strcmp(plan.impl, "cpu:rowwise") == 0);
  backward.workspace_size = plan.workspace_size;
  backward.workspace = malloc(backward.workspace_size);
  CHECK(kilter_layer_norm_backward(&backward, NULL) == KILTER_OK);
  free(backward.workspace);
  CHECK(near(dweight[0], -3 / sqrt(5)) && dweight[1] == 0 && dweight[3] == 1);
  CHECK(dbias[0] == 1 && dbias[1] == 0 && dbias[3] == 1);
  CHECK(near(dx[0] + dx[1] + dx[2] + dx[3], 0));
  CHECK(near(dx[7], 0.5 * (1 - 0.25 - 0.25)));
}

static void rms_norm(void) {
  float x[] = {1, -1, 1, -1, 3, 3, 3, 3}, weight[] = {0, 0, 1, 0}, y[8], rstd[2];
  kilter_rms_norm_forward_args forward = {
      .struct_size = sizeof forward, .x = matrix(x), .weight = vector(weight), .y = matrix(y), .rstd = per_row(rstd), .weight_offset = 1};
  CHECK(kilter_rms_norm_forward(&forward, NULL) == KILTER_OK);
  CHECK(y[0] == 1 && y[2] == 2 && y[3] == -1 && near(y[4], 1) && near(y[6], 2));

  float dy[] = {4, 0, 0, 0, 0, 0, 0, 0}, dx[8];
  kilter_rms_norm_backward_args backward = {
      .struct_size = sizeof backward, .x = matrix(x), .rstd = per_row(rstd), .dy = matrix(dy), .dx = matrix(dx)};
  kilter_plan plan = {.struct_size = sizeof plan, .workspace_size = 1};
  CHECK(kilter_ask(KILTER_RMS_NORM_BACKWARD, &backward, &plan) == KILTER_OK && plan.workspace_size == 0);
  CHECK(kilter_rms_norm_backward(&backward, NULL) == KILTER_OK);
  CHECK(dx[0] == 3 && dx[1] == 1 && dx[2] == -1 && dx[3] == 1 && dx[4] == 0);
}

/* From the defaults, a row without variance or without a square is what its eps makes of it; a zero eps is taken as it is. */
static void defaults(void) {
  float x[] = {7, 7, 7, 7, 0, 0, 0, 0}, y[8] = {1, 1, 1, 1, 1, 1, 1, 1};
  kilter_layer_norm_forward_args layer = kilter_layer_norm_forward_defaults();
  kilter_rms_norm_forward_args rms = kilter_rms_norm_forward_defaults();
  CHECK(layer.struct_size == sizeof layer && layer.eps == KILTER_DEFAULT_EPS && layer.x.data == NULL && layer.impl == NULL);
  CHECK(rms.struct_size == sizeof rms && rms.eps == KILTER_DEFAULT_EPS);
  CHECK(kilter_layer_norm_backward_defaults().struct_size == sizeof(kilter_layer_norm_backward_args));
  CHECK(kilter_rms_norm_backward_defaults().struct_size == sizeof(kilter_rms_norm_backward_args));
  layer.x = rms.x = matrix(x);
  layer.y = rms.y = matrix(y);
  CHECK(kilter_layer_norm_forward(&layer, NULL) == KILTER_OK);
  for (int i = 0; i < 8; ++i) CHECK(y[i] == 0);
  CHECK(kilter_rms_norm_forward(&rms, NULL) == KILTER_OK);
  CHECK(near(y[0], 1) && y[4] == 0 && y[7] == 0);
  layer.eps = rms.eps = 0;
  CHECK(kilter_layer_norm_forward(&layer, NULL) == KILTER_OK && isnan(y[0]) && isnan(y[4]));
  CHECK(kilter_rms_norm_forward(&rms, NULL) == KILTER_OK && y[0] == 1 && isnan(y[4]));
}

static void questions(void) {
  const kilter_tensor rows = kilter_cpu_tensor(NULL, KILTER_BF16, 2, matrix_shape); /* asked about before there is memory */
  kilter_rms_norm_backward_args args = kilter_rms_norm_backward_defaults();
  args.x = args.dy = args.dresidual_out = rows;
  args.rstd = kilter_cpu_tensor(NULL, KILTER_FP32, 1, row_shape);
  args.weight = args.dbias = kilter_cpu_tensor(NULL, KILTER_FP32, 1, vector_shape);
  args.weight_offset = 1;
  kilter_candidate candidates[4];
  size_t count = 0;
  kilter_plan plan = {.struct_size = sizeof plan};
  CHECK(kilter_ask(KILTER_RMS_NORM_BACKWARD, &args, &plan) == KILTER_OK && plan.workspace_size > 0);
  CHECK(kilter_explain(KILTER_RMS_NORM_BACKWARD, &args, candidates, 4, &count) == KILTER_OK && count >= 2 && candidates[0].reason == NULL);
  CHECK(strcmp(candidates[0].impl, plan.impl) == 0);
  args.x.device.type = args.weight.device.type = args.rstd.device.type = args.dy.device.type = args.dresidual_out.device.type =
      args.dbias.device.type = KILTER_DEVICE_METAL;
  CHECK(kilter_ask(KILTER_RMS_NORM_BACKWARD, &args, &plan) == KILTER_UNSUPPORTED && strstr(kilter_last_error(), "CPU"));
  CHECK(kilter_call(KILTER_RMS_NORM_BACKWARD, NULL, NULL) == KILTER_INVALID_ARGUMENT);
  kilter_function_info info = {.struct_size = sizeof info};
  CHECK(kilter_function_at(0, &info) == KILTER_OK && info.field_count > 0);
  kilter_field field = {.struct_size = sizeof field};
  CHECK(kilter_field_at(KILTER_RMS_NORM_FORWARD, 0, &field) == KILTER_OK && strcmp(field.name, "x") == 0);
  CHECK(field.offset == offsetof(kilter_rms_norm_forward_args, x));
  CHECK(kilter_version() == KILTER_VERSION_MAJOR * 10000 + KILTER_VERSION_MINOR * 100 + KILTER_VERSION_PATCH);
  CHECK(strcmp(kilter_status_name(KILTER_TRUNCATED), "KILTER_TRUNCATED") == 0);
  CHECK(kilter_set_num_threads(1) == KILTER_OK && kilter_get_num_threads() == 1);
  CHECK(kilter_cpu_target() != NULL && kilter_cpu_target_at(0) != NULL && kilter_set_cpu_target("SCALAR") == KILTER_OK);
  CHECK(strcmp(kilter_cpu_target(), "SCALAR") == 0);
}

int main(void) {
  CHECK(strcmp(kilter_last_error(), "") == 0);
  CHECK(kilter_layer_norm_forward(NULL, NULL) == KILTER_INVALID_ARGUMENT);
  CHECK(strstr(kilter_last_error(), "layer_norm: args: expected a struct, got null") != NULL);
  questions();
  layer_norm();
  rms_norm();
  defaults();
  printf("%d failures\n", failures);
  return failures != 0;
}

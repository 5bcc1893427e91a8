/* What every consumer runs: one row through the C functions; 0 if the result is right. */
#include <kilter/kilter.h>
#include <stdio.h>
#include <string.h>

static int check_rms_norm(const char* consumer) {
  float x[4] = {2, -2, 2, -2}, weight[4] = {1, 2, 3, 4}, y[4];
  const float expected[4] = {1, -2, 3, -4};
  int64_t shape[1] = {4};
  kilter_rms_norm_forward_args args = kilter_rms_norm_forward_defaults();
  args.x = kilter_cpu_tensor(x, KILTER_FP32, 1, shape);
  args.weight = kilter_cpu_tensor(weight, KILTER_FP32, 1, shape);
  args.y = kilter_cpu_tensor(y, KILTER_FP32, 1, shape);
  args.eps = 0;
  if (kilter_rms_norm_forward(&args, NULL) != KILTER_OK) {
    fprintf(stderr, "%s: %s\n", consumer, kilter_last_error());
    return 1;
  }
  if (memcmp(y, expected, sizeof y) != 0) {
    fprintf(stderr, "%s: wrong result\n", consumer);
    return 1;
  }
  printf("%s: kilter %d, %s\n", consumer, kilter_version(), kilter_cpu_target());
  return 0;
}

/* RMSNorm from C.  What lies between the markers is shown in README.md. */
/* example-begin */
#include <kilter/kilter.h>
#include <stdio.h>

int main(void) {
  float x[2][4] = {{1, 2, 3, 4}, {-1, 0, 0, 1}}, weight[4] = {1, 1, 1, 1}, y[2][4];
  int64_t shape[] = {2, 4};
  kilter_rms_norm_forward_args args = kilter_rms_norm_forward_defaults(); /* eps 1e-5, everything else absent */
  args.x = kilter_cpu_tensor(x, KILTER_FP32, 2, shape);
  args.weight = kilter_cpu_tensor(weight, KILTER_FP32, 1, &shape[1]);
  args.y = kilter_cpu_tensor(y, KILTER_FP32, 2, shape);
  if (kilter_rms_norm_forward(&args, NULL) != KILTER_OK) {
    fprintf(stderr, "%s\n", kilter_last_error());
    return 1;
  }
  for (int row = 0; row < 2; ++row) printf("%.3f %.3f %.3f %.3f\n", y[row][0], y[row][1], y[row][2], y[row][3]);
}
/* example-end */

// LayerNorm from C++, forward and backward.  What lies between the markers is shown in docs/interface.md.
// example-begin
#include <cstdio>
#include <kilter/kilter.hpp>
#include <vector>

int main() {
  const int64_t rows = 2, n = 4;
  std::vector<float> x = {1, 2, 3, 4, -1, 0, 0, 1}, weight(n, 1.0f), bias(n, 0.0f);
  std::vector<float> y(rows * n), mean(rows), rstd(rows);

  kilter::layer_norm_forward(
      {.x = {x, {rows, n}}, .weight = weight, .bias = bias, .y = {y, {rows, n}}, .mean = mean, .rstd = rstd, .eps = 1e-5});
  for (int64_t r = 0; r < rows; ++r) std::printf("%.3f %.3f %.3f %.3f\n", y[r * n], y[r * n + 1], y[r * n + 2], y[r * n + 3]);

  std::vector<float> dy(rows * n, 1.0f), dx(rows * n), dweight(n), dbias(n);
  kilter::layer_norm_backward_args backward = {.x = {x, {rows, n}}, .weight = weight, .mean = mean, .rstd = rstd, .dy = {dy, {rows, n}}};
  backward.dx = {dx, {rows, n}};
  backward.dweight = dweight;
  backward.dbias = dbias;
  std::vector<std::byte> workspace(kilter::layer_norm_backward_workspace(backward));
  backward.workspace = workspace;
  kilter::layer_norm_backward(backward);  // throws kilter::error, as forward does, if something is wrong
}
// example-end

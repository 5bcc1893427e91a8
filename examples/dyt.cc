// DyT in place of a norm.
// example-begin
#include <cstdio>
#include <kilter/kilter.hpp>
#include <vector>

int main() {
  const int rows = 2, n = 4;
  std::vector<float> x = {1, 2, 3, 4, -1, 0, 0, 1}, alpha = {0.5f}, weight(n, 1.0f), bias(n, 0.0f), y(rows * n);  // alpha: one value
  kilter::dyt_forward({.x = {x, {rows, n}}, .alpha = alpha, .weight = weight, .bias = bias, .y = {y, {rows, n}}});
  for (int i = 0; i < rows * n; i += n) std::printf("%.3f %.3f %.3f %.3f\n", y[i], y[i + 1], y[i + 2], y[i + 3]);
}
// example-end

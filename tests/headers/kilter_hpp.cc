// Shapes and strides as people write them; headers_test.sh compiles it by every compiler, wrapper_test.cc runs them.
#include <array>
#include <kilter/kilter.hpp>
#include <span>
#include <vector>

void every_shape(std::vector<float>& x, std::vector<float>& y);

void every_shape(std::vector<float>& x, std::vector<float>& y) {
  const size_t n = 3, rows = x.size() / n;
  int int_rows = 2, int_n = 3;
  int64_t wide_rows = 2, wide_n = 3;
  long long longer = 2;
  enum { kRows = 2, kWidth = 3 };
  kilter::layer_norm_forward({.x = {x, {rows, n}}, .y = {y, {int_rows, int_n}}});
  kilter::layer_norm_forward({.x = {x, {x.size() / 3, 3}}, .y = {y, {wide_rows, wide_n}}});
  kilter::layer_norm_forward({.x = {x.data(), {rows, int_n}}, .y = {y.data(), {longer, n}, {int_n, 1u}}});
  kilter::layer_norm_forward({.x = {x, {kRows, kWidth}}, .y = {y, {2, 3}, {n, 1}}});
  const std::vector<int> ints = {2, 3};
  const std::vector<size_t> unsigneds = {2, 3};
  const std::vector<int64_t> wides = {2, 3};
  kilter::rms_norm_forward({.x = {x, ints}, .y = {y, unsigneds}});
  kilter::rms_norm_forward({.x = {x, wides}, .y = {y, std::array<int, 2>{2, 3}}});
  kilter::rms_norm_forward({.x = {x, std::array<size_t, 2>{2, 3}}, .y = {y, std::array<int64_t, 2>{2, 3}, std::vector<int>{3, 1}}});
  kilter::rms_norm_forward({.x = {x, std::span<const int>(ints)}, .y = {y, std::span<const size_t>(unsigneds)}});
  const int plain[] = {2, 3};
  const kilter::sizes kept = {rows, int_n};
  kilter::rms_norm_forward({.x = {x, plain}, .y = {y, kept}});
  kilter::group_norm_forward({.x = {x, {1, int_rows, 1, int_n}}, .y = {y, {1, int_rows, 1, int_n}}, .groups = int_rows});
  kilter::batch_norm_forward({.x = {x, {1, int_rows, 1, int_n}}, .y = {y, {1, int_rows, 1, int_n}}, .training = true});
}

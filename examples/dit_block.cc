// The modulation of a diffusion transformer's block (Peebles, Xie 2022): six rows per sample in one tensor, a norm before each branch, the
// first branch gated into the stream by the second norm's call.  Beside the formula in float64.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <kilter/kilter.hpp>
#include <vector>

namespace {

constexpr int64_t batch = 2, tokens = 5, n = 64;

std::vector<float> numbers(int64_t count, double phase) {
  std::vector<float> v(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) v[size_t(i)] = float(std::sin(double(i) * 0.7 + phase) + 0.3 * std::cos(double(i) * 0.11));
  return v;
}

// norm(row) * (1 + scale) + shift
std::vector<double> modulated(const std::vector<double>& row, const float* shift, const float* scale) {
  double mean = 0, var = 0;
  for (const double v : row) mean += v / double(n);
  for (const double v : row) var += (v - mean) * (v - mean) / double(n);
  std::vector<double> y(row.size());
  for (size_t i = 0; i < row.size(); ++i) y[i] = (row[i] - mean) / std::sqrt(var + 1e-6) * (1.0 + double(scale[i])) + double(shift[i]);
  return y;
}

}  // namespace

int main() {
  const std::vector<float> x = numbers(batch * tokens * n, 0), modulation = numbers(batch * 6 * n, 1),
                           branch = numbers(batch * tokens * n, 2);
  std::vector<float> before_attention(x.size()), before_mlp(x.size()), stream(x.size());
  // example-begin
  // modulation [batch, 6, n]: shift, scale and gate of attention, then of the MLP; each is a view, a row for all tokens of a sample.
  const auto part = [&](int64_t k) { return kilter::const_tensor(modulation.data() + k * n, {batch, 1, n}, {6 * n, n, 1}); };
  const kilter::sizes shape = {batch, tokens, n};
  kilter::adaptive_layer_norm_forward({.x = {x, shape}, .scale = part(1), .shift = part(0), .y = {before_attention, shape}, .eps = 1e-6});
  // branch = attention(before_attention); then stream = x + gate * branch, and the MLP's input, in one call:
  kilter::adaptive_layer_norm_forward({.x = {branch, shape},
                                       .scale = part(4),
                                       .shift = part(3),
                                       .residual = {x, shape},
                                       .gate = part(2),
                                       .y = {before_mlp, shape},
                                       .residual_out = {stream, shape},
                                       .eps = 1e-6});
  // example-end
  double worst = 0;
  for (int64_t r = 0; r < batch * tokens; ++r) {
    const float* const rows = modulation.data() + r / tokens * 6 * n;
    std::vector<double> first(size_t(n), 0), second(size_t(n), 0);
    for (int64_t i = 0; i < n; ++i) {
      const size_t at = size_t(r * n + i);
      first[size_t(i)] = double(x[at]);
      second[size_t(i)] = double(x[at]) + double(rows[2 * n + i]) * double(branch[at]);
      worst = std::max(worst, std::fabs(second[size_t(i)] - double(stream[at])));
    }
    const std::vector<double> attention = modulated(first, rows, rows + n), mlp = modulated(second, rows + 3 * n, rows + 4 * n);
    for (int64_t i = 0; i < n; ++i) {
      worst = std::max(worst, std::fabs(attention[size_t(i)] - double(before_attention[size_t(r * n + i)])));
      worst = std::max(worst, std::fabs(mlp[size_t(i)] - double(before_mlp[size_t(r * n + i)])));
    }
  }
  std::printf("largest difference from the formula in float64: %.1e\n", worst);
  return worst < 3e-6 ? 0 : 1;
}

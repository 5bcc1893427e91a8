// What only dyt and derf have: their functions over all of fp32, signs of zero, sums whose terms round alike.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "kilter/kilter.hpp"

namespace kilter::test {
namespace {

// Of fp32; kilter.hpp and the checker's headers do not go together.
double ulp(double v) { return std::ldexp(1.0, std::max(v == 0 ? -126 : std::ilogb(v), -126) - 23); }

std::vector<float> values_of(const char* op, std::vector<float> x) {
  const int n = int(x.size());
  std::vector<float> alpha = {1.0f}, y(x.size());
  if (op[1] == 'y')
    kilter::dyt_forward({.x = {x, {1, n}}, .alpha = alpha, .y = {y, {1, n}}});
  else
    kilter::derf_forward({.x = {x, {1, n}}, .alpha = alpha, .y = {y, {1, n}}});
  return y;
}
std::vector<float> slopes_of(const char* op, std::vector<float> x) {
  const int n = int(x.size());
  std::vector<float> alpha = {1.0f}, dy(x.size(), 1.0f), dx(x.size());
  if (op[1] == 'y')
    kilter::dyt_backward({.x = {x, {1, n}}, .alpha = alpha, .dy = {dy, {1, n}}, .dx = {dx, {1, n}}});
  else
    kilter::derf_backward({.x = {x, {1, n}}, .alpha = alpha, .dy = {dy, {1, n}}, .dx = {dx, {1, n}}});
  return dx;
}

class Elementwise : public ::testing::TestWithParam<const char*> {
 protected:
  static double f(double u) { return GetParam()[1] == 'y' ? std::tanh(u) : std::erf(u); }
  static double slope(double u) { return GetParam()[1] == 'y' ? 1 / std::cosh(u) / std::cosh(u) : 1.1283791670955126 * std::exp(-u * u); }
};

// Every 997th positive number, from subnormal to infinite.
TEST_P(Elementwise, TheWholeOfFp32) {
  std::vector<float> x;
  for (uint32_t bits = 1; bits <= 0x7F800000u; bits += 997) x.push_back(__builtin_bit_cast(float, bits));
  x.push_back(std::numeric_limits<float>::infinity());
  const std::vector<float> y = values_of(GetParam(), x), dx = slopes_of(GetParam(), x);
  double worst_y = 0, worst_dx = 0, last = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double want = f(x[i]), k = slope(x[i]), bend = GetParam()[1] == 'y' ? 2 * want : 2 * double(x[i]);
    worst_y = std::max(worst_y, std::fabs(y[i] - want) / ulp(want));
    const double size = std::max(k > 0 ? k + bend * k * x[i] : 0, 0x1p-100);
    worst_dx = std::max(worst_dx, std::fabs(dx[i] - k) / ulp(size));
    ASSERT_LE(y[i], 1.0f);
    ASSERT_GE(y[i], last - 2 * ulp(last)) << x[i];
    last = y[i];
  }
  EXPECT_LE(worst_y, 3);  // f's share of y's bound
  EXPECT_LE(worst_dx, 8);
  EXPECT_EQ(y.back(), 1.0f);
  EXPECT_EQ(dx.back(), 0.0f);
}

TEST_P(Elementwise, SignsOfZero) {
  const std::vector<float> y = values_of(GetParam(), {0.0f, -0.0f, -1e-45f});
  EXPECT_FALSE(std::signbit(y[0]));
  EXPECT_TRUE(std::signbit(y[1]));
  EXPECT_TRUE(std::signbit(y[2]));
}

// Sums whose terms all round the same way lose what the bound says and no more.
TEST_P(Elementwise, TermsThatRoundAlike) {
  const int rows = 131072;
  std::vector<float> x(rows, 100.0f), alpha = {1.0f}, dy(rows, 0x1p-24f), dbias(1), dweight(1), dx(rows);
  for (int r = 0; r < rows; ++r)
    if (r / 4 < 4096 && r % 4 == 0) dy[size_t(r)] = 1;
  double sum = 0;
  for (const float v : dy) sum += v;
  std::vector<std::byte> workspace(8 << 20);
  if (GetParam()[1] == 'y')
    kilter::dyt_backward({.x = {x, {rows, 1}},
                          .alpha = alpha,
                          .dy = {dy, {rows, 1}},
                          .dx = {dx, {rows, 1}},
                          .dweight = dweight,
                          .dbias = dbias,
                          .workspace = workspace});
  else
    kilter::derf_backward({.x = {x, {rows, 1}},
                           .alpha = alpha,
                           .dy = {dy, {rows, 1}},
                           .dx = {dx, {rows, 1}},
                           .dweight = dweight,
                           .dbias = dbias,
                           .workspace = workspace});
  EXPECT_LE(std::fabs(dbias[0] - sum) / ulp(sum), 14);
  EXPECT_LE(std::fabs(dweight[0] - sum) / ulp(sum), 14);
}

INSTANTIATE_TEST_SUITE_P(Ops, Elementwise, ::testing::Values("dyt", "derf"), [](const auto& i) { return std::string(i.param); });

}  // namespace
}  // namespace kilter::test

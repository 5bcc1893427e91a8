// The activations and their derivatives against the reference's, over every size that floats have.
#include "core/activation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#define KILTER_TARGET_NAMESPACE cpu_of_this_test
#define KILTER_VECTOR_BYTES 0
#include "cpu/arithmetic.inl.h"
#include "families/planewise/reference.h"

namespace kilter {
namespace {

using Host = cpu_of_this_test::Plain;

constexpr int32_t kKinds[] = {KILTER_ACTIVATION_NONE, KILTER_ACTIVATION_SILU, KILTER_ACTIVATION_GELU, KILTER_ACTIVATION_GELU_TANH,
                              KILTER_ACTIVATION_RELU};

template <class C>
struct Errors {
  double value = 0, slope = 0;
};
template <class C>
Errors<C> largest_errors(int32_t kind) {
  const double unit = std::numeric_limits<C>::epsilon() / 2;
  Errors<C> most;
  const auto at = [&](C v) {
    C values[1] = {v}, slopes[1] = {v};
    activate<Host>(kind, values), activation_slopes<Host>(kind, slopes);
    long double value, slope;
    reference_activation<long double>(kind, v, &value, &slope);
    const double of_value = std::max<double>(std::fabs(value), std::max<double>(std::fabs(v) / 4, std::numeric_limits<C>::min() / unit));
    most.value = std::max(most.value, double(std::fabs(values[0] - value)) / unit / of_value);
    most.slope = std::max(most.slope, double(std::fabs(slopes[0] - slope)) / unit / std::max<double>(1, std::fabs(slope)));
    EXPECT_FALSE(std::isnan(values[0]) || std::isnan(slopes[0])) << "activation " << kind << " of " << v;
  };
  for (int i = 0; i <= 80000; ++i) at(C(-40) + C(i) / 1000), at(C(i) / C(1e6) - C(0.04));
  for (C v = std::numeric_limits<C>::min(); v < std::numeric_limits<C>::max() / 4; v *= C(1.7)) at(v), at(-v);
  return most;
}

TEST(Activations, AreWithinTheirBounds) {
  for (const int32_t kind : kKinds) {
    SCOPED_TRACE(kind);
    const auto [value, slope] = largest_errors<float>(kind);
    EXPECT_LE(value, 7);
    EXPECT_LE(slope, 6);
    const auto [wide_value, wide_slope] = largest_errors<double>(kind);
    EXPECT_LE(wide_value, 6);
    EXPECT_LE(wide_slope, 6);
  }
}

template <class C>
void check_ends(int32_t kind) {
  constexpr C kInfinity = std::numeric_limits<C>::infinity();
  C ends[4] = {kInfinity, -kInfinity, std::numeric_limits<C>::quiet_NaN(), 0}, slopes[4];
  std::copy_n(ends, 4, slopes);
  activate<Host>(kind, ends), activation_slopes<Host>(kind, slopes);
  EXPECT_EQ(ends[0], kInfinity);
  EXPECT_EQ(ends[1], kind == KILTER_ACTIVATION_NONE ? -kInfinity : C(0));
  EXPECT_TRUE(std::isnan(ends[2]));
  EXPECT_EQ(ends[3], 0);
  if (kind != KILTER_ACTIVATION_NONE) {
    EXPECT_EQ(slopes[1], 0);
    EXPECT_TRUE(std::isnan(slopes[2]));
  }
}
TEST(Activations, HaveTheirLimits) {
  for (const int32_t kind : kKinds) {
    SCOPED_TRACE(kind);
    check_ends<float>(kind), check_ends<double>(kind);
  }
}

}  // namespace
}  // namespace kilter

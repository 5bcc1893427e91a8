// kilter.hpp: types, shapes and errors arrive at the C functions as written.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <vector>

#include "kilter/kilter.hpp"

namespace {

using Floats = std::vector<float>;

TEST(Wrapper, TensorsCarryTheirShape) {
  Floats data(6);
  const kilter::const_tensor t(data.data(), {2, 3});
  const kilter_tensor c = t.c();
  EXPECT_EQ(c.data, data.data());
  EXPECT_EQ(c.ndim, 2);
  EXPECT_EQ(c.shape[0], 2);
  EXPECT_EQ(c.shape[1], 3);
  EXPECT_EQ(c.strides, nullptr);
  EXPECT_EQ(c.dtype.bits, 32);
  EXPECT_EQ(c.device.type, KILTER_DEVICE_CPU);
}

TEST(Wrapper, CopiesPointToTheirOwnShape) {
  Floats data(6);
  const kilter::tensor original(data.data(), {2, 2}, {3, 1});
  kilter::tensor copy(data.data(), {6});
  copy = original;
  EXPECT_NE(copy.c().shape, original.c().shape);
  EXPECT_EQ(copy.c().shape[1], 2);
  EXPECT_EQ(copy.c().strides[0], 3);
}

TEST(Wrapper, TypesFollowTheMemory) {
  std::array<double, 1> d = {};
  std::array<kilter::half, 1> h = {};
  std::array<kilter::bfloat16, 1> b = {};
  EXPECT_EQ(kilter::tensor(d).c().dtype.bits, 64);
  EXPECT_EQ(kilter::tensor(h).c().dtype.code, KILTER_FLOAT);
  EXPECT_EQ(kilter::tensor(h).c().dtype.bits, 16);
  EXPECT_EQ(kilter::tensor(b).c().dtype.code, KILTER_BFLOAT);
  static_assert(!kilter::element_type<int>);
  static_assert(!std::is_constructible_v<kilter::tensor, const float*, kilter::sizes>);
  static_assert(!std::is_constructible_v<kilter::tensor, const Floats&>);
  static_assert(std::is_constructible_v<kilter::const_tensor, const Floats&>);
}

TEST(Wrapper, AbsentByDefault) {
  EXPECT_TRUE(kilter::tensor().absent());
  EXPECT_EQ(kilter::tensor().c().data, nullptr);
  EXPECT_FALSE(kilter::const_tensor(Floats(1)).absent());
}

kilter_status status_of(auto&& call, std::string* text = nullptr) {
  try {
    call();
  } catch (const kilter::error& e) {
    if (text) *text = e.what();
    return e.status();
  }
  return KILTER_OK;
}

TEST(Wrapper, ARangeMustHoldItsTensor) {
  Floats data(6);
  const int64_t huge = INT64_MAX;
  const auto make = [&](kilter::sizes shape, kilter::sizes strides = {}) {
    return status_of([&] { kilter::const_tensor(data, shape, strides); });
  };
  EXPECT_EQ(make({2, 3}), KILTER_OK);
  EXPECT_EQ(make({2, 2}, {4, 1}), KILTER_OK);
  EXPECT_EQ(make({0, 100}), KILTER_OK);
  EXPECT_EQ(make({5, 2}, {0, 1}), KILTER_OK);
  EXPECT_EQ(make({3, 3}), KILTER_INVALID_ARGUMENT);
  EXPECT_EQ(make({2, 2}, {5, 1}), KILTER_INVALID_ARGUMENT);
  EXPECT_EQ(make({2, 2}, {-2, 1}), KILTER_INVALID_ARGUMENT);
  EXPECT_EQ(make({huge, huge, huge, huge}), KILTER_INVALID_ARGUMENT);
  EXPECT_EQ(make({2, 3}, {1}), KILTER_INVALID_ARGUMENT);
  const std::vector<int64_t> ones(KILTER_MAX_RANK + 1, 1);
  EXPECT_EQ(make(ones), KILTER_INVALID_ARGUMENT);
  EXPECT_EQ(make(std::span(ones).first(KILTER_MAX_RANK)), KILTER_OK);
}

TEST(Wrapper, AnEmptyRangeIsNotAbsent) {
  std::vector<float> x(6, 1.0f), y(6), none;
  try {
    kilter::rms_norm_forward({.x = {x, {2, 3}}, .weight = none, .y = {y, {2, 3}}});
    FAIL() << "expected an error";
  } catch (const kilter::error& e) {
    EXPECT_STREQ(e.what(), "rms_norm: weight.shape: expected [3] (x.shape[-1]), got [0]");
  }
  EXPECT_THROW(kilter::rms_norm_forward({.x = {x, {2, 3}}, .y = {y, {2, 3}}, .rstd = none}), kilter::error);
  EXPECT_NO_THROW(kilter::rms_norm_forward({.x = {none, {2, 0}}, .weight = none, .y = {none, {2, 0}}}));
  EXPECT_NO_THROW(kilter::rms_norm_forward({.x = {none, {0, 3}}, .y = {none, {0, 3}}, .rstd = none}));
}

TEST(Wrapper, LayerNormForwardAndBackward) {
  const Floats x = {1, 3, 5, 7, -2, 2, -2, 2};
  const Floats weight = {1, 2, 3, 4}, bias = {0, 0, 0, 1};
  Floats y(8), mean(2), rstd(2);
  kilter::layer_norm_forward({.x = {x, {2, 4}}, .weight = weight, .bias = bias, .y = {y, {2, 4}}, .mean = mean, .rstd = rstd, .eps = 0});
  EXPECT_EQ(mean, (Floats{4, 0}));
  EXPECT_FLOAT_EQ(rstd[0], 1 / std::sqrt(5.0f));
  EXPECT_EQ(rstd[1], 0.5f);
  EXPECT_EQ(Floats(y.begin() + 4, y.end()), (Floats{-1, 2, -3, 5}));

  // A gradient of equal parts along xhat has no component left: dx is zero where weight is absent.
  const Floats dy = {0, 0, 0, 0, -1, 1, -1, 1};
  Floats dx(8, 9), dweight(4), dbias(4);
  kilter::layer_norm_backward_args args = {
      .x = {x, {2, 4}}, .mean = mean, .rstd = rstd, .dy = {dy, {2, 4}}, .dx = {dx, {2, 4}}, .dweight = dweight, .dbias = dbias};
  std::vector<std::byte> workspace(kilter::layer_norm_backward_workspace(args));
  args.workspace = workspace;
  kilter::layer_norm_backward(args);
  EXPECT_EQ(dx, Floats(8, 0.0f));
  EXPECT_EQ(dweight, Floats(4, 1.0f));
  EXPECT_EQ(dbias, (Floats{-1, 1, -1, 1}));
}

TEST(Wrapper, RmsNormWithResidualAndOffset) {
  const Floats x = {1, -1}, residual = {1, -1}, weight = {0, 1}, after = {0, 10};
  Floats y(2), sum(2), rstd(1);
  kilter::rms_norm_forward({.x = x,
                            .weight = weight,
                            .y = y,
                            .rstd = kilter::tensor(rstd.data(), {1}),
                            .eps = 0,
                            .weight_offset = 1,
                            .residual = residual,
                            .residual_out = sum,
                            .post_residual = after});
  EXPECT_EQ(sum, (Floats{2, -2}));
  EXPECT_EQ(rstd[0], 0.5f);
  EXPECT_EQ(y, (Floats{1, 8}));

  const Floats dy = {3, 3};
  Floats dx(2), dweight(2);
  kilter::rms_norm_backward_args args = {
      .x = sum, .weight = weight, .rstd = rstd, .dy = dy, .dx = dx, .dweight = dweight, .weight_offset = 1};
  std::vector<std::byte> workspace(kilter::rms_norm_backward_workspace(args));
  args.workspace = workspace;
  kilter::rms_norm_backward(args);
  // g = {3, 6}, xhat = {1, -1}, mean(g * xhat) = -1.5
  EXPECT_EQ(dx, (Floats{2.25, 2.25}));
  EXPECT_EQ(dweight, (Floats{3, -3}));
}

TEST(Wrapper, EveryFieldReachesTheLibrary) {
  const Floats x(4, 1.0f);
  Floats y(4);
  const auto call = [&](auto change) {
    kilter::layer_norm_forward_args args = {.x = x, .y = y};
    change(args);
    return status_of([&] { kilter::layer_norm_forward(args); });
  };
  using Args = kilter::layer_norm_forward_args&;
  EXPECT_EQ(call([](Args) {}), KILTER_OK);
  EXPECT_EQ(call([](Args a) { a.eps = NAN; }), KILTER_INVALID_ARGUMENT);
  EXPECT_EQ(call([](Args a) { a.weight_offset = 1; }), KILTER_INVALID_ARGUMENT);
  EXPECT_EQ(call([](Args a) { a.rounding = kilter::rounding_order(7); }), KILTER_INVALID_ARGUMENT);
  EXPECT_EQ(call([](Args a) { a.impl = "nothing:such"; }), KILTER_INVALID_ARGUMENT);
  EXPECT_EQ(call([](Args a) { a.impl = "reference:f64"; }), KILTER_OK);
  EXPECT_EQ(call([](Args a) { a.launch_flags = KILTER_LAUNCH_DEPENDENT; }), KILTER_OK);
  EXPECT_EQ(call([](Args a) { a.launch_flags = 2; }), KILTER_INVALID_ARGUMENT);
  EXPECT_EQ(call([](Args a) { a.activation = kilter::activation_kind::silu; }), KILTER_UNSUPPORTED);
  EXPECT_EQ(call([](Args a) { a.output = kilter::output_kind::int8; }), KILTER_UNSUPPORTED);
  EXPECT_EQ(call([&](Args a) { a.residual_out = y; }), KILTER_INVALID_ARGUMENT);  // no residual
}

TEST(Wrapper, ErrorsCarryStatusAndText) {
  const Floats x(4);
  Floats y(3);
  std::string text;
  EXPECT_EQ(status_of([&] { kilter::rms_norm_forward({.x = x, .y = y}); }, &text), KILTER_INVALID_ARGUMENT);
  EXPECT_NE(text.find("rms_norm"), std::string::npos) << text;
  EXPECT_NE(text.find('y'), std::string::npos) << text;
  EXPECT_EQ(status_of([] { kilter::set_num_threads(-1); }), KILTER_INVALID_ARGUMENT);
}

}  // namespace

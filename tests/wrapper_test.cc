// kilter.hpp: types, shapes and errors arrive at the C functions as written.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
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
  EXPECT_EQ(kilter::vector_tensor(d).c().dtype.bits, 64);
  EXPECT_EQ(kilter::vector_tensor(h).c().dtype.code, KILTER_FLOAT);
  EXPECT_EQ(kilter::vector_tensor(h).c().dtype.bits, 16);
  EXPECT_EQ(kilter::tensor(b, {1}).c().dtype.code, KILTER_BFLOAT);
  static_assert(!kilter::element_type<short> && !kilter::element_type<unsigned>);
  static_assert(!std::is_constructible_v<kilter::tensor, const float*, kilter::sizes>);
  static_assert(!std::is_constructible_v<kilter::tensor, const Floats&, kilter::sizes>);
  static_assert(!std::is_constructible_v<kilter::vector_tensor, const Floats&>);
  static_assert(std::is_constructible_v<kilter::const_tensor, const Floats&, kilter::sizes>);
  static_assert(std::is_constructible_v<kilter::const_vector_tensor, const Floats&>);
}

// A batch without its shape would be one long row.
TEST(Wrapper, AnActivationWithoutAShapeDoesNotCompile) {
  static_assert(!std::is_constructible_v<kilter::const_tensor, Floats&>);
  static_assert(!std::is_constructible_v<kilter::tensor, Floats&>);
  static_assert(!std::is_assignable_v<kilter::const_tensor&, Floats&>);
  static_assert(!std::is_assignable_v<kilter::tensor&, Floats&>);
  using Forward = kilter::layer_norm_forward_args;
  using Backward = kilter::layer_norm_backward_args;
  static_assert(!std::is_assignable_v<decltype(Forward::x)&, Floats&> && !std::is_assignable_v<decltype(Forward::y)&, Floats&>);
  static_assert(!std::is_assignable_v<decltype(Forward::residual)&, Floats&>);
  static_assert(!std::is_assignable_v<decltype(Backward::dy)&, Floats&> && !std::is_assignable_v<decltype(Backward::dx)&, Floats&>);
  static_assert(std::is_assignable_v<decltype(Forward::weight)&, Floats&> && std::is_assignable_v<decltype(Forward::rstd)&, Floats&>);
  static_assert(std::is_assignable_v<decltype(Backward::rstd)&, Floats&> && std::is_assignable_v<decltype(Backward::dbias)&, Floats&>);
}

TEST(Wrapper, ShapesTakeAnyIntegers) {
  Floats data(6);
  const auto expect = [&](const kilter::const_tensor& t) {
    const kilter_tensor c = t.c();
    ASSERT_EQ(c.ndim, 2);
    EXPECT_EQ(c.shape[0], 2);
    EXPECT_EQ(c.shape[1], 3);
  };
  const size_t n = 3, rows = data.size() / n;
  int int_rows = 2;
  int16_t short_n = 3;
  enum { kRows = 2, kWidth = 3 };
  expect({data, {rows, n}});
  expect({data, {int_rows, n}});
  expect({data, {int64_t(2), short_n}});
  expect({data.data(), {kRows, kWidth}});
  expect({data, std::vector<int>{2, 3}});
  expect({data, std::vector<size_t>{2, 3}});
  expect({data, std::array<int64_t, 2>{2, 3}});
  const std::vector<int> ints = {2, 3};
  expect({data, std::span(ints)});
  const kilter::tensor strided(data, {int_rows, n}, {n, 1});
  EXPECT_EQ(strided.c().strides[0], 3);
  EXPECT_EQ(kilter::tensor(data, {2, 2}, std::vector<unsigned>{4, 1}).c().strides[0], 4);
}

TEST(Wrapper, SizesOwnTheirNumbers) {
  static_assert(!std::is_constructible_v<kilter::sizes, std::vector<double>> && !std::is_constructible_v<kilter::sizes::value, double>);
  kilter::sizes kept;
  {
    const std::vector<size_t> shape = {2, 3};
    kept = shape;
  }
  const kilter::sizes list = {2, 3};
  Floats data(6);
  EXPECT_EQ(kilter::tensor(data, kept).c().shape[1], 3);
  EXPECT_EQ(kilter::tensor(data, list).c().shape[1], 3);
}

TEST(Wrapper, AbsentByDefault) {
  EXPECT_TRUE(kilter::tensor().absent());
  EXPECT_EQ(kilter::tensor().c().data, nullptr);
  EXPECT_FALSE(kilter::const_vector_tensor(Floats(1)).absent());
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
    return status_of([&] { (void)kilter::const_tensor(data, shape, strides).c(); });
  };
  EXPECT_EQ(make({2, 3}), KILTER_OK);
  EXPECT_EQ(make({2, 2}, {4, 1}), KILTER_OK);
  EXPECT_EQ(make({0, 100}), KILTER_OK);
  EXPECT_EQ(make({5, 2}, {0, 1}), KILTER_OK);
  EXPECT_EQ(make({3, 3}), KILTER_INVALID_ARGUMENT);
  EXPECT_EQ(make({2, 2}, {5, 1}), KILTER_INVALID_ARGUMENT);
  EXPECT_EQ(make({2, 2}, {-2, 1}), KILTER_INVALID_ARGUMENT);
  EXPECT_EQ(make({huge, huge, huge, huge}), KILTER_INVALID_ARGUMENT);
  EXPECT_EQ(make({huge}, {huge}), KILTER_INVALID_ARGUMENT);
  EXPECT_EQ(make({3, 2}, {huge / 2, 1}), KILTER_INVALID_ARGUMENT);
  EXPECT_EQ(make({7, 2}, {0, 6}), KILTER_INVALID_ARGUMENT);
  EXPECT_EQ(make({7, 2}, {0, 5}), KILTER_OK);
  EXPECT_EQ(make({2, 3}, {1}), KILTER_INVALID_ARGUMENT);
  const std::vector<int64_t> ones(KILTER_MAX_RANK + 1, 1);
  EXPECT_EQ(status_of([&] { kilter::rms_norm_forward({.x = {data, ones}, .y = {data, ones}}); }), KILTER_UNSUPPORTED);
  EXPECT_EQ(make(std::span(ones).first(KILTER_MAX_RANK)), KILTER_OK);
}

TEST(Wrapper, ErrorsNameTensorAndSize) {
  Floats x(6), y(8);
  const auto text_of = [](auto&& call) {
    std::string text;
    EXPECT_EQ(status_of(call, &text), KILTER_INVALID_ARGUMENT);
    return text;
  };
  const auto forward = [&](const kilter::const_tensor& t) {
    return text_of([&] { kilter::layer_norm_forward({.x = t, .y = {y, {2, 4}}}); });
  };
  EXPECT_EQ(forward({x, {2, 4}}), "layer_norm: x: expected memory of at least 8 elements for shape [2, 4], got 6");
  EXPECT_EQ(forward({x, {2, 4}, {5, 1}}),
            "layer_norm: x: expected memory of at least 9 elements for shape [2, 4] and strides [5, 1], got 6");
  EXPECT_EQ(forward({x, {2, 3}, {-3, 1}}),
            "layer_norm: x.strides: expected strides >= 0, as a range begins with the first element, got [-3, 1]");
  EXPECT_EQ(forward({x, {2, 3}, {1}}), "layer_norm: x.strides: expected 2, one per dimension, got 1");
  EXPECT_EQ(forward({x, {INT64_MAX, 2}}),
            "layer_norm: x: expected memory of at least 2^63 elements for shape [9223372036854775807, 2], got 6");
  EXPECT_EQ(text_of([&] {
              (void)kilter::tensor(x, {x.size() - 7, 4});
            }),
            "sizes: expected numbers up to 9223372036854775807, got 18446744073709551615");
  EXPECT_EQ(text_of([&] {
              kilter::rms_norm_backward({.x = {x, {2, 3}}, .rstd = {x, {2}}, .dy = {x, {3, 3}}});
            }),
            "rms_norm: dy: expected memory of at least 9 elements for shape [3, 3], got 6");
}

// What a call refuses must not have been looked at: too many sizes are kept nowhere.
TEST(Wrapper, TooManyDimensionsAreNamed) {
  const std::vector<int> ones(KILTER_MAX_RANK + 1, 1);
  Floats x(1), y(1);
  std::string text;
  EXPECT_EQ(status_of([&] { kilter::rms_norm_forward({.x = {x, ones, ones}, .y = {y, {1}}}); }, &text), KILTER_UNSUPPORTED);
  EXPECT_EQ(text, "rms_norm: x.ndim: expected at most 32, got 33");
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

TEST(Wrapper, GroupNormOfAnyRankAndLayout) {
  const Floats x = {1, 3, 5, 7, -2, 0, 4, 6}, weight = {1, 2, 3, 4}, bias = {0, 10, 20, 30};
  const kilter::sizes shape = {1, 4, 1, 2}, channels_last = {8, 1, 8, 4};
  Floats y(8), mean(2), rstd(2), last(8);
  kilter::group_norm_forward_args forward = {.x = {x, shape},
                                             .weight = weight,
                                             .bias = bias,
                                             .y = {y, shape},
                                             .mean = {mean, {1, 2}},
                                             .rstd = {rstd, {1, 2}},
                                             .groups = 2,
                                             .eps = 0};
  std::vector<std::byte> scratch(kilter::group_norm_forward_workspace(forward));
  forward.workspace = scratch;
  kilter::group_norm_forward(forward);
  EXPECT_EQ(mean, (Floats{4, 2}));
  EXPECT_NEAR(y[7], 35.059644256, 1e-5);
  Floats x_last(8);
  for (size_t c = 0; c < 4; ++c) x_last[c] = x[2 * c], x_last[4 + c] = x[2 * c + 1];
  forward = {.x = {x_last, shape, channels_last},
             .weight = weight,
             .bias = bias,
             .y = {last, shape, channels_last},
             .groups = 2,
             .eps = 0,
             .activation = kilter::activation_kind::relu};
  scratch.resize(kilter::group_norm_forward_workspace(forward));
  forward.workspace = scratch;
  kilter::group_norm_forward(forward);
  for (size_t c = 0; c < 4; ++c) EXPECT_NEAR(last[4 + c], std::max(y[2 * c + 1], 0.0f), 1e-5);
  EXPECT_EQ(last[0], 0.0f);

  const Floats dy = {1, 0, 0, 2, 0, 3, 4, 0};
  Floats dx(8), dweight(4), dbias(4);
  kilter::group_norm_backward_args args = {.x = {x, shape},
                                           .weight = weight,
                                           .mean = {mean, {1, 2}},
                                           .rstd = {rstd, {1, 2}},
                                           .dy = {dy, shape},
                                           .dx = {dx, shape},
                                           .dweight = dweight,
                                           .dbias = dbias,
                                           .groups = 2};
  std::vector<std::byte> workspace(kilter::group_norm_backward_workspace(args));
  args.workspace = workspace;
  kilter::group_norm_backward(args);
  EXPECT_NEAR(dx[7], -2.419142410, 1e-5);
  EXPECT_EQ(dbias, (Floats{1, 2, 3, 4}));
  args.groups = 0;
  std::string text;
  EXPECT_EQ(status_of([&] { kilter::group_norm_backward(args); }, &text), KILTER_INVALID_ARGUMENT);
  EXPECT_NE(text.find("groups: expected at least 1, got 0"), std::string::npos) << text;
}

// Equal elements have no variance: with the default eps, y is the bias.
TEST(Wrapper, BatchNormWithAMask) {
  const Floats x = {1, -2, 3, -4, 5, -6, 7, -8, 9, -10}, mean = {0}, var = {1};
  Floats y(10);
  std::vector<uint8_t> mask(2, 0xFF);
  kilter::batch_norm_forward_args args = {.x = {x, {1, 1, 10}},
                                          .running_mean = mean,
                                          .running_var = var,
                                          .y = {y, {1, 1, 10}},
                                          .mask = {mask, {1, 2}},
                                          .eps = 0,
                                          .activation = kilter::activation_kind::relu};
  std::vector<std::byte> workspace(kilter::batch_norm_forward_workspace(args));
  args.workspace = workspace;
  kilter::batch_norm_forward(args);
  EXPECT_EQ(mask, (std::vector<uint8_t>{0x55, 1}));
}

TEST(Wrapper, AConstantRowIsNotNaNByDefault) {
  const Floats x(6, 7.0f);
  Floats y(6, 1.0f);
  kilter::layer_norm_forward({.x = {x, {2, 3}}, .y = {y, {2, 3}}});
  EXPECT_EQ(y, Floats(6, 0.0f));
  EXPECT_EQ(kilter::layer_norm_forward_args().eps, kilter_layer_norm_forward_defaults().eps);
  EXPECT_EQ(kilter::rms_norm_forward_args().eps, kilter_rms_norm_forward_defaults().eps);
}

TEST(Wrapper, RmsNormWithResidualAndOffset) {
  const Floats x = {1, -1}, residual = {1, -1}, weight = {0, 1}, after = {0, 10};
  Floats y(2), sum(2), rstd(1);
  kilter::rms_norm_forward({.x = {x, {2}},
                            .weight = weight,
                            .residual = {residual, {2}},
                            .post_residual = {after, {2}},
                            .y = {y, {2}},
                            .residual_out = {sum, {2}},
                            .rstd = kilter::tensor(rstd.data(), {1}),
                            .eps = 0,
                            .weight_offset = 1});
  EXPECT_EQ(sum, (Floats{2, -2}));
  EXPECT_EQ(rstd[0], 0.5f);
  EXPECT_EQ(y, (Floats{1, 8}));

  const Floats dy = {3, 3};
  Floats dx(2), dweight(2);
  kilter::rms_norm_backward_args args = {
      .x = {sum, {2}}, .weight = weight, .rstd = rstd, .dy = {dy, {2}}, .dx = {dx, {2}}, .dweight = dweight, .weight_offset = 1};
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
    kilter::layer_norm_forward_args args = {.x = {x, {4}}, .y = {y, {4}}};
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
  EXPECT_EQ(call([&](Args a) { a.gate = {x, {4}}, a.residual = {x, {4}}; }), KILTER_UNSUPPORTED);
  EXPECT_EQ(call([&](Args a) { a.residual_out = {y, {4}}; }), KILTER_INVALID_ARGUMENT);  // no residual
}

TEST(Wrapper, ErrorsCarryStatusAndText) {
  const Floats x(4);
  Floats y(3);
  std::string text;
  EXPECT_EQ(status_of([&] { kilter::rms_norm_forward({.x = {x, {4}}, .y = {y, {3}}}); }, &text), KILTER_INVALID_ARGUMENT);
  EXPECT_NE(text.find("rms_norm"), std::string::npos) << text;
  EXPECT_NE(text.find('y'), std::string::npos) << text;
  EXPECT_EQ(status_of([] { kilter::set_num_threads(-1); }), KILTER_INVALID_ARGUMENT);
}

}  // namespace

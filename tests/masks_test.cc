// relu's derivative as bits: what batch_norm writes forward is what it takes backward, by every implementation.
#include <cmath>

#include "harness/call.h"
#include "harness/threads.h"

namespace kilter::test {
namespace {

constexpr auto kForward = KILTER_BATCH_NORM_FORWARD, kBackward = KILTER_BATCH_NORM_BACKWARD;
constexpr const char* kImplementations[] = {"cpu:planewise", "reference:f64"};

// The bytes of what is above 0, by what the header says of them.
std::vector<double> bytes_of(const Matrix& y, bool last) {
  const int64_t channels = y.shape()[1], batch = y.shape()[0], all = y.rows() * y.n() / batch, places = all / channels;
  const bool by_place = last && channels > 1;
  std::vector<double> bytes;
  for (int64_t sample = 0; sample < batch; ++sample)
    for (int64_t row = 0; row < (by_place ? places : 1); ++row)
      for (int64_t i = 0; i < (by_place ? channels : all); ++i) {
        const int64_t element = sample * all + (by_place ? i * places + row : i);  // as the matrix counts them
        if (i % 8 == 0) bytes.push_back(0);
        bytes.back() += (y.get(element / y.n(), element % y.n()) > 0) << i % 8;
      }
  return bytes;
}
std::vector<double> bytes_of(const Matrix& mask) {
  std::vector<double> bytes;
  for (int64_t i = 0; i < mask.rows() * mask.n(); ++i) bytes.push_back(mask.get(i / mask.n(), i % mask.n()));
  return bytes;
}

template <class F>
void for_every_call(const std::vector<std::vector<int64_t>>& places, F f) {
  for (const char* impl : kImplementations)
    for (const DType t : {DType::f32, DType::f64, DType::bf16, DType::f16})
      for (const bool last : {false, true})
        for (const int32_t training : {0, 1})
          for (const std::vector<int64_t>& any : places)
            for (const int64_t channels : {1, 3, 8, 150}) {
              if (impl[0] == 'r' && channels * any[0] > 2000) continue;  // the reference has one loop for all sizes
              Making m = {.t = t, .any = any, .size = channels, .batch = 3, .channels_last = last, .impl = impl};
              m.choices = {{"training", training}, {"activation", KILTER_ACTIVATION_RELU}};
              SCOPED_TRACE(std::string(impl) + ", " + dtype_name(t) + (last ? ", last, " : ", first, ") + std::to_string(channels) +
                           (training ? "" : ", inference"));
              f(m, last);
            }
}

TEST(Masks, AreWhatIsAboveZeroAndMoveNothingElse) {
  for_every_call({{1}, {7, 3}, {40}, {613}}, [](const Making& m, bool last) {
    Making none = m;
    none.without = {"mask"};
    Call with(kForward, m), without(kForward, none);
    ASSERT_EQ(with.run(), KILTER_OK) << kilter_last_error();
    ASSERT_EQ(without.run(), KILTER_OK) << kilter_last_error();
    EXPECT_TRUE(same_outputs(with, without));
    EXPECT_EQ(bytes_of(with.memory("mask")), bytes_of(with.memory("y"), last));
  });
}

// Without bias and residual, which only the derivative depends on.
TEST(Masks, GiveTheGradientsThatTheAffineGives) {
  for_every_call({{1}, {7, 3}, {40}, {613}}, [](const Making& m, bool) {
    Making none = m;
    none.without = {"mask"};
    Call forward(kForward, m), with(kBackward, m), without(kBackward, none);
    ASSERT_EQ(forward.run(), KILTER_OK) << kilter_last_error();
    for (Call* call : {&with, &without})
      for (const char* name : {"mean", "rstd", "mask"})
        if (call->has(name)) call->memory(name).copy_from(forward.memory(name));
    with.attach(), with["bias"] = with["residual"] = {};
    ASSERT_EQ(with.run(), KILTER_OK) << kilter_last_error();
    ASSERT_EQ(without.run(), KILTER_OK) << kilter_last_error();
    EXPECT_TRUE(same_outputs(without, with));
  });
}

// A NaN's gradient passes; a zero's does not, whatever its sign.
TEST(Masks, OfSpecialValues) {
  const double x[] = {NAN, 0.0, -0.0, 1, -1, INFINITY, -INFINITY, 1e-40, NAN};
  for (const char* impl : kImplementations)
    for (const DType t : {DType::f32, DType::f64, DType::bf16}) {
      Making m = {.t = t, .any = {9}, .size = 1, .batch = 1, .choices = {{"training", 0}}, .impl = impl};
      m.without = {"weight", "bias", "residual", "running_mean_out", "running_var_out", "mean", "rstd"};
      Call forward(kForward, m), backward(kBackward, m);
      for (Call* call : {&forward, &backward}) {
        call->memory("x").fill([&](int64_t, int64_t i) { return x[i]; });
        call->memory("running_mean").fill([](int64_t, int64_t) { return 0.0; });
        call->memory("running_var").fill([](int64_t, int64_t) { return 1.0; });
        call->at<double>("eps") = 0;
      }
      ASSERT_EQ(forward.run(), KILTER_OK) << kilter_last_error();
      EXPECT_EQ(bytes_of(forward.memory("mask")), (std::vector<double>{0b10101001, 1})) << impl << " " << dtype_name(t);
      backward.memory("mask").copy_from(forward.memory("mask"));
      ASSERT_EQ(backward.run(), KILTER_OK) << kilter_last_error();
      for (int i = 0; i < 9; ++i) {
        const double dy = backward.memory("dy").get(0, i), dx = backward.memory("dx").get(0, i);
        EXPECT_EQ(dx, i == 0 || i == 3 || i == 5 || i >= 7 ? dy : 0) << impl << " " << dtype_name(t) << " " << i;
      }
    }
}

// Of samples whose threads would meet in a byte.
TEST(Masks, OfManyThreads) {
  for (const int64_t channels : {5, 37})
    for (const bool last : {false, true}) {
      Call call(kForward, {.any = {71, 71}, .size = channels, .batch = 5, .channels_last = last});
      for (const int threads : {1, 2, 3, 8}) {
        const WithThreads with(threads);
        call.memory("mask").fill([](int64_t, int64_t) { return 1.5; });
        ASSERT_EQ(call.run(), KILTER_OK) << kilter_last_error();
        EXPECT_EQ(bytes_of(call.memory("mask")), bytes_of(call.memory("y"), last)) << threads << " threads";
      }
    }
}

TEST(Masks, AreRelus) {
  for (const kilter_function function : {kForward, kBackward})
    for (const int32_t activation : {KILTER_ACTIVATION_NONE, KILTER_ACTIVATION_SILU, KILTER_ACTIVATION_GELU, KILTER_ACTIVATION_GELU_TANH}) {
      Call call(function);
      ASSERT_TRUE(call.has("mask"));
      expect_refused(call, KILTER_INVALID_ARGUMENT, "mask: expected none unless activation is relu, got uint8",
                     [&] { call.at<int32_t>("activation") = activation; });
    }
}

TEST(Masks, HaveTheirLayoutsSize) {
  for (const kilter_function function : {kForward, kBackward})
    for (const bool last : {false, true}) {
      Call call(function, {.any = {3, 7}, .size = 12, .batch = 2, .channels_last = last});
      const int64_t right = last ? 21 * 2 : 32;  // of 252 bits, or of 12 in each place
      for (const int64_t wrong : {right - 1, right + 1, int64_t(74) - right, int64_t(252), int64_t(0)}) {
        int64_t shape[2] = {2, wrong};
        const std::string text = "mask.shape: expected [2, " + std::to_string(right) + "], got [2, " + std::to_string(wrong) + "]";
        expect_refused(call, KILTER_INVALID_ARGUMENT, text, [&] { call["mask"].shape = shape, call["mask"].strides = nullptr; });
      }
    }
}

}  // namespace
}  // namespace kilter::test

// adaptive_layer_norm: what is its own beside the norms whose passes it runs.  The right values of small inputs, and bits: the norm's where
// nothing is modulated, the same however rows say what they share.  Segments and gradients: adaptive_segments_test.cc.
#include "harness/adaptive.h"

#include <cmath>
#include <cstring>

namespace kilter::test::adaptive {
namespace {

// ---------------------------------------------------------------- right values

TEST(Adaptive, SmallInputs) {
  for (const DType t : kFloatTypes) {
    SCOPED_TRACE(dtype_name(t));
    Forward f;
    f.args.eps = 0;
    f.give("x", &ForwardArgs::x, t, {2, 2, 2}, Values{1, 3, 2, 6, 5, 1, 0, 8});
    f.give("scale", &ForwardArgs::scale, t, {2, 1, 2}, Values{1, 0, -0.5, 3});
    f.give("shift", &ForwardArgs::shift, t, {2, 1, 2}, Values{10, 20, 30, 40});
    f.give("y", &ForwardArgs::y, t, {2, 2, 2});
    f.give("mean", &ForwardArgs::mean, t == DType::f64 ? t : DType::f32, {2, 2});
    f.give("rstd", &ForwardArgs::rstd, t == DType::f64 ? t : DType::f32, {2, 2});
    f.expect_run();
    EXPECT_EQ(f.values("y"), (Values{8, 21, 8, 21, 30.5, 36, 29.5, 44}));
    Backward b;
    b.args.x = f.args.x, b.args.scale = f.args.scale, b.args.mean = f.args.mean, b.args.rstd = f.args.rstd;
    b.give("dy", &BackwardArgs::dy, t, {2, 2, 2}, Values{1, 2, 3, 4, 5, 6, 7, 8});
    b.give("dscale", &BackwardArgs::dscale, t, {2, 1, 2});
    b.give("dshift", &BackwardArgs::dshift, t, {2, 1, 2});
    b.expect_run();
    EXPECT_EQ(b.values("dscale"), (Values{-4, 6, -2, 2}));
    EXPECT_EQ(b.values("dshift"), (Values{4, 6, 12, 14}));
  }
}

TEST(Adaptive, ShapesAreNotGuessed) {
  Forward f;
  f.args.eps = 0;
  f.give("x", &ForwardArgs::x, DType::f32, {2, 2, 2}, Values{1, 3, 2, 6, 5, 1, 0, 8});
  f.give("y", &ForwardArgs::y, DType::f32, {2, 2, 2});
  f.give("scale", &ForwardArgs::scale, DType::f32, {2, 2}, Values{1, 0, -0.5, 3});
  f.expect_refused("scale.shape: expected [2 or 1, 2 or 1, 2], got [2, 2]");
  f.give("scale", &ForwardArgs::scale, DType::f32, {1, 2, 2});
  f.expect_refused("scale.shape: expected [2 or 1, 2 or 1, 2], got [1, 2, 2]");  // shared by rows that are no neighbours
  f.give("scale", &ForwardArgs::scale, DType::f32, {2, 1, 2});
  f.give("shift", &ForwardArgs::shift, DType::f32, {2, 2, 2});
  f.expect_refused("shift.shape: expected scale's ([2, 1, 2]), got [2, 2, 2]");
  f.args.shift = {};
  f.give("segments", &ForwardArgs::segments, DType::i64, {3}, Values{0, 1, 4});
  f.expect_refused("scale.shape: expected [2, 2], got [2, 1, 2]");
  Shape none = {0};
  f.args.segments.shape = none.data();
  f.expect_refused("segments.shape: expected [segments + 1], got [0]");
  Forward rows;
  rows.args.eps = 0;
  rows.give("x", &ForwardArgs::x, DType::f32, {2, 2}, Values{1, 3, 5, 1});
  rows.give("scale", &ForwardArgs::scale, DType::f32, {2, 2}, Values{1, 0, -0.5, 3});
  rows.give("shift", &ForwardArgs::shift, DType::f32, {2, 2}, Values{10, 20, 30, 40});
  rows.give("y", &ForwardArgs::y, DType::f32, {2, 2});
  rows.expect_run();
  EXPECT_EQ(rows.values("y"), (Values{8, 21, 30.5, 36}));
}

TEST(Adaptive, Norms) {
  Forward f;
  f.args.norm = KILTER_NORM_RMS;
  f.give("x", &ForwardArgs::x, DType::f32, {2, 2}, Values{1, 1, 3, 4});
  f.give("scale", &ForwardArgs::scale, DType::f32, {2, 2}, Values{0, 0, 0, 0});
  f.give("y", &ForwardArgs::y, DType::f32, {2, 2});
  f.expect_run();
  EXPECT_NEAR(f.values("y")[0], 1, 1e-5);
  f.give("mean", &ForwardArgs::mean, DType::f32, {2});
  f.expect_refused("mean: expected none with norm rms, got fp32");
  Backward b;
  b.args.x = f.args.x, b.args.scale = f.args.scale;
  b.give("dy", &BackwardArgs::dy, DType::f32, {2, 2});
  b.give("rstd", &BackwardArgs::rstd, DType::f32, {2});
  b.expect_refused("mean: expected a tensor with norm layer, got none");
  b.args.norm = KILTER_NORM_RMS;
  b.give("mean", &BackwardArgs::mean, DType::f32, {2});
  b.expect_refused("mean: expected none with norm rms, got fp32");
}

// By arithmetic: a factor of 0 leaves shift alone, a large one what it is.
TEST(Adaptive, FactorsOfNothingAndLargeOnes) {
  Forward f;
  f.args.eps = 0;
  f.give("x", &ForwardArgs::x, DType::f32, {3, 2}, Values{1, 3, 1, 3, 1, 3});
  f.give("scale", &ForwardArgs::scale, DType::f32, {3, 2}, Values{-1, -1, 1e30, 1e30, 0, 0});
  f.give("shift", &ForwardArgs::shift, DType::f32, {3, 2}, Values{7, 8, 7, 8, 7, 8});
  f.give("y", &ForwardArgs::y, DType::f32, {3, 2});
  f.expect_run();
  const double large = float(1e30);
  EXPECT_EQ(f.values("y"), (Values{7, 8, -large, large, 6, 9}));
}

// Of every payload, in rows that are bf16 words; and factors that overflow, which meet an xhat of 0.
TEST(Adaptive, NaNs) {
  const int64_t n = 64;
  for (const char* name : {"shift", "scale"}) {
    Forward f;
    f.args.eps = 1e-5;
    f.give("x", &ForwardArgs::x, DType::bf16, {2, n});
    f.give("scale", &ForwardArgs::scale, DType::f32, {2, n});
    f.give("shift", &ForwardArgs::shift, DType::f32, {2, n});
    f.give("y", &ForwardArgs::y, DType::bf16, {2, n});
    for (const uint32_t bits : {0x7FFFFFFFu, 0xFFFFFFFFu, 0x7F800001u, 0x7FC00000u}) {
      std::memcpy(f.memory.at(name).element(1, 5), &bits, sizeof bits);
      f.expect_run();
      for (int64_t i = 0; i < n; ++i) {
        EXPECT_FALSE(std::isnan(f.memory.at("y").get(0, i)));
        EXPECT_EQ(std::isnan(f.memory.at("y").get(1, i)), i == 5) << name << ", " << i;
      }
    }
  }
  Forward f;
  f.args.eps = 1e-5;
  f.give("x", &ForwardArgs::x, DType::bf16, {1, n}).fill([](int64_t, int64_t i) { return i == 0 ? 1 : i == 1 ? -1 : 0; });
  f.give("weight", &ForwardArgs::weight, DType::f32, {n}).fill([](int64_t, int64_t) { return 1e30; });
  f.give("scale", &ForwardArgs::scale, DType::f32, {1, n}).fill([](int64_t, int64_t) { return 1e30; });
  f.give("y", &ForwardArgs::y, DType::bf16, {1, n});
  f.expect_run();
  EXPECT_EQ(f.memory.at("y").get(0, 0), HUGE_VAL);
  for (int64_t i = 2; i < n; ++i) EXPECT_TRUE(std::isnan(f.memory.at("y").get(0, i)));
}

// ---------------------------------------------------------------- bits

// With scale 0 and shift 0 y is the norm's, and so are dx, mean and rstd.
TEST(Adaptive, ModulatedByNothingIsTheNorm) {
  for (const DType t : kFloatTypes)
    for (const bool rms : {false, true})
      for (const By by : kBy)
        for (const int64_t n : {1, 31, 1025, 4097}) {
          SCOPED_TRACE(std::string(dtype_name(t)) + (rms ? " rms" : " layer") + " by " + std::to_string(int(by)) + ", n " +
                       std::to_string(n));
          const DType stat = t == DType::f64 ? t : DType::f32;
          Forward f;
          f.args.eps = 1e-5, f.args.norm = rms;
          f.give("x", &ForwardArgs::x, t, x_shape(n));
          f.give("weight", &ForwardArgs::weight, t, {n});
          f.give("bias", &ForwardArgs::bias, t, {n});
          give_lengths(f, by);
          f.give("scale", &ForwardArgs::scale, t, scale_shape(by, n)).fill([](int64_t, int64_t) { return 0; });
          f.give("shift", &ForwardArgs::shift, t, scale_shape(by, n)).fill([](int64_t, int64_t) { return 0; });
          f.give("y", &ForwardArgs::y, t, x_shape(n));
          if (!rms) f.give("mean", &ForwardArgs::mean, stat, {kBatch, kTokens});
          f.give("rstd", &ForwardArgs::rstd, stat, {kBatch, kTokens});
          f.expect_run();
          const Matrix y(t, x_shape(n)), mean(stat, {kBatch, kTokens}), rstd(stat, {kBatch, kTokens}), dx(t, x_shape(n));
          Backward b;
          b.args.norm = rms;
          b.args.x = f.args.x, b.args.weight = f.args.weight, b.args.mean = f.args.mean, b.args.rstd = f.args.rstd;
          b.args.segments = f.args.segments, b.args.scale = f.args.scale;
          b.give("dy", &BackwardArgs::dy, t, x_shape(n));
          b.give("dx", &BackwardArgs::dx, t, x_shape(n));
          b.give("dscale", &BackwardArgs::dscale, t, scale_shape(by, n));
          b.expect_run();
          const auto forward = [&](auto args, auto function) {
            args.x = f.args.x, args.weight = f.args.weight, args.bias = f.args.bias;
            args.y = y.tensor(), args.rstd = rstd.tensor();
            ASSERT_EQ(function(&args, nullptr), KILTER_OK) << kilter_last_error();
          };
          const auto backward = [&](auto args, auto function) {
            args.x = f.args.x, args.weight = f.args.weight, args.rstd = f.args.rstd, args.dy = b.args.dy, args.dx = dx.tensor();
            ASSERT_EQ(function(&args, nullptr), KILTER_OK) << kilter_last_error();
          };
          if (rms) {
            forward(kilter_rms_norm_forward_defaults(), kilter_rms_norm_forward);
            backward(kilter_rms_norm_backward_defaults(), kilter_rms_norm_backward);
          } else {
            kilter_layer_norm_forward_args layer = kilter_layer_norm_forward_defaults();
            layer.mean = mean.tensor();
            forward(layer, kilter_layer_norm_forward);
            kilter_layer_norm_backward_args back = kilter_layer_norm_backward_defaults();
            back.mean = f.args.mean;
            backward(back, kilter_layer_norm_backward);
            EXPECT_TRUE(same(mean, f.memory.at("mean"), "mean"));
          }
          EXPECT_TRUE(same(y, f.memory.at("y"), "y"));
          EXPECT_TRUE(same(rstd, f.memory.at("rstd"), "rstd"));
          EXPECT_TRUE(same(dx, b.memory.at("dx"), "dx"));
        }
}

// Six modulations in one tensor [batch, 6, n], of which each is a view; rows in descending addresses; one row for all.
TEST(Adaptive, StridedModulations) {
  for (const DType t : kFloatTypes)
    for (const By by : kBy) {
      SCOPED_TRACE(std::string(dtype_name(t)) + " by " + std::to_string(int(by)));
      const int64_t n = 70;
      auto dense = full_call(by, t, t, n, false);
      expect_run(*dense);
      for (const Placed& placed : {Placed{.pad = 5 * n, .shift = 3}, Placed{.pad = 1, .reversed = true}}) {
        auto strided = full_call(by, t, t, n, false, kLengths, placed);
        expect_run(*strided);
        expect_same(*dense, *strided);
      }
      auto one = full_call(by, t, t, n, false);  // stride 0
      auto copies = full_call(by, t, t, n, false);
      const std::vector<int64_t> strides = by == By::segment ? std::vector<int64_t>{0, 1} : std::vector<int64_t>{0, 0, 1};
      for (auto* call : {&one, &copies})
        for (const char* name : {"scale", "shift", "gate"}) {
          Matrix& m = (*call)->f.memory.at(name);
          m.fill([&](int64_t, int64_t i) { return noise(3, 0, i); });
        }
      for (kilter_tensor* v : {&one->f.args.scale, &one->f.args.shift, &one->f.args.gate, &one->b.args.scale, &one->b.args.gate})
        v->strides = const_cast<int64_t*>(strides.data());
      expect_run(*one);
      expect_run(*copies);
      expect_same(*copies, *one);
    }
}

// However rows say that they share, what they share decides.
TEST(Adaptive, SamplesAndSegmentsAndTokens) {
  for (const DType t : kFloatTypes)
    for (const bool rms : {false, true})
      for (const int64_t n : {5, 1024, 2500}) {
        SCOPED_TRACE(std::string(dtype_name(t)) + ", n " + std::to_string(n));
        auto samples = full_call(By::sample, t, DType::f32, n, rms),
             segments = full_call(By::segment, t, DType::f32, n, rms, {0, 4, 8, 12});
        auto tokens = full_call(By::token, t, DType::f32, n, rms);
        for (const char* name : {"scale", "shift", "gate"}) {
          Matrix& all = tokens->f.memory.at(name);
          all.fill([&](int64_t r, int64_t i) { return samples->f.memory.at(name).get(r / kTokens, i); });
        }
        for (Both* both : {samples.get(), segments.get(), tokens.get()}) expect_run(*both);
        expect_same(*samples, *segments);
        expect_same(*samples, *tokens, {"dgate", "dscale", "dshift", "dweight", "dbias"});
      }
}

TEST(Adaptive, ThreadsAndTargetsDoNotMatter) {
  const Values few = {0, 1, 1, 300, 301, 900};
  for (const DType t : kFloatTypes)
    for (const By by : kBy) {
      SCOPED_TRACE(std::string(dtype_name(t)) + " by " + std::to_string(int(by)));
      const int64_t n = 72;
      const Shape shape = {3, 300, n};
      auto one = full_call(by, t, DType::f32, n, false, few, {}, shape);
      {
        const WithThreads threads(1);
        expect_run(*one);
      }
      for (const int count : {2, 3, 7}) {
        const WithThreads threads(count);
        auto many = full_call(by, t, DType::f32, n, false, few, {}, shape);
        expect_run(*many);
        expect_same(*one, *many);
      }
      for (int i = 0; const char* target = kilter_cpu_target_at(i); ++i) {
        ASSERT_EQ(kilter_set_cpu_target(target), KILTER_OK);
        auto other = full_call(by, t, DType::f32, n, false, few, {}, shape);
        expect_run(*other);
        expect_same(*one, *other);
      }
      ASSERT_EQ(kilter_set_cpu_target(nullptr), KILTER_OK);
    }
}

// residual + gate * x, each operation rounded, then to residual's type: what is written and what is read.
TEST(Adaptive, TheGatedSum) {
  for (const DType t : {DType::f32, DType::bf16, DType::f16}) {
    auto call = full_call(By::segment, t, DType::f32, 40, false);
    call->f.expect_run();
    const Matrix& out = call->f.memory.at("residual_out");
    const int64_t segment_of[] = {0, 0, 0, 2, 4, 4, 4, 4, 4, 4, 4, 4};
    for (int64_t r = 0; r < 12; ++r)
      for (int64_t i = 0; i < 40; ++i) {
        volatile const float product = float(call->f.memory.at("gate").get(segment_of[r], i)) * float(call->f.memory.at("x").get(r, i));
        volatile const float sum = float(call->f.memory.at("residual").get(r, i)) + product;
        Matrix rounded(t, {1, 1});
        rounded.set(0, 0, sum);
        ASSERT_EQ(out.get(r, i), rounded.get(0, 0)) << r << ", " << i;
      }
    auto unwritten = full_call(By::segment, t, DType::f32, 40, false);
    unwritten->f.args.residual_out = {};
    unwritten->f.expect_run();
    EXPECT_TRUE(same(call->f.memory.at("y"), unwritten->f.memory.at("y"), "y"));
  }
}

}  // namespace
}  // namespace kilter::test::adaptive

// The contract's bounds on adversarial rows, against float64 computed in the test.
#include <cmath>

#include "harness/exact.h"

namespace kilter::test {
namespace {

template <class Op>
class Accuracy : public ::testing::Test {
 protected:
  // One row function, both directions, without and with affine.
  template <class F>
  void expect_within(DType t, int64_t rows, int64_t n, F value, double eps = 1e-5) {
    for (const bool affine : {false, true}) {
      Spec s;
      s.t = t, s.rows = rows, s.n = n, s.eps = eps;
      if (affine) s.weight = t, s.bias = DType::f32;
      Forward<Op> f(s);
      f.x.fill(value);
      expect_forward_within(f, true);
      s.bias = DType::none;
      Backward<Op> b(s);
      b.x.fill(value);
      b.prepare();
      expect_backward_within(b);
    }
  }
};
TYPED_TEST_SUITE(Accuracy, Ops, OpName);

TYPED_TEST(Accuracy, MeanMuchLargerThanTheDeviation) {
  for (const double mean : {1e4, 1e6, 16777216.0, -16777216.0, 100.0})
    for (const int64_t n : {96, 768, 1025, 4096})
      this->expect_within(DType::f32, 12, n, [&](int64_t r, int64_t i) { return mean + (mean == 100 ? 0.01 : 1) * noise(11, r, i); });
}

TYPED_TEST(Accuracy, HalfTypesWithAMeanOf256) {
  for (const DType t : {DType::bf16, DType::f16})
    for (const int64_t n : {96, 768, 1025, 4096})
      this->expect_within(t, 12, n, [&](int64_t r, int64_t i) { return 256 + noise(12, r, i); });
}

TYPED_TEST(Accuracy, RowsNearTheLargestNumber) {
  for (const double size : {1e18, 1e30, 8e37, -3e38})
    for (const int64_t n : {2, 100, 1025, 4096}) {
      Spec s;
      s.rows = 6, s.n = n;
      Forward<TypeParam> f(s);
      const auto value = [&](int64_t r, int64_t i) { return size * (std::fabs(size) > 1e38 ? (i % 3 ? 1 : -1) : noise(13, r, i)); };
      f.x.fill(value);
      expect_forward_within(f, true);
      for (int64_t i = 0; i < n; ++i) ASSERT_TRUE(std::isfinite(f.y.get(5, i)));
      Backward<TypeParam> b(s);
      b.x.fill(value);
      b.prepare();
      expect_backward_within(b);
    }
}

TYPED_TEST(Accuracy, RowsOfTheLargestNumber) {
  Spec s;
  s.rows = 2, s.n = 1000;
  Forward<TypeParam> f(s);
  f.x.fill([](int64_t r, int64_t i) { return r == 0 ? 3.4028234663852886e38 : (i % 2 ? 1 : -1) * 3.4028234663852886e38; });
  expect_forward_within(f, true);
  for (int64_t i = 0; i < s.n; ++i) {
    EXPECT_EQ(f.y.get(0, i), TypeParam::centered ? 0 : 1);
    EXPECT_EQ(f.y.get(1, i), i % 2 ? 1 : -1);
  }
}

TYPED_TEST(Accuracy, HalfTypesAtTheirLargestNumber) {
  for (const DType t : {DType::f16, DType::bf16})
    for (const int64_t n : {1, 2, 33, 768, 4096, 65536}) {
      const double largest = t == DType::f16 ? 65504 : 0x1.FEp127;
      Spec s;
      s.t = t, s.rows = 2, s.n = n;
      Forward<TypeParam> f(s);
      f.x.fill([&](int64_t r, int64_t i) { return r == 0 ? largest : largest * noise(14, r, i) / 4; });
      expect_forward_within(f, true);
      for (int64_t i = 0; i < n; ++i) ASSERT_EQ(f.y.get(0, i), TypeParam::centered ? 0 : 1);
    }
}

TYPED_TEST(Accuracy, SubnormalRows) {
  for (const double size : {1e-30, 1e-38, 1e-40, 1e-44})
    for (const double eps : {0.0, 1e-5, 1e-12})
      for (const int64_t n : {33, 1025}) {
        Spec s;
        s.rows = 5, s.n = n, s.eps = eps;
        Forward<TypeParam> f(s);
        f.x.fill([&](int64_t r, int64_t i) { return size * (noise(15, r, i) + 0.5); });
        expect_forward_within(f, true);
      }
  for (const double size : {6e-8, 1e-6, 3e-5}) {  // fp16 subnormals
    Spec s;
    s.t = DType::f16, s.rows = 5, s.n = 700, s.eps = 0;
    Forward<TypeParam> f(s);
    f.x.fill([&](int64_t r, int64_t i) { return size * noise(16, r, i); });
    expect_forward_within(f, true);
  }
}

TYPED_TEST(Accuracy, EveryWidthAroundVectorsAndSegments) {
  for (const DType t : {DType::f32, DType::bf16, DType::f16, DType::f64})
    for (const int64_t n : {1,  2,   3,   4,   5,   7,   8,   9,   15,   16,   17,   31,   32,   33,   63,   64,
                            65, 127, 129, 255, 256, 257, 511, 513, 1023, 1024, 1025, 2047, 2049, 4095, 4096, 4097}) {
      if (t == DType::f64 && n > 513) continue;
      this->expect_within(t, 5, n, [&](int64_t r, int64_t i) { return noise(17, r, i) + 0.5; });
    }
}

TYPED_TEST(Accuracy, LongRows) {
  for (const int64_t n : {int64_t(65537), int64_t(1) << 20, (int64_t(1) << 24) + 1}) {
    Spec s;
    s.rows = 1, s.n = n;
    if (n < 1 << 24) s.weight = DType::f32;
    const auto value = [&](int64_t, int64_t i) { return double((uint64_t(i) * 0x9E3779B97F4A7C15u) >> 40) * 0x1p-24 + 3; };
    Forward<TypeParam> f(s);
    f.x.fill(value);
    expect_forward_within(f, true);
    if (n > 1 << 24) continue;  // its operations are forward's, and it takes long
    Backward<TypeParam> b(s);
    b.x.fill(value);
    b.prepare();
    expect_backward_within(b);
  }
}

TYPED_TEST(Accuracy, GradientsOverAMillionRows) {
  for (const DType t : {DType::f32, DType::bf16})
    for (const int64_t rows : {int64_t(1000000), (int64_t(1) << 20) + 1}) {
      Spec s;
      s.t = t, s.rows = rows, s.n = 3, s.want_dx = false;
      Backward<TypeParam> b(s);
      expect_backward_within(b, true);
      b.dy.fill([](int64_t r, int64_t i) { return std::fabs(noise(29, r, i)); });  // sums that grow with every row
      expect_backward_within(b, true);
    }
}

TYPED_TEST(Accuracy, SmallTermsBetweenLargeOnesThatCancel) {
  for (const int64_t rows : {2, 64, 1000, 4096, 100001}) {
    Spec s;
    s.rows = rows, s.n = 9;
    Backward<TypeParam> b(s);
    b.dy.fill([](int64_t r, int64_t i) { return (r % 2 ? 1e8 : -1e8) + (r % 8 == 5 ? 64 * noise(30, r, i) : 0); });
    expect_backward_within(b, true);
    b.dy.fill([](int64_t r, int64_t i) { return r % 3 == 0 ? (r % 2 ? 1e8 : -1e8) : noise(30, r, i); });
    expect_backward_within(b, true);
  }
}

// |dx| may reach (1 + sqrt(n)) / 2 times rstd * max|dy * w|: rows of three elements by a million tries, rows with one outlier by
// their making.
TYPED_TEST(Accuracy, GradientOfShortRowsAndOfOutliers) {
  Spec s;
  s.rows = 1000000, s.n = 3;
  Backward<TypeParam> rows(s);
  expect_backward_within(rows);
  for (const int64_t n : {16, 256, 4096, 65536}) {
    s.rows = 20, s.n = n;
    Backward<TypeParam> b(s);
    b.x.fill([&](int64_t r, int64_t i) { return (i == 7 ? std::sqrt(double(n)) : i % 2 ? -1 : 1) * (1 + 0.1 * noise(2, r, i)); });
    b.dy.fill([&](int64_t r, int64_t i) { return b.x.get(r, i) > 0 ? 1 : -1; });
    b.prepare();
    expect_backward_within(b);
  }
}

TYPED_TEST(Accuracy, WeightsInEitherType) {
  for (const DType t : {DType::f32, DType::bf16, DType::f16, DType::f64})
    for (const DType weight : {DType::none, t, DType::f32})
      for (const DType bias : {DType::none, t, DType::f32})
        for (const double offset : {0.0, 1.0}) {
          if (offset != 0 && weight == DType::none) continue;
          Spec s;
          s.t = t, s.rows = 4, s.n = 300, s.weight = weight, s.bias = bias, s.weight_offset = offset;
          Forward<TypeParam> f(s);
          expect_forward_within(f, true);
          if (bias != DType::none) continue;
          Backward<TypeParam> b(s);
          expect_backward_within(b);
        }
}

TYPED_TEST(Accuracy, RoundThenMultiply) {
  for (const DType t : {DType::bf16, DType::f16})
    for (const int64_t n : {64, 1025}) {
      Spec s;
      s.t = t, s.rows = 40, s.n = n, s.weight = t, s.rounding = KILTER_ROUND_THEN_MULTIPLY;
      Forward<TypeParam> f(s);
      expect_forward_within(f, true);
    }
}

}  // namespace
}  // namespace kilter::test

// Constant, zero, NaN, infinite: the class of every element, and who else is touched.
#include <cmath>
#include <cstring>
#include <limits>

#include "harness/exact.h"

namespace kilter::test {
namespace {

constexpr DType kTypes[] = {DType::f32, DType::bf16, DType::f16, DType::f64};
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN(), kInf = std::numeric_limits<double>::infinity();

template <class Op>
class Special : public ::testing::Test {
 protected:
  static Spec spec(DType t, int64_t rows, int64_t n) {
    Spec s;
    s.t = t, s.rows = rows, s.n = n;
    return s;
  }
  // Rows of `dirty` other than r have the clean call's bits.
  template <class Call>
  void expect_others_clean(Call& clean, Call& dirty, int64_t row) {
    for (const NamedTensor& t : clean.tensors()) {
      if (!t.output || t.kind == Kind::vector) continue;
      for (const NamedTensor& u : dirty.tensors())
        for (int64_t r = 0; std::string(u.name) == t.name && r < t.matrix->rows(); ++r) {
          if (r == row) continue;
          EXPECT_TRUE(same_row(*t.matrix, r, *u.matrix, r, t.name));
        }
    }
  }
  static void expect_all_nan(const Matrix& m, int64_t row, const char* name) {
    for (int64_t i = 0; i < m.n(); ++i) ASSERT_TRUE(std::isnan(m.get(row, i))) << name << " column " << i << ": " << m.get(row, i);
  }
};
TYPED_TEST_SUITE(Special, Ops, OpName);

const int64_t kWidths[] = {1, 2, 3, 7, 33, 64, 100, 1000, 1023, 1024, 1025, 5000, 65536, 65537};

TYPED_TEST(Special, ConstantRowsGiveTheBias) {
  for (const DType t : kTypes)
    for (const double value : {0.1, -1e4 / 3, 1.0 / 3, 3.0, 1e-30, 1e30, 65504.0, 3e38, -0.7e-38})
      for (const int64_t n : kWidths) {
        if (n > 5000 && t != DType::f32) continue;
        if (t == DType::f16 && std::fabs(value) > 65504) continue;
        Spec s = this->spec(t, 2, n);
        s.bias = t, s.weight = n % 2 ? DType::f32 : DType::none;
        Forward<TypeParam> f(s);
        f.x.fill([&](int64_t r, int64_t) { return r ? value : -value; });
        ASSERT_EQ(f.run(), KILTER_OK);
        if (TypeParam::centered) {
          for (int64_t r = 0; r < 2; ++r)
            for (int64_t i = 0; i < n; ++i) ASSERT_EQ(f.y.get(r, i), f.bias.get(0, i)) << dtype_name(t) << " " << value << " n=" << n;
          f.args.bias = {};
          ASSERT_EQ(f.run(), KILTER_OK);
          for (int64_t i = 0; i < n; ++i) ASSERT_EQ(f.y.get(1, i), 0) << dtype_name(t) << " " << value << " n=" << n;
        } else {
          expect_forward_within(f, true);
        }
      }
}

TYPED_TEST(Special, ConstantRowsLongerThanAChunk) {
  for (const double value : {0.1, 1e4 / 3, 1e30})
    for (const int64_t n : {262143, 262144, 262145, 300000, 1000003}) {
      Spec s = this->spec(DType::f32, 1, n);
      s.bias = DType::f32;
      Forward<TypeParam> f(s);
      f.x.fill([&](int64_t, int64_t) { return value; });
      ASSERT_EQ(f.run(), KILTER_OK);
      for (int64_t i = 0; i < n && TypeParam::centered; ++i)
        ASSERT_EQ(f.y.get(0, i), f.bias.get(0, i)) << value << " n=" << n << " column " << i;
      expect_forward_within(f, true);
    }
}

TYPED_TEST(Special, GradientsOfConstantRowsStayWithinTheBound) {
  for (const DType t : {DType::f32, DType::bf16, DType::f16})
    for (const double value : {0.1, 3.0, 1e4 / 3, 1e30, 65504.0})
      for (const int64_t n : {1, 7, 64, 1000, 4097}) {
        if (t == DType::f16 && value > 65504) continue;
        Spec s = this->spec(t, 3, n);
        s.weight = DType::f32;
        Backward<TypeParam> b(s);
        b.x.fill([&](int64_t, int64_t) { return value; });
        b.prepare();
        expect_backward_within(b);
        for (int64_t i = 0; i < n; ++i) ASSERT_TRUE(std::isfinite(b.dx.get(0, i)));
      }
}

TYPED_TEST(Special, ConstantRowsWithoutEpsilon) {
  for (const DType t : kTypes)
    for (const double value : {0.3, -5.0}) {
      Spec s = this->spec(t, 2, 100);
      s.eps = 0;
      Forward<TypeParam> f(s);
      f.x.fill([&](int64_t, int64_t) { return value; });
      ASSERT_EQ(f.run(), KILTER_OK);
      if (TypeParam::centered)
        this->expect_all_nan(f.y, 1, "y");  // 0 * inf
      else
        for (int64_t i = 0; i < s.n; ++i)
          EXPECT_NEAR(f.y.get(1, i), value > 0 ? 1 : -1, t == DType::f32 ? 2.4e-7 : t == DType::f64 ? 4.5e-16 : 0);
    }
}

TYPED_TEST(Special, ZeroRows) {
  for (const DType t : {DType::f32, DType::bf16, DType::f16})
    for (const double eps : {1e-5, 1e-12, 1e-30, 1.2e-38}) {
      Spec s = this->spec(t, 2, 300);
      s.bias = t, s.weight = t, s.eps = eps;
      Forward<TypeParam> f(s);
      f.x.fill([](int64_t, int64_t) { return 0; });
      ASSERT_EQ(f.run(), KILTER_OK);
      for (int64_t i = 0; i < s.n; ++i) ASSERT_EQ(f.y.get(1, i), f.bias.get(0, i));
      if (t == DType::f16 && eps < 1e-5) continue;  // dx is beyond the type
      Backward<TypeParam> b(s);
      b.x.fill([](int64_t, int64_t) { return 0; });
      b.prepare();
      expect_backward_within(b);
      for (int64_t i = 0; i < s.n; ++i) ASSERT_TRUE(std::isfinite(b.dx.get(1, i))) << eps;
    }
}

TYPED_TEST(Special, OneNaNStaysInItsRow) {
  for (const DType t : kTypes)
    for (const int64_t n : {1, 2, 33, 1025, 2048})
      for (const int64_t column : {int64_t(0), n / 2, n - 1}) {
        Spec s = this->spec(t, 6, n);
        s.weight = s.bias = t;
        Forward<TypeParam> clean(s), f(s);
        f.x.set(3, column, kNaN);
        ASSERT_EQ(clean.run(), KILTER_OK);
        ASSERT_EQ(f.run(), KILTER_OK);
        this->expect_all_nan(f.y, 3, "y");
        EXPECT_TRUE(std::isnan(f.rstd.get(3, 0)));
        this->expect_others_clean(clean, f, 3);
        Backward<TypeParam> clean_back(s), b(s);
        b.x.set(3, column, kNaN);
        b.prepare();
        ASSERT_EQ(clean_back.run(), KILTER_OK);
        ASSERT_EQ(b.run(), KILTER_OK);
        this->expect_all_nan(b.dx, 3, "dx");
        this->expect_others_clean(clean_back, b, 3);
        EXPECT_TRUE(same(clean_back.dbias, b.dbias, "dbias"));
        for (int64_t i = 0; i < n; ++i) ASSERT_TRUE(std::isnan(b.dweight.get(0, i)));
      }
}

TYPED_TEST(Special, OneInfinity) {
  for (const DType t : kTypes)
    for (const double value : {kInf, -kInf})
      for (const int64_t n : {1, 2, 33, 1025}) {
        Spec s = this->spec(t, 4, n);
        Forward<TypeParam> clean(s), f(s);
        f.x.set(2, n / 2, value);
        ASSERT_EQ(clean.run(), KILTER_OK);
        ASSERT_EQ(f.run(), KILTER_OK);
        this->expect_others_clean(clean, f, 2);
        if (TypeParam::centered) {
          this->expect_all_nan(f.y, 2, "y");
          continue;
        }
        EXPECT_EQ(f.rstd.get(2, 0), 0);
        for (int64_t i = 0; i < n; ++i) {
          if (i == n / 2)
            EXPECT_TRUE(std::isnan(f.y.get(2, i)));  // inf * 0
          else
            EXPECT_EQ(f.y.get(2, i), 0);
        }
      }
}

TYPED_TEST(Special, BothInfinities) {
  for (const DType t : kTypes) {
    Spec s = this->spec(t, 3, 40);
    Forward<TypeParam> clean(s), f(s);
    f.x.set(1, 5, kInf), f.x.set(1, 30, -kInf);
    ASSERT_EQ(clean.run(), KILTER_OK);
    ASSERT_EQ(f.run(), KILTER_OK);
    this->expect_others_clean(clean, f, 1);
    if (TypeParam::centered) this->expect_all_nan(f.y, 1, "y");
    for (const int64_t i : {5, 30}) EXPECT_TRUE(std::isnan(f.y.get(1, i)));
  }
}

TYPED_TEST(Special, NonFiniteWeightOrBiasStaysInItsColumn) {
  for (const DType t : kTypes)
    for (const double value : {kNaN, kInf, -kInf})
      for (const int64_t n : {7, 1030}) {
        Spec s = this->spec(t, 4, n);
        s.weight = s.bias = t;
        Forward<TypeParam> clean(s), f(s);
        const int64_t w = n / 3, b = n - 1;
        f.weight.set(0, w, value), f.bias.set(0, b, value);
        f.x.fill([&](int64_t r, int64_t i) { return r == 1 ? 2.0 : clean.x.get(r, i); });  // constant: 0 * inf
        clean.x.copy_from(f.x);
        ASSERT_EQ(clean.run(), KILTER_OK);
        ASSERT_EQ(f.run(), KILTER_OK);
        EXPECT_TRUE(same(clean.rstd, f.rstd, "rstd"));
        for (int64_t r = 0; r < s.rows; ++r)
          for (int64_t i = 0; i < n; ++i) {
            const double y = f.y.get(r, i);
            if (i == w) {
              EXPECT_TRUE(TypeParam::centered && r == 1 ? std::isnan(y) : !std::isfinite(y)) << r << " " << i << ": " << y;
            } else if (i == b) {
              EXPECT_TRUE(std::isnan(value) ? std::isnan(y) : y == value) << r << " " << i << ": " << y;
            } else {
              EXPECT_EQ(y, clean.y.get(r, i));
            }
          }
        Backward<TypeParam> clean_back(s), back(s);
        back.weight.set(0, w, value);
        ASSERT_EQ(clean_back.run(), KILTER_OK);
        ASSERT_EQ(back.run(), KILTER_OK);
        EXPECT_TRUE(same(clean_back.dweight, back.dweight, "dweight"));
        EXPECT_TRUE(same(clean_back.dbias, back.dbias, "dbias"));
      }
}

// A NaN whose low bits are set: rounding to bf16 like a number would carry into the sign and give a zero.
TYPED_TEST(Special, NaNOfAllOnesStaysNaN) {
  for (const uint32_t nan : {0x7FFFFFFFu, 0xFFFFFFFFu})
    for (const int64_t n : {7, 64, 1030}) {
      Spec s = this->spec(DType::bf16, 9, n);
      s.weight = s.bias = DType::f32;
      Forward<TypeParam> f(s);
      const int64_t w = n / 3, b = n - 2;
      std::memcpy(f.weight.row(0) + 4 * w, &nan, sizeof nan);
      std::memcpy(f.bias.row(0) + 4 * b, &nan, sizeof nan);
      ASSERT_EQ(f.run(), KILTER_OK);
      for (int64_t r = 0; r < s.rows; ++r)
        for (int64_t i = 0; i < n; ++i)
          ASSERT_EQ(std::isnan(f.y.get(r, i)), i == w || i == b) << "n=" << n << " row " << r << " column " << i;
      Backward<TypeParam> back(s);
      std::memcpy(back.weight.row(0) + 4 * w, &nan, sizeof nan);
      back.prepare();
      ASSERT_EQ(back.run(), KILTER_OK);
      for (int64_t r = 0; r < s.rows; ++r) this->expect_all_nan(back.dx, r, "dx");
    }
}

TYPED_TEST(Special, NonFiniteGradientStaysInItsRowAndColumn) {
  for (const DType t : kTypes)
    for (const double value : {kNaN, kInf, -kInf})
      for (const int64_t n : {7, 1030}) {
        Spec s = this->spec(t, 70, n);  // several rows per group and chunk
        s.weight = t;
        Backward<TypeParam> clean(s), b(s);
        const int64_t row = 41, column = n / 2;
        b.dy.set(row, column, value);
        ASSERT_EQ(clean.run(), KILTER_OK);
        ASSERT_EQ(b.run(), KILTER_OK);
        this->expect_others_clean(clean, b, row);
        for (int64_t i = 0; i < n; ++i) {
          EXPECT_FALSE(std::isfinite(b.dx.get(row, i))) << i;
          if (i == column) {
            EXPECT_FALSE(std::isfinite(b.dweight.get(0, i)));
            EXPECT_TRUE(std::isnan(value) ? std::isnan(b.dbias.get(0, i)) : b.dbias.get(0, i) == value);
          } else {
            EXPECT_EQ(b.dweight.get(0, i), clean.dweight.get(0, i));
            EXPECT_EQ(b.dbias.get(0, i), clean.dbias.get(0, i));
          }
        }
      }
}

TYPED_TEST(Special, Epsilon) {
  for (const DType t : kTypes)
    for (const double eps : {0.0, 1e-45, 1e-12, 1e-5, 0.5, 1e30})
      for (const double scale : {1.0, 1e-6, 1e-3}) {
        Spec s = this->spec(t, 5, 129);
        s.eps = eps;
        Forward<TypeParam> f(s);
        f.x.fill([&](int64_t r, int64_t i) { return scale * (noise(3, r, i) + 0.5); });
        expect_forward_within(f, true);
      }
}

TYPED_TEST(Special, NegativeEpsilonIsArithmetic) {
  for (const DType t : kTypes) {
    Spec s = this->spec(t, 2, 64);
    s.eps = -0.5;
    Forward<TypeParam> f(s);
    f.x.fill([&](int64_t r, int64_t i) { return (r ? 4.0 : 0.25) * (i % 2 ? 1 : -1); });  // moments 1/16 and 16
    ASSERT_EQ(f.run(), KILTER_OK) << kilter_last_error();
    EXPECT_TRUE(std::isnan(f.rstd.get(0, 0)));
    this->expect_all_nan(f.y, 0, "y");
    EXPECT_NEAR(f.rstd.get(1, 0), 1 / std::sqrt(15.5), 1e-7);
    for (int64_t i = 0; i < s.n; ++i) EXPECT_NEAR(f.y.get(1, i), (i % 2 ? 4 : -4) / std::sqrt(15.5), item_size(t) == 2 ? 4e-3 : 1e-6);
  }
}

}  // namespace
}  // namespace kilter::test

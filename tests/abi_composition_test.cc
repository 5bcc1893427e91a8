// A fused call has the bits of the composition that the contract states, and leaving an output out changes no other.
#include <cmath>

#include "core/element.h"
#include "harness/rowwise.h"

namespace kilter::test {
namespace {

constexpr DType kTypes[] = {DType::f32, DType::bf16, DType::f16, DType::f64};
constexpr int64_t kWidths[] = {1, 7, 64, 1000, 1025, 4097};

double rounded_to(DType t, double v) { return rounded<double>(t, v); }
double add(DType t, double a, double b) { return t == DType::f64 ? a + b : double(float(a) + float(b)); }
double multiply(DType t, double a, double b) { return t == DType::f64 ? a * b : double(float(a) * float(b)); }
DType arithmetic(DType t) { return t == DType::f64 ? DType::f64 : DType::f32; }

// The values that a 16-bit call has before its one rounding: the same call in fp32.
Spec in_fp32(Spec s) {
  s.t = arithmetic(s.t);
  for (DType* t : {&s.weight, &s.bias})
    if (item_size(*t) == 2) *t = DType::f32;
  return s;
}

template <class Call>
void give_inputs(const Call& narrow, Call* wide) {
  wide->x.fill([&](int64_t r, int64_t i) { return narrow.x.get(r, i); });
  wide->weight.fill([&](int64_t, int64_t i) { return narrow.weight.get(0, i); });
  wide->bias.fill([&](int64_t, int64_t i) { return narrow.bias.get(0, i); });
}

template <class Op>
class Composition : public ::testing::Test {};
TYPED_TEST_SUITE(Composition, Ops, OpName);

TYPED_TEST(Composition, ResidualIsRoundedToItsTypeThenNormalized) {
  for (const DType t : kTypes)
    for (const DType residual : {t, DType::f32})
      for (const int64_t n : kWidths) {
        Spec s;
        s.t = t, s.n = n, s.residual = residual, s.weight = s.bias = DType::f32;
        Forward<TypeParam> fused(s);
        ASSERT_EQ(fused.run(), KILTER_OK) << kilter_last_error();
        for (int64_t r = 0; r < s.rows; ++r)
          for (int64_t i = 0; i < n; ++i)
            ASSERT_EQ(fused.residual_out.get(r, i), rounded_to(residual, add(t, fused.x.get(r, i), fused.residual.get(r, i))));
        // The sum is read as stored, whether it is stored or not.
        Spec without = s;
        without.residual_out = false;
        Forward<TypeParam> unwritten(without);
        ASSERT_EQ(unwritten.run(), KILTER_OK);
        EXPECT_TRUE(same(fused.y, unwritten.y, "y"));
        EXPECT_TRUE(same(fused.rstd, unwritten.rstd, "rstd"));
        // The plain norm of the sum, in F; y is its rounding.
        if (t == DType::f64 && residual == DType::f32) continue;  // would take a norm in fp64 of fp32 rows
        Spec plain = s;
        plain.t = t == residual ? t : DType::f32, plain.residual = DType::none;
        Forward<TypeParam> after(plain);
        after.x.copy_from(fused.residual_out);
        ASSERT_EQ(after.run(), KILTER_OK);
        EXPECT_TRUE(same(after.rstd, fused.rstd, "rstd"));
        EXPECT_TRUE(same(after.mean, fused.mean, "mean"));
        for (int64_t r = 0; r < s.rows; ++r)
          for (int64_t i = 0; i < n; ++i)
            ASSERT_EQ(fused.y.get(r, i), rounded_to(t, after.y.get(r, i))) << dtype_name(t) << " " << dtype_name(residual);
      }
}

TYPED_TEST(Composition, PostResidualJoinsBeforeTheOneRounding) {
  for (const DType t : kTypes)
    for (const DType post : {t, DType::f32})
      for (const int64_t n : kWidths) {
        Spec s;
        s.t = t, s.n = n, s.weight = s.bias = t;
        Forward<TypeParam> wide(in_fp32(s));
        s.post_residual = post;
        Forward<TypeParam> fused(s);
        give_inputs(fused, &wide);
        ASSERT_EQ(fused.run(), KILTER_OK);
        ASSERT_EQ(wide.run(), KILTER_OK);
        for (int64_t r = 0; r < s.rows; ++r)
          for (int64_t i = 0; i < n; ++i)
            ASSERT_EQ(fused.y.get(r, i), rounded_to(t, add(t, wide.y.get(r, i), fused.post_residual.get(r, i))))
                << dtype_name(t) << " n=" << n;
      }
}

TYPED_TEST(Composition, OneRoundingIsThatOfTheWideCall) {
  for (const DType t : {DType::bf16, DType::f16})
    for (const int64_t n : kWidths) {
      Spec s;
      s.t = t, s.n = n, s.weight = DType::f32, s.bias = t;
      Forward<TypeParam> narrow(s), wide(in_fp32(s));
      give_inputs(narrow, &wide);
      ASSERT_EQ(narrow.run(), KILTER_OK);
      ASSERT_EQ(wide.run(), KILTER_OK);
      for (int64_t r = 0; r < s.rows; ++r)
        for (int64_t i = 0; i < n; ++i) ASSERT_EQ(narrow.y.get(r, i), rounded_to(t, wide.y.get(r, i)));
    }
}

TYPED_TEST(Composition, RoundThenMultiplyRoundsEachStep) {
  for (const DType t : kTypes)
    for (const DType weight : {DType::none, t, DType::f32})
      for (const DType bias : {DType::none, t, DType::f32})
        for (const DType post : {DType::none, t})
          for (const int64_t n : {7, 64, 1025}) {
            Spec s;
            s.t = t, s.n = n;
            Forward<TypeParam> plain(in_fp32(s));
            s.weight = weight, s.bias = bias, s.post_residual = post, s.rounding = KILTER_ROUND_THEN_MULTIPLY;
            Forward<TypeParam> f(s);
            plain.x.fill([&](int64_t r, int64_t i) { return f.x.get(r, i); });
            ASSERT_EQ(f.run(), KILTER_OK);
            ASSERT_EQ(plain.run(), KILTER_OK);
            for (int64_t r = 0; r < s.rows; ++r)
              for (int64_t i = 0; i < n; ++i) {
                double v = rounded_to(t, plain.y.get(r, i));
                if (weight != DType::none) v = rounded_to(t, multiply(t, v, f.weight.get(0, i)));
                if (bias != DType::none) v = rounded_to(t, add(t, v, f.bias.get(0, i)));
                if (post != DType::none) v = rounded_to(t, add(t, v, f.post_residual.get(r, i)));
                ASSERT_EQ(f.y.get(r, i), v) << dtype_name(t) << " n=" << n;
              }
          }
}

TYPED_TEST(Composition, RoundingOrderDiffersOnlyInHalfTypes) {
  for (const DType t : kTypes) {
    Spec s;
    s.t = t, s.rows = 20, s.n = 500, s.weight = s.bias = DType::f32;
    Forward<TypeParam> once(s);
    s.rounding = KILTER_ROUND_THEN_MULTIPLY;
    Forward<TypeParam> order(s);
    ASSERT_EQ(once.run(), KILTER_OK);
    ASSERT_EQ(order.run(), KILTER_OK);
    EXPECT_EQ(bool(same(once.y, order.y, "y")), item_size(t) > 2) << dtype_name(t);
  }
}

TYPED_TEST(Composition, WeightOffsetIsAddedInTheArithmeticType) {
  for (const DType t : kTypes)
    for (const DType weight : {t, DType::f32})
      for (const double offset : {1.0, -0.1, 3e-8}) {
        Spec s;
        s.t = t, s.n = 1030, s.weight = weight, s.bias = DType::f32, s.weight_offset = offset;
        Spec flat = s;
        flat.weight = arithmetic(t), flat.weight_offset = 0;
        const auto weight_of = [&](const Matrix& w) { return [&](int64_t, int64_t i) { return add(t, w.get(0, i), offset); }; };
        Forward<TypeParam> f(s), expected(flat);
        expected.weight.fill(weight_of(f.weight));
        ASSERT_EQ(f.run(), KILTER_OK);
        ASSERT_EQ(expected.run(), KILTER_OK);
        EXPECT_TRUE(same_outputs(expected, f)) << dtype_name(t) << " " << dtype_name(weight) << " " << offset;
        Backward<TypeParam> b(s), reference(flat);
        reference.weight.fill(weight_of(b.weight));
        ASSERT_EQ(b.run(), KILTER_OK);
        ASSERT_EQ(reference.run(), KILTER_OK);
        EXPECT_TRUE(same(reference.dx, b.dx, "dx")) << dtype_name(t) << " " << dtype_name(weight) << " " << offset;
      }
}

// x * 2^k with eps * 4^k: the same y, to the bit, also through the pre-scale.
TYPED_TEST(Composition, PowersOfTwoScaleOut) {
  for (const int k : {-45, -20, -3, 1, 10, 30, 58, 60}) {
    Spec s;
    s.rows = 8, s.n = 777, s.weight = s.bias = DType::f32, s.eps = 0x1p-17;
    Forward<TypeParam> f(s);
    s.eps = std::ldexp(s.eps, 2 * k);
    Forward<TypeParam> scaled(s);
    scaled.x.fill([&](int64_t r, int64_t i) { return std::ldexp(f.x.get(r, i), k); });
    ASSERT_EQ(f.run(), KILTER_OK);
    ASSERT_EQ(scaled.run(), KILTER_OK);
    EXPECT_TRUE(same(f.y, scaled.y, "y")) << "2^" << k;
    for (int64_t r = 0; r < s.rows; ++r) ASSERT_EQ(std::ldexp(f.rstd.get(r, 0), -k), scaled.rstd.get(r, 0));
  }
}

TYPED_TEST(Composition, SignComesOut) {
  for (const DType t : kTypes) {
    Spec s;
    s.t = t, s.rows = 8, s.n = 1033, s.weight = t;
    Forward<TypeParam> f(s), negative(s);
    negative.x.fill([&](int64_t r, int64_t i) { return -f.x.get(r, i); });
    ASSERT_EQ(f.run(), KILTER_OK);
    ASSERT_EQ(negative.run(), KILTER_OK);
    for (int64_t r = 0; r < s.rows; ++r)
      for (int64_t i = 0; i < s.n; ++i) ASSERT_EQ(negative.y.get(r, i), -f.y.get(r, i)) << dtype_name(t);
    EXPECT_TRUE(same(f.rstd, negative.rstd, "rstd"));
  }
}

TYPED_TEST(Composition, UpstreamGradientJoinsBeforeTheOneRounding) {
  for (const DType t : kTypes)
    for (const DType stream : {t, DType::f32})
      for (const int64_t n : kWidths) {
        if (t == DType::f64 && stream != t) continue;
        Spec s;
        s.t = t, s.stream = stream, s.n = n, s.weight = DType::f32;
        // dx alone in F: dy and x widened.
        Spec wide = s;
        wide.t = arithmetic(t), wide.stream = DType::none, wide.weight = DType::f32;
        s.dresidual_out = s.dresidual = stream;
        Backward<TypeParam> b(s), alone(wide);
        alone.x.fill([&](int64_t r, int64_t i) { return b.x.get(r, i); });
        alone.dy.fill([&](int64_t r, int64_t i) { return b.dy.get(r, i); });
        alone.prepare();
        ASSERT_EQ(b.run(), KILTER_OK) << kilter_last_error();
        ASSERT_EQ(alone.run(), KILTER_OK) << kilter_last_error();
        EXPECT_TRUE(same(alone.rstd, b.rstd, "rstd"));
        for (int64_t r = 0; r < s.rows; ++r)
          for (int64_t i = 0; i < n; ++i) {
            const double v = add(t, alone.dx.get(r, i), b.dresidual_out.get(r, i));
            ASSERT_EQ(b.dx.get(r, i), rounded_to(t, v)) << dtype_name(t) << " n=" << n;
            ASSERT_EQ(b.dresidual.get(r, i), rounded_to(stream, v)) << dtype_name(t) << " n=" << n;
          }
      }
}

TYPED_TEST(Composition, OutputsLeftOutChangeNoOther) {
  for (const DType t : kTypes)
    for (const int64_t n : {7, 1025}) {
      Spec s;
      s.t = t, s.rows = 37, s.n = n, s.weight = s.bias = s.residual = s.dresidual = s.dresidual_out = t;
      const auto expect = [&](auto& all, auto& some) {
        ASSERT_EQ(all.run(), KILTER_OK);
        const size_t count = all.tensors().size();
        std::vector<size_t> outputs;
        for (size_t i = 0; i < count; ++i)
          if (all.tensors()[i].output && !all.tensors()[i].required) outputs.push_back(i);
        for (unsigned mask = 0; mask + 1 < 1u << outputs.size(); ++mask) {
          some.attach();
          for (size_t k = 0; k < outputs.size(); ++k)
            if (!(mask >> k & 1)) *some.tensors()[outputs[k]].tensor = {};
          for (const size_t k : outputs) some.tensors()[k].matrix->fill([](int64_t, int64_t) { return 7; });
          ASSERT_EQ(some.run(), KILTER_OK) << kilter_last_error();
          for (size_t k = 0; k < outputs.size(); ++k) {
            if (!(mask >> k & 1)) continue;
            const NamedTensor want = all.tensors()[outputs[k]], got = some.tensors()[outputs[k]];
            ASSERT_TRUE(same(*want.matrix, *got.matrix, want.name)) << "mask " << mask;
          }
        }
      };
      Forward<TypeParam> all(s), some(s);
      expect(all, some);
      Backward<TypeParam> all_back(s), some_back(s);
      expect(all_back, some_back);
    }
}

// Terms of one sum in fp32 swallow a 1 beside 2^25, in another chunk it stays: which rows share a chunk shows.
TYPED_TEST(Composition, GroupsOfFourRowsAreDealtToChunks) {
  for (const auto& [n, chunks] : {std::pair<int64_t, int64_t>{1, 4096}, {16385, 32}}) {
    Spec s;
    s.rows = 4 * 3 * chunks + 3, s.n = n, s.want_dx = false;
    Backward<TypeParam> b(s);
    b.dy.fill([](int64_t, int64_t) { return 0; });
    const auto sum_of = [&, last = n - 1](int64_t large, int64_t one, int64_t minus_large) {  // groups
      const auto set = [&](double a, double c) {
        b.dy.set(4 * large, last, a), b.dy.set(4 * minus_large + 1, last, -a), b.dy.set(4 * one + 2, last, c);
      };
      set(0x1p25, 1);
      EXPECT_EQ(b.run(), KILTER_OK) << kilter_last_error();
      set(0, 0);
      return b.dbias.get(0, last);
    };
    for (const int64_t c : {int64_t(0), int64_t(1), chunks - 1}) {
      const int64_t neighbor = c == 0 ? 1 : c - 1;
      EXPECT_EQ(sum_of(c, c + chunks, neighbor), 0) << "group " << c;
      EXPECT_EQ(sum_of(c, c + 2 * chunks, neighbor), 0);
      EXPECT_EQ(sum_of(c + 2 * chunks, c + chunks, neighbor), 0);
      EXPECT_EQ(sum_of(c, c + 2 * chunks, c + chunks), 1);  // in the chunk's order
      EXPECT_EQ(sum_of(c, c + chunks, c + 2 * chunks), 0);
      EXPECT_EQ(sum_of(c, c + 1, c + 2), 1);
      EXPECT_EQ(sum_of(c, c + 1, c + chunks), 1);
    }
    EXPECT_EQ(sum_of(0, 3 * chunks, 1), 0);  // the last group, of three rows
    EXPECT_EQ(sum_of(chunks - 1, 3 * chunks, 1), 1);
  }
}

TYPED_TEST(Composition, GradientsRoundToTheirTypeOnce) {
  for (const DType t : {DType::bf16, DType::f16}) {
    Spec s;
    s.t = s.weight = t, s.rows = 100, s.n = 321;
    Backward<TypeParam> wide(s);
    s.dweight = s.dbias = t;
    Backward<TypeParam> narrow(s);
    ASSERT_EQ(wide.run(), KILTER_OK);
    ASSERT_EQ(narrow.run(), KILTER_OK) << kilter_last_error();
    for (int64_t i = 0; i < s.n; ++i) {
      ASSERT_EQ(narrow.dweight.get(0, i), rounded_to(t, wide.dweight.get(0, i)));
      ASSERT_EQ(narrow.dbias.get(0, i), rounded_to(t, wide.dbias.get(0, i)));
    }
  }
}

}  // namespace
}  // namespace kilter::test

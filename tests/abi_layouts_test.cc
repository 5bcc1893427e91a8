// Strides, alignment and rank change no bit of any output, and nothing between or around rows is written (each Matrix checks
// its own gaps, slack and guard pages).
#include "harness/rowwise.h"

namespace kilter::test {
namespace {

constexpr DType kTypes[] = {DType::f32, DType::bf16, DType::f16, DType::f64};

Spec with_everything(DType t, DType other) {
  Spec s;
  s.t = t, s.weight = s.bias = s.residual = s.post_residual = s.dresidual = s.dresidual_out = other;
  return s;
}

template <class Op>
class Layouts : public ::testing::Test {
 protected:
  // Both directions in this layout against the plain one.
  void expect_as_plain(Spec s) {
    Spec plain = s;
    plain.in = plain.out = {};
    Forward<Op> f(s), expected(plain);
    ASSERT_EQ(expected.run(), KILTER_OK) << kilter_last_error();
    ASSERT_EQ(f.run(), KILTER_OK) << kilter_last_error();
    EXPECT_TRUE(same_outputs(expected, f)) << dtype_name(s.t) << " n=" << s.n;
    Backward<Op> b(s), reference(plain);
    ASSERT_EQ(reference.run(), KILTER_OK) << kilter_last_error();
    ASSERT_EQ(b.run(), KILTER_OK) << kilter_last_error();
    EXPECT_TRUE(same_outputs(reference, b)) << dtype_name(s.t) << " n=" << s.n;
  }
};
TYPED_TEST_SUITE(Layouts, Ops, OpName);

TYPED_TEST(Layouts, MisalignedByElementsGivesTheSameBits) {
  for (const DType t : kTypes)
    for (const int64_t n : {1, 2, 3, 7, 31, 64, 255, 1024, 1025, 2050})
      for (const int64_t shift : {1, 2, 3, 5, 7}) {
        Spec s = with_everything(t, t);
        s.n = n, s.rows = 6;
        s.in.shift = shift, s.out.shift = shift % 3 + 1, s.out.at_end = false;
        this->expect_as_plain(s);
        s.post_residual = s.residual = s.dresidual = s.dresidual_out = DType::none;  // the straight paths
        this->expect_as_plain(s);
      }
}

TYPED_TEST(Layouts, PaddedRowsKeepTheirPadding) {
  for (const DType t : kTypes)
    for (const int64_t n : {1, 5, 32, 1000, 1024, 3001})
      for (const int64_t pad : {1, 16, 77}) {
        Spec s = with_everything(t, DType::f32);
        s.n = n, s.in.pad = pad, s.out.pad = pad + 3;
        this->expect_as_plain(s);
      }
}

TYPED_TEST(Layouts, NegativeAndZeroInputStrides) {
  for (const DType t : kTypes)
    for (const int64_t n : {3, 64, 1500}) {
      Spec s = with_everything(t, t);
      s.n = n;
      s.in.strides = {-(n + 3)};
      this->expect_as_plain(s);
      s.out.strides = {-(n + 1)};  // an output may also run backwards
      this->expect_as_plain(s);
    }
}

TYPED_TEST(Layouts, BroadcastInputEqualsCopies) {
  for (const DType t : kTypes)
    for (const int64_t n : {3, 64, 1500}) {
      Spec s = with_everything(t, t), flat = s;
      s.n = flat.n = n;
      s.in.strides = {0};
      Forward<TypeParam> f(s), expected(flat);
      // What `fill` left in the one row that all rows are.
      expected.x.copy_from(f.x), expected.residual.copy_from(f.residual), expected.post_residual.copy_from(f.post_residual);
      ASSERT_EQ(expected.run(), KILTER_OK);
      ASSERT_EQ(f.run(), KILTER_OK) << kilter_last_error();
      EXPECT_TRUE(same_outputs(expected, f));
      Backward<TypeParam> b(s), reference(flat);
      reference.x.copy_from(b.x), reference.dy.copy_from(b.dy), reference.dresidual_out.copy_from(b.dresidual_out);
      reference.prepare();
      ASSERT_EQ(reference.run(), KILTER_OK);
      ASSERT_EQ(b.run(), KILTER_OK) << kilter_last_error();
      EXPECT_TRUE(same_outputs(reference, b));
    }
}

TYPED_TEST(Layouts, InputRowsMayOverlapEachOther) {  // a sliding window
  for (const int64_t stride : {1, 3, -2}) {
    Spec s, flat;
    s.rows = flat.rows = 20, s.n = flat.n = 50;
    s.in.strides = {stride};
    Forward<TypeParam> f(s), expected(flat);
    expected.x.copy_from(f.x);
    ASSERT_EQ(expected.run(), KILTER_OK);
    ASSERT_EQ(f.run(), KILTER_OK) << kilter_last_error();
    EXPECT_TRUE(same_outputs(expected, f));
  }
}

TYPED_TEST(Layouts, ThreeAndFourDimensions) {
  struct Case {
    std::vector<int64_t> leading, in, out;  // strides in units of a padded row
  };
  const Case cases[] = {
      {{3, 4}, {4, 1}, {4, 1}},            // one run of rows
      {{3, 4}, {1, 3}, {4, 1}},            // transposed input
      {{3, 4}, {9, 2}, {1, 5}},            // nothing coalesces
      {{3, 4}, {0, 1}, {-4, 1}},           // broadcast over the first dimension
      {{2, 3, 4}, {12, 4, 1}, {1, 2, 6}},  // transposed output
      {{2, 3, 4}, {40, -9, 2}, {30, 10, -2}},
      {{2, 1, 4}, {0, 1000, 3}, {5, -777, 1}},  // a size of one: its stride does not count
      {{5, 1, 1}, {2, 9, 9}, {3, 0, 0}},
      {{2, 2, 2, 2, 3}, {3, 96, 12, 24, 1}, {48, 24, 12, 6, 2}},
  };
  for (const DType t : {DType::f32, DType::bf16})
    for (const int64_t n : {1, 6, 1030})
      for (const Case& c : cases) {
        Spec s = with_everything(t, t);
        s.n = n, s.leading = c.leading, s.in.strides = c.in, s.out.strides = c.out;
        for (int64_t& stride : s.in.strides) stride *= n + 2;
        for (int64_t& stride : s.out.strides) stride *= n + 1;
        if (c.in[0] != 0) {
          this->expect_as_plain(s);
          continue;
        }
        Spec flat = s;
        flat.in = flat.out = {};
        Forward<TypeParam> f(s), expected(flat);
        expected.x.copy_from(f.x), expected.residual.copy_from(f.residual), expected.post_residual.copy_from(f.post_residual);
        ASSERT_EQ(expected.run(), KILTER_OK);
        ASSERT_EQ(f.run(), KILTER_OK) << kilter_last_error();
        EXPECT_TRUE(same_outputs(expected, f));
      }
}

TYPED_TEST(Layouts, StridedStatistics) {
  for (const int64_t stride : {2, -3}) {
    Spec s;
    s.rows = 11;
    Forward<TypeParam> f(s), expected(s);
    Placed spread;
    spread.strides = {stride};
    Matrix rstd(DType::f32, {s.rows, 1}, spread);
    f.args.rstd = rstd.tensor();
    ASSERT_EQ(expected.run(), KILTER_OK);
    ASSERT_EQ(f.run(), KILTER_OK) << kilter_last_error();
    EXPECT_TRUE(same(expected.rstd, rstd, "rstd"));
    Backward<TypeParam> b(s), reference(s);
    b.args.rstd = rstd.tensor();
    ASSERT_EQ(reference.run(), KILTER_OK);
    ASSERT_EQ(b.run(), KILTER_OK) << kilter_last_error();
    EXPECT_TRUE(same_outputs(reference, b));
  }
  Spec s;  // one value for all rows, read only
  Backward<TypeParam> b(s), reference(s);
  reference.rstd.fill([&](int64_t, int64_t) { return b.rstd.get(0, 0); });
  int64_t strides[2] = {0, 1};
  b.args.rstd.strides = strides;
  ASSERT_EQ(reference.run(), KILTER_OK);
  ASSERT_EQ(b.run(), KILTER_OK) << kilter_last_error();
  EXPECT_TRUE(same_outputs(reference, b));
}

}  // namespace
}  // namespace kilter::test

// Sizes at their ends: none, one, and more than 32 bits count.
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "harness/exact.h"

namespace kilter::test {
namespace {

constexpr DType kTypes[] = {DType::f32, DType::bf16, DType::f16, DType::f64};

template <class Op>
class Shapes : public ::testing::Test {};
TYPED_TEST_SUITE(Shapes, Ops, OpName);

// As many rows as address arithmetic allows, none with an element: nothing may be done row by row.
TYPED_TEST(Shapes, ManyRowsOfZeroWidthAreNoWork) {
  int64_t shape[] = {int64_t(1) << 60, 0};
  for (const char* impl : {"cpu:rowwise", "reference:f64"}) {
    Spec s;
    s.rows = 4, s.n = 0;
    Forward<TypeParam> f(s);
    f.args.impl = impl;
    f.args.rstd = {};
    if constexpr (TypeParam::centered) f.args.mean = {};
    for (kilter_tensor* t : {&f.args.x, &f.args.y}) t->shape = shape, t->strides = nullptr;
    EXPECT_EQ(TypeParam::forward(&f.args, nullptr), KILTER_OK) << kilter_last_error();
  }
}

TYPED_TEST(Shapes, ZeroRowsWriteZeroGradients) {
  for (const DType t : kTypes)
    for (const int64_t n : {1, 12, 1500})
      for (const std::vector<int64_t>& leading : {std::vector<int64_t>{0}, {3, 0}, {0, int64_t(1) << 62}}) {
        Spec s;
        s.t = t, s.n = n, s.leading = leading, s.weight = s.bias = DType::f32;
        Forward<TypeParam> f(s);
        EXPECT_EQ(f.run(), KILTER_OK) << kilter_last_error();
        Backward<TypeParam> b(s);
        for (const bool null_data : {false, true}) {
          b.attach();
          const Snapshot inputs = {b.weight.bytes()};
          for (const NamedTensor& m : b.tensors())
            if (m.kind != Kind::vector && null_data) m.tensor->data = nullptr;
          b.dweight.fill([](int64_t, int64_t) { return 7; });
          b.dbias.fill([](int64_t, int64_t) { return 7; });
          ASSERT_EQ(b.run(), KILTER_OK) << kilter_last_error();
          for (int64_t i = 0; i < n; ++i) {
            ASSERT_EQ(b.dweight.get(0, i), 0);
            ASSERT_EQ(b.dbias.get(0, i), 0);
          }
          EXPECT_TRUE(inputs[0] == b.weight.bytes());
        }
      }
}

TYPED_TEST(Shapes, ZeroRowsAcceptNullData) {
  Spec s;
  s.rows = 0, s.residual = DType::f32;
  Forward<TypeParam> f(s);
  for (const NamedTensor& t : f.tensors()) t.tensor->data = nullptr;
  EXPECT_EQ(f.run(), KILTER_OK) << kilter_last_error();
}

TYPED_TEST(Shapes, ZeroWidthGivesNaNStatistics) {
  for (const DType t : kTypes) {
    Spec s;
    s.t = t, s.n = 0, s.rows = 4, s.weight = s.bias = t;
    for (const char* impl : {static_cast<const char*>(nullptr), "reference:f64"}) {
      Forward<TypeParam> f(s);
      f.args.impl = impl;
      f.args.x.data = f.args.y.data = f.args.weight.data = f.args.bias.data = nullptr;
      ASSERT_EQ(f.run(), KILTER_OK) << kilter_last_error();
      for (int64_t r = 0; r < s.rows; ++r) {
        EXPECT_TRUE(std::isnan(f.rstd.get(r, 0)));
        EXPECT_TRUE(!TypeParam::centered || std::isnan(f.mean.get(r, 0)));
      }
      Backward<TypeParam> b(s);
      b.choose(impl);
      EXPECT_EQ(b.run(), KILTER_OK) << kilter_last_error();
    }
    s.rows = 0;
    Forward<TypeParam> f(s);
    EXPECT_EQ(f.run(), KILTER_OK) << kilter_last_error();
    Backward<TypeParam> b(s);
    EXPECT_EQ(b.run(), KILTER_OK) << kilter_last_error();
  }
}

TYPED_TEST(Shapes, WidthOne) {
  for (const DType t : kTypes) {
    Spec s;
    s.t = t, s.n = 1, s.rows = 9, s.weight = s.bias = t;
    Forward<TypeParam> f(s);
    f.x.fill([](int64_t r, int64_t) { return r == 0 ? 0 : std::ldexp(r % 2 ? 1.5 : -1.25, int(r) * 3 - 14); });
    ASSERT_EQ(f.run(), KILTER_OK);
    for (int64_t r = 0; r < s.rows && TypeParam::centered; ++r) EXPECT_EQ(f.y.get(r, 0), f.bias.get(0, 0));
    expect_forward_within(f, true);  // rms_norm: w * x / sqrt(x^2 + eps) + b
    Backward<TypeParam> b(s);
    b.x.copy_from(f.x);
    b.prepare();
    ASSERT_EQ(b.run(), KILTER_OK);
    for (int64_t r = 0; r < s.rows && TypeParam::centered; ++r) EXPECT_EQ(b.dx.get(r, 0), 0);
    if (t != DType::f64) {
      expect_backward_within(b);
    }
  }
}

// y, statistics and dx of these rows of a tall call against calls of one row.
template <class Op>
void expect_rows_as_alone(const Spec& s, const std::vector<int64_t>& rows) {
  Forward<Op> f(s);
  ASSERT_EQ(f.run(), KILTER_OK) << kilter_last_error();
  Backward<Op> b(s);
  ASSERT_EQ(b.run(), KILTER_OK) << kilter_last_error();
  Spec one = s;
  one.rows = 1;
  Forward<Op> alone(one);
  Backward<Op> alone_back(one);
  for (const int64_t r : rows) {
    std::memcpy(alone.x.row(0), f.x.row(r), size_t(s.n * item_size(s.t)));
    ASSERT_EQ(alone.run(), KILTER_OK);
    EXPECT_TRUE(same_row(alone.y, 0, f.y, r, "y"));
    EXPECT_TRUE(same_row(alone.rstd, 0, f.rstd, r, "rstd"));
    std::memcpy(alone_back.x.row(0), b.x.row(r), size_t(s.n * item_size(s.t)));
    std::memcpy(alone_back.dy.row(0), b.dy.row(r), size_t(s.n * item_size(s.t)));
    alone_back.prepare();
    ASSERT_EQ(alone_back.run(), KILTER_OK);
    EXPECT_TRUE(same_row(alone_back.dx, 0, b.dx, r, "dx"));
  }
}

TYPED_TEST(Shapes, MoreRowsThanSixteenBitsCount) {
  Spec s;
  s.rows = 70001, s.n = 5, s.weight = DType::f32;
  expect_rows_as_alone<TypeParam>(s, {0, 1, 65534, 65535, 65536, 65537, 70000});
}

TYPED_TEST(Shapes, MoreRowsThanTwoToThe23) {
  Spec s;
  s.t = DType::bf16, s.rows = (int64_t(1) << 23) + 3, s.n = 1;
  expect_rows_as_alone<TypeParam>(s, {0, 8388607, 8388608, 8388609, 8388610});
}

// Few rows, far apart: offsets of elements and of bytes beyond 32 bits.  Memory is reserved, not used.
TYPED_TEST(Shapes, RowStridesBeyond32Bits) {
  constexpr int64_t kRows = 4, kWidth = 1100, kStride = (int64_t(1) << 31) + 4099;  // elements
  for (const DType t : {DType::f32, DType::bf16}) {
    const size_t bytes = size_t((kRows - 1) * kStride + kWidth) * size_t(item_size(t));
    SparseMapping memory[4] = {SparseMapping(bytes), SparseMapping(bytes), SparseMapping(bytes), SparseMapping(bytes)};
    for (const SparseMapping& m : memory)
      if (!m.data()) GTEST_SKIP() << "the system does not reserve " << bytes << " bytes of address space";
    Spec s;
    s.t = t, s.rows = kRows, s.n = kWidth, s.weight = t;
    Forward<TypeParam> expected(s), f(s);
    Backward<TypeParam> reference(s), b(s);
    int64_t strides[2] = {kStride, 1};
    const auto far_row = [&](const SparseMapping& m, int64_t r) { return m.data() + r * kStride * item_size(t); };
    const auto move = [&](kilter_tensor* tensor, const Matrix& from, const SparseMapping& m) {
      for (int64_t r = 0; r < kRows; ++r) std::memcpy(far_row(m, r), from.row(r), size_t(kWidth * item_size(t)));
      tensor->data = m.data(), tensor->strides = strides;
    };
    const auto expect_equal = [&](const Matrix& want, const SparseMapping& m, const char* name) {
      for (int64_t r = 0; r < kRows; ++r)
        EXPECT_EQ(std::memcmp(want.row(r), far_row(m, r), size_t(kWidth * item_size(t))), 0) << name << " row " << r;
    };
    move(&f.args.x, f.x, memory[0]), move(&f.args.y, f.y, memory[1]);
    ASSERT_EQ(expected.run(), KILTER_OK);
    ASSERT_EQ(f.run(), KILTER_OK) << kilter_last_error();
    expect_equal(expected.y, memory[1], "y");
    move(&b.args.x, b.x, memory[0]), move(&b.args.dy, b.dy, memory[2]), move(&b.args.dx, b.dx, memory[3]);
    ASSERT_EQ(reference.run(), KILTER_OK);
    ASSERT_EQ(b.run(), KILTER_OK) << kilter_last_error();
    expect_equal(reference.dx, memory[3], "dx");
    EXPECT_TRUE(same(reference.dweight, b.dweight, "dweight"));
  }
}

// Every row of a call of more than 2^31 elements against calls of a few rows.
TYPED_TEST(Shapes, MoreThanTwoToThe31Elements) {
  constexpr int64_t kWidth = 4097, kRows = (int64_t(1) << 31) / kWidth + 3;
  constexpr size_t kBytes = size_t(kWidth * kRows) * 2;
  const char* asked = std::getenv("KILTER_TEST_LARGE");
  if (!asked || std::string(asked) != "1") GTEST_SKIP() << "set KILTER_TEST_LARGE=1: it takes 9 GB of memory";
  if (available_memory() < 2 * kBytes + (size_t(1) << 30)) GTEST_SKIP() << "needs 9.5 GB of free memory, has " << available_memory();
  SparseMapping x(kBytes), y(kBytes);
  if (!x.data() || !y.data()) GTEST_SKIP() << "the system gives no " << kBytes << " bytes";
  uint16_t* const values = reinterpret_cast<uint16_t*>(x.data());
  for (int64_t i = 0; i < kWidth * kRows; ++i) values[i] = uint16_t(0x3F00u + (uint64_t(i) * 0x9E3779B97F4A7C15u >> 56));  // 0.5 to 2
  Spec s;
  s.t = DType::bf16, s.rows = 1, s.n = kWidth, s.weight = DType::bf16;
  Forward<TypeParam> f(s);
  int64_t shape[2] = {kRows, kWidth};
  f.args.x.data = x.data(), f.args.y.data = y.data(), f.args.rstd = {};
  f.args.x.shape = f.args.y.shape = shape;
  f.args.x.strides = f.args.y.strides = nullptr;
  if constexpr (TypeParam::centered) f.args.mean = {};
  ASSERT_EQ(f.run(), KILTER_OK) << kilter_last_error();
  std::vector<uint16_t> part(size_t(1000 * kWidth));
  for (int64_t first = 0; first < kRows; first += 1000) {
    shape[0] = std::min<int64_t>(1000, kRows - first);
    f.args.x.data = x.data() + first * kWidth * 2, f.args.y.data = part.data();
    ASSERT_EQ(f.run(), KILTER_OK) << kilter_last_error();
    ASSERT_EQ(std::memcmp(part.data(), y.data() + first * kWidth * 2, size_t(shape[0] * kWidth * 2)), 0) << "from row " << first;
  }
}

}  // namespace
}  // namespace kilter::test

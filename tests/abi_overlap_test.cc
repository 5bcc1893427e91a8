// Aliasing through the C ABI: what the header allows is equal to the call out of place, everything else is refused.
#include <cstring>

#include "harness/abi.h"

namespace kilter::test {
namespace {

constexpr DType kTypes[] = {DType::f32, DType::bf16, DType::f16, DType::f64};

struct Alias {
  const char *output, *input;
};

template <class Call>
NamedTensor find(Call& call, const std::string& name) {
  for (const NamedTensor& t : call.tensors())
    if (t.name == name) return t;
  ADD_FAILURE() << name;
  return call.tensors().front();
}

// Outputs written over inputs give what they give in memory of their own; the other outputs too.
template <class Call>
void expect_in_place(const Spec& s, const std::vector<Alias>& aliases) {
  Call expected(s), call(s);
  ASSERT_EQ(expected.run(), KILTER_OK) << kilter_last_error();
  std::string names;
  for (const Alias& a : aliases) {
    const NamedTensor output = find(call, a.output), input = find(call, a.input);
    if (output.matrix->dtype() != input.matrix->dtype()) return;  // not the same type: another test
    *output.tensor = *input.tensor;
    names += std::string(a.output) + "=" + a.input + " ";
  }
  SCOPED_TRACE(names + dtype_name(s.t) + " n=" + std::to_string(s.n));
  ASSERT_EQ(call.run(), KILTER_OK) << kilter_last_error();
  for (const NamedTensor& t : expected.tensors()) {
    if (!t.output) continue;
    const Matrix* got = find(call, t.name).matrix;
    for (const Alias& a : aliases)
      if (std::strcmp(a.output, t.name) == 0) got = find(call, a.input).matrix;
    EXPECT_TRUE(same(*t.matrix, *got, t.name));
  }
}

template <class Op>
class Aliasing : public ::testing::Test {};
TYPED_TEST_SUITE(Aliasing, Ops, OpName);

TYPED_TEST(Aliasing, ForwardInPlace) {
  const std::vector<Alias> cases[] = {{{"y", "x"}},
                                      {{"y", "residual"}},
                                      {{"y", "post_residual"}},
                                      {{"residual_out", "x"}},
                                      {{"residual_out", "residual"}},
                                      {{"y", "x"}, {"residual_out", "residual"}},
                                      {{"y", "residual"}, {"residual_out", "x"}},
                                      {{"y", "post_residual"}, {"residual_out", "x"}},
                                      {{"y", "post_residual"}, {"residual_out", "residual"}}};
  for (const DType t : kTypes)
    for (const DType other : {t, DType::f32})
      for (const int64_t n : {1, 5, 64, 1025, 2051})
        for (const std::vector<Alias>& aliases : cases)
          for (const bool residual_out : {true, false}) {
            Spec s;
            s.t = t, s.n = n, s.rows = 7;
            s.weight = s.bias = s.residual = s.post_residual = other;
            s.residual_out = residual_out;
            if (!residual_out && (aliases.size() > 1 || std::string(aliases[0].output) == "residual_out")) continue;
            expect_in_place<Forward<TypeParam>>(s, aliases);
          }
}

TYPED_TEST(Aliasing, ForwardInPlaceWithoutResiduals) {
  for (const DType t : kTypes)
    for (const int64_t n : {1, 5, 64, 1024, 4097})
      for (const int rounding : {KILTER_ROUND_ONCE, KILTER_ROUND_THEN_MULTIPLY}) {
        Spec s;
        s.t = t, s.n = n, s.rows = 3, s.weight = t, s.rounding = rounding;
        expect_in_place<Forward<TypeParam>>(s, {{"y", "x"}});
      }
  Spec s;
  s.rows = 2100, s.n = 1111;  // past the caches
  expect_in_place<Forward<TypeParam>>(s, {{"y", "x"}});
  s.rows = 1, s.n = 300001;  // read twice, in chunks
  expect_in_place<Forward<TypeParam>>(s, {{"y", "x"}});
}

TYPED_TEST(Aliasing, BackwardInPlace) {
  const char* const inputs[] = {"x", "dy", "dresidual_out"};
  std::vector<std::vector<Alias>> cases;
  for (const char* a : inputs) {
    cases.push_back({{"dx", a}});
    cases.push_back({{"dresidual", a}});
    for (const char* b : inputs)
      if (a != b) cases.push_back({{"dx", a}, {"dresidual", b}});
  }
  for (const DType t : kTypes)
    for (const DType stream : {t, DType::f32}) {
      if (t == DType::f64 && stream != t) continue;
      for (const int64_t n : {1, 5, 64, 1025, 20000})  // the last goes row by row
        for (const std::vector<Alias>& aliases : cases) {
          Spec s;
          s.t = t, s.stream = s.dresidual = s.dresidual_out = stream, s.n = n, s.rows = n > 5000 ? 2 : 7, s.weight = DType::f32;
          expect_in_place<Backward<TypeParam>>(s, aliases);
        }
    }
}

bool allowed(const std::string& output, const std::string& input) {
  const auto one_of = [&](std::initializer_list<const char*> names) {
    for (const char* n : names)
      if (input == n) return true;
    return false;
  };
  if (output == "y") return one_of({"x", "residual", "post_residual"});
  if (output == "residual_out") return one_of({"x", "residual"});
  if (output == "dx" || output == "dresidual") return one_of({"x", "dy", "dresidual_out"});
  return false;
}

// Every output against every other tensor of the call: at the same address unless allowed, an element further, an element and
// a row before, in rows of another width.
template <class Call>
void expect_overlaps_refused(const Spec& s) {
  Call call(s);
  for (const NamedTensor& a : call.tensors())
    for (const NamedTensor& b : call.tensors()) {
      if (!a.output || a.tensor == b.tensor) continue;
      const int64_t item = item_size(a.matrix->dtype()), items = item_size(b.matrix->dtype());
      const bool alike = a.kind == b.kind && item == items;
      const int64_t row = std::max(item, items) * s.n;
      for (const int64_t shift : {int64_t(0), items, -item, row, -row}) {
        if (shift == 0 && alike && allowed(a.name, b.name)) continue;
        if ((shift == row && b.kind != Kind::rows) || (shift == -row && a.kind != Kind::rows)) continue;
        if (s.rows == 1 && (std::abs(shift) == row || (a.kind == Kind::per_row && shift < 0) || (b.kind == Kind::per_row && shift > 0)))
          continue;
        if (shift % item) continue;  // misaligned for a
        SCOPED_TRACE(std::string(a.name) + " at " + b.name + " + " + std::to_string(shift) + " rows=" + std::to_string(s.rows));
        expect_refused(call, KILTER_OVERLAP, a.name, [&] { a.tensor->data = static_cast<char*>(b.tensor->data) + shift; });
        EXPECT_NE(std::string(kilter_last_error()).find(b.name), std::string::npos) << kilter_last_error();
      }
    }
}

TYPED_TEST(Aliasing, PartialOverlapIsRefused) {
  for (const int64_t rows : {1, 3})
    for (const DType t : {DType::f32, DType::bf16})
      for (const DType other : {t, DType::f32}) {
        Spec s;
        s.t = t, s.rows = rows, s.n = 4;
        s.weight = s.bias = s.residual = s.post_residual = s.dresidual = s.dresidual_out = s.dweight = s.dbias = other;
        expect_overlaps_refused<Forward<TypeParam>>(s);
        expect_overlaps_refused<Backward<TypeParam>>(s);
      }
}

TYPED_TEST(Aliasing, SameStartOtherStrideIsRefused) {
  Spec s;
  s.rows = 4, s.n = 6, s.in.pad = 2;
  Forward<TypeParam> f(s);
  expect_refused(f, KILTER_OVERLAP, "y", [&] { f.args.y.data = f.args.x.data; });
  Backward<TypeParam> b(s);
  expect_refused(b, KILTER_OVERLAP, "dx", [&] { b.args.dx.data = b.args.dy.data; });
}

TYPED_TEST(Aliasing, InputsMayShareEverything) {
  Spec s;
  s.weight = s.bias = s.residual = s.post_residual = DType::f32;
  Forward<TypeParam> expected(s), f(s);
  expected.residual.copy_from(expected.x), expected.post_residual.copy_from(expected.x), expected.bias.copy_from(expected.weight);
  f.args.residual = f.args.post_residual = f.args.x;
  f.args.bias = f.args.weight;
  ASSERT_EQ(expected.run(), KILTER_OK);
  ASSERT_EQ(f.run(), KILTER_OK) << kilter_last_error();
  EXPECT_TRUE(same_outputs(expected, f));
}

TYPED_TEST(Aliasing, OutputsWhoseRowsOverlapAreRefused) {
  Spec s;
  s.rows = 3, s.n = 5;
  s.weight = s.bias = s.residual = s.post_residual = s.dresidual = s.dresidual_out = DType::f32;
  Forward<TypeParam> f(s);
  Backward<TypeParam> b(s);
  int64_t strides[2];
  const auto expect = [&](auto& call) {
    for (const NamedTensor& t : call.tensors()) {
      if (!t.output || t.kind == Kind::vector) continue;
      for (const int64_t stride : {0, 1, 4, -1, -4}) {
        if (t.kind == Kind::per_row && stride != 0) continue;
        SCOPED_TRACE(std::string(t.name) + " stride " + std::to_string(stride));
        expect_refused(call, KILTER_OVERLAP, t.name, [&] {
          strides[0] = stride, strides[1] = 1;
          t.tensor->strides = strides;
        });
      }
    }
  };
  expect(f);
  expect(b);
}

TYPED_TEST(Aliasing, OneRowMayHaveAnyStride) {
  Spec s;
  s.rows = 1;
  for (const int64_t stride : {int64_t(0), int64_t(-3), int64_t(1) << 60}) {
    Forward<TypeParam> f(s), expected(s);
    int64_t strides[2] = {stride, 1};
    f.args.y.strides = f.args.x.strides = strides;
    ASSERT_EQ(f.run(), KILTER_OK) << kilter_last_error();
    ASSERT_EQ(expected.run(), KILTER_OK);
    EXPECT_TRUE(same_outputs(expected, f));
  }
}

// x, residual and y as column groups of one buffer, as a projection for queries, keys and values leaves them.
TYPED_TEST(Aliasing, InterleavedColumnsAreLegal) {
  for (const DType t : kTypes)
    for (const int64_t n : {1, 5, 64, 1025}) {
      Spec s;
      s.t = t, s.rows = 6, s.n = n, s.residual = t, s.residual_out = false;
      Forward<TypeParam> expected(s), f(s);
      Matrix buffer(t, {s.rows, 3 * n});
      buffer.fill([&](int64_t r, int64_t i) {
        return i < n ? expected.x.get(r, i) : i < 2 * n ? 7.0 : expected.residual.get(r, i - 2 * n);
      });
      int64_t strides[2] = {3 * n, 1};
      kilter_tensor* const parts[] = {&f.args.x, &f.args.y, &f.args.residual};
      for (int k = 0; k < 3; ++k) {
        parts[k]->data = buffer.row(0) + k * n * item_size(t);
        parts[k]->strides = strides;
      }
      ASSERT_EQ(expected.run(), KILTER_OK);
      ASSERT_EQ(f.run(), KILTER_OK) << kilter_last_error();
      Matrix want(t, {s.rows, 3 * n});
      want.fill([&](int64_t r, int64_t i) {
        return i < n ? expected.x.get(r, i) : i < 2 * n ? expected.y.get(r, i - n) : expected.residual.get(r, i - 2 * n);
      });
      EXPECT_TRUE(same(want, buffer, "buffer")) << "columns: x, y, residual of " << n;
      // The same in backward: dx between x and dy.
      Backward<TypeParam> b(s), reference(s);
      ASSERT_EQ(reference.run(), KILTER_OK);
      buffer.fill([&](int64_t r, int64_t i) { return i < n ? b.x.get(r, i) : i < 2 * n ? 7.0 : b.dy.get(r, i - 2 * n); });
      kilter_tensor* const gradients[] = {&b.args.x, &b.args.dx, &b.args.dy};
      for (int k = 0; k < 3; ++k) {
        gradients[k]->data = buffer.row(0) + k * n * item_size(t);
        gradients[k]->strides = strides;
      }
      ASSERT_EQ(b.run(), KILTER_OK) << kilter_last_error();
      for (int64_t r = 0; r < s.rows; ++r)
        for (int64_t i = 0; i < n; ++i) ASSERT_EQ(buffer.get(r, n + i), reference.dx.get(r, i)) << r << " " << i;
    }
}

TEST(AliasedStatistics, MeanAndRstdMayInterleave) {
  Spec s;
  s.rows = 9, s.n = 33;
  Forward<LayerNorm> expected(s), f(s);
  Matrix both(DType::f32, {s.rows, 2});
  int64_t strides[2] = {2, 1};
  f.args.mean.data = both.row(0), f.args.rstd.data = both.row(0) + 4;
  f.args.mean.strides = f.args.rstd.strides = strides;
  ASSERT_EQ(expected.run(), KILTER_OK);
  ASSERT_EQ(f.run(), KILTER_OK) << kilter_last_error();
  for (int64_t r = 0; r < s.rows; ++r) {
    EXPECT_EQ(both.get(r, 0), expected.mean.get(r, 0));
    EXPECT_EQ(both.get(r, 1), expected.rstd.get(r, 0));
  }
  Backward<LayerNorm> b(s), reference(s);
  b.args.mean = f.args.mean, b.args.rstd = f.args.rstd;
  ASSERT_EQ(reference.run(), KILTER_OK);
  ASSERT_EQ(b.run(), KILTER_OK) << kilter_last_error();
  EXPECT_TRUE(same_outputs(reference, b));
}

}  // namespace
}  // namespace kilter::test

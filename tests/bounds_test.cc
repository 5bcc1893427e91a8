// Every op, direction, type, fill and implementation within the contract's bounds (tools/check/tolerances.cc).
#include "check/op.h"
#include "check/tolerances.h"
#include "harness/run.h"

namespace kilter::test {
namespace {

using check::Case;
using check::Fill;

std::vector<std::string> targets() {
  std::vector<std::string> names;
  for (int i = 0; kilter_cpu_target_at(i); ++i) names.push_back(kilter_cpu_target_at(i));
  return names;
}

// The parameter: an op's name.  A new op joins through check::op_names().
class Bounds : public ::testing::TestWithParam<std::string> {
 protected:
  void expect_within(const Case& c) {
    const check::Report r = check::run(c);
    EXPECT_TRUE(r.passed) << check::describe(c, r);
  }
  bool has(const char* field) const { return check::field_of(*check::function_of(GetParam(), false)->schema, field); }
  bool is_alone() const { return check::find_op(GetParam())->alone; }
  bool has_planes() const { return check::has_planes(*check::function_of(GetParam(), false)->schema); }
  void expect_rows_within(int64_t rows, int64_t n) {
    Case c = base(DType::f32, rows, n, Fill::normal);
    c.backward = true, c["weight"] = c["bias"] = DType::f32;
    if (has_planes()) c.sizes = {{"batch", rows}, {"channels", 2}, {"spatial", (n + 1) / 2}, {"groups", 1}};
    if (has_planes()) c.layout = rows % 2 ? kChannelsLast : kChannelsFirst;
    expect_within(c);
    c.x = check::type_of_t(c.op, DType::bf16);
    expect_within(c);
  }
  Case base(DType x, int64_t rows, int64_t n, Fill fill) {
    Case c;
    c.op = GetParam(), c.x = check::type_of_t(c.op, x), c.rows = rows, c.n = n, c.fill = fill, c.seed = uint64_t(n) * 31 + uint64_t(rows);
    if (has_planes()) {  // samples of about n elements; channels last, of more channels than a tile has
      const bool last = n % 2;
      const int64_t channels = last ? 72 : 12;
      c.sizes = {{"batch", std::min<int64_t>(rows, 3)}, {"channels", channels}, {"spatial", n / channels + 1}, {"groups", channels / 4}};
      c.layout = last ? kChannelsLast : kChannelsFirst;
    }
    return c;
  }
};

TEST_P(Bounds, EveryFillTypeAndDirection) {
  for (const DType x : check::types_of_t(GetParam()))
    for (const Fill fill : check::kFills)
      for (const int64_t n : {768, 1025, 4098}) {
        if ((!has("eps") && n > 1025) || (is_alone() && n != 1025)) continue;  // rows whose elements have nothing to do with one another
        for (const bool backward : {false, true}) {
          // Groups of four rows and a rest, several chunks.  fp64's reference is slow, and 23 rows of twelve cases meet every kind
          // of row that a fill draws (at most thirty) many times.
          Case c = base(x, x == DType::f64 || !has("eps") ? 23 : 47, n, fill);
          c.backward = backward;
          expect_within(c);
          c["weight"] = c["bias"] = x, c.seed += 1;
          expect_within(c);
        }
      }
}

TEST_P(Bounds, Widths) {
  if (!has("x")) GTEST_SKIP() << "columns have nothing to do with one another";
  for (const int64_t n :
       {1,   2,    3,    7,    31,   48,   63,   64,   65,   96,   111,  127,   128,   129,   229,   257,   500,   541,    768,
        769, 1023, 1025, 2880, 3584, 4095, 4096, 4097, 5376, 7168, 8191, 12980, 16384, 32768, 65535, 65536, 65537, 131072, 262144})
    for (const DType x : {DType::f32, DType::bf16})
      for (const bool backward : {false, true}) {
        if (has_planes() && n > 16384 && n != 65535 && n != 65536) continue;
        if (is_alone() && n > 4097 && n != 65537) continue;
        Case c = base(x, n > 8192 ? 3 : 29, n, n % 2 ? Fill::offset : Fill::normal);
        c.backward = backward, c["weight"] = c["bias"] = DType::f32;
        expect_within(c);
      }
}

TEST_P(Bounds, RowsLongerThanAStatisticsChunk) {
  if (!has("eps")) GTEST_SKIP() << "no statistics";
  for (const int64_t n : {262145, 300000, 600001, 1048577})
    for (const Fill fill : {Fill::offset, Fill::constant, Fill::normal, Fill::denormal}) {
      Case c = base(DType::f32, 3, n, fill);
      expect_within(c);
      c.backward = true;
      expect_within(c);
    }
}

TEST_P(Bounds, RowCounts) {
  if (!has("x")) GTEST_SKIP() << "rows are ranks";
  for (const int64_t rows : {1, 3, 4, 71, 199, 255, 256, 257, 65535, 65536})
    if (rows < 4096 || (!has_planes() && !is_alone())) expect_rows_within(rows, rows > 4096 ? 33 : 541);
}

TEST_P(Bounds, AMillionRows) { expect_rows_within(1048577, 33); }

TEST_P(Bounds, ChunksOfSeveralBlocksInRowsOfSeveralSegments) { expect_rows_within(32900, 1030); }

TEST_P(Bounds, Features) {
  if (!has("post_residual")) GTEST_SKIP() << "SetsOfFeatures has them";
  for (const DType x : check::types_of_t(GetParam()))
    for (const DType other : {x, DType::f32})
      for (const Fill fill : {Fill::normal, Fill::offset, Fill::special}) {
        Case c = base(x, 37, 1500, fill);
        c["weight"] = c["bias"] = c["residual"] = c["post_residual"] = other, c.numbers["weight_offset"] = 1;
        expect_within(c);
        c.numbers["rounding"] = KILTER_ROUND_THEN_MULTIPLY;
        expect_within(c);
        c.numbers["rounding"] = KILTER_ROUND_ONCE, c["post_residual"] = DType::none, c.backward = true;
        c["dresidual_out"] = c["dresidual"] = c["dweight"] = c["dbias"] = other;
        expect_within(c);
        c["dx"] = DType::none;
        expect_within(c);
        c["dweight"] = DType::none;
        expect_within(c);
      }
}

TEST_P(Bounds, SetsOfFeatures) {
  for (const DType x : check::types_of_t(GetParam()))
    for (const Fill fill : check::kFills)
      for (int variant = 0; variant < check::kVariants; ++variant)
        for (const bool backward : {false, true}) {
          Case c = base(x, 21, 300 + (variant + int(fill)) % 2, fill);
          c.backward = backward, c.seed += 2 * uint64_t(fill);
          check::find_op(c.op)->vary(&c, variant);
          expect_within(c);
        }
}

// By what it says, not by where the text lies: each file may have its own.
TEST(Tolerances, AConditionIsKnownByItsText) {
  const check::Bounds& bounds = *check::find_op("batch_norm")->bounds;
  const std::string copy = "with an activation";
  EXPECT_EQ(check::tolerance(bounds, "u", DType::f32, {copy.c_str()}).bound, 6);
  EXPECT_EQ(check::tolerance(bounds, "u", DType::f32, {""}).bound, 0.5);
}

TEST_P(Bounds, Epsilon) {
  if (!has("eps")) GTEST_SKIP() << "no eps";
  for (const double eps : {0.0, 1e-45, 1e-12, 1e-5, 1.0, 1e30})
    for (const DType x : {DType::f32, DType::bf16})
      for (const Fill fill : {Fill::normal, Fill::denormal}) {
        Case c = base(x, 40, 800, fill);
        c.numbers["eps"] = eps;
        expect_within(c);
      }
}

TEST_P(Bounds, EveryImplementationAndTarget) {
  Case c = base(DType::bf16, 33, 1101, Fill::offset);
  c["weight"] = c["bias"] = DType::bf16, c.backward = true;
  for (const std::string& target : targets()) {
    c.target = target;
    const check::Report r = check::run(c);
    EXPECT_TRUE(r.passed) << check::describe(c, r);
    EXPECT_EQ(r.target, target);
  }
  c.target.clear();
  c.impl = "reference:f64";
  const check::Report r = check::run(c);
  EXPECT_EQ(r.impl, "reference:f64");
  EXPECT_TRUE(r.passed) << check::describe(c, r);
}

INSTANTIATE_TEST_SUITE_P(Ops, Bounds, ::testing::ValuesIn(check::op_names()), [](const auto& i) { return i.param; });

}  // namespace
}  // namespace kilter::test

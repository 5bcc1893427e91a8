// Equal bits: on every SIMD target, for every thread count, whatever the number of rows, strides, alignment, in place.
#include <algorithm>

#include "harness/run.h"

namespace kilter::test {
namespace {

using check::Case;
using check::Fill;
using check::Tensors;

class Bits : public ::testing::TestWithParam<std::string> {
 protected:
  bool is_alone() const { return check::find_op(GetParam())->alone; }
  bool has_rows() const { return !is_alone() && !has_planes(); }  // else fewer lengths will do
  bool has_planes() const { return check::has_planes(*check::function_of(GetParam(), false)->schema); }
  Case base(DType x, int64_t rows, int64_t n, Fill fill = Fill::normal) {
    Case c;
    c.op = GetParam(), c.x = check::type_of_t(c.op, x), c.rows = rows, c.n = n, c.fill = fill, c.seed = 7;
    c["weight"] = c["bias"] = DType::f32, c.backward = true;
    if (has_planes()) {  // samples of about n elements; channels last, of more channels than a tile has
      const bool last = n % 2;
      const int64_t channels = last ? 72 : 12;
      c.sizes = {{"batch", std::min<int64_t>(rows, 7)}, {"channels", channels}, {"spatial", n / channels + 1}, {"groups", channels / 4}};
      c.layout = last ? kChannelsLast : kChannelsFirst;
    }
    give_segments(&c);
    return c;
  }
  // Rows and their length, or samples and theirs, that several threads share.
  std::vector<std::pair<int64_t, int64_t>> shared() const {
    if (has_planes()) return {{517, 1025}, {1300, 96}, {9, 40000}, {9, 40001}};  // channels first and last, many samples and few
    if (is_alone()) return {{1300, 384}, {517, 1025}, {4097, 96}, {9, 40000}, {20011, 5}};
    return {{1300, 384}, {517, 1025}, {4097, 96}, {9, 40000}, {20011, 5}, {203, 16385}};
  }
  // Rows, or samples, [first, first + count) of a case.
  void take(Case* c, int64_t first, int64_t count) const {
    c->first_row = first;
    if (has_planes())
      c->sizes["batch"] = count;
    else
      c->rows = count;
    give_segments(c);
  }
  // A row of scale for each row, so that rows are the same whichever others there are.
  void give_segments(Case* c) const {
    const Schema& s = *check::function_of(GetParam(), false)->schema;
    for (int i = 0; i < s.size_count; ++i)
      if (s.sizes[i].shared) c->sizes[s.sizes[i].name] = c->rows;
  }
};

TEST_P(Bits, EveryTarget) {
  ASSERT_NE(kilter_cpu_target_at(0), nullptr);
  bool scalar = false;
  for (const DType x : check::types_of_t(GetParam()))
    for (const int64_t n : {1, 7, 129, 384, 1000, 1024, 1025, 4096, 5001})
      for (const Fill fill : check::kFills) {
        Case c = base(x, 19, n, fill);
        if (!has_rows() && (n > 1025 || n == 384)) continue;
        const Tensors expected = call_plain(c);
        for (int t = 0; const char* target = kilter_cpu_target_at(t); ++t) {
          ASSERT_EQ(kilter_set_cpu_target(target), KILTER_OK);
          ASSERT_STREQ(kilter_cpu_target(), target);  // what the calls below run on
          scalar |= std::string(target) == "SCALAR";
          EXPECT_TRUE(same_bits(c, expected, call_plain(c))) << target;
        }
        ASSERT_EQ(kilter_set_cpu_target(nullptr), KILTER_OK);
      }
  EXPECT_TRUE(scalar);
}

TEST_P(Bits, EveryThreadCount) {
  for (const DType x : check::types_of_t(GetParam()))
    for (const auto& [rows, n] : shared()) {
      if (x == DType::f16) continue;                           // who works on what is as for bf16
      if (is_alone() && x == DType::f64 && n > 100) continue;  // whose functions are the C library's
      Case c = base(x, rows, n);
      if (has_planes()) c.sizes["batch"] = rows;
      c.threads = 1;
      const Tensors expected = call_plain(c);
      for (const int threads : {2, 3, 8}) {
        c.threads = threads;
        EXPECT_TRUE(same_bits(c, expected, call_plain(c))) << threads << " threads";
      }
    }
}

TEST_P(Bits, EveryRowCountAndPosition) {
  for (const DType x : {DType::f32, DType::bf16}) {
    Case all = base(x, 4097, 300);
    if (check::sharing_of(all).all_samples) GTEST_SKIP() << "no sample is alone";
    const Tensors expected = call_plain(all);
    const auto compare = [&](int64_t first, int64_t rows) {
      Case c = all;
      take(&c, first, rows);
      const Tensors t = call_plain(c);
      EXPECT_TRUE(same_rows(expected["y"], first, t["y"], rows, "y")) << check::command(c);
      EXPECT_TRUE(same_rows(expected["dx"], first, t["dx"], rows, "dx")) << check::command(c);
      EXPECT_TRUE(same_rows(expected["rstd"], first, t["rstd"], rows, "rstd"));
    };
    if (has_planes()) {
      for (const int64_t first : {0, 1, 5}) compare(first, 1), compare(first, 2);
      continue;
    }
    for (int64_t rows = 1; rows <= (has_rows() ? 300 : 40); ++rows) compare(0, rows);
    for (const int64_t first : {1, 2, 3, 5, 255, 4000}) compare(first, 97);
  }
}

TEST_P(Bits, EveryLayout) {
  for (const DType x : check::types_of_t(GetParam()))
    for (const int64_t n : {1, 3, 31, 64, 255, 384, 1023, 1024, 1025, 2500, 4097}) {
      Case c = base(x, 9, n);
      c.layout = kChannelsFirst;  // strides of planes: layouts_test
      const Tensors expected = call_plain(c);
      const Placement placements[] = {
          {{}, {}},                                                             // flush with the page behind
          {{.at_end = false}, {.at_end = false}},                               // flush with the page before
          {{.pad = 5, .shift = 1}, {.pad = 3, .shift = 1}},                     // strided, misaligned
          {{.pad = 16, .shift = 3, .reversed = true}, {.pad = 1, .shift = 2}},  // negative strides
          {{}, {.pad = 7, .shift = 5}, /*in_place=*/true},
          {{}, {.at_end = false}, /*in_place=*/true},
      };
      for (const Placement& p : placements) {
        Tensors t = check::make_tensors(c);
        call_guarded(c, p, t);
        EXPECT_TRUE(same_bits(c, expected, t)) << "placement " << (&p - placements);
      }
    }
}

TEST_P(Bits, EveryLayoutWithAllFeatures) {
  for (const DType x : check::types_of_t(GetParam()))
    for (const DType other : {x, DType::f32}) {
      Case c = base(x, 11, 1300);
      c.layout = kChannelsFirst;
      c["weight"] = c["bias"] = c["residual"] = c["post_residual"] = other, c.numbers["weight_offset"] = 1;
      c["dresidual_out"] = c["dresidual"] = c["dweight"] = c["dbias"] = other;
      const Tensors expected = call_plain(c);
      for (const Placement& p : {Placement{{}, {}}, Placement{{.pad = 5, .shift = 1, .reversed = true}, {.pad = 3, .shift = 1}}}) {
        Tensors t = check::make_tensors(c);
        call_guarded(c, p, t);
        EXPECT_TRUE(same_bits(c, expected, t));
      }
    }
}

TEST_P(Bits, LargeOutputsPastTheCaches) {  // streaming stores start at 4 MiB
  for (const DType x : {DType::f32, DType::bf16}) {
    Case big = base(x, 2100, 1111);
    if (check::sharing_of(big).all_samples) GTEST_SKIP() << "no sample is alone";
    if (has_planes()) big.sizes["channels"] = 240, big.sizes["spatial"] = 1536, big.sizes["groups"] = 3;  // whole lines in both layouts
    const Tensors expected = call_plain(big);
    for (const int64_t first : {0, 999, 2099}) {
      if (has_planes() && first > 0) break;
      Case c = big;
      take(&c, first, 1);
      const Tensors t = call_plain(c);
      EXPECT_TRUE(same_rows(expected["y"], first, t["y"], 1, "y"));
      EXPECT_TRUE(same_rows(expected["dx"], first, t["dx"], 1, "dx"));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Ops, Bits, ::testing::ValuesIn(check::op_names()), [](const auto& i) { return i.param; });

}  // namespace
}  // namespace kilter::test

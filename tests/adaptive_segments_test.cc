// adaptive_layer_norm by segments, with few rows, and its gradients against finite differences.
#include <cmath>

#include "harness/adaptive.h"

namespace kilter::test::adaptive {
namespace {

TEST(Adaptive, SegmentsThatAreWrong) {
  const auto refused = [&](const Values& lengths, const std::string& text) {
    for (const DType type : {DType::i32, DType::i64})
      for (const char* impl : {"cpu:rowwise", "reference:f64"}) {
        auto call = full_call(By::segment, DType::f32, DType::f32, 3, false);
        call->f.args.impl = call->b.args.impl = impl;
        give_lengths(call->f, By::segment, type, lengths);
        call->b.args.segments = call->f.args.segments;
        const std::vector<char> y = call->f.memory.at("y").bytes();
        call->f.expect_refused(text);
        EXPECT_EQ(y, call->f.memory.at("y").bytes());
        call->b.expect_refused(text);
        kilter_plan plan{sizeof plan, nullptr, 0};
        EXPECT_EQ(kilter_ask(kForward, &call->f.args, &plan), KILTER_OK) << "contents are not looked at";
      }
  };
  refused({0, 3, 3, 4, 4, 11}, "segments: expected lengths that add up to 12 rows, got 11");
  refused({0, 3, 3, 4, 4, 13}, "segments: expected lengths that add up to 12 rows, got 13");
  refused({1, 3, 3, 4, 4, 12}, "segments[0]: expected 0, got 1");
  refused({0, 3, 2, 4, 4, 12}, "segments[2]: expected at least 3 as before it, got 2");
  refused({0, 3, 3, 4, 13, 12}, "segments[5]: expected at least 13 as before it, got 12");
  refused({0, -1, 3, 4, 4, 12}, "segments[1]: expected at least 0 as before it, got -1");
}

// Of one row each and of none, a hundred thousand of them, beside the same rows as tokens.
TEST(Adaptive, ManySegments) {
  const int64_t rows = 60000, n = 4;
  Values lengths = {0};
  while (int64_t(lengths.size()) <= 100000) lengths.push_back(std::min<double>(double(rows), std::floor(double(lengths.size()) * 0.6)));
  lengths.back() = double(rows);
  auto segments = full_call(By::segment, DType::f32, DType::f32, n, false, lengths, {}, {1, rows, n});
  auto tokens = full_call(By::token, DType::f32, DType::f32, n, false, {}, {}, {1, rows, n});
  std::vector<int64_t> segment_of;
  for (size_t s = 0; s + 1 < lengths.size(); ++s)
    for (double r = lengths[s]; r < lengths[s + 1]; ++r) segment_of.push_back(int64_t(s));
  ASSERT_EQ(int64_t(segment_of.size()), rows);
  for (const char* name : {"scale", "shift", "gate"})
    tokens->f.memory.at(name).fill([&](int64_t r, int64_t i) { return segments->f.memory.at(name).get(segment_of[size_t(r)], i); });
  expect_run(*segments);
  expect_run(*tokens);
  expect_same(*segments, *tokens, {"dgate", "dscale", "dshift"});
  for (const char* name : {"dgate", "dscale", "dshift"}) {
    const Matrix &by_segment = segments->b.memory.at(name), &by_token = tokens->b.memory.at(name);
    std::vector<bool> has_rows(lengths.size());
    for (int64_t r = 0; r < rows; ++r) {
      ASSERT_TRUE(same_row(by_token, r, by_segment, segment_of[size_t(r)], name)) << r;
      has_rows[size_t(segment_of[size_t(r)])] = true;
    }
    for (int64_t s = 0; s < by_segment.rows(); ++s)
      for (int64_t i = 0; i < n && !has_rows[size_t(s)]; ++i)
        ASSERT_EQ(by_segment.get(s, i), 0) << name << " of a segment without rows, " << s;
  }
}

TEST(Adaptive, FewRows) {
  for (const DType t : kFloatTypes) {
    for (const By by : kBy) {  // none
      SCOPED_TRACE(std::string(dtype_name(t)) + " by " + std::to_string(int(by)));
      auto none = full_call(by, t, t, 6, false, {0, 0, 0}, {}, {3, 0, 6});
      expect_run(*none);
      for (const char* name : {"dgate", "dscale", "dshift", "dweight", "dbias"})
        for (const double v : none->b.values(name)) EXPECT_EQ(v, 0) << name;
      auto empty = full_call(by, t, t, 0, false, kLengths, {}, {3, 4, 0});  // of no elements
      expect_run(*empty);
    }
    auto row = full_call(By::segment, t, t, 6, true, {0, 0, 1, 1}, {}, {1, 1, 6});
    auto token = full_call(By::token, t, t, 6, true, {}, {}, {1, 1, 6});
    for (const char* name : {"scale", "shift", "gate"})
      token->f.memory.at(name).fill([&](int64_t, int64_t i) { return row->f.memory.at(name).get(1, i); });
    expect_run(*row);
    expect_run(*token);
    expect_same(*row, *token, {"dgate", "dscale", "dshift"});
    for (const char* name : {"dgate", "dscale", "dshift"})
      EXPECT_TRUE(same_row(token->b.memory.at(name), 0, row->b.memory.at(name), 1, name));
  }
}

// ---------------------------------------------------------------- gradients

// Every gradient against central differences of the sum of y * dy + residual_out * dresidual_out.
TEST(Adaptive, FiniteDifferences) {
  const int64_t n = 7;
  const double step = 1e-6;
  for (const By by : kBy)
    for (const bool rms : {false, true}) {
      auto call = full_call(by, DType::f64, DType::f64, n, rms);
      expect_run(*call);
      auto probe = full_call(by, DType::f64, DType::f64, n, rms);
      const auto loss = [&] {
        EXPECT_EQ(probe->f.run(), KILTER_OK) << kilter_last_error();
        long double sum = 0;
        for (int64_t r = 0; r < kBatch * kTokens; ++r)
          for (int64_t i = 0; i < n; ++i) {
            sum += static_cast<long double>(probe->f.memory.at("y").get(r, i)) * call->b.memory.at("dy").get(r, i);
            sum += static_cast<long double>(probe->f.memory.at("residual_out").get(r, i)) * call->b.memory.at("dresidual_out").get(r, i);
          }
        return sum;
      };
      for (const char* name : {"x", "residual", "gate", "scale", "shift", "weight", "bias"}) {
        Matrix& input = probe->f.memory.at(name);
        const Matrix& gradient = call->b.memory.at(std::string("d") + name);
        for (int64_t r = 0; r < input.rows(); ++r)
          for (int64_t i = 0; i < n; ++i) {
            const double was = input.get(r, i);
            input.set(r, i, was + step);
            const long double above = loss();
            input.set(r, i, was - step);
            const long double below = loss();
            input.set(r, i, was);
            EXPECT_NEAR(gradient.get(r, i), double((above - below) / (2 * step)), 2e-7)
                << "d" << name << "[" << r << "][" << i << "], by " << int(by) << (rms ? ", rms" : ", layer");
          }
      }
    }
}

}  // namespace
}  // namespace kilter::test::adaptive

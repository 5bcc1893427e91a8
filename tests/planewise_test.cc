// The norms of planes on small inputs with the right values beside them (planes_cases.h), run in every type that holds the inputs,
// channels first and last, by every implementation that takes the call.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "check/units.h"
#include "harness/call.h"
#include "planes_cases.h"

namespace kilter::test {
namespace {

kilter_function function_of(const std::string& op, kilter_direction direction) {
  kilter_function_info info{};
  info.struct_size = sizeof info;
  for (size_t i = 0; kilter_function_at(i, &info) == KILTER_OK; ++i)
    if (info.op == op && info.direction == direction) return static_cast<kilter_function>(info.function);
  ADD_FAILURE() << "no " << op;
  return kilter_function(-1);
}

// The case's call of one direction: the tensors that it gives and asks for, and no others.
Making making_of(const Case& c, kilter_direction direction, DType t, bool last) {
  Making m = {.t = t, .any = {c.shape.begin() + 2, c.shape.end()}, .size = c.shape[1], .batch = c.shape[0], .channels_last = last};
  m.choices["activation"] = KILTER_ACTIVATION_NONE;
  for (const auto& [name, value] : c.choices) m.choices[name] = value;
  if (direction == KILTER_BACKWARD) m.without = c.without_in_backward;
  const auto& wanted = direction == KILTER_FORWARD ? c.forward : c.backward;
  const Call all(function_of(c.op, direction));
  for (const kilter_field& f : all.fields()) {
    if (is_count(f) && c.numbers.count(f.name)) m.counts[f.name] = int64_t(c.numbers.at(f.name));
    if (std::strcmp(f.types, "stat") == 0) continue;  // backward starts from forward's
    if (is_tensor(f) && !f.required && !(is_output(f) ? wanted.count(f.name) : c.given.count(f.name))) m.without.insert(f.name);
  }
  return m;
}

void fill(const Case& c, Call& call) {
  for (const kilter_field& f : call.fields()) {
    if (std::strcmp(f.kind, "real") == 0 && c.numbers.count(f.name)) call.at<double>(f.name) = c.numbers.at(f.name);
    if (std::strcmp(f.kind, "integer") == 0 && c.numbers.count(f.name)) call.at<int64_t>(f.name) = int64_t(c.numbers.at(f.name));
    if (!is_tensor(f) || is_output(f) || !call.has(f.name) || !c.given.count(f.name)) continue;
    const Values& values = c.given.at(f.name);
    Matrix& m = call.memory(f.name);
    m.fill([&](int64_t r, int64_t i) { return values[values.size() == 1 ? 0 : size_t(r * m.n() + i)]; });
  }
}

void expect(const Matrix& got, const Wanted& wanted, const std::string& name, bool backward) {
  SCOPED_TRACE(name);
  const Values& values = wanted.values;
  ASSERT_TRUE(values.size() == 1 || int64_t(values.size()) == got.rows() * got.n());
  double largest = 0;
  for (const double v : values) largest = std::max(largest, std::fabs(v));
  const bool narrow = got.dtype() == DType::f16 || got.dtype() == DType::bf16;
  const double units = wanted.units >= 0 ? wanted.units : narrow ? 0.6 : backward ? 8 : 5;
  // What is written above has nine digits behind the point.
  const double bound =
      units == 0 ? 0 : units * check::ulp(got.dtype(), largest) + std::max(5e-10, got.dtype() == DType::f64 ? largest * 2e-9 : 0);
  for (int64_t r = 0; r < got.rows(); ++r)
    for (int64_t i = 0; i < got.n(); ++i) {
      const double want = values[values.size() == 1 ? 0 : size_t(r * got.n() + i)], have = got.get(r, i);
      ASSERT_TRUE(std::fabs(have - want) <= bound) << "row " << r << ", element " << i << ": expected " << want << ", got " << have;
    }
}

std::vector<std::string> implementations(kilter_function function, Call& call) {
  kilter_candidate list[32];
  size_t count = 0;
  EXPECT_EQ(kilter_explain(function, call.args(), list, std::size(list), &count), KILTER_OK) << kilter_last_error();
  std::vector<std::string> all;
  for (size_t i = 0; i < count; ++i)
    if (!list[i].reason) all.push_back(list[i].impl);
  EXPECT_FALSE(all.empty());
  return all;
}

// By one implementation; what it wrote stays in the call.
void expect_run(const Case& c, Call& call, kilter_direction direction) {
  fill(c, call);
  ASSERT_EQ(call.run(), KILTER_OK) << kilter_last_error();
  for (const auto& [name, wanted] : direction == KILTER_FORWARD ? c.forward : c.backward) {
    ASSERT_TRUE(call.has(name)) << name;
    expect(call.memory(name), wanted, name, direction == KILTER_BACKWARD);
  }
}

class PlaneCases : public ::testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Every, PlaneCases, ::testing::ValuesIn(cases()), [](const auto& i) { return i.param.op + "_" + i.param.name; });

TEST_P(PlaneCases, HaveTheRightValues) {
  const Case& c = GetParam();
  const kilter_function forward = function_of(c.op, KILTER_FORWARD), backward = function_of(c.op, KILTER_BACKWARD);
  for (const DType t : c.types)
    for (const bool last : {false, true}) {
      Making m = making_of(c, KILTER_FORWARD, t, last), b = making_of(c, KILTER_BACKWARD, t, last);
      Call asked(forward, m);
      for (const std::string& impl : implementations(forward, asked)) {
        SCOPED_TRACE(impl + ", " + dtype_name(t) + (last ? ", channels last" : ", channels first"));
        m.impl = impl.c_str();
        Call call(forward, m);
        expect_run(c, call, KILTER_FORWARD);
        if (HasFailure() || c.backward.empty()) continue;
        b.impl = nullptr;
        Call also_asked(backward, b);
        for (const std::string& other : implementations(backward, also_asked)) {
          SCOPED_TRACE("backward: " + other);
          b.impl = other.c_str();
          Call gradient(backward, b);
          // What forward wrote goes on as it is.
          for (const kilter_field& f : gradient.fields())
            if (gradient.has(f.name) && call.has(f.name) && !c.given.count(f.name)) gradient.memory(f.name).copy_from(call.memory(f.name));
          expect_run(c, gradient, KILTER_BACKWARD);
        }
      }
    }
}

// The new running statistics are the only thing that momentum and the old ones move.
TEST(BatchNorm, RunningStatisticsDoNotMoveTheResult) {
  const Values x = {1, 2, 4, 9, 3, 3, 5, 5};
  const auto y_of = [&](bool running, double before, double momentum, int32_t averaging) {
    Making m = {.any = {2}, .size = 2, .choices = {{"training", 1}, {"averaging", averaging}}, .without = {"residual", "weight", "bias"}};
    if (!running) m.without.insert({"running_mean", "running_var", "running_mean_out", "running_var_out"});
    Call call(KILTER_BATCH_NORM_FORWARD, m);
    call.memory("x").fill([&](int64_t r, int64_t i) { return x[size_t(r * 2 + i)]; });
    for (const char* name : {"running_mean", "running_var"})
      if (running) call.memory(name).fill([&](int64_t, int64_t) { return before; });
    call.at<double>("momentum") = momentum;
    EXPECT_EQ(call.run(), KILTER_OK) << kilter_last_error();
    Values y;
    for (int64_t r = 0; r < 4; ++r)
      for (int64_t i = 0; i < 2; ++i) y.push_back(call.memory("y").get(r, i));
    return y;
  };
  const Values want = y_of(false, 0, 0, KILTER_AVERAGING_EXPONENTIAL);
  for (const double before : {0.5, double(NAN)})
    for (const double momentum : {0.0, 0.1, 1.0})
      for (const int32_t averaging : {KILTER_AVERAGING_EXPONENTIAL, KILTER_AVERAGING_CUMULATIVE})
        EXPECT_EQ(y_of(true, before, momentum, averaging), want) << before << ", " << momentum << ", " << averaging;
}

// An unbiased variance of one value is 0 / 0.
TEST(BatchNorm, OneValuePerChannelIsRefusedInTraining) {
  Call one(KILTER_BATCH_NORM_FORWARD, {.any = {1, 1}, .size = 3, .batch = 1, .choices = {{"training", 0}}});
  EXPECT_EQ(one.run(), KILTER_OK) << kilter_last_error();
  for (const char* name : {"running_mean_out", "running_var_out"}) one[name] = {};
  expect_refused(one, KILTER_INVALID_ARGUMENT, "expected more than one value per channel in training",
                 [&] { one.at<int32_t>("training") = 1; });
  Call two(KILTER_BATCH_NORM_FORWARD, {.any = {1, 1}, .size = 3, .batch = 2});
  EXPECT_EQ(two.run(), KILTER_OK) << kilter_last_error();
}

// Running statistics that were read are not those to write.
TEST(BatchNorm, InferenceWritesNoRunningStatistics) {
  const std::pair<kilter_function, std::map<std::string, int32_t>> calls[] = {{KILTER_BATCH_NORM_FORWARD, {{"training", 0}}},
                                                                              {KILTER_INSTANCE_NORM_FORWARD, {{"inference", 1}}}};
  for (const auto& [function, choice] : calls)
    for (const char* name : {"running_mean_out", "running_var_out"}) {
      Call call(function, {.any = {2}, .size = 3, .choices = choice, .without = {"running_mean_out", "running_var_out"}});
      EXPECT_EQ(call.run(), KILTER_OK) << kilter_last_error();
      expect_refused(call, KILTER_INVALID_ARGUMENT, "running_mean_out, running_var_out: expected none where", [&] { (void)call[name]; });
    }
}

TEST(InstanceNorm, RunningStatisticsOfOneValueAreRefused) {
  for (const int64_t batch : {1, 2}) {
    const Making making = {.any = {1, 1}, .size = 3, .batch = batch, .without = {"running_mean_out", "running_var_out"}};
    Call call(KILTER_INSTANCE_NORM_FORWARD, making);
    EXPECT_EQ(call.run(), KILTER_OK) << kilter_last_error();
    expect_refused(call, KILTER_INVALID_ARGUMENT, "expected more than one value per plane", [&] { (void)call["running_mean_out"]; });
  }
}

// One weight per group, as other libraries' instance norms take it, is not one per channel.
TEST(GroupNorm, AWeightPerGroupIsRefused) {
  for (const kilter_function function : {KILTER_GROUP_NORM_FORWARD, KILTER_GROUP_NORM_BACKWARD}) {
    Call call(function, {.any = {1, 2}, .size = 4, .batch = 1, .counts = {{"groups", 2}}});
    int64_t two = 2;
    for (const char* name : {"weight", "bias"})
      expect_refused(call, KILTER_INVALID_ARGUMENT, std::string(name) + ".shape: expected [4] (x.shape[1]), got [2]",
                     [&] { call[name].shape = &two; });
  }
}

// A sample gives the bits that it gives alone.
TEST(GroupNorm, ASampleDoesNotDependOnTheOthers) {
  const Making three = {.any = {3, 5}, .size = 12, .batch = 3}, one = {.any = {3, 5}, .size = 12, .batch = 1};
  for (const kilter_function function : {KILTER_GROUP_NORM_FORWARD, KILTER_GROUP_NORM_BACKWARD})
    for (const bool last : {false, true}) {
      Making m = three, single = one;
      m.channels_last = single.channels_last = last;
      Call all(function, m);
      ASSERT_EQ(all.run(), KILTER_OK) << kilter_last_error();
      for (const std::string& impl : implementations(function, all)) {
        m.impl = single.impl = impl.c_str();
        Call together(function, m), alone(function, single);
        ASSERT_EQ(together.run(), KILTER_OK) << kilter_last_error();
        for (int64_t sample = 0; sample < 3; ++sample) {
          const auto of_samples = [&](const kilter_field& f) { return std::string(f.shape).starts_with("batch") && alone.has(f.name); };
          for (const kilter_field& f : alone.fields())
            if (of_samples(f) && !is_output(f)) {
              Matrix& mine = alone.memory(f.name);
              mine.fill([&](int64_t r, int64_t i) { return together.memory(f.name).get(sample * mine.rows() + r, i); });
            }
          ASSERT_EQ(alone.run(), KILTER_OK) << kilter_last_error();
          for (const kilter_field& f : alone.fields())
            for (int64_t r = 0; of_samples(f) && is_output(f) && r < alone.memory(f.name).rows(); ++r)
              EXPECT_TRUE(same_row(together.memory(f.name), sample * alone.memory(f.name).rows() + r, alone.memory(f.name), r, f.name))
                  << impl;
        }
      }
    }
}

}  // namespace
}  // namespace kilter::test

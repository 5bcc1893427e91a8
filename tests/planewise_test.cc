// The norms of planes on small inputs with the right values beside them, computed in float64: a row of kCases each, run in every type
// that holds the inputs, channels first and last, by every implementation that takes the call.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <ostream>

#include "check/units.h"
#include "harness/call.h"

namespace kilter::test {
namespace {

using Values = std::vector<double>;

struct Wanted {
  Values values;
  double units = -1;  // of the last place of the largest value; 0: exactly; negative: docs/numerics.md's bound
};

struct Case {
  std::string name, op;
  std::vector<int64_t> shape;                   // x's
  std::vector<DType> types;                     // T
  std::map<std::string, double> numbers = {};   // reals and counts, where they are not the table's
  std::map<std::string, Values> given = {};     // inputs, of forward and backward; one value: everywhere
  std::map<std::string, Wanted> forward = {};   // outputs to ask for
  std::map<std::string, Wanted> backward = {};  // likewise, after forward has handed over its own; none: forward alone
  friend void PrintTo(const Case& c, std::ostream* out) { *out << c.op << ", " << c.name; }
};

const std::vector<DType> kEveryType = {DType::f64, DType::f32, DType::f16, DType::bf16};

std::vector<Case> cases() {
  std::vector<Case> all;
  all.push_back(
      {.name = "two_groups",
       .op = "group_norm",
       .shape = {1, 4, 1, 2},
       .types = kEveryType,
       .numbers = {{"groups", 2}, {"eps", 0}},
       .given = {{"x", {1, 3, 5, 7, -2, 0, 4, 6}}, {"weight", {1, 2, 3, 4}}, {"bias", {0, 10, 20, 30}}, {"dy", {1, 0, 0, 2, 0, 3, 4, 0}}},
       .forward = {{"y",
                    {{-1.341640786, -0.447213595, 10.894427191, 12.683281573, 16.205266808, 18.102633404, 32.529822128, 35.059644256}}},
                   {"mean", {{4, 2}, 0}},
                   {"rstd", {{0.447213595, 0.316227766}}}},
       .backward = {{"dx", {{0.491934955, -0.357770876, -0.760263112, 0.626099034, -1.533704665, 1.090985793, 2.861861282, -2.419142410}}},
                    {"dweight", {{-1.341640786, 2.683281573, -1.897366596, 2.529822128}}},
                    {"dbias", {{1, 2, 3, 4}, 0}}}});
  const double far = 1048576;
  const Case large_mean = {
      .name = "far_from_zero",
      .op = "group_norm",
      .shape = {1, 1, 8},
      .types = {DType::f64, DType::f32},
      .numbers = {{"groups", 1}},
      .given = {{"x", {far, far + 0.125, far + 0.25, far + 0.375, far + 0.5, far + 0.625, far + 0.75, far + 0.875}}},
      .forward = {{"y", {{-1.527432134, -1.091022953, -0.654613772, -0.218204591, 0.218204591, 0.654613772, 1.091022953, 1.527432134}, 4}},
                  {"rstd", {{3.49127345}, 4}}}};
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{1, 1, 8}, {1, 8}, {1, 2, 4}, {1, 2, 1, 2, 2}}) {
    all.push_back(large_mean);
    all.back().name += "_" + std::to_string(shape[1]) + "_channels_rank_" + std::to_string(shape.size()), all.back().shape = shape;
  }
  const Wanted rstd_of_nothing = {{316.227766}, 1};
  all.push_back({.name = "large_planes_of_ones",
                 .op = "group_norm",
                 .shape = {1, 32, 513, 1025},
                 .types = {DType::f32},
                 .numbers = {{"groups", 32}},
                 .given = {{"x", {1}}, {"bias", {0.3f}}},
                 .forward = {{"y", {{0.3f}, 0}}, {"mean", {{1}, 0}}, {"rstd", rstd_of_nothing}}});
  for (const double groups : {1, 2, 4})
    all.push_back({.name = "constant_planes_in_" + std::to_string(int(groups)),
                   .op = "group_norm",
                   .shape = {2, 4, 57, 59},
                   .types = {DType::f64, DType::f32, DType::bf16},
                   .numbers = {{"groups", groups}},
                   .given = {{"x", {4096.7f}}, {"weight", {3}}, {"bias", {-0.75}}},
                   .forward = {{"y", {{-0.75}, 0}}, {"rstd", rstd_of_nothing}}});
  const Case one_element = {
      .name = "one_element_a_group",
      .op = "group_norm",
      .shape = {2, 3, 1, 1},
      .types = {DType::f64, DType::f32, DType::bf16},
      .numbers = {{"groups", 3}},
      .given = {{"x", {3, -7, 1e30, 5, 0, 2}}, {"weight", {2, 3, 4}}, {"bias", {1, 2, 3}}, {"dy", {1, 2, 3, 4, 5, -6}}},
      .forward = {{"y", {{1, 2, 3, 1, 2, 3}, 0}}, {"rstd", rstd_of_nothing}},
      .backward = {{"dx", {{0}, 0}}, {"dweight", {{0}, 0}}, {"dbias", {{5, 7, -3}, 0}}}};
  all.push_back(one_element);
  all.push_back(one_element);
  Case& alone = all.back();
  alone.name += "_of_one_sample", alone.shape[0] = 1;
  alone.given["x"].resize(3), alone.given["dy"].resize(3);
  alone.forward["y"].values.resize(3), alone.backward["dbias"].values = {1, 2, 3};
  return all;
}

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

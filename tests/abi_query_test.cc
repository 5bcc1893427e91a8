// The functions that ask about a call and those that call by number.
#include <algorithm>
#include <cstdlib>
#include <limits>

#include "harness/rowwise.h"

namespace kilter::test {
namespace {

constexpr kilter_function kAll[] = {KILTER_LAYER_NORM_FORWARD, KILTER_LAYER_NORM_BACKWARD, KILTER_RMS_NORM_FORWARD,
                                    KILTER_RMS_NORM_BACKWARD};

template <class Call>
std::vector<kilter_candidate> explained(const Call& call) {
  std::vector<kilter_candidate> list(64);
  size_t count = 0;
  EXPECT_EQ(kilter_explain(Call::kFunction, &call.args, list.data(), list.size(), &count), KILTER_OK) << kilter_last_error();
  list.resize(count);
  return list;
}

Spec everything() {
  Spec s;
  s.t = DType::bf16;
  s.weight = s.bias = s.residual = s.post_residual = s.dresidual_out = s.dresidual = DType::f32;
  return s;
}

template <class Op>
class Ask : public ::testing::Test {
 protected:
  // body(call) for both directions.
  template <class F>
  void both(F body) {
    body(forward), body(backward);
  }
  Forward<Op> forward{everything()};
  Backward<Op> backward{everything()};
};
TYPED_TEST_SUITE(Ask, Ops, OpName);

// The plan names what explain finds first, or what impl asks for, and that runs with the plan's workspace.
TYPED_TEST(Ask, ThePlanIsWhatRuns) {
  this->both([](auto& call) {
    const std::vector<kilter_candidate> list = explained(call);
    ASSERT_GE(list.size(), 2u);
    EXPECT_STREQ(asked(call).impl, "cpu:rowwise");
    for (const kilter_candidate& c : list) {
      if (c.reason) continue;
      SCOPED_TRACE(c.impl);
      call.args.impl = c.impl;
      const kilter_plan plan = asked(call);
      EXPECT_STREQ(plan.impl, c.impl);
      if constexpr (requires { call.workspace; }) {
        GuardedBuffer memory(plan.workspace_size);
        call.args.workspace = memory.data(), call.args.workspace_size = memory.size();
        EXPECT_EQ(call.run(), KILTER_OK) << kilter_last_error();
      } else {
        EXPECT_EQ(plan.workspace_size, 0u);
        EXPECT_EQ(call.run(), KILTER_OK) << kilter_last_error();
      }
    }
  });
}

// Memory is not looked at: with every pointer null, the answer is the same, and so are the reasons.
TYPED_TEST(Ask, WithoutMemory) {
  this->both([](auto& call) {
    const kilter_plan plan = asked(call);
    const std::vector<kilter_candidate> list = explained(call);
    const auto same_answer = [&] {
      const kilter_plan now = asked(call);
      EXPECT_STREQ(now.impl, plan.impl);
      EXPECT_EQ(now.workspace_size, plan.workspace_size);
      const std::vector<kilter_candidate> again = explained(call);
      ASSERT_EQ(again.size(), list.size());
      for (size_t i = 0; i < list.size(); ++i) {
        EXPECT_STREQ(again[i].impl, list[i].impl);
        EXPECT_STREQ(again[i].reason, list[i].reason);
      }
    };
    for (const NamedTensor& t : call.tensors()) {
      t.tensor->data = nullptr;
      same_answer();
    }
    if constexpr (requires { call.workspace; }) {
      call.args.workspace = nullptr, call.args.workspace_size = 0;
      same_answer();
      call.args.workspace_size = 7;
      same_answer();
    }
    EXPECT_EQ(call.run(), KILTER_INVALID_ARGUMENT) << "a call without memory";
  });
}

// By number as by name.
TYPED_TEST(Ask, CallsByNumberGiveTheSameBits) {
  Forward<TypeParam> f(everything());
  Backward<TypeParam> b(everything());
  ASSERT_EQ(f.run(), KILTER_OK) << kilter_last_error();
  ASSERT_EQ(b.run(), KILTER_OK) << kilter_last_error();
  ASSERT_EQ(kilter_call(TypeParam::kForward, &this->forward.args, nullptr), KILTER_OK) << kilter_last_error();
  ASSERT_EQ(kilter_call(TypeParam::kBackward, &this->backward.args, nullptr), KILTER_OK) << kilter_last_error();
  EXPECT_TRUE(same_outputs(f, this->forward));
  EXPECT_TRUE(same_outputs(b, this->backward));
}

// explain has an answer where ask has none: why not.
TYPED_TEST(Ask, ExplainSaysWhyNot) {
  Forward<TypeParam>& f = this->forward;
  f.args.activation = KILTER_ACTIVATION_GELU_TANH;
  for (const kilter_candidate& c : explained(f)) EXPECT_NE(c.reason, nullptr) << c.impl;
  kilter_plan plan{};
  plan.struct_size = sizeof plan;
  EXPECT_EQ(f.ask(&plan), KILTER_UNSUPPORTED);
  EXPECT_NE(std::string(kilter_last_error()).find(", got gelu_tanh"), std::string::npos) << kilter_last_error();
  f.attach();
  f.args.gate = f.x.tensor();
  EXPECT_EQ(f.ask(&plan), KILTER_UNSUPPORTED);
  EXPECT_NE(std::string(kilter_last_error()).find(", got bf16"), std::string::npos) << kilter_last_error();
  EXPECT_EQ(plan.impl, nullptr);
  for (const NamedTensor& t : f.tensors()) t.tensor->device = {KILTER_DEVICE_METAL, 5};
  f.args.gate = {};
  EXPECT_EQ(f.ask(&plan), KILTER_UNSUPPORTED);
  const std::string text = kilter_last_error(), got = "x.device: expected the CPU (type 1), got type 8, id 5";
  const size_t at = text.find(got);
  EXPECT_NE(at, std::string::npos) << text;
  EXPECT_EQ(text.find(got, at + 1), std::string::npos) << "twice: " << text;
}

// The log is asked for before the first call of the process, which ctest makes one of each test.
TEST(Log, NamesThePlan) {
  setenv("KILTER_LOG", "dispatch", 1);
  ::testing::internal::CaptureStderr();
  std::string expected[2];
  {
    Forward<RmsNorm> f(everything());
    Backward<LayerNorm> b(everything());
    f.args.impl = "reference:f64";
    EXPECT_EQ(f.run(), KILTER_OK) << kilter_last_error();
    EXPECT_EQ(b.run(), KILTER_OK) << kilter_last_error();
    expected[0] = std::string("rms_norm forward rows=5 n=12 x=bf16: ") + asked(f).impl;
    expected[1] = std::string("layer_norm backward rows=5 n=12 dy=bf16: ") + asked(b).impl;
  }
  const std::string log = ::testing::internal::GetCapturedStderr();
  unsetenv("KILTER_LOG");
  if (log.empty()) GTEST_SKIP() << "another test of this process has called before";
  for (const std::string& line : expected) EXPECT_NE(log.find(line), std::string::npos) << line << " is missing in: " << log;
}

TEST(Explain, WritesWhatFits) {
  Forward<LayerNorm> f(everything());
  const size_t count = explained(f).size();
  std::vector<kilter_candidate> one(2, {"untouched", "untouched"});
  size_t again = 0;
  ASSERT_EQ(kilter_explain(f.kFunction, &f.args, one.data(), 1, &again), KILTER_OK);
  EXPECT_EQ(again, count);
  EXPECT_STREQ(one[0].impl, "cpu:rowwise");
  EXPECT_STREQ(one[1].impl, "untouched");
  ASSERT_EQ(kilter_explain(f.kFunction, &f.args, nullptr, 0, &again), KILTER_OK);
  EXPECT_EQ(again, count);
  EXPECT_EQ(kilter_explain(f.kFunction, &f.args, one.data(), 1, nullptr), KILTER_INVALID_ARGUMENT);
  EXPECT_EQ(kilter_explain(f.kFunction, &f.args, nullptr, 3, &again), KILTER_INVALID_ARGUMENT);
  f.args.eps = std::numeric_limits<double>::infinity();
  again = 77;
  EXPECT_EQ(kilter_explain(f.kFunction, &f.args, one.data(), 2, &again), KILTER_INVALID_ARGUMENT);
  EXPECT_EQ(again, 77u);
  EXPECT_STREQ(one[1].impl, "untouched");
}

void expect_text(const std::string& part) {
  EXPECT_NE(std::string(kilter_last_error()).find(part), std::string::npos) << part << " is missing in: " << kilter_last_error();
}

TEST(Questions, UnknownFunctions) {
  Forward<LayerNorm> f(everything());
  const Snapshot before = f.snapshot();
  kilter_plan plan = {sizeof plan, "untouched", 5};
  kilter_field field{};
  field.struct_size = sizeof field;
  size_t count = 77;
  int unused = 0;
  kilter_function_info info{};
  info.struct_size = sizeof info;
  for (size_t i = 0; kilter_function_at(i, &info) == KILTER_OK; ++i) unused = std::max(unused, info.function + 1);
  for (const int number : {-1, unused, 1000, std::numeric_limits<int>::max(), std::numeric_limits<int>::min()}) {
    const int32_t function = number;
    const auto refused = [&](kilter_status status) {
      EXPECT_EQ(status, KILTER_INVALID_ARGUMENT) << number;
      expect_text("function: expected"), expect_text(", got " + std::to_string(number));
    };
    refused(kilter_ask(function, &f.args, &plan));
    refused(kilter_explain(function, &f.args, nullptr, 0, &count));
    refused(kilter_call(function, &f.args, nullptr));
    refused(kilter_field_at(function, 0, &field));
  }
  EXPECT_STREQ(plan.impl, "untouched");
  EXPECT_EQ(count, 77u);
  EXPECT_EQ(field.name, nullptr);
  EXPECT_TRUE(before == f.snapshot());
}

// Results that are structs: null, too short, or longer than this version knows.
template <class T, class F>
void expect_result_checked(const char* name, F ask) {
  const std::string text = name;
  EXPECT_EQ(ask(nullptr), KILTER_INVALID_ARGUMENT);
  expect_text(text + ": expected a struct, got null");
  struct {
    T result;
    unsigned char tail[16];
  } longer;
  for (const size_t size : {size_t(0), size_t(8), sizeof(T) - 1, size_t(1) << 40}) {
    std::memset(&longer, 0, sizeof longer);
    longer.result.struct_size = size;
    EXPECT_EQ(ask(&longer.result), KILTER_INVALID_ARGUMENT) << size;
    expect_text(text + ".struct_size: expected");
    longer.result.struct_size = 0;
    const T zero{};
    // NOLINTNEXTLINE(bugprone-suspicious-memory-comparison): every byte
    EXPECT_EQ(std::memcmp(&longer.result, &zero, sizeof zero), 0) << size;
  }
  longer.result.struct_size = sizeof longer;  // a newer caller's, whose other fields are not this library's to write or to judge
  std::memset(longer.tail, 0xA5, sizeof longer.tail);
  EXPECT_EQ(ask(&longer.result), KILTER_OK) << kilter_last_error();
  EXPECT_EQ(longer.result.struct_size, sizeof longer);
  for (const unsigned char byte : longer.tail) EXPECT_EQ(byte, 0xA5);
}

TEST(Questions, NullAndStructSizes) {
  Forward<LayerNorm> f(everything());
  kilter_plan plan{};
  plan.struct_size = sizeof plan;
  size_t count = 0;
  for (const kilter_function function : kAll) {
    EXPECT_EQ(kilter_ask(function, nullptr, &plan), KILTER_INVALID_ARGUMENT);
    expect_text("args: expected a struct, got null");
    EXPECT_EQ(kilter_explain(function, nullptr, nullptr, 0, &count), KILTER_INVALID_ARGUMENT);
    EXPECT_EQ(kilter_call(function, nullptr, nullptr), KILTER_INVALID_ARGUMENT);
    expect_text("args: expected a struct, got null");
    expect_result_checked<kilter_field>("field", [&](kilter_field* field) { return kilter_field_at(function, 3, field); });
  }
  expect_result_checked<kilter_plan>("plan", [&](kilter_plan* result) { return kilter_ask(f.kFunction, &f.args, result); });
  expect_result_checked<kilter_function_info>("info", [&](kilter_function_info* info) { return kilter_function_at(1, info); });
}

}  // namespace
}  // namespace kilter::test

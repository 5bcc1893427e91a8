// The functions that ask and set: kilter_supports, kilter_explain, threads, targets, error texts.
#include <cstdlib>
#include <limits>
#include <set>
#include <thread>

#include "harness/abi.h"

namespace kilter::test {
namespace {

kilter_query question() {
  kilter_query q{};
  q.struct_size = sizeof q;
  q.op = "layer_norm";
  q.device = {KILTER_DEVICE_CPU, 0};
  q.x = dlpack_of(DType::bf16);
  q.rows = q.n = -1;
  return q;
}

template <class F>
void expect_answer(kilter_status status, const char* word, F change) {
  kilter_query q = question();
  change(q);
  EXPECT_EQ(kilter_supports(&q), status) << word << ": " << kilter_last_error();
  if (status == KILTER_OK) return;
  for (const char* part : {word, "expected", ", got "})
    EXPECT_NE(std::string(kilter_last_error()).find(part), std::string::npos) << part << " is missing in: " << kilter_last_error();
  size_t count = 77;
  kilter_candidate candidates[8] = {};
  if (status == KILTER_INVALID_ARGUMENT && !q.impl) {
    EXPECT_EQ(kilter_explain(&q, candidates, 8, &count), status) << word;
    EXPECT_EQ(count, 77u);
    EXPECT_EQ(candidates[0].impl, nullptr);
  }
}

TEST(Query, Valid) {
  expect_answer(KILTER_OK, "", [](kilter_query&) {});
  expect_answer(KILTER_OK, "", [](kilter_query& q) { q.op = "rms_norm", q.direction = KILTER_BACKWARD, q.rows = 0, q.n = 0; });
  expect_answer(KILTER_OK, "",
                [](kilter_query& q) { q.direction = KILTER_BACKWARD, q.x = dlpack_of(DType::f32), q.dy = dlpack_of(DType::bf16); });
}

TEST(Query, HostAccessibleMemoryAsksForTheCPU) {
  kilter_query q = question();
  kilter_candidate candidates[8];
  size_t count = 0;
  for (const int32_t type : {KILTER_DEVICE_CUDA_HOST, KILTER_DEVICE_ROCM_HOST, KILTER_DEVICE_CUDA_MANAGED}) {
    q.device = {type, 1};
    EXPECT_EQ(kilter_supports(&q), KILTER_OK) << kilter_last_error();
    ASSERT_EQ(kilter_explain(&q, candidates, 8, &count), KILTER_OK);
    bool runs = false;
    for (size_t i = 0; i < count; ++i) runs |= std::string(candidates[i].impl) == "cpu:rowwise" && !candidates[i].reason;
    EXPECT_TRUE(runs) << type;
  }
}

struct QueryTensor {
  const char* name;
  kilter_dtype kilter_query::*type;
  int32_t direction;  // the only one that has it; -1: both do
};
constexpr QueryTensor kTensors[] = {{"weight", &kilter_query::weight, -1},
                                    {"bias", &kilter_query::bias, KILTER_FORWARD},
                                    {"residual", &kilter_query::residual, KILTER_FORWARD},
                                    {"post_residual", &kilter_query::post_residual, KILTER_FORWARD},
                                    {"dresidual_out", &kilter_query::dresidual_out, KILTER_BACKWARD},
                                    {"dresidual", &kilter_query::dresidual, KILTER_BACKWARD},
                                    {"dweight", &kilter_query::dweight, KILTER_BACKWARD},
                                    {"dbias", &kilter_query::dbias, KILTER_BACKWARD}};

// Each tensor by itself and beside others in another type: one's type says nothing of another's.
TEST(Query, EachTensorHasATypeOfItsOwn) {
  for (const QueryTensor& t : kTensors)
    for (const int32_t direction : {KILTER_FORWARD, KILTER_BACKWARD}) {
      SCOPED_TRACE(t.name);
      const auto with = [&](DType type, DType others) {
        return [&t, direction, type, others](kilter_query& q) {
          q.direction = direction;
          for (const QueryTensor& other : kTensors)
            if (other.direction < 0 || other.direction == direction) q.*other.type = dlpack_of(others);
          q.*t.type = dlpack_of(type);
        };
      };
      if (t.direction >= 0 && t.direction != direction) {
        expect_answer(KILTER_INVALID_ARGUMENT, t.name, with(DType::bf16, DType::none));
        continue;
      }
      for (const DType others : {DType::none, DType::bf16, DType::f32}) {
        const bool sum = t.type == &kilter_query::dweight || t.type == &kilter_query::dbias;
        // Sums in bf16 need a weight in bf16, or none.
        if (!(sum && others == DType::f32)) expect_answer(KILTER_OK, "", with(DType::bf16, others));
        if (!(t.type == &kilter_query::weight && direction == KILTER_BACKWARD && others == DType::bf16))
          expect_answer(KILTER_OK, "", with(DType::f32, others));
        const std::string reason = std::string(t.name) + ".dtype: expected";
        expect_answer(KILTER_UNSUPPORTED, reason.c_str(), with(DType::f16, others));
        expect_answer(KILTER_UNSUPPORTED, reason.c_str(), with(DType::f64, others));
      }
    }
}

TEST(Query, EachArgumentInvalidByItself) {
  EXPECT_EQ(kilter_supports(nullptr), KILTER_INVALID_ARGUMENT);
  constexpr kilter_status kInvalid = KILTER_INVALID_ARGUMENT;
  expect_answer(kInvalid, "struct_size", [](kilter_query& q) { q.struct_size = 0; });
  expect_answer(kInvalid, "struct_size", [](kilter_query& q) { q.struct_size = sizeof q - 1; });
  expect_answer(kInvalid, "struct_size", [](kilter_query& q) { q.struct_size = size_t(1) << 40; });
  expect_answer(kInvalid, "op", [](kilter_query& q) { q.op = nullptr; });
  expect_answer(kInvalid, "no_norm", [](kilter_query& q) { q.op = "no_norm"; });
  expect_answer(kInvalid, "direction", [](kilter_query& q) { q.direction = 2; });
  expect_answer(kInvalid, "direction", [](kilter_query& q) { q.direction = -1; });
  expect_answer(kInvalid, "activation", [](kilter_query& q) { q.activation = 4; });
  expect_answer(kInvalid, "activation", [](kilter_query& q) { q.activation = -1; });
  expect_answer(kInvalid, "output_kind", [](kilter_query& q) { q.output_kind = 4; });
  expect_answer(kInvalid, "output_kind", [](kilter_query& q) { q.output_kind = -1; });
  expect_answer(kInvalid, "features", [](kilter_query& q) { q.features = 1u << 31; });
  expect_answer(kInvalid, "features", [](kilter_query& q) { q.features = KILTER_FEATURE_WEIGHT_OFFSET; });
  expect_answer(kInvalid, "x: expected a type", [](kilter_query& q) { q.x = {}; });
  expect_answer(kInvalid, "gate", [](kilter_query& q) { q.direction = KILTER_BACKWARD, q.gate = dlpack_of(DType::bf16); });
  expect_answer(kInvalid, "dy", [](kilter_query& q) { q.dy = dlpack_of(DType::bf16); });
  expect_answer(kInvalid, "rows", [](kilter_query& q) { q.rows = -2; });
  expect_answer(kInvalid, "n:", [](kilter_query& q) { q.n = std::numeric_limits<int64_t>::min(); });
  expect_answer(kInvalid, "impl", [](kilter_query& q) { q.impl = "cuda:none"; });
}

TEST(Query, ValidButWithoutAnImplementation) {
  constexpr kilter_status kNo = KILTER_UNSUPPORTED;
  expect_answer(kNo, "CPU", [](kilter_query& q) { q.device.type = KILTER_DEVICE_CUDA; });
  expect_answer(kNo, "x", [](kilter_query& q) { q.x = {0, 32, 1}; });
  expect_answer(kNo, "x", [](kilter_query& q) { q.x.lanes = 2; });
  expect_answer(kNo, "weight", [](kilter_query& q) { q.weight = {0, 32, 1}; });
  expect_answer(kNo, "activation", [](kilter_query& q) { q.activation = KILTER_ACTIVATION_SILU; });
  expect_answer(kNo, "quantization", [](kilter_query& q) { q.output_kind = KILTER_OUTPUT_INT8; });
  expect_answer(kNo, "gate", [](kilter_query& q) { q.gate = dlpack_of(DType::bf16); });
  expect_answer(kNo, "dy", [](kilter_query& q) { q.direction = KILTER_BACKWARD, q.dy = dlpack_of(DType::f16); });
  expect_answer(kNo, "dy", [](kilter_query& q) { q.direction = KILTER_BACKWARD, q.dy = {0, 32, 1}; });
}

// A refusal says what there is, and says it once.
TEST(Query, RefusalsNameWhatTheyGot) {
  const auto text_of = [](auto change) {
    kilter_query q = question();
    change(q);
    EXPECT_EQ(kilter_supports(&q), KILTER_UNSUPPORTED);
    return std::string(kilter_last_error());
  };
  const struct {
    std::string text, got;
  } cases[] = {{text_of([](kilter_query& q) {
                  q.device = {KILTER_DEVICE_METAL, 5};
                }),
                "x.device: expected the CPU (type 1), got type 8, id 5"},
               {text_of([](kilter_query& q) { q.activation = KILTER_ACTIVATION_GELU_TANH; }), ", got GELU_TANH"},
               {text_of([](kilter_query& q) { q.output_kind = KILTER_OUTPUT_FP8_E5M2; }), ", got FP8_E5M2"},
               {text_of([](kilter_query& q) { q.gate = dlpack_of(DType::f16); }), ", got fp16"},
               {text_of([](kilter_query& q) {
                  q.x = {9, 8, 1};
                }),
                "x.dtype: expected fp64, fp32, fp16 or bf16, got code 9 with 8 bits and 1 lanes"},
               {text_of([](kilter_query& q) { q.bias = dlpack_of(DType::f64); }), "bias.dtype: expected x's type or fp32, got fp64"},
               {text_of([](kilter_query& q) { q.post_residual = dlpack_of(DType::f16); }),
                "cpu:rowwise, reference:f64: post_residual.dtype: expected x's type or fp32, got fp16"}};
  for (const auto& c : cases) {
    const size_t at = c.text.find(c.got);
    EXPECT_NE(at, std::string::npos) << c.got << " is missing in: " << c.text;
    EXPECT_EQ(c.text.find(c.got, at + 1), std::string::npos) << "twice: " << c.text;
  }
}

TEST(Query, ALongerStructNeedsAZeroTail) {
  struct {
    kilter_query query = question();
    unsigned char tail[32] = {};
  } longer;
  longer.query.struct_size = sizeof longer;
  EXPECT_EQ(kilter_supports(&longer.query), KILTER_OK) << kilter_last_error();
  longer.tail[31] = 1;
  EXPECT_EQ(kilter_supports(&longer.query), KILTER_UNSUPPORTED);
}

TEST(Query, ExplainWalksTheList) {
  kilter_query q = question();
  size_t count = 0;
  ASSERT_EQ(kilter_explain(&q, nullptr, 0, &count), KILTER_OK) << kilter_last_error();
  ASSERT_GE(count, 2u);
  std::vector<kilter_candidate> all(count + 1, {"untouched", "untouched"});
  ASSERT_EQ(kilter_explain(&q, all.data(), count, &count), KILTER_OK);
  EXPECT_STREQ(all[0].impl, "cpu:rowwise");
  EXPECT_EQ(all[0].reason, nullptr);
  EXPECT_STREQ(all[count - 1].impl, "reference:f64");
  EXPECT_STREQ(all[count].impl, "untouched");
  std::vector<kilter_candidate> one(2, {"untouched", "untouched"});
  size_t again = 0;
  ASSERT_EQ(kilter_explain(&q, one.data(), 1, &again), KILTER_OK);
  EXPECT_EQ(again, count);
  EXPECT_STREQ(one[0].impl, "cpu:rowwise");
  EXPECT_STREQ(one[1].impl, "untouched");
  q.activation = KILTER_ACTIVATION_GELU;
  ASSERT_EQ(kilter_explain(&q, all.data(), count, &count), KILTER_OK);
  EXPECT_NE(all[0].reason, nullptr);
  EXPECT_EQ(kilter_explain(&q, all.data(), count, nullptr), KILTER_INVALID_ARGUMENT);
  EXPECT_EQ(kilter_explain(&q, nullptr, 3, &count), KILTER_INVALID_ARGUMENT);
  EXPECT_EQ(kilter_explain(nullptr, nullptr, 0, &count), KILTER_INVALID_ARGUMENT);
}

TEST(Threads, SettingIsCheckedAndTheThreadsOwn) {
  const int before = kilter_get_num_threads();
  EXPECT_GE(before, 1);
  for (const int bad : {-1, std::numeric_limits<int>::min(), 4097, std::numeric_limits<int>::max()}) {
    EXPECT_EQ(kilter_set_num_threads(bad), KILTER_INVALID_ARGUMENT);
    EXPECT_NE(std::string(kilter_last_error()).find("threads: expected"), std::string::npos);
    EXPECT_EQ(kilter_get_num_threads(), before);
  }
  ASSERT_EQ(kilter_set_num_threads(3), KILTER_OK);
  EXPECT_EQ(kilter_get_num_threads(), 3);
  std::thread([&] { EXPECT_EQ(kilter_get_num_threads(), before); }).join();
  ASSERT_EQ(kilter_set_num_threads(0), KILTER_OK);
  EXPECT_EQ(kilter_get_num_threads(), before);
}

TEST(Targets, NamesAreListedOnceBestFirst) {
  std::set<std::string> names;
  for (int i = 0; const char* name = kilter_cpu_target_at(i); ++i) EXPECT_TRUE(names.insert(name).second) << name;
  EXPECT_TRUE(names.count("SCALAR"));
  EXPECT_EQ(kilter_cpu_target_at(int(names.size())), nullptr);
  EXPECT_EQ(kilter_cpu_target_at(-1), nullptr);
  EXPECT_EQ(kilter_cpu_target_at(std::numeric_limits<int>::max()), nullptr);
  if (!std::getenv("KILTER_CPU_TARGET")) {
    EXPECT_STREQ(kilter_cpu_target(), kilter_cpu_target_at(0));
  }
}

TEST(Targets, AnUnknownNameChangesNothing) {
  const std::string before = kilter_cpu_target();
  for (const char* name : {"", "scalar", "AVX9", "SCALAR "}) {
    EXPECT_EQ(kilter_set_cpu_target(name), KILTER_INVALID_ARGUMENT);
    EXPECT_NE(std::string(kilter_last_error()).find("expected a target"), std::string::npos);
    EXPECT_EQ(kilter_cpu_target(), before);
  }
}

TEST(Targets, AWrongNameInTheEnvironmentRefusesEveryCall) {
  const char* original = std::getenv("KILTER_CPU_TARGET");
  const std::string kept = original ? original : "";
  setenv("KILTER_CPU_TARGET", "NO_SUCH_TARGET", 1);
  ASSERT_EQ(kilter_set_cpu_target(nullptr), KILTER_OK);
  Spec s;
  s.weight = s.bias = DType::f32;
  Forward<LayerNorm> f(s);
  expect_refused(f, KILTER_INVALID_ARGUMENT, "KILTER_CPU_TARGET", [] {});
  EXPECT_NE(std::string(kilter_last_error()).find("NO_SUCH_TARGET"), std::string::npos);
  original ? setenv("KILTER_CPU_TARGET", kept.c_str(), 1) : unsetenv("KILTER_CPU_TARGET");
  ASSERT_EQ(kilter_set_cpu_target(nullptr), KILTER_OK);
  EXPECT_EQ(f.run(), KILTER_OK) << kilter_last_error();
}

TEST(Errors, EveryStatusHasItsName) {
  std::set<std::string> names;
  for (int s = KILTER_OK; s <= KILTER_INTERNAL; ++s) {
    const std::string name = kilter_status_name(kilter_status(s));
    EXPECT_EQ(name.rfind("KILTER_", 0), 0u);
    EXPECT_TRUE(names.insert(name).second) << name;
  }
  EXPECT_STREQ(kilter_status_name(KILTER_OVERLAP), "KILTER_OVERLAP");
  EXPECT_NE(kilter_status_name(static_cast<kilter_status>(12)), nullptr);
}

TEST(Errors, TextsBelongToTheirThread) {
  EXPECT_EQ(kilter_set_num_threads(-5), KILTER_INVALID_ARGUMENT);
  std::thread([] {
    EXPECT_STREQ(kilter_last_error(), "");
    EXPECT_EQ(kilter_set_num_threads(-6), KILTER_INVALID_ARGUMENT);
    EXPECT_NE(std::string(kilter_last_error()).find("-6"), std::string::npos);
  }).join();
  EXPECT_NE(std::string(kilter_last_error()).find("-5"), std::string::npos);
}

TEST(Errors, LongTextsAreCutNotOverrun) {
  const std::string name(100000, 'z');
  kilter_query q = question();
  q.op = name.c_str();
  EXPECT_EQ(kilter_supports(&q), KILTER_INVALID_ARGUMENT);
  EXPECT_LT(std::string(kilter_last_error()).size(), 2000u);
  Spec s;
  Forward<RmsNorm> f(s);
  f.args.impl = name.c_str();
  EXPECT_EQ(f.run(), KILTER_INVALID_ARGUMENT);
  EXPECT_LT(std::string(kilter_last_error()).size(), 2000u);
}

TEST(Errors, TheLibraryPrintsNothing) {
  if (std::getenv("KILTER_LOG")) GTEST_SKIP() << "KILTER_LOG asks for output";
  ::testing::internal::CaptureStderr();
  ::testing::internal::CaptureStdout();
  Forward<LayerNorm> f(Spec{});
  kilter_status good = f.run();
  f.args.x = {};
  kilter_status bad = f.run();
  const std::string err = ::testing::internal::GetCapturedStderr(), out = ::testing::internal::GetCapturedStdout();
  EXPECT_EQ(good, KILTER_OK);
  EXPECT_EQ(bad, KILTER_INVALID_ARGUMENT);
  EXPECT_EQ(err, "");
  EXPECT_EQ(out, "");
}

TEST(Errors, VersionMatchesTheHeader) {
  EXPECT_EQ(kilter_version(), KILTER_VERSION_MAJOR * 10000 + KILTER_VERSION_MINOR * 100 + KILTER_VERSION_PATCH);
}

}  // namespace
}  // namespace kilter::test

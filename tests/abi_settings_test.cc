// The settings of the process and its threads, and the texts of errors.
#include <cstdlib>
#include <limits>
#include <set>
#include <thread>

#include "harness/rowwise.h"

namespace kilter::test {
namespace {

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
  expect_refused(
      f, KILTER_INVALID_ARGUMENT, "KILTER_CPU_TARGET", [] {}, Refused::by_call_alone);
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

TEST(Errors, SuccessLeavesTheText) {
  Forward<LayerNorm> f(Spec{});
  f.args.eps = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(f.run(), KILTER_INVALID_ARGUMENT);
  const std::string text = kilter_last_error();
  f.args.eps = 1e-5;
  EXPECT_EQ(f.run(), KILTER_OK);
  EXPECT_EQ(kilter_last_error(), text);
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
  Spec s;
  Forward<RmsNorm> f(s);
  f.args.impl = name.c_str();
  EXPECT_EQ(f.run(), KILTER_INVALID_ARGUMENT);
  EXPECT_LT(std::string(kilter_last_error()).size(), 2000u);
  kilter_plan plan{};
  plan.struct_size = sizeof plan;
  EXPECT_EQ(f.ask(&plan), KILTER_INVALID_ARGUMENT);
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

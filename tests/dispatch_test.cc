// What the core does with a table and a list of implementations, as a second backend makes them.
#include "core/dispatch.h"

#include <gtest/gtest.h>

#include <cstring>

namespace kilter {
namespace {

// A function with a table and a list of its own, as a second backend makes it: each entry refuses the other's device and has a
// workspace of its own.
struct Args {
  size_t struct_size;
  kilter_tensor x;
  const char* impl;
};
struct Sum {
  kilter_device device = {};
  int64_t rows = 0, n = 0;
  View x;
  const char* impl = nullptr;
  const char* op = "";
};
constexpr Schema sum_schema() {
  using Problem = Sum;
  Schema s("sum", 77, KILTER_FORWARD, offsetof(Problem, device));
  s.product("rows", offsetof(Problem, rows));
  s.size("n", offsetof(Problem, n));
  s.need(KILTER_NAME(x), "... n", "fp32", "what is summed").is_t();
  s.rest(KILTER_NAME(impl), Kind::text, "the implementation");
  s.covers<Args>();
  return s;
}
constexpr Schema kSum = sum_schema();

const char* ran = "";
const char* not_cuda(const Sum& s) { return s.device.type == KILTER_DEVICE_CUDA ? nullptr : "only CUDA"; }
const char* not_cpu(const Sum& s) { return s.device.type == KILTER_DEVICE_CPU ? nullptr : "only the CPU"; }
template <char kName>
kilter_status run(const Sum&, kilter_stream) {
  static constexpr char kText[] = {kName, 0};
  ran = kText;
  return KILTER_OK;
}
constexpr Implementation<Sum> kList[] = {{"cuda:a", not_cuda, run<'a'>, [](const Sum& s) { return size_t(s.n); }},
                                         {"cpu:b", not_cpu, run<'b'>, [](const Sum& s) { return size_t(2 * s.n); }},
                                         {"reference:c", not_cpu, run<'c'>}};
kilter_status finish(Sum*) { return KILTER_OK; }
using SumEntry = Entry<kSum, Sum, kList, finish>;

Args sum_of(int32_t device, const char* impl) {
  static int64_t shape[] = {7};
  static float memory[7];
  return {sizeof(Args), {memory, {device, 0}, 1, dlpack_of(DType::f32), shape, nullptr, 0}, impl};
}

TEST(Dispatch, ThePlanIsThatOfTheEntryWhichRuns) {
  const struct {
    int32_t device;
    const char *impl, *chosen, *ran;
    size_t bytes;
  } cases[] = {{KILTER_DEVICE_CUDA, nullptr, "cuda:a", "a", 7},
               {KILTER_DEVICE_CPU, nullptr, "cpu:b", "b", 14},
               {KILTER_DEVICE_CPU, "reference:c", "reference:c", "c", 0},
               {KILTER_DEVICE_CPU, "cpu:b", "cpu:b", "b", 14}};
  for (const auto& c : cases) {
    const Args args = sum_of(c.device, c.impl);
    kilter_plan plan = {sizeof plan, nullptr, 99};
    EXPECT_EQ(SumEntry::function.ask(&args, &plan), KILTER_OK) << kilter_last_error();
    EXPECT_STREQ(plan.impl, c.chosen);
    EXPECT_EQ(plan.workspace_size, c.bytes);
    EXPECT_EQ(SumEntry::function.run(&args, nullptr), KILTER_OK) << kilter_last_error();
    EXPECT_STREQ(ran, c.ran);
    // Each reason is the entry's own, whatever impl asks for.
    kilter_candidate list[3];
    size_t count = 0;
    EXPECT_EQ(SumEntry::function.explain(&args, list, 3, &count), KILTER_OK);
    ASSERT_EQ(count, 3u);
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_STREQ(list[i].impl, kList[i].name);
      EXPECT_EQ(list[i].reason == nullptr, (i == 0) == (c.device == KILTER_DEVICE_CUDA));
    }
  }
}

TEST(Dispatch, WithoutAnEntryThereIsNoPlan) {
  const auto refused = [](int32_t device, const char* impl, kilter_status status, const char* text) {
    const Args args = sum_of(device, impl);
    kilter_plan plan = {sizeof plan, "untouched", 99};
    ran = "";
    EXPECT_EQ(SumEntry::function.ask(&args, &plan), status);
    EXPECT_STREQ(plan.impl, "untouched");
    EXPECT_EQ(plan.workspace_size, 99u);
    EXPECT_NE(std::strstr(kilter_last_error(), text), nullptr) << kilter_last_error();
    EXPECT_EQ(SumEntry::function.run(&args, nullptr), status);
    EXPECT_NE(std::strstr(kilter_last_error(), text), nullptr) << kilter_last_error();
    EXPECT_STREQ(ran, "");
  };
  refused(KILTER_DEVICE_METAL, nullptr, KILTER_UNSUPPORTED, "cuda:a: only CUDA; cpu:b, reference:c: only the CPU");
  refused(KILTER_DEVICE_CPU, "cuda:a", KILTER_UNSUPPORTED, "cuda:a: only CUDA");
  refused(KILTER_DEVICE_CPU, "cuda:z", KILTER_INVALID_ARGUMENT, "expected one of cuda:a, cpu:b, reference:c, got cuda:z");
}

TEST(Structs, ShorterOrLongerThanThisVersion) {
  unsigned char given[24] = {};
  const auto check = [&](size_t size) {
    std::memcpy(given, &size, sizeof size);
    return check_struct("op", "args", given, 16, 16);
  };
  EXPECT_EQ(check(16), KILTER_OK);
  EXPECT_EQ(check(24), KILTER_OK);
  EXPECT_EQ(check(15), KILTER_INVALID_ARGUMENT);
  EXPECT_STREQ(kilter_last_error(), "op: args.struct_size: expected at least 16, got 15");
  given[23] = 1;
  EXPECT_EQ(check(16), KILTER_OK);  // what lies behind is the caller's
  EXPECT_EQ(check(24), KILTER_UNSUPPORTED);
}

}  // namespace
}  // namespace kilter

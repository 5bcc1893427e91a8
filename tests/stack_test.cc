// How much of its thread's stack a call takes, at most: kilter.h says 32 KiB.  Each call runs on a stack of its own, painted
// before; then on one that ends at that figure, where a page that nothing may touch lies.
#include <gtest/gtest.h>

#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define KILTER_TEST_MEASURES 1
#endif
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#undef KILTER_TEST_MEASURES
#endif
#endif

#ifdef KILTER_TEST_MEASURES

#include <sys/mman.h>
#include <ucontext.h>

#include <cstring>
#include <functional>

#include "harness/call.h"
#include "harness/rowwise.h"

namespace kilter::test {
namespace {

constexpr size_t kPage = 4096, kPromised = 32 << 10, kStack = 512 << 10;

// Memory of `size` bytes above a page that nothing may touch.
class Stack {
 public:
  explicit Stack(size_t size) : size_(size) {
    memory_ = static_cast<char*>(mmap(nullptr, kPage + size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    EXPECT_NE(memory_, MAP_FAILED);
    EXPECT_EQ(mprotect(memory_, kPage, PROT_NONE), 0);
    std::memset(memory_ + kPage, kPaint, size_);
  }
  ~Stack() { munmap(memory_, kPage + size_); }
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;

  // Runs body on it.  Bytes that it wrote to, from the place where body begins down.
  size_t used_by(const std::function<void()>& body) {
    static ucontext_t back, there;
    static const std::function<void()>* what;
    static const char* begin;
    what = &body;
    getcontext(&there);
    there.uc_stack.ss_sp = memory_ + kPage;
    there.uc_stack.ss_size = size_;
    there.uc_link = &back;
    makecontext(
        &there,
        [] {
          begin = static_cast<const char*>(__builtin_frame_address(0));
          (*what)();
        },
        0);
    swapcontext(&back, &there);
    const char* lowest = memory_ + kPage;
    while (lowest < begin && *lowest == kPaint) ++lowest;
    return size_t(begin - lowest);
  }

 private:
  static constexpr char kPaint = 0x5A;
  size_t size_;
  char* memory_;
};

template <class AnyCall>
void expect_little_stack(AnyCall& call, const std::string& what, size_t* most) {
  kilter_status status = KILTER_OK;
  const auto body = [&] { status = call.run(); };
  Stack large(kStack);
  const size_t used = large.used_by(body);
  ASSERT_EQ(status, KILTER_OK) << kilter_last_error();
  ASSERT_LT(used, kPromised) << what << ", " << kilter_cpu_target();
  Stack small(kPromised);  // dies here if probes reach further than what is written
  small.used_by(body);
  *most = std::max(*most, used);
}

template <class Op>
class StackUse : public ::testing::Test {};
TYPED_TEST_SUITE(StackUse, Ops, OpName);

// Plain calls and calls with everything that takes a buffer, for every length's own path: one piece, several segments, several
// chunks of statistics.  Rows of 1e30 are pre-scaled, and rows far from zero measured twice.
TYPED_TEST(StackUse, EveryCallTakesLessThanPromised) {
  const WithThreads one(1);
  size_t most = 0;
  const auto expect_of = [&](const Spec& s, const char* impl, double center, double spread) {
    const auto value = [&](int64_t r, int64_t i) { return center + spread * noise(1, r, i); };
    Forward<TypeParam> forward(s);
    forward.args.impl = impl;
    forward.x.fill(value);
    if (forward.residual.present()) forward.residual.fill(value);
    const std::string what = std::string(dtype_name(s.t)) + ", n = " + std::to_string(s.n);
    expect_little_stack(forward, "forward, " + what, &most);
    if (this->HasFatalFailure()) return;
    Backward<TypeParam> backward(s);
    backward.x.fill(value);
    backward.prepare();
    backward.choose(impl);
    expect_little_stack(backward, "backward, " + what, &most);
  };
  const auto expect_of_all = [&](Spec s, bool everything) {
    if (everything) {
      s.weight = s.bias = s.residual = s.post_residual = DType::f32, s.weight_offset = 1, s.rounding = KILTER_ROUND_THEN_MULTIPLY;
      s.dresidual_out = s.dresidual = s.dweight = s.dbias = DType::f32;
      if (s.t != DType::f64) s.stream = DType::f32;
    } else {
      s.weight = s.bias = s.dweight = s.dbias = s.t;
    }
    expect_of(s, "cpu:rowwise", 0, 1);
    if (s.n > 1001) return;
    if (kilter_cpu_target() == std::string(kilter_cpu_target_at(0))) expect_of(s, "reference:f64", 0, 1);
    expect_of(s, "cpu:rowwise", 1000, 0x1p-6);
    if (s.t != DType::f16) expect_of(s, "cpu:rowwise", 0, 1e30);
  };
  for (int target = 0; kilter_cpu_target_at(target); ++target) {
    ASSERT_EQ(kilter_set_cpu_target(kilter_cpu_target_at(target)), KILTER_OK);
    for (const DType t : {DType::f32, DType::bf16, DType::f16, DType::f64})
      for (const auto& [rows, n] : {std::pair<int64_t, int64_t>{5, 1}, {150, 300}, {9, 1001}, {1, 262145 + 1024}})
        for (const bool everything : {false, true}) {
          if (n > 1001 && !everything) continue;
          Spec s;
          s.t = t, s.rows = rows, s.n = n;
          expect_of_all(s, everything);
          if (this->HasFatalFailure()) return;
        }
  }
  ASSERT_EQ(kilter_set_cpu_target(nullptr), KILTER_OK);
  std::printf("%s: at most %zu bytes of stack\n", TypeParam::name, most);
}

// Every function with all its tensors, by every implementation that takes the call.
class EveryStackUse : public ::testing::TestWithParam<kilter_function> {};
INSTANTIATE_TEST_SUITE_P(Every, EveryStackUse, ::testing::ValuesIn(all_functions()), function_name);

TEST_P(EveryStackUse, EveryCallTakesLessThanPromised) {
  const WithThreads one(1);
  size_t most = 0;
  for (int target = 0; kilter_cpu_target_at(target); ++target) {
    ASSERT_EQ(kilter_set_cpu_target(kilter_cpu_target_at(target)), KILTER_OK);
    for (const bool last : layouts_of(GetParam()))
      for (const DType t : types_of_t(GetParam()))
        for (const auto& [rows, size] : {std::pair<int64_t, int64_t>{3, 1}, {70, 48}, {1, 2000}, {1500, 8}}) {
          Making m = {.t = t, .any = {rows}, .size = size, .channels_last = last};
          Call asked(GetParam(), m);
          kilter_candidate list[32];
          size_t count = 0;
          ASSERT_EQ(kilter_explain(GetParam(), asked.args(), list, std::size(list), &count), KILTER_OK) << kilter_last_error();
          for (size_t i = 0; i < count; ++i) {
            if (list[i].reason || (target > 0 && std::string(list[i].impl).starts_with("reference:"))) continue;
            m.impl = list[i].impl;
            Call call(GetParam(), m);
            for (const char* choice : {"", "activation"}) {
              bool has_choice = *choice == 0;
              for (const kilter_field& f : call.fields()) {
                if (f.name == std::string(choice)) has_choice = true, call.at<int32_t>(choice) = KILTER_ACTIVATION_GELU;
                if (*choice && f.name == std::string("mask")) call["mask"] = {};  // which is ReLU's
              }
              if (!has_choice) continue;
              kilter_plan plan{};
              plan.struct_size = sizeof plan;
              if (call.ask(&plan) == KILTER_UNSUPPORTED) continue;
              expect_little_stack(call, m.impl + std::string(", ") + dtype_name(t) + ", " + std::to_string(size), &most);
              if (HasFatalFailure()) return;
            }
          }
        }
  }
  ASSERT_EQ(kilter_set_cpu_target(nullptr), KILTER_OK);
  std::printf("at most %zu bytes of stack\n", most);
}

}  // namespace
}  // namespace kilter::test

#else
TEST(StackUse, IsNotMeasuredHere) { GTEST_SKIP() << "sanitizers have frames of their own"; }
#endif

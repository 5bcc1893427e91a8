// A call allocates nothing.  This program replaces the allocator with one that counts; glibc only, and not under sanitizers,
// which do the same.
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <cstddef>

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define KILTER_TEST_COUNTS 1
#endif
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#undef KILTER_TEST_COUNTS
#endif
#endif

#ifdef KILTER_TEST_COUNTS

#include "harness/call.h"
#include "harness/rowwise.h"

namespace {
std::atomic<long> allocations{0};
std::atomic<bool> counting{false};
void count() {
  if (counting.load(std::memory_order_relaxed)) allocations.fetch_add(1, std::memory_order_relaxed);
}
}  // namespace

extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
void __libc_free(void*);

void* malloc(size_t size) { return count(), __libc_malloc(size); }
void* calloc(size_t number, size_t size) { return count(), __libc_calloc(number, size); }
void* realloc(void* p, size_t size) { return count(), __libc_realloc(p, size); }
void* aligned_alloc(size_t alignment, size_t size) { return count(), __libc_memalign(alignment, size); }
void* memalign(size_t alignment, size_t size) { return count(), __libc_memalign(alignment, size); }
int posix_memalign(void** out, size_t alignment, size_t size) {
  count();
  *out = __libc_memalign(alignment, size);
  return *out ? 0 : ENOMEM;
}
void free(void* p) {
  if (p) count();
  __libc_free(p);
}
}

namespace kilter::test {
namespace {

// Allocations and releases while body runs.
template <class F>
long allocations_of(F body) {
  allocations = 0;
  counting = true;
  body();
  counting = false;
  return allocations;
}

TEST(AllocationCounter, TheCounterCounts) {
  EXPECT_GE(allocations_of([] {
              std::vector<int> v(1000);
              v[0] = 1;
            }),
            2);
  EXPECT_GE(allocations_of([] { free(std::aligned_alloc(64, 128)); }), 2);
}

template <class Op>
class Allocation : public ::testing::Test {};
TYPED_TEST_SUITE(Allocation, Ops, OpName);

TYPED_TEST(Allocation, CallsAllocateNothing) {
  for (const int threads : {1, 2})
    for (const DType t : {DType::f32, DType::bf16, DType::f16, DType::f64}) {
      const WithThreads set(threads);
      Spec s;
      s.t = t, s.rows = 47, s.n = 1111, s.weight = s.bias = s.residual = s.post_residual = s.dresidual = s.dresidual_out = t;
      Forward<TypeParam> f(s);
      Backward<TypeParam> b(s);
      bool good = f.run() == KILTER_OK && b.run() == KILTER_OK;  // OpenMP creates its threads
      const auto repeat = [&](const char* name, auto body) {
        EXPECT_EQ(allocations_of([&] {
                    for (int turn = 0; turn < 3; ++turn) body();
                  }),
                  0)
            << name << " " << dtype_name(t) << " " << threads << " threads";
      };
      repeat("forward", [&] { good &= f.run() == KILTER_OK; });
      repeat("backward", [&] { good &= b.run() == KILTER_OK; });
      kilter_plan plan{};
      plan.struct_size = sizeof plan;
      repeat("asking", [&] { good &= f.ask(&plan) == KILTER_OK && b.ask(&plan) == KILTER_OK; });
      f.args.impl = "reference:f64";
      b.choose("reference:f64");
      repeat("reference", [&] { good &= f.run() == KILTER_OK && b.run() == KILTER_OK; });
      EXPECT_TRUE(good) << kilter_last_error();
    }
}

// Every function with all its tensors, by every implementation that takes the call.
class EveryAllocation : public ::testing::TestWithParam<kilter_function> {};
INSTANTIATE_TEST_SUITE_P(Every, EveryAllocation, ::testing::ValuesIn(all_functions()), function_name);

TEST_P(EveryAllocation, CallsAllocateNothing) {
  for (const bool last : layouts_of(GetParam()))
    for (const DType t : types_of_t(GetParam())) {
      Making m = {.t = t, .any = {37, 3}, .size = 96, .channels_last = last};
      Call asked(GetParam(), m);
      kilter_candidate list[32];
      size_t count = 0;
      ASSERT_EQ(kilter_explain(GetParam(), asked.args(), list, std::size(list), &count), KILTER_OK) << kilter_last_error();
      for (size_t i = 0; i < count; ++i) {
        if (list[i].reason) continue;
        m.impl = list[i].impl;
        Call call(GetParam(), m);
        for (const int threads : {1, 2}) {
          const WithThreads set(threads);
          kilter_plan plan{};
          plan.struct_size = sizeof plan;
          bool good = call.run() == KILTER_OK;  // OpenMP creates its threads
          EXPECT_EQ(allocations_of([&] { good &= call.run() == KILTER_OK && call.ask(&plan) == KILTER_OK; }), 0)
              << m.impl << " " << threads;
          EXPECT_TRUE(good) << kilter_last_error();
        }
      }
    }
}

TYPED_TEST(Allocation, FailingCallsAllocateNothing) {
  Forward<TypeParam> f(Spec{});
  Backward<TypeParam> b(Spec{});
  f.args.eps = __builtin_nan("");
  b.args.dx.data = static_cast<char*>(b.args.x.data) + 4;
  kilter_status forward = KILTER_OK, backward = KILTER_OK, asked = KILTER_OK;
  kilter_plan plan{};
  plan.struct_size = sizeof plan;
  EXPECT_EQ(allocations_of([&] { forward = f.run(), backward = b.run(), asked = f.ask(&plan); }), 0);
  EXPECT_EQ(asked, KILTER_INVALID_ARGUMENT);
  EXPECT_EQ(forward, KILTER_INVALID_ARGUMENT);
  EXPECT_EQ(backward, KILTER_OVERLAP);
}

TEST(AllocationCounter, TheOtherFunctionsAllocateNothing) {
  Forward<RmsNorm> f(Spec{});
  kilter_candidate candidates[4];
  kilter_function_info info{};
  kilter_field field{};
  info.struct_size = sizeof info, field.struct_size = sizeof field;
  size_t count = 0;
  bool good = true;
  const auto all = [&] {
    good &= kilter_explain(KILTER_RMS_NORM_FORWARD, &f.args, candidates, 4, &count) == KILTER_OK;
    good &= kilter_call(KILTER_RMS_NORM_FORWARD, &f.args, nullptr) == KILTER_OK;
    good &= kilter_function_at(0, &info) == KILTER_OK && kilter_field_at(KILTER_RMS_NORM_FORWARD, 0, &field) == KILTER_OK;
    good &= kilter_set_num_threads(2) == KILTER_OK && kilter_get_num_threads() == 2 && kilter_set_num_threads(0) == KILTER_OK;
    good &= kilter_set_cpu_target(kilter_cpu_target_at(0)) == KILTER_OK && kilter_cpu_target() != nullptr;
    good &= kilter_set_cpu_target(nullptr) == KILTER_OK;
    good &= kilter_set_cpu_target("none such") == KILTER_INVALID_ARGUMENT;
    good &= kilter_last_error()[0] != 0 && kilter_version() >= 0 && kilter_status_name(KILTER_OK)[0] == 'K';
  };
  all();
  EXPECT_EQ(allocations_of(all), 0);
  EXPECT_TRUE(good) << kilter_last_error();
}

}  // namespace
}  // namespace kilter::test

#else

TEST(Allocation, CallsAllocateNothing) { GTEST_SKIP() << "needs glibc and no sanitizer: the allocator is replaced"; }

#endif

// The process around a call: the caller's floating-point environment, its threads, a fork.
#include <gtest/gtest.h>

#include <atomic>
#include <cfenv>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif
#if __has_include(<sys/wait.h>)
#include <sys/wait.h>
#include <unistd.h>
#define KILTER_TEST_FORKS
#endif

#include "harness/call.h"
#include "harness/rowwise.h"

namespace kilter::test {
namespace {

// Rows on which every mode shows: subnormal ones, whose squares vanish, and ordinary ones, whose sums round.
double value(int64_t r, int64_t i) { return r % 2 ? noise(1, r, i) : 1e-41 * double(1 + (r + i) % 7); }

template <class Call>
struct Filled : Call {
  explicit Filled(const Spec& s) : Call(s) {
    this->x.fill(value);
    if constexpr (Call::is_backward)
      this->prepare();
    else
      this->residual.fill(value);  // as small as x, which it would hide
  }
};
const Spec kSpec = [] {
  Spec s;
  s.rows = 64, s.n = 2048, s.eps = 0x1p-149;
  s.weight = s.bias = s.residual = DType::f32;
  return s;
}();

template <class Op>
class FloatModes : public ::testing::Test {};
TYPED_TEST_SUITE(FloatModes, Ops, OpName);

// make(): another call like `expected`, which has run.
template <class AnyCall, class Make>
void expect_same_bits_in(const char* mode, const std::fenv_t& environment, AnyCall& expected, Make make) {
  for (const int threads : {1, 2}) {
    const WithThreads with(threads);
    const auto made = make();
    AnyCall& call = *made;
    std::fenv_t before, after, usual;
    std::fegetenv(&usual);
    std::fesetenv(&environment);
    std::fegetenv(&before);
    const kilter_status status = call.run();
    std::fegetenv(&after);
    std::fesetenv(&usual);
    EXPECT_EQ(status, KILTER_OK) << kilter_last_error();
    EXPECT_EQ(std::memcmp(&before, &after, sizeof before), 0) << mode << ": the call changed the caller's environment";
    EXPECT_TRUE(same_outputs(expected, call)) << mode << ", " << threads << " threads";
  }
}

template <class AnyCall, class Make>
void expect_same_bits_in_every_mode(Make make) {
  const WithThreads one(1);
  const auto first = make();
  AnyCall& expected = *first;
  ASSERT_EQ(expected.run(), KILTER_OK) << kilter_last_error();
  std::fenv_t usual, changed;
  std::fegetenv(&usual);
  const auto with = [&](const char* mode, auto change) {
    std::fesetenv(&usual);
    change();
    std::fegetenv(&changed);
    std::fesetenv(&usual);
    expect_same_bits_in(mode, changed, expected, make);
  };
  with("upward", [] { std::fesetround(FE_UPWARD); });
  with("downward", [] { std::fesetround(FE_DOWNWARD); });
  with("toward zero", [] { std::fesetround(FE_TOWARDZERO); });
  with("a flag raised", [] { std::feraiseexcept(FE_UNDERFLOW); });
#if defined(__SSE2__)
  with("FTZ and DAZ", [] { _mm_setcsr(_mm_getcsr() | 0x8040); });
  with("traps", [] { _mm_setcsr(_mm_getcsr() & ~0x1F80u); });
#endif
}

TYPED_TEST(FloatModes, ForwardGivesTheSameBits) {
  using AnyCall = Filled<Forward<TypeParam>>;
  expect_same_bits_in_every_mode<AnyCall>([] { return std::make_unique<AnyCall>(kSpec); });
}
TYPED_TEST(FloatModes, BackwardGivesTheSameBits) {
  using AnyCall = Filled<Backward<TypeParam>>;
  expect_same_bits_in_every_mode<AnyCall>([] { return std::make_unique<AnyCall>(kSpec); });
}

// Every function, its activations as small as they get in every other row.
class EveryFloatMode : public ::testing::TestWithParam<kilter_function> {};
INSTANTIATE_TEST_SUITE_P(Every, EveryFloatMode, ::testing::ValuesIn(all_functions()), function_name);

TEST_P(EveryFloatMode, GivesTheSameBits) {
  for (const bool last : layouts_of(GetParam())) {
    Call asked(GetParam());
    kilter_candidate list[32];
    size_t count = 0;
    ASSERT_EQ(kilter_explain(GetParam(), asked.args(), list, std::size(list), &count), KILTER_OK) << kilter_last_error();
    for (size_t i = 0; i < count; ++i) {
      if (list[i].reason) continue;
      SCOPED_TRACE(list[i].impl);
      expect_same_bits_in_every_mode<Call>([&] {
        auto call = std::make_unique<Call>(GetParam(), Making{.any = {33}, .size = 60, .channels_last = last, .impl = list[i].impl});
        for (const kilter_field& f : call->fields())
          if (is_tensor(f) && !is_output(f) && call->has(f.name) && call->memory_shape(f.name).size() > 1 &&
              call->type_of(f.name) == DType::f32)
            call->memory(f.name).fill(value);
        for (const kilter_field& f : call->fields())
          if (f.name == std::string("eps")) call->at<double>(f.name) = 0x1p-149;
        return call;
      });
    }
  }
}

#if defined(__SSE2__)
// Threads that OpenMP starts take over the mode of the thread that starts them.
TEST(FloatModes, ThreadsBornUnderFlushToZero) {
  Filled<Forward<RmsNorm>> expected(kSpec), got(kSpec);
  {
    const WithThreads one(1);
    ASSERT_EQ(expected.run(), KILTER_OK);
  }
  std::thread([&] {
    _mm_setcsr(_mm_getcsr() | 0x8040);
    const WithThreads four(4);
    EXPECT_EQ(got.run(), KILTER_OK);
  }).join();
  EXPECT_TRUE(same_outputs(expected, got));
}

#ifdef _OPENMP
// A program's own parallel region starts the threads that the library's regions go on with.
TEST(FloatModes, ATeamThatTheProgramStartedUnderFlushToZero) {
  Filled<Forward<RmsNorm>> expected(kSpec), got(kSpec);
  {
    const WithThreads one(1);
    ASSERT_EQ(expected.run(), KILTER_OK);
  }
  std::thread([&] {
    const WithThreads four(4);
    const unsigned usual = _mm_getcsr();
    std::atomic<int> flushing{0};
    _mm_setcsr(usual | 0x8040);
#pragma omp parallel num_threads(4)
    flushing += (_mm_getcsr() & 0x8040) == 0x8040;
    _mm_setcsr(usual);
    EXPECT_EQ(flushing, 4);
    EXPECT_EQ(got.run(), KILTER_OK);
  }).join();
  EXPECT_TRUE(same_outputs(expected, got));
}
#endif
#endif

TEST(ThreadLimit, HoldsForEveryThread) {
  const WithThreads eight(8);
  const int most = kilter_get_num_threads();  // 1 without OpenMP
  EXPECT_EQ(kilter_get_thread_limit(), 0);
  ASSERT_EQ(kilter_set_thread_limit(3), KILTER_OK);
  EXPECT_EQ(kilter_get_thread_limit(), 3);
  EXPECT_EQ(kilter_get_num_threads(), std::min(most, 3));
  std::thread([] {
    const WithThreads many(100);
    EXPECT_LE(kilter_get_num_threads(), 3);
  }).join();
  for (const int wrong : {-1, 4097}) {
    EXPECT_EQ(kilter_set_thread_limit(wrong), KILTER_INVALID_ARGUMENT);
    EXPECT_NE(std::string(kilter_last_error()).find("threads: expected 0 to 4096, got " + std::to_string(wrong)), std::string::npos);
  }
  EXPECT_EQ(kilter_get_thread_limit(), 3);
  ASSERT_EQ(kilter_set_thread_limit(0), KILTER_OK);
  EXPECT_EQ(kilter_get_num_threads(), most);
}

#ifdef KILTER_TEST_FORKS
#if defined(__SANITIZE_THREAD__)
constexpr bool kThreadSanitizer = true;
#elif defined(__has_feature)
constexpr bool kThreadSanitizer = __has_feature(thread_sanitizer);
#else
constexpr bool kThreadSanitizer = false;
#endif

// The exit status of what body returns in a forked process; -1 if it did not end by itself.
template <class F>
int in_child(F body) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    _exit(body());
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// The environment is read once, by the first call: each value in a process of its own.
class ThreadLimitDeath : public ::testing::Test {
 protected:
  ThreadLimitDeath() { ::testing::FLAGS_gtest_death_test_style = "threadsafe"; }
};

TEST_F(ThreadLimitDeath, OfTheEnvironment) {
  const auto exit_with_limit = [](const char* text) {
    setenv("KILTER_NUM_THREADS", text, 1);
    std::exit(kilter_get_thread_limit());
  };
  EXPECT_EXIT(exit_with_limit(""), ::testing::ExitedWithCode(0), "");
  EXPECT_EXIT(exit_with_limit("1"), ::testing::ExitedWithCode(1), "");
  EXPECT_EXIT(exit_with_limit("200"), ::testing::ExitedWithCode(200), "");
  const auto exit_with_text = [](const char* text) {
    setenv("KILTER_NUM_THREADS", text, 1);
    Forward<RmsNorm> call(Spec{});
    const kilter_status status = call.run();
    std::fprintf(stderr, "[%s]", kilter_last_error());
    std::exit(status);
  };
  for (const char* text : {"0", "-2", "4097", "3x", "two", "99999999999999999999"})
    EXPECT_EXIT(exit_with_text(text), ::testing::ExitedWithCode(KILTER_INVALID_ARGUMENT),
                std::string("\\[rms_norm: KILTER_NUM_THREADS: expected 1 to 4096, got ") + text + "\\]");
}

TEST(Fork, AfterACallOnSeveralThreads) {
  Filled<Backward<LayerNorm>> expected(kSpec);
  {
    const WithThreads four(4);
    expected.choose(nullptr);
    ASSERT_EQ(expected.run(), KILTER_OK) << kilter_last_error();
    const auto runs = [&] {
      Filled<Backward<LayerNorm>> got(kSpec);
      return got.run() == KILTER_OK && same_outputs(expected, got) ? 7 : 1;
    };
    EXPECT_EQ(in_child(runs), 7);
    EXPECT_EQ(in_child([&] { return in_child(runs); }), 7);
    if (kThreadSanitizer) return;  // which ends a forked process that starts a thread
    EXPECT_EQ(in_child([&] {       // a thread that begins in the child has lost nothing
                int result = 1;
                std::thread([&] {
                  const WithThreads two(2);
                  result = runs();
                }).join();
                return result;
              }),
              7);
  }
}
#endif

}  // namespace
}  // namespace kilter::test

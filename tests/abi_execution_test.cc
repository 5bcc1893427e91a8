// Who does the work changes no bit: SIMD targets, threads, smaller workspaces, concurrent callers.
#include <atomic>
#include <thread>

#include "harness/rowwise.h"

namespace kilter::test {
namespace {

constexpr DType kTypes[] = {DType::f32, DType::bf16, DType::f16, DType::f64};

// Large enough that all eight threads are used; rows do not divide evenly.
Spec large(DType t, DType other) {
  Spec s;
  s.t = t, s.rows = 1001, s.n = 301;
  s.weight = s.bias = s.residual = s.post_residual = s.dresidual = s.dresidual_out = other;
  return s;
}

template <class Op>
class Execution : public ::testing::Test {};
TYPED_TEST_SUITE(Execution, Ops, OpName);

TYPED_TEST(Execution, EveryTargetGivesTheSameBits) {
  bool scalar = false;
  for (const DType t : kTypes)
    for (const DType other : {t, DType::f32}) {
      Spec s = large(t, other);
      s.rows = 61, s.n = 2061;
      Forward<TypeParam> expected(s);
      Backward<TypeParam> reference(s);
      ASSERT_EQ(expected.run(), KILTER_OK);
      ASSERT_EQ(reference.run(), KILTER_OK);
      for (int k = 0; const char* target = kilter_cpu_target_at(k); ++k) {
        ASSERT_EQ(kilter_set_cpu_target(target), KILTER_OK);
        ASSERT_STREQ(kilter_cpu_target(), target);
        scalar |= std::string(target) == "SCALAR";
        for (const int rounding : {KILTER_ROUND_ONCE, KILTER_ROUND_THEN_MULTIPLY}) {
          s.rounding = rounding;
          Forward<TypeParam> f(s);
          ASSERT_EQ(f.run(), KILTER_OK);
          ASSERT_STREQ(kilter_cpu_target(), target);
          if (rounding == KILTER_ROUND_ONCE) {
            EXPECT_TRUE(same_outputs(expected, f)) << target;
          }
        }
        Backward<TypeParam> b(s);
        ASSERT_EQ(b.run(), KILTER_OK);
        EXPECT_TRUE(same_outputs(reference, b)) << target;
      }
      ASSERT_EQ(kilter_set_cpu_target(nullptr), KILTER_OK);
    }
  EXPECT_TRUE(scalar);
}

TYPED_TEST(Execution, EveryThreadCountGivesTheSameBits) {
  for (const DType t : kTypes) {
    const Spec s = large(t, t);
    const WithThreads one(1);
    Forward<TypeParam> expected(s);
    Backward<TypeParam> reference(s);
    ASSERT_EQ(expected.run(), KILTER_OK);
    ASSERT_EQ(reference.run(), KILTER_OK);
    for (const int threads : {2, 3, 8}) {
      const WithThreads more(threads);
      ASSERT_EQ(kilter_get_num_threads(), threads);
      Forward<TypeParam> f(s);
      Backward<TypeParam> b(s);
      EXPECT_GT(b.workspace->size(), reference.workspace->size());  // room for every thread
      ASSERT_EQ(f.run(), KILTER_OK);
      ASSERT_EQ(b.run(), KILTER_OK);
      EXPECT_TRUE(same_outputs(expected, f)) << threads << " threads";
      EXPECT_TRUE(same_outputs(reference, b)) << threads << " threads";
    }
  }
}

TYPED_TEST(Execution, ASmallerWorkspaceUsesFewerThreadsForTheSameBits) {
  const WithThreads eight(8);
  const Spec s = large(DType::f32, DType::f32);
  Backward<TypeParam> expected(s), b(s);
  ASSERT_EQ(expected.run(), KILTER_OK);
  size_t least = 0;
  {
    const WithThreads one(1);
    least = asked(b).workspace_size;
  }
  ASSERT_EQ(kilter_set_num_threads(8), KILTER_OK);
  ASSERT_LT(least, b.workspace->size());
  for (const size_t size : {least, least + 1, (least + b.workspace->size()) / 2, b.workspace->size() - 1}) {
    GuardedBuffer memory(size);
    b.args.workspace = memory.data(), b.args.workspace_size = size;
    ASSERT_EQ(b.run(), KILTER_OK) << kilter_last_error();
    EXPECT_TRUE(same_outputs(expected, b)) << size << " bytes";
  }
}

TYPED_TEST(Execution, RowsDoNotDependOnTheirCompany) {
  for (const DType t : {DType::f32, DType::bf16}) {
    Spec all = large(t, t);
    Forward<TypeParam> expected(all);
    Backward<TypeParam> reference(all);
    ASSERT_EQ(expected.run(), KILTER_OK);
    ASSERT_EQ(reference.run(), KILTER_OK);
    for (const int64_t rows : {1, 2, 3, 5, 64, 255, 256, 257})
      for (const int64_t first : {0, 1, 500, 744}) {
        Spec part = all;
        part.rows = rows;
        Forward<TypeParam> f(part);
        Backward<TypeParam> b(part);
        const auto from = [&](auto& call, auto& whole) {  // the inputs are rows of the large call's
          const std::vector<NamedTensor> mine = call.tensors(), theirs = whole.tensors();
          for (size_t k = 0; k < mine.size(); ++k)
            if (!mine[k].output) mine[k].tensor->data = theirs[k].matrix->row(mine[k].kind == Kind::vector ? 0 : first);
          ASSERT_EQ(call.run(), KILTER_OK) << kilter_last_error();
        };
        from(f, expected);
        from(b, reference);
        for (int64_t r = 0; r < rows; ++r) {
          ASSERT_TRUE(same_row(expected.y, first + r, f.y, r, "y"));
          ASSERT_TRUE(same_row(expected.rstd, first + r, f.rstd, r, "rstd"));
          ASSERT_TRUE(same_row(expected.residual_out, first + r, f.residual_out, r, "residual_out"));
          ASSERT_TRUE(same_row(reference.dx, first + r, b.dx, r, "dx"));
          ASSERT_TRUE(same_row(reference.dresidual, first + r, b.dresidual, r, "dresidual"));
        }
      }
  }
}

TYPED_TEST(Execution, ConcurrentCallsSharingWeights) {
  for (const DType t : {DType::f32, DType::bf16}) {
    const Spec s = large(t, t);
    constexpr int kCallers = 4, kTurns = 12;
    std::vector<std::unique_ptr<Forward<TypeParam>>> expected, forward;
    std::vector<std::unique_ptr<Backward<TypeParam>>> reference, backward;
    for (int k = 0; k < kCallers; ++k) {
      Spec own = s;
      own.seed = 100 + uint64_t(k);  // rows of its own
      const WithThreads two(2);      // workspaces for the threads that callers will use
      expected.push_back(std::make_unique<Forward<TypeParam>>(own));
      forward.push_back(std::make_unique<Forward<TypeParam>>(own));
      reference.push_back(std::make_unique<Backward<TypeParam>>(own));
      backward.push_back(std::make_unique<Backward<TypeParam>>(own));
      for (auto* f : {expected.back().get(), forward.back().get()})
        f->args.weight = expected[0]->args.weight, f->args.bias = expected[0]->args.bias;
      for (auto* b : {reference.back().get(), backward.back().get()}) b->args.weight = reference[0]->args.weight;
      ASSERT_EQ(expected.back()->run(), KILTER_OK);
      ASSERT_EQ(reference.back()->run(), KILTER_OK);
    }
    std::atomic<int> waiting{kCallers}, wrong{0};
    std::vector<std::thread> callers;
    callers.reserve(kCallers);
    for (int k = 0; k < kCallers; ++k)
      callers.emplace_back([&, k] {
        if (kilter_set_num_threads(1 + k % 2) != KILTER_OK) ++wrong;
        --waiting;
        while (waiting) std::this_thread::yield();
        for (int turn = 0; turn < kTurns; ++turn) {
          forward[size_t(k)]->y.fill([](int64_t, int64_t) { return 7; });
          if (forward[size_t(k)]->run() != KILTER_OK || backward[size_t(k)]->run() != KILTER_OK) ++wrong;
          if (!same_outputs(*expected[size_t(k)], *forward[size_t(k)]) || !same_outputs(*reference[size_t(k)], *backward[size_t(k)]))
            ++wrong;
        }
      });
    for (std::thread& caller : callers) caller.join();
    EXPECT_EQ(wrong, 0);
  }
}

TYPED_TEST(Execution, TwiceTheSameBits) {
  for (const DType t : kTypes) {
    const Spec s = large(t, DType::f32);
    Forward<TypeParam> first(s), f(s);
    Backward<TypeParam> first_back(s), b(s);
    ASSERT_EQ(first.run(), KILTER_OK);
    ASSERT_EQ(first_back.run(), KILTER_OK);
    for (int turn = 0; turn < 20; ++turn) {
      ASSERT_EQ(f.run(), KILTER_OK);
      ASSERT_EQ(b.run(), KILTER_OK);
      ASSERT_TRUE(same_outputs(first, f));
      ASSERT_TRUE(same_outputs(first_back, b));
    }
  }
}

}  // namespace
}  // namespace kilter::test

// What a call asks its list for, and what a list answers: queries, refusals by device, workspaces; structs of other versions.
#include "core/dispatch.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>

#include "core/tensor.h"
#include "families/rowwise/problem.h"

namespace kilter::test {
namespace {

bool operator==(const kilter_dtype& a, DType b) { return dtype_of(a) == b && (b != DType::none) == (a.bits != 0); }

// Tensors for checks alone: nothing reads their memory, each lies by itself.
class Tensors {
 public:
  kilter_tensor rows(DType t) { return make(t, 2); }
  kilter_tensor vector(DType t) { return make(t, 1); }
  kilter_tensor per_row(DType t) {
    kilter_tensor result = make(t, 1);
    result.shape = shape_;
    return result;
  }

 private:
  kilter_tensor make(DType t, int ndim) {
    if (t == DType::none) return {};
    return {reinterpret_cast<void*>(address_ += 4096), {KILTER_DEVICE_CUDA, 3}, ndim, dlpack_of(t), shape_ + 2 - ndim, nullptr, 0};
  }
  int64_t shape_[2] = {5, 12};
  uintptr_t address_ = 1 << 20;
};

TEST(Dispatch, AForwardCallAsksWithTheTypeOfEachTensor) {
  Tensors t;
  kilter_prologue prologue = {sizeof prologue, t.rows(DType::f32), {}, {}};
  kilter_epilogue epilogue = {sizeof epilogue, KILTER_ACTIVATION_GELU, t.rows(DType::bf16)};
  RowNormForwardArgs args{};
  args.op = "layer_norm", args.centered = true;
  args.x = t.rows(DType::bf16), args.y = t.rows(DType::bf16), args.bias = t.vector(DType::f32);
  args.prologue = &prologue, args.epilogue = &epilogue;
  const auto ask = [&] {
    RowNormForward problem;
    kilter_query q;
    EXPECT_EQ(check_forward(args, &problem, &q), KILTER_OK) << kilter_last_error();
    return q;
  };
  kilter_query q = ask();
  EXPECT_EQ(q.device.type, KILTER_DEVICE_CUDA);
  EXPECT_EQ(q.device.id, 3);
  EXPECT_TRUE(q.x == DType::bf16 && q.weight == DType::none && q.bias == DType::f32);
  EXPECT_TRUE(q.residual == DType::f32 && q.gate == DType::none && q.post_residual == DType::bf16);
  EXPECT_TRUE(q.dy == DType::none && q.dweight == DType::none && q.dbias == DType::none);
  EXPECT_EQ(q.features, 0u);
  EXPECT_EQ(q.activation, KILTER_ACTIVATION_GELU);
  EXPECT_EQ(q.rows, 5);
  EXPECT_EQ(q.n, 12);
  args.weight = t.vector(DType::bf16), args.bias = {}, args.weight_offset = 1, args.rounding = KILTER_ROUND_THEN_MULTIPLY;
  prologue.residual = t.rows(DType::bf16), prologue.gate = t.rows(DType::f32), args.epilogue = nullptr;
  q = ask();
  EXPECT_TRUE(q.weight == DType::bf16 && q.bias == DType::none);
  EXPECT_TRUE(q.residual == DType::bf16 && q.gate == DType::f32 && q.post_residual == DType::none);
  EXPECT_EQ(q.features, unsigned(KILTER_FEATURE_WEIGHT_OFFSET | KILTER_FEATURE_ROUND_THEN_MULTIPLY));
}

TEST(Dispatch, ABackwardCallAsksWithTheTypeOfEachTensor) {
  Tensors t;
  RowNormBackwardArgs args{};
  args.op = "rms_norm";
  args.x = t.rows(DType::f32), args.dy = t.rows(DType::bf16), args.rstd = t.per_row(DType::f32);
  const auto ask = [&] {
    RowNormBackward problem;
    kilter_query q;
    EXPECT_EQ(check_backward(args, &problem, &q), KILTER_OK) << kilter_last_error();
    EXPECT_TRUE(q.x == DType::f32 && q.dy == DType::bf16 && q.bias == DType::none && q.residual == DType::none);
    EXPECT_EQ(q.device.type, KILTER_DEVICE_CUDA);
    return q;
  };
  args.weight = t.vector(DType::bf16), args.dweight = t.vector(DType::bf16), args.dresidual = t.rows(DType::f32);
  kilter_query q = ask();
  EXPECT_TRUE(q.weight == DType::bf16 && q.dweight == DType::bf16 && q.dbias == DType::none);
  EXPECT_TRUE(q.dresidual == DType::f32 && q.dresidual_out == DType::none);
  args.dbias = t.vector(DType::f32), args.dresidual_out = t.rows(DType::bf16), args.dweight = args.dresidual = {};
  q = ask();
  EXPECT_TRUE(q.dweight == DType::none && q.dbias == DType::f32);
  EXPECT_TRUE(q.dresidual == DType::none && q.dresidual_out == DType::bf16);
}

// A list as a second backend makes it: each entry refuses the other's device and has a workspace of its own.
struct Sum {
  int64_t n = 0;
  mutable const char* ran = "";
};
const char* not_cuda(const kilter_query& q) { return q.device.type == KILTER_DEVICE_CUDA ? nullptr : "only CUDA"; }
const char* not_cpu(const kilter_query& q) { return q.device.type == KILTER_DEVICE_CPU ? nullptr : "only the CPU"; }
template <char kName>
kilter_status run(const Sum& sum, kilter_stream) {
  static constexpr char kText[] = {kName, 0};
  sum.ran = kText;
  return KILTER_OK;
}
constexpr Implementation<Sum> kList[] = {{"cuda:a", not_cuda, run<'a'>, [](const Sum& s) { return size_t(s.n); }},
                                         {"cpu:b", not_cpu, run<'b'>, [](const Sum& s) { return size_t(2 * s.n); }},
                                         {"reference:c", not_cpu, run<'c'>}};

TEST(Dispatch, TheWorkspaceIsThatOfTheEntryWhichRuns) {
  const struct {
    int32_t device;
    const char *impl, *ran;
    size_t bytes;
  } cases[] = {{KILTER_DEVICE_CUDA, nullptr, "a", 7},
               {KILTER_DEVICE_CPU, nullptr, "b", 14},
               {KILTER_DEVICE_CPU, "reference:c", "c", 0},
               {KILTER_DEVICE_CPU, "cpu:b", "b", 14}};
  for (const auto& c : cases) {
    kilter_query q{};
    q.op = "sum", q.device.type = c.device, q.impl = c.impl;
    const Sum sum{.n = 7};
    size_t bytes = 99;
    EXPECT_EQ(workspace_of(kList, q, sum, &bytes), KILTER_OK) << kilter_last_error();
    EXPECT_EQ(bytes, c.bytes);
    EXPECT_EQ(dispatch(kList, q, sum, nullptr), KILTER_OK) << kilter_last_error();
    EXPECT_STREQ(sum.ran, c.ran);
  }
}

TEST(Dispatch, WithoutAnEntryThereIsNoWorkspace) {
  const auto refused = [](int32_t device, const char* impl, kilter_status status, const char* text) {
    kilter_query q{};
    q.op = "sum", q.device.type = device, q.impl = impl;
    size_t bytes = 99;
    EXPECT_EQ(workspace_of(kList, q, Sum{}, &bytes), status);
    EXPECT_EQ(bytes, 99u);
    EXPECT_NE(std::strstr(kilter_last_error(), text), nullptr) << kilter_last_error();
    EXPECT_EQ(dispatch(kList, q, Sum{}, nullptr), status);
  };
  refused(KILTER_DEVICE_METAL, nullptr, KILTER_UNSUPPORTED, "cuda:a: only CUDA; cpu:b, reference:c: only the CPU");
  refused(KILTER_DEVICE_CPU, "cuda:a", KILTER_UNSUPPORTED, "cuda:a: only CUDA");
  refused(KILTER_DEVICE_CPU, "cuda:z", KILTER_INVALID_ARGUMENT, "expected one of cuda:a, cpu:b, reference:c, got cuda:z");
}

// A struct that grew once: `added` is what callers of the first version lack.
struct Grown {
  size_t struct_size;
  int64_t first;
  int64_t added;
};
constexpr size_t kFirstSize = offsetof(Grown, added);

TEST(Structs, WhatAShorterStructLacksIsZero) {
  struct First {
    size_t struct_size;
    int64_t first;
    int64_t beyond;  // the caller's own memory behind its struct, not part of it
  } given = {kFirstSize, 5, 77};
  Grown got = {1, 2, 3};
  ASSERT_EQ(read_struct("op", "args", reinterpret_cast<const Grown*>(&given), kFirstSize, &got), KILTER_OK) << kilter_last_error();
  EXPECT_EQ(got.struct_size, kFirstSize);
  EXPECT_EQ(got.first, 5);
  EXPECT_EQ(got.added, 0);
  Grown whole = {sizeof whole, 5, 6};
  ASSERT_EQ(read_struct("op", "args", &whole, kFirstSize, &got), KILTER_OK);
  EXPECT_EQ(got.added, 6);
}

TEST(Structs, ShorterThanTheFirstVersionIsRefused) {
  const Grown given = {kFirstSize - 1, 5, 6};
  Grown got = {1, 2, 3};
  EXPECT_EQ(read_struct("op", "args", &given, kFirstSize, &got), KILTER_INVALID_ARGUMENT);
  EXPECT_STREQ(kilter_last_error(), "op: args.struct_size: expected at least 16, got 15");
  EXPECT_EQ(got.added, 3);
}

}  // namespace
}  // namespace kilter::test

// What the core does with a table and a list of implementations, as a second backend makes them.
#include "core/dispatch.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "families/rowwise/schema.h"

namespace kilter {
namespace {

// Tensors that lie nowhere in particular, on a device that has no memory here.
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

using ForwardArgs = kilter_layer_norm_forward_args;
using BackwardArgs = kilter_rms_norm_backward_args;
constexpr Schema kForward = row_norm_forward<ForwardArgs>("layer_norm", KILTER_LAYER_NORM_FORWARD);
constexpr Schema kBackward = row_norm_backward<BackwardArgs>("rms_norm", KILTER_RMS_NORM_BACKWARD);

TEST(Reading, AForwardProblemHasWhatWasPassed) {
  Tensors t;
  ForwardArgs args = kilter_layer_norm_forward_defaults();
  args.x = t.rows(DType::bf16), args.y = t.rows(DType::bf16), args.bias = t.vector(DType::f32);
  args.residual = t.rows(DType::f32), args.post_residual = t.rows(DType::bf16), args.activation = KILTER_ACTIVATION_GELU;
  const auto read = [&] {
    RowNormForward problem;
    EXPECT_EQ(read_arguments(kForward, &args, Purpose::kRun, &problem), KILTER_OK) << kilter_last_error();
    return problem;
  };
  RowNormForward p = read();
  EXPECT_EQ(p.device.type, KILTER_DEVICE_CUDA);
  EXPECT_EQ(p.device.id, 3);
  EXPECT_TRUE(p.x.dtype == DType::bf16 && p.weight.dtype == DType::none && p.bias.dtype == DType::f32);
  EXPECT_TRUE(p.residual.dtype == DType::f32 && p.gate.dtype == DType::none && p.post_residual.dtype == DType::bf16);
  EXPECT_TRUE(p.y.dtype == DType::bf16 && p.residual_out.dtype == DType::none && p.mean.dtype == DType::none);
  EXPECT_EQ(p.x.data, args.x.data);
  EXPECT_EQ(p.y.data, args.y.data);
  EXPECT_EQ(p.bias.data, args.bias.data);
  EXPECT_EQ(p.eps, KILTER_DEFAULT_EPS);
  EXPECT_EQ(p.weight_offset, 0);
  EXPECT_EQ(p.rounding, KILTER_ROUND_ONCE);
  EXPECT_EQ(p.activation, KILTER_ACTIVATION_GELU);
  EXPECT_EQ(p.rows, 5);
  EXPECT_EQ(p.n, 12);
  args.weight = t.vector(DType::bf16), args.bias = {}, args.weight_offset = 1, args.rounding = KILTER_ROUND_THEN_MULTIPLY;
  args.residual = t.rows(DType::bf16), args.gate = t.rows(DType::f32), args.post_residual = {};
  args.impl = "any", args.launch_flags = KILTER_LAUNCH_DEPENDENT;
  p = read();
  EXPECT_TRUE(p.weight.dtype == DType::bf16 && p.bias.dtype == DType::none);
  EXPECT_TRUE(p.residual.dtype == DType::bf16 && p.gate.dtype == DType::f32 && p.post_residual.dtype == DType::none);
  EXPECT_EQ(p.weight_offset, 1);
  EXPECT_EQ(p.rounding, KILTER_ROUND_THEN_MULTIPLY);
  EXPECT_STREQ(p.impl, "any");
  EXPECT_EQ(p.launch_flags, uint64_t(KILTER_LAUNCH_DEPENDENT));
}

TEST(Reading, ABackwardProblemHasWhatWasPassed) {
  Tensors t;
  BackwardArgs args = kilter_rms_norm_backward_defaults();
  char workspace[8];
  args.x = t.rows(DType::f32), args.dy = t.rows(DType::bf16), args.rstd = t.per_row(DType::f32);
  args.workspace = workspace, args.workspace_size = 8;
  const auto read = [&] {
    RowNormBackward problem;
    EXPECT_EQ(read_arguments(kBackward, &args, Purpose::kRun, &problem), KILTER_OK) << kilter_last_error();
    EXPECT_TRUE(problem.x.dtype == DType::f32 && problem.dy.dtype == DType::bf16 && problem.rstd.dtype == DType::f32);
    EXPECT_EQ(problem.device.type, KILTER_DEVICE_CUDA);
    EXPECT_EQ(problem.workspace, workspace);
    EXPECT_EQ(problem.workspace_size, 8u);
    return problem;
  };
  args.weight = t.vector(DType::bf16), args.dweight = t.vector(DType::bf16), args.dresidual = t.rows(DType::f32);
  RowNormBackward p = read();
  EXPECT_TRUE(p.weight.dtype == DType::bf16 && p.dweight.dtype == DType::bf16 && p.dbias.dtype == DType::none);
  EXPECT_TRUE(p.dresidual.dtype == DType::f32 && p.dresidual_out.dtype == DType::none && p.dx.dtype == DType::none);
  args.dbias = t.vector(DType::f32), args.dresidual_out = t.rows(DType::bf16), args.dweight = args.dresidual = {};
  p = read();
  EXPECT_TRUE(p.dweight.dtype == DType::none && p.dbias.dtype == DType::f32);
  EXPECT_TRUE(p.dresidual.dtype == DType::none && p.dresidual_out.dtype == DType::bf16);
}

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

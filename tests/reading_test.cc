// What the core makes of a caller's struct by a table: the problem that kernels see, or why there is none.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/arguments.h"
#include "families/planewise/schema.h"
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

// A call of group_norm on planes in one layout, any of which a test changes.
struct Planes {
  static constexpr Schema kSchema = plane_norm_forward<kilter_group_norm_forward_args>("group_norm", KILTER_GROUP_NORM_FORWARD);
  int64_t shape[4] = {3, 6, 4, 5}, strides[4] = {120, 20, 5, 1}, channels[1] = {6}, groups[2] = {3, 2};
  kilter_group_norm_forward_args args = kilter_group_norm_forward_defaults();
  PlaneForward problem;

  Planes() {
    args.x = at(1, 4, shape), args.y = at(2, 4, shape), args.weight = at(3, 1, channels), args.mean = at(4, 2, groups);
    args.y.strides = args.x.strides = strides;
    args.groups = 2;
  }
  static kilter_tensor at(uintptr_t place, int32_t ndim, int64_t* sizes) {
    return {reinterpret_cast<void*>(place << 30), {KILTER_DEVICE_CPU, 0}, ndim, dlpack_of(DType::f32), sizes, nullptr, 0};
  }
  kilter_status read() {
    problem = {};
    return read_arguments(kSchema, &args, Purpose::kRun, &problem);
  }
  void expect_refused(kilter_status status, const char* text) {
    EXPECT_EQ(read(), status);
    EXPECT_STREQ(kilter_last_error(), (std::string("group_norm: ") + text).c_str());
  }
};

TEST(ReadingPlanes, SizesLayoutAndSamples) {
  Planes p;
  ASSERT_EQ(p.read(), KILTER_OK) << kilter_last_error();
  EXPECT_EQ(p.problem.batch, 3);
  EXPECT_EQ(p.problem.channels, 6);
  EXPECT_EQ(p.problem.spatial, 20);
  EXPECT_EQ(p.problem.groups, 2);
  for (const View* v : {&p.problem.x, &p.problem.y, &p.problem.residual}) EXPECT_EQ(v->layout, kChannelsFirst);
  EXPECT_EQ(p.problem.weight.layout, 0);
  EXPECT_EQ(p.problem.x.map.at(2), 240);
  EXPECT_EQ(p.problem.mean.map.at(2), 4);
  int64_t last[4] = {-7, 1, 30, 6};
  p.args.x.strides = last, p.args.y = {}, p.args.y = Planes::at(2, 4, p.shape);
  int64_t of_y[4] = {500, 1, 30, 6};
  p.args.y.strides = of_y;
  ASSERT_EQ(p.read(), KILTER_OK) << kilter_last_error();
  for (const View* v : {&p.problem.x, &p.problem.y, &p.problem.residual}) EXPECT_EQ(v->layout, kChannelsLast);
  EXPECT_EQ(p.problem.x.map.at(2), -14);
  EXPECT_EQ(p.problem.y.map.at(2), 1000);
}

// One channel, one place, or no element at all: dense in both, whatever the strides of the others.
TEST(ReadingPlanes, WhatIsDenseInBoth) {
  const auto layout_of = [](std::vector<int64_t> shape, std::vector<int64_t> strides, int64_t groups) {
    Planes p;
    int64_t channels = shape[1];
    p.args.weight = Planes::at(3, 1, &channels), p.args.mean = {}, p.args.groups = groups;
    p.args.x = Planes::at(1, int32_t(shape.size()), shape.data()), p.args.y = Planes::at(2, int32_t(shape.size()), shape.data());
    if (!strides.empty()) p.args.x.strides = strides.data();
    EXPECT_EQ(p.read(), KILTER_OK) << kilter_last_error();
    return int(p.problem.x.layout);
  };
  const int both = kChannelsFirst | kChannelsLast;
  EXPECT_EQ(layout_of({3, 6}, {}, 2), both);
  EXPECT_EQ(layout_of({3, 6, 1, 1}, {6, 1, 6, 6}, 2), both);
  EXPECT_EQ(layout_of({3, 6, 1, 1}, {6, 1, 77, -5}, 2), both);
  EXPECT_EQ(layout_of({3, 1, 4, 5}, {20, 1, 5, 1}, 1), both);
  EXPECT_EQ(layout_of({3, 1, 4, 5}, {20, 99, 5, 1}, 1), both);
  EXPECT_EQ(layout_of({3, 6, 1, 5}, {30, 5, 99, 1}, 2), kChannelsFirst);
  EXPECT_EQ(layout_of({3, 6, 0, 5}, {5, 5, 5, 1}, 2), both);
  EXPECT_EQ(layout_of({0, 6, 4, 5}, {7, 7, 7, 7}, 2), both);
  EXPECT_EQ(layout_of({3, 6, 0, int64_t(1) << 40, int64_t(1) << 40}, {}, 2), both);  // no product of which fits
}

TEST(ReadingPlanes, Counts) {
  Planes p;
  for (const int64_t groups : {0, -2}) {
    p.args.groups = groups;
    p.expect_refused(KILTER_INVALID_ARGUMENT, ("groups: expected at least 1, got " + std::to_string(groups)).c_str());
  }
  p.args.groups = 3;
  p.expect_refused(KILTER_INVALID_ARGUMENT, "mean.shape: expected [3, 3], got [3, 2]");
  p.groups[1] = p.args.groups = 4;
  p.expect_refused(KILTER_INVALID_ARGUMENT, "groups: expected a divisor of channels (6), got 4");
  p.groups[1] = p.args.groups = 12;
  p.expect_refused(KILTER_INVALID_ARGUMENT, "groups: expected a divisor of channels (6), got 12");
  p.groups[1] = p.args.groups = 6;
  EXPECT_EQ(p.read(), KILTER_OK) << kilter_last_error();
  p.args.reserved = 1;
  p.expect_refused(KILTER_INVALID_ARGUMENT, "reserved: expected 0, got 1");
}

TEST(ReadingPlanes, Shapes) {
  Planes p;
  p.channels[0] = 2;
  p.expect_refused(KILTER_INVALID_ARGUMENT, "weight.shape: expected [6] (x.shape[1]), got [2]");
  p.channels[0] = 6, p.args.y.ndim = 3;
  p.expect_refused(KILTER_INVALID_ARGUMENT, "y.shape: expected [3, 6, 4, 5], as of x, got [3, 6, 4]");
  p.args.x.ndim = 1;
  p.expect_refused(KILTER_INVALID_ARGUMENT, "x.shape: expected [batch, channels, ...], got [3]");
  int64_t many[5] = {0, 6, int64_t(1) << 31, int64_t(1) << 31, 2};
  p.args.x = Planes::at(1, 5, many);
  p.expect_refused(KILTER_INVALID_ARGUMENT, "x.shape: expected at most 2^63 places, got [0, 6, 2147483648, 2147483648, 2]");
}

TEST(ReadingPlanes, StridesAndOverlap) {
  Planes p;
  int64_t strides[4] = {120, 1, 30, 6};
  p.args.y.strides = strides;
  p.expect_refused(KILTER_UNSUPPORTED, "y.strides: expected channels first, as of x, got channels last");
  strides[2] = 5;
  p.expect_refused(KILTER_UNSUPPORTED, "y.strides: expected channels first or channels last, dense in each sample, got [120, 1, 5, 6]");
  int64_t first[4] = {119, 20, 5, 1};
  p.args.y.strides = first;
  p.expect_refused(KILTER_OVERLAP, "y.strides: expected samples that share no element, got some that overlap");
  first[0] = 120, p.args.y.data = p.args.x.data;
  EXPECT_EQ(p.read(), KILTER_OK) << kilter_last_error();
  first[0] = 121;
  p.expect_refused(KILTER_OVERLAP,
                   "y: expected memory that is exactly another tensor's or separate, got memory that shares elements with x");
  // Samples of y between those of x; then mean in the gaps of both.
  first[0] = p.strides[0] = 250, p.args.y.data = static_cast<char*>(p.args.x.data) + sizeof(float) * 120;
  EXPECT_EQ(p.read(), KILTER_OK) << kilter_last_error();
  int64_t gaps[2] = {250, 1};
  p.args.mean.data = static_cast<char*>(p.args.x.data) + sizeof(float) * 240, p.args.mean.strides = gaps;
  EXPECT_EQ(p.read(), KILTER_OK) << kilter_last_error();
  gaps[0] = 251;
  EXPECT_EQ(p.read(), KILTER_OK) << kilter_last_error();
  gaps[0] = 260;
  p.expect_refused(KILTER_OVERLAP, "mean: expected memory of its own, got memory that shares elements with x");
}

}  // namespace
}  // namespace kilter

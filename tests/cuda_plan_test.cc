// Which kernel a call on a CUDA device takes, at every boundary of the plans; needs neither a GPU nor CUDA.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "families/rowwise/cuda/parameters.h"
#include "families/rowwise/cuda/plan.h"

namespace kilter::cuda {
namespace {

constexpr int64_t kMostShared = 227 * 1024;  // bytes of a block on architecture 90
constexpr int kItems[] = {2, 4};
constexpr DeviceTraits kDevices[] = {{60, 80}, {108, 80}, {132, 80}, {264, 80}, {60, 90}, {108, 90}, {132, 90}, {264, 90}};
constexpr DeviceTraits kH100 = {132, 90};

using ForwardKernel = std::tuple<int, int, int, int, int, bool>;
using BackwardKernel = std::tuple<int, int, bool>;

const std::set<ForwardKernel> kForwardKernels = {
#define KILTER_ROW_FORWARD(...) {__VA_ARGS__},
#include "families/rowwise/cuda/instances.def"
#undef KILTER_ROW_FORWARD
};
const std::set<ForwardKernel> kSinglesKernels = {
#define KILTER_ROW_SINGLES(lanes, ...) {__VA_ARGS__},
#include "families/rowwise/cuda/instances.def"
#undef KILTER_ROW_SINGLES
};
constexpr int kSpreadWarps[] = {
#define KILTER_ROW_SPREAD(warps) warps,
#include "families/rowwise/cuda/instances.def"
#undef KILTER_ROW_SPREAD
};
const std::set<BackwardKernel> kBackwardKernels = {
#define KILTER_ROW_BACKWARD(...) {__VA_ARGS__},
#include "families/rowwise/cuda/instances.def"
#undef KILTER_ROW_BACKWARD
};

ForwardKernel kernel_of(const RowForwardPlan& p) { return {p.threads, p.warps, p.segments, p.stripes, p.rows, p.cluster > 1}; }
BackwardKernel kernel_of(const RowBackwardPlan& p) { return {p.threads, p.stripes, p.cluster > 1}; }

BackwardLayout layout_of(const RowBackwardPlan& p, int64_t n, bool dense) {
  int padded = 1;
  while (padded * 1024 < n) padded *= 2;
  const StageLayout stage = p.singles ? single_stage(p.row_bytes, p.row_bytes, p.slots, dense) : vector_stage(p.row_bytes, p.slots);
  return backward_layout(stage, p.slot_threads * 8, p.slots, padded);
}

// All but the number of blocks, in words; what the table below expects.
std::string shape_of(const RowForwardPlan& p) {
  if (p.general) return "general";
  if (p.spread) return "spread, " + std::to_string(p.block);
  std::string s = (p.singles ? "singles, " : "") + std::to_string(p.threads) + " threads";
  const auto add = [&s](int count, const char* what) { s += count > 1 ? ", " + std::to_string(count) + what : ""; };
  add(p.warps, " warps"), add(p.segments, " segments"), add(p.stripes, " stripes"), add(p.rows, " rows"), add(p.cluster, " blocks a row");
  return s + (p.early ? ", early" : "") + (p.streams ? ", streams" : "") + ", " + std::to_string(p.block);
}
std::string shape_of(const RowBackwardPlan& p) {
  if (p.general) return "general";
  std::string s = std::to_string(p.threads) + " threads";
  const auto add = [&s](int count, const char* what) { s += count > 1 ? ", " + std::to_string(count) + what : ""; };
  add(p.stripes, " stripes"), add(p.slots, " slots"), add(p.block_segments, " segments"), add(p.cluster, " blocks a row");
  return s + ", " + std::to_string(p.block);
}
template <class Plan>
std::string text_of(const Plan& p) {
  return p.general ? "general" : shape_of(p) + " x " + std::to_string(p.blocks);
}

// The first thing that a plan does wrong; null: nothing.
#define KILTER_NEED(condition) \
  if (!(condition)) return #condition

const char* fault_of(const RowForwardPlan& p, int64_t rows, int64_t n, int item, const DeviceTraits& device) {
  const int64_t segments = (n + 1023) / 1024;
  if (p.general) {
    KILTER_NEED(n <= 0 || segments > (device.has_clusters() ? 256 : 16) || p.blocks > kMaxBlocks);
    return nullptr;
  }
  KILTER_NEED(n > 0 && p.blocks <= kMaxBlocks);
  if (p.spread) {
    KILTER_NEED(item == 2 && p.blocks == rows && p.block == segments * 64 && p.block <= kSpreadWarps[0] * 32);
    return nullptr;
  }
  KILTER_NEED((p.singles ? kSinglesKernels : kForwardKernels).count(kernel_of(p)) == 1);
  KILTER_NEED(p.cluster >= 1 && p.cluster <= (device.has_clusters() ? 16 : 1));
  KILTER_NEED(p.block > 0 && p.block % 32 == 0 && p.block <= 1024);
  KILTER_NEED(p.block <= (p.warps == 1 ? 128 : p.warps * 32));  // the kernel's launch bounds

  // Columns: those of part of a warp, of a warp, of a block's warps, of a cluster's blocks.
  const int64_t held = p.threads < 32 ? p.threads * (16 / item) : p.stripes * 256 * int64_t(p.segments);
  const int64_t warps = p.warps == 1 ? 1 : p.block / 32, block = held * warps;
  KILTER_NEED(block * p.cluster >= n);
  KILTER_NEED(block * (p.cluster - 1) < n);
  KILTER_NEED(p.warps == 1 || p.stripes == 4);                            // warps own whole segments
  KILTER_NEED(p.cluster == 1 || p.block == p.warps * 32);                 // blocks of a cluster are alike
  KILTER_NEED(!p.singles || p.threads < 32 || p.rows * p.segments <= 2);  // two sums of each take the tree of 32 threads together
  KILTER_NEED(p.cluster > 1 || held * (warps - 1) < n);                   // no warp without a column

  const int64_t per_block = p.warps == 1 ? p.block / p.threads * int64_t(p.rows) : 1, teams = p.blocks / p.cluster;
  KILTER_NEED(p.blocks % p.cluster == 0);
  KILTER_NEED(teams * per_block >= rows);
  KILTER_NEED((teams - 1) * per_block < rows);
  return nullptr;
}

const char* fault_of(const RowBackwardPlan& p, int64_t rows, int64_t n, int item, const DeviceTraits& device) {
  const int64_t segments = (n + 1023) / 1024;
  const int most = item == 2 ? 4 : 2;
  if (p.general) {
    KILTER_NEED(rows <= 0 || n <= 0 || !device.has_clusters() || segments > 16 * most || p.blocks > kMaxBlocks ||
                p.partition.steps() > INT32_MAX);
    return nullptr;
  }
  KILTER_NEED(rows > 0 && n > 0 && device.has_clusters() && p.blocks <= kMaxBlocks && p.partition.steps() <= INT32_MAX);
  KILTER_NEED(kBackwardKernels.count(kernel_of(p)) == 1);
  KILTER_NEED(p.cluster >= 1 && p.cluster <= 16);
  KILTER_NEED(p.block == p.slots * p.slot_threads && p.block % 32 == 0);
  KILTER_NEED(p.block <= 128 * most);  // the kernel's launch bounds
  KILTER_NEED(p.slots > 0 && (p.slots & (p.slots - 1)) == 0);
  KILTER_NEED(p.cluster == 1 || p.slots == 1);

  // Columns, of the sums and of the output.
  const int64_t held = p.threads < 32 ? p.threads * (p.singles ? 8 : 16 / item) : p.stripes * 256;
  const int64_t part = int64_t(p.block_segments) * 1024;
  KILTER_NEED(p.threads * p.stripes <= p.slot_threads * 4);
  KILTER_NEED((p.slot_threads / p.threads) * (4 / p.stripes) == 4 * p.block_segments);  // warps' rows: groups of four
  KILTER_NEED(p.stripes == 4 || (p.cluster == 1 && p.block_segments == 1));
  KILTER_NEED(held * p.block_segments * p.cluster >= n);
  KILTER_NEED(int64_t(p.slot_threads) * 8 * p.cluster >= n);
  KILTER_NEED(part * (p.cluster - 1) < n);
  KILTER_NEED(int64_t(p.row_bytes) >= std::min(part, n) * item);

  // Rows.
  const RowPartition partition = row_partition(rows, n);
  KILTER_NEED(p.partition.groups == partition.groups && p.partition.chunks == partition.chunks);
  KILTER_NEED(p.partition.steps() * partition.chunks >= partition.groups);
  const int64_t teams = p.blocks / p.cluster;
  KILTER_NEED(p.blocks % p.cluster == 0);
  KILTER_NEED(teams * p.slots >= partition.chunks);
  KILTER_NEED((teams - 1) * p.slots < partition.chunks);

  // Shared memory, in which vectors are aligned if rows are.
  for (const bool dense : {false, true}) {
    const BackwardLayout at = layout_of(p, n, dense);
    const int rows_of_stage = 4 * p.slots;
    const bool any_place = p.singles && !dense, aligned = p.singles || n % 8 == 0;
    KILTER_NEED(at.total <= kMostShared);
    KILTER_NEED(!aligned || (at.dy % 16 == 0 && at.stage % 16 == 0 && at.weights % 16 == 0));
    KILTER_NEED((p.singles ? !any_place : n % 8 != 0) || (at.row % 16 == 0 && at.dy_row % 16 == 0));
    KILTER_NEED(!aligned || (at.statistics % (p.singles ? 16 : 8) == 0 && at.sums % 4 == 0 && at.scalars % 16 == 0));
    // Rows that begin anywhere in 16 bytes, in units of so many.
    KILTER_NEED(!any_place || at.row >= (p.row_bytes + 14 + 15) / 16 * 16);
    KILTER_NEED(at.dy >= rows_of_stage * at.row + (p.singles && dense ? 15 : 0));
    KILTER_NEED(at.stage >= at.dy + rows_of_stage * at.dy_row + (p.singles && dense ? 15 : 0));
    KILTER_NEED(at.stage < at.weights && at.weights < at.statistics && at.statistics < at.sums && at.sums < at.scalars);
    KILTER_NEED(at.scalars < at.total);
    KILTER_NEED(at.total >= p.slots * p.slot_threads * 64);  // fp64 sums of all columns, at the end
  }
  return nullptr;
}

std::vector<int64_t> lengths() {
  std::vector<int64_t> all = {0, 1};
  for (const int64_t n : {32, 64, 128, 256, 512})
    for (const int d : {-1, 0, 1}) all.push_back(n + d);
  for (int64_t segments = 1; segments <= 272; segments += segments < 68 || segments > 252 ? 1 : 8)
    for (const int d : {-1, 0, 1}) all.push_back(segments * 1024 + d);
  return all;
}

constexpr int64_t kMostRows = int64_t(1) << 45;

// Powers of two and every number of rows in between from which another plan holds, each with its neighbours.
template <class Shape>
std::vector<int64_t> row_counts(Shape shape) {
  std::set<int64_t> all;
  const auto add = [&all](int64_t rows) { all.insert({std::max<int64_t>(rows - 1, 0), rows, rows + 1}); };
  add(0);
  for (int64_t low = 1; low < kMostRows; low *= 2) {
    add(low);
    int64_t left = low, right = 2 * low;
    if (shape(left) == shape(right)) continue;
    for (const auto old = shape(left); left + 1 < right;) {
      const int64_t middle = left + (right - left) / 2;
      (shape(middle) == old ? left : right) = middle;
    }
    add(right);
  }
  return {all.begin(), all.end()};
}

auto fields(const RowForwardPlan& p) {
  return std::make_tuple(p.general, p.general ? ForwardKernel{} : kernel_of(p), p.cluster, p.early, p.streams, p.spread, p.block);
}
auto fields(const RowBackwardPlan& p) {
  return std::make_tuple(p.general, p.general ? BackwardKernel{} : kernel_of(p), p.cluster, p.slots, p.block);
}

// Calls check(rows, n, item, device, plan) around every boundary, until it answers false.
template <class Make, class Check>
void walk(Make make, Check check) {
  for (const DeviceTraits& device : kDevices)
    for (const int item : kItems)
      for (const int64_t n : lengths())
        for (const int64_t rows : row_counts([&](int64_t r) { return fields(make(r, n, item, device)); }))
          if (!check(rows, n, item, device, make(rows, n, item, device))) return;
}

template <class Plan>
bool is_sound(const Plan& p, int64_t rows, int64_t n, int item, const DeviceTraits& device) {
  const char* const fault = fault_of(p, rows, n, item, device);
  if (fault)
    ADD_FAILURE() << rows << " x " << n << ", " << item << " bytes, " << device.multiprocessors << " multiprocessors of architecture "
                  << device.architecture << ": " << text_of(p) << "\n  not so: " << fault;
  return !fault;
}

TEST(CudaPlan, ForwardIsSoundAndUsesAllKernels) {
  std::set<ForwardKernel> used;
  int spread = 0;
  for (const bool centered : {false, true})
    walk([&](int64_t rows, int64_t n, int item, const DeviceTraits& device) { return plan_forward(rows, n, item, centered, device); },
         [&](int64_t rows, int64_t n, int item, const DeviceTraits& device, const RowForwardPlan& p) {
           if (!p.general && !p.spread) used.insert(kernel_of(p));
           spread += p.spread;
           // The kernels of plain 16-bit rows know what is early.
           if (!p.general && item == 2) {
             EXPECT_NE(p.early, p.cluster > 1 && centered) << text_of(p);
           }
           return is_sound(p, rows, n, item, device);
         });
  EXPECT_EQ(used, kForwardKernels);
  EXPECT_GT(spread, 0);
}

TEST(CudaPlan, SinglesAreSoundAndUseAllKernels) {
  std::set<ForwardKernel> used;
  walk([](int64_t rows, int64_t n, int, const DeviceTraits& device) { return plan_singles(rows, n, device); },
       [&](int64_t rows, int64_t n, int, const DeviceTraits& device, const RowForwardPlan& p) {
         if (!p.general) used.insert(kernel_of(p));
         return is_sound(p, rows, n, 2, device);  // a thread has eight lanes of a stripe, as of 16-bit rows
       });
  EXPECT_EQ(used, kSinglesKernels);
  EXPECT_EQ(text_of(plan_singles(1000, 7, kH100)), "singles, 1 threads, 128 x 8");
  EXPECT_EQ(text_of(plan_singles(4096, 4097, kH100)), "singles, 32 threads, 8 warps, 4 stripes, 160 x 4096");
}

TEST(CudaPlan, ShiftedRowsTakeKernelsOfVectors) {
  for (const bool centered : {false, true})
    walk([&](int64_t rows, int64_t n, int item, const DeviceTraits& device) { return plan_forward(rows, n, item, centered, device, true); },
         [&](int64_t rows, int64_t n, int item, const DeviceTraits& device, const RowForwardPlan& p) {
           EXPECT_FALSE(p.spread || p.singles);
           EXPECT_TRUE(n <= kShiftedLength || p.general || p.rows == 1) << text_of(p);
           return is_sound(p, rows, n, item, device);
         });
  EXPECT_EQ(text_of(plan_forward(4096, 4097, 2, true, kH100, true)), "32 threads, 8 warps, 4 stripes, early, streams, 160 x 4096");
  EXPECT_EQ(text_of(plan_forward(4096, 3001, 2, false, kH100, true)), "32 threads, 8 warps, 4 stripes, early, streams, 96 x 4096");
  EXPECT_EQ(text_of(plan_forward(4096, 3001, 2, true, kH100, true)), "32 threads, 4 warps, 4 stripes, early, streams, 96 x 4096");
  EXPECT_EQ(text_of(plan_forward(65536, 1001, 2, false, kH100, true)), "32 threads, 4 stripes, early, streams, 128 x 16384");
}

// Which rows are shifted: of one type, one stride apart, with aligned weights.
TEST(CudaPlan, RowsThatAreShifted) {
  alignas(16) static char memory[64];
  const auto rows_of = [](int64_t stride, int offset = 0, DType type = DType::bf16) {
    View v;
    v.data = memory + offset, v.dtype = type, v.map.ndim = 1, v.map.size[0] = 8, v.map.stride[0] = stride;
    return v;
  };
  RowNormForward call;
  call.rows = 8, call.n = 1001;
  call.x = call.y = rows_of(1001), call.weight = rows_of(0);
  const auto access = [](const RowNormForward& p) {
    RowForwardParameters fast;
    const RowAccess needed = compact(p, &fast);
    return std::string(needed == RowAccess::vectors ? "vectors"
                       : needed == RowAccess::any   ? "any"
                       : (fast.flags & kShifted)    ? "shifted"
                                                    : "singles");
  };
  const auto with = [&](auto change) {
    RowNormForward p = call;
    change(p);
    return access(p);
  };
  EXPECT_EQ(access(call), "shifted");
  EXPECT_EQ(with([&](auto& p) { p.n = 1000, p.x = p.y = rows_of(1000); }), "vectors");
  EXPECT_EQ(with([&](auto& p) { p.n = 1000, p.x = p.y = rows_of(1000, 2); }), "shifted");
  EXPECT_EQ(with([&](auto& p) { p.n = 512, p.x = p.y = rows_of(513); }), "singles");
  EXPECT_EQ(with([&](auto& p) { p.weight = rows_of(0, 0, DType::f32); }), "shifted");
  EXPECT_EQ(with([&](auto& p) { p.weight = rows_of(0, 2); }), "singles");
  EXPECT_EQ(with([&](auto& p) { p.residual = p.residual_out = rows_of(2001, 6); }), "shifted");
  EXPECT_EQ(with([&](auto& p) { p.residual = rows_of(1001, 0, DType::f32); }), "singles");
  EXPECT_EQ(with([&](auto& p) { p.post_residual = rows_of(1001); }), "singles");
  EXPECT_EQ(with([&](auto& p) { p.x = rows_of(-1001, 2); }), "shifted");
  EXPECT_EQ(with([&](auto& p) { p.x = rows_of(0); }), "singles");  // what lies beside a row may not be the tensor's
  EXPECT_EQ(with([&](auto& p) { p.x.map.ndim = 2, p.x.map.size[0] = 2, p.x.map.size[1] = 4, p.x.map.stride[1] = 4000; }), "singles");
}

TEST(CudaPlan, BackwardIsSoundAndUsesAllKernels) {
  std::set<BackwardKernel> used;
  for (const bool singles : {false, true}) {
    used.clear();
    walk([&](int64_t rows, int64_t n, int item, const DeviceTraits& device) { return plan_backward(rows, n, item, device, singles); },
         [&](int64_t rows, int64_t n, int item, const DeviceTraits& device, const RowBackwardPlan& p) {
           if (!p.general) used.insert(kernel_of(p));
           return is_sound(p, rows, n, item, device);
         });
    EXPECT_EQ(used, kBackwardKernels);
  }
}

// Of a group's rows a warp of single elements owns what one of vectors does; half warps take up to 128 elements of every type.
TEST(CudaPlan, BackwardOfSingles) {
  const auto text = [](int64_t rows, int64_t n, int item) { return text_of(plan_backward(rows, n, item, kH100, true)); };
  EXPECT_EQ(text(524288, 5, 2), "16 threads, 16 slots, 256 x 256");
  EXPECT_EQ(text(524288, 127, 4), "16 threads, 16 slots, 256 x 256");
  EXPECT_EQ(text(32768, 257, 2), "32 threads, 2 stripes, 4 slots, 256 x 256");
  EXPECT_EQ(text(8192, 1001, 4), "32 threads, 4 stripes, 2 slots, 256 x 256");
  EXPECT_EQ(text(8192, 4097, 2), "32 threads, 4 stripes, 3 segments, 2 blocks a row, 384 x 256");
  EXPECT_EQ(text(64, 65536, 4), "general");
}

TEST(CudaPlan, LongestFastRows) {
  constexpr DeviceTraits old = {108, 80};
  EXPECT_FALSE(plan_forward(4096, 262144, 4, true, kH100).general);
  EXPECT_TRUE(plan_forward(4096, 262145, 2, true, kH100).general);
  EXPECT_FALSE(plan_forward(4096, 16384, 4, true, old).general);
  EXPECT_TRUE(plan_forward(4096, 16385, 2, true, old).general);
  EXPECT_FALSE(plan_backward(4096, 65536, 2, kH100).general);
  EXPECT_TRUE(plan_backward(4096, 65537, 2, kH100).general);
  EXPECT_FALSE(plan_backward(4096, 32768, 4, kH100).general);
  EXPECT_TRUE(plan_backward(4096, 32769, 4, kH100).general);
  EXPECT_TRUE(plan_backward(4096, 1024, 2, old).general);
}

TEST(CudaPlan, DependsOnMultiprocessors) {
  EXPECT_TRUE(plan_forward(1024, 4096, 4, true, {264, 90}).early);
  EXPECT_FALSE(plan_forward(1024, 4096, 4, true, {60, 90}).early);
  EXPECT_FALSE(plan_forward(1024, 4096, 2, true, {264, 90}).streams);
  EXPECT_TRUE(plan_forward(1024, 4096, 2, true, {60, 90}).streams);
  EXPECT_GT(plan_backward(1024, 128, 2, {60, 90}).slots, plan_backward(1024, 128, 2, {264, 90}).slots);
}

// What usual shapes take on an H100.  A plan that changes on purpose changes its line here: the failure prints the new one.
TEST(CudaPlan, UsualShapes) {
  const struct {
    int64_t rows, n;
    int item;
    const char *forward, *backward;  // of LayerNorm: threads of a warp per row, ..., threads of a block x blocks
  } cases[] = {
      {100000, 64, 2, "8 threads, 4 rows, early, streams, 128 x 1563", "16 threads, 16 slots, 256 x 256"},
      {524288, 256, 2, "32 threads, 4 rows, early, streams, 128 x 32768", "32 threads, 8 slots, 256 x 256"},
      {1024, 768, 2, "32 threads, 4 stripes, early, 128 x 256", "32 threads, 4 stripes, 128 x 256"},
      {8192, 768, 4, "32 threads, 4 stripes, streams, 128 x 2048", "32 threads, 4 stripes, 2 slots, 256 x 256"},
      {16384, 1024, 2, "32 threads, 4 stripes, early, streams, 128 x 4096", "32 threads, 4 stripes, 2 slots, 256 x 256"},
      {32768, 512, 2, "32 threads, 2 stripes, 2 rows, early, streams, 128 x 4096", "32 threads, 2 stripes, 4 slots, 256 x 256"},
      {8192, 2048, 2, "32 threads, 2 warps, 4 stripes, early, streams, 64 x 8192", "32 threads, 4 stripes, 2 segments, 256 x 256"},
      {4096, 4096, 2, "32 threads, 4 warps, 4 stripes, early, streams, 128 x 4096", "32 threads, 4 stripes, 4 segments, 512 x 128"},
      {8192, 4096, 4, "32 threads, 4 warps, 4 stripes, streams, 128 x 8192",
       "32 threads, 4 stripes, 2 segments, 2 blocks a row, 256 x 256"},
      {16384, 8192, 2, "32 threads, 8 warps, 4 stripes, early, streams, 256 x 16384",
       "32 threads, 4 stripes, 4 segments, 2 blocks a row, 512 x 256"},
      {4096, 16384, 2, "32 threads, 8 warps, 2 segments, 4 stripes, early, streams, 256 x 4096",
       "32 threads, 4 stripes, 4 segments, 4 blocks a row, 512 x 256"},
      {2048, 32768, 4, "32 threads, 8 warps, 2 segments, 4 stripes, 2 blocks a row, streams, 256 x 4096",
       "32 threads, 4 stripes, 2 segments, 16 blocks a row, 256 x 512"},
      {1024, 65536, 2, "32 threads, 8 warps, 2 segments, 4 stripes, 4 blocks a row, streams, 256 x 4096",
       "32 threads, 4 stripes, 4 segments, 16 blocks a row, 512 x 256"},
      {64, 262144, 2, "32 threads, 8 warps, 2 segments, 4 stripes, 16 blocks a row, streams, 256 x 1024", "general"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(std::to_string(c.rows) + " x " + std::to_string(c.n) + ", " + std::to_string(c.item) + " bytes");
    EXPECT_EQ(text_of(plan_forward(c.rows, c.n, c.item, true, kH100)), c.forward);
    EXPECT_EQ(text_of(plan_backward(c.rows, c.n, c.item, kH100)), c.backward);
  }
}

// RMSNorm differs where rows are spread, and where weights are copied early.
TEST(CudaPlan, ShortUncenteredRowsAreSpread) {
  EXPECT_EQ(text_of(plan_forward(1024, 768, 2, false, kH100)), "spread, 64 x 1024");
  EXPECT_EQ(text_of(plan_forward(8192, 4096, 2, false, kH100)), "spread, 256 x 8192");
  EXPECT_FALSE(plan_forward(1024, 512, 2, false, kH100).spread);
  EXPECT_FALSE(plan_forward(1024, 4104, 2, false, kH100).spread);
  EXPECT_FALSE(plan_forward(1024, 768, 4, false, kH100).spread);
  EXPECT_FALSE(plan_forward(1024, 768, 2, true, kH100).spread);
}

TEST(CudaPlan, CenteredLongRowsReadWeightsLate) {
  EXPECT_TRUE(plan_forward(4096, 65536, 2, false, kH100).early);
  EXPECT_FALSE(plan_forward(4096, 65536, 2, true, kH100).early);
  EXPECT_FALSE(plan_forward(4096, 65536, 4, false, kH100).early);
}

}  // namespace
}  // namespace kilter::cuda

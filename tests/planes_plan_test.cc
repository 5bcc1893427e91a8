// Who owns what in the CUDA kernels of planes, at odd sizes; needs neither a GPU nor CUDA.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "families/planewise/cuda/memory.h"
#include "families/planewise/cuda/parameters.h"

namespace kilter::cuda {
namespace {

constexpr DType kTypes[] = {DType::f64, DType::f32, DType::bf16};
constexpr int64_t kLengths[] = {1,   2,    3,    7,    8,    9,    31,   49,   64,    196,   255,
                                257, 1000, 1024, 1025, 4096, 8191, 8192, 8193, 20000, 65536, 100001};

TEST(PlanesPlan, RunsHaveEveryElementOnce) {
  for (const DType t : kTypes)
    for (const int64_t length : kLengths) {
      SCOPED_TRACE(std::string(dtype_name(t)) + ", " + std::to_string(length));
      const RunPlan p = run_plan(length, 5, t);
      EXPECT_TRUE(p.team <= 32 && (p.team & (p.team - 1)) == 0) << "a warp is whole teams";
      EXPECT_LE(p.accesses, p.team * kPlaneSlots * kMostBatches);
      EXPECT_TRUE(p.chunks == 1 || p.team == 32);
      for (int64_t run = 0; run < 5; ++run) {
        int64_t next = run * length;
        for (int64_t k = 0; k < p.chunks; ++k) {
          const RunChunk c = p.chunk(run, k);
          EXPECT_EQ(c.start % p.width, 0);
          EXPECT_LE(c.to, p.accesses * p.width);
          if (c.count() == 0) continue;
          EXPECT_EQ(c.start + c.from, next);
          next += c.count();
        }
        EXPECT_EQ(next, (run + 1) * length);
      }
      EXPECT_GE(p.blocks(3) * p.teams(), 3 * 5 * p.chunks);
    }
}

TEST(PlanesPlan, SamplesOfAChannelShareAChunkWhereThereAreMany) {
  for (const DType t : kTypes)
    for (const int64_t length : kLengths)
      for (const int64_t batch : {1, 2, 3, 8, 21, 1000, 1000000}) {
        SCOPED_TRACE(std::string(dtype_name(t)) + ", " + std::to_string(length) + ", " + std::to_string(batch));
        const RunPlan p = run_plan(length, 5, t, batch);
        EXPECT_TRUE(p.samples == 1 || p.chunks == 1);
        EXPECT_LE(p.samples * ceil_div(p.accesses, p.team * kPlaneSlots), kMostBatches) << "terms of a thread's sum";
        int64_t samples = 0;
        for (int64_t set = 0; set < p.sets(batch); ++set) {
          ASSERT_GT(p.samples_of(set, batch), 0);
          samples += p.samples_of(set, batch);
        }
        EXPECT_EQ(samples, batch);
        EXPECT_EQ(p.samples_of(p.sets(batch), batch), 0);
        EXPECT_GE(p.blocks(batch) * p.teams(), p.sets(batch) * 5 * p.chunks);
      }
  EXPECT_EQ(run_plan(49, 2048, DType::bf16, 32).samples, 1);
  EXPECT_GT(run_plan(49, 2048, DType::bf16, 4096).samples, 1);
}

TEST(PlanesPlan, TilesHaveEveryChannelAndPlace) {
  for (const DType t : kTypes)
    for (const int64_t channels : {1, 3, 8, 31, 64, 320, 1000, 2048, 5000})
      for (const int64_t spatial : kLengths) {
        SCOPED_TRACE(std::string(dtype_name(t)) + ", " + std::to_string(channels) + " x " + std::to_string(spatial));
        const TilePlan p = tile_plan(channels, spatial, t, kBlocksOfSample);
        EXPECT_GE(p.across, 1);
        EXPECT_GE(p.down, 1);
        EXPECT_LE(p.threads(), kPlaneThreads);
        EXPECT_LE(p.channels(), kMostTile);
        EXPECT_LE(p.channels(), plane_entries(t));
        EXPECT_GE(p.tiles * p.channels(), channels);
        EXPECT_LT((p.tiles - 1) * p.channels(), channels);
        EXPECT_EQ(p.places, int64_t(p.down) * kPlaneSlots * p.batches);
        EXPECT_LE(p.batches, kMostBatches) << "terms of a thread's sum, each of a batch";
        int64_t places = 0;
        for (int64_t k = 0; k < p.chunks; ++k) {
          EXPECT_GT(p.places_of(k, spatial), 0);
          places += p.places_of(k, spatial);
        }
        EXPECT_EQ(places, spatial);
      }
}

TEST(PlanesPlan, SlabsFitTheirTable) {
  for (const DType t : kTypes)
    for (int64_t spatial = 2; spatial < 70000; spatial += spatial < 3000 ? 1 : 977) {
      const SlabPlan p = slab_plan(64, spatial, t, spatial % 3 ? 1 : 100000);
      ASSERT_LE((p.elements() - 1 + spatial - 1) / spatial + 1, plane_entries(t)) << spatial;
      ASSERT_GE(p.slabs * p.elements(), 64 * spatial);
      for (int offset = 0; offset < p.elements(); offset += offset % 64 == 62 ? 2 : 1)
        ASSERT_EQ(p.quotient(offset), offset / spatial) << offset << " / " << spatial;
      ASSERT_EQ(p.quotient(p.elements() - 1), (p.elements() - 1) / spatial);
    }
}

TEST(PlanesPlan, FewPlacesMakeWideTilesAndShortRunsShareABlock) {
  EXPECT_EQ(tile_plan(2048, 1, DType::bf16, kBlocksOfSample).down, 1);
  EXPECT_EQ(tile_plan(2048, 1, DType::bf16, kBlocksOfSample).across, 128);
  EXPECT_EQ(tile_plan(320, 4096, DType::bf16, kBlocksOfSample).across, 20);
  EXPECT_EQ(run_plan(49, 2048, DType::bf16).teams(), 128);  // of two threads with four accesses each
  EXPECT_EQ(run_plan(10240, 32, DType::bf16).chunks, 10);
  EXPECT_EQ(run_plan(1024, 32, DType::bf16).chunks, 1);
  EXPECT_EQ(run_plan(int64_t(1) << 22, 32, DType::bf16).accesses, 32 * kPlaneSlots * kMostBatches);
}

TEST(PlanesPlan, WorkspaceHoldsItsArraysApart) {
  PlaneForward p;
  p.batch = 3, p.channels = 12, p.groups = 4;
  for (const int64_t spatial : {0, 1, 49, 5000})
    for (const uint8_t layout : {kChannelsFirst, kChannelsLast})
      for (const DType t : kTypes) {
        p.spatial = spatial, p.x.dtype = t, p.x.layout = layout;
        const ForwardMemory m(p);
        const size_t item = compute_size(t), cells = size_t(m.plan.cells);
        EXPECT_GE(m.statistics.planes, m.statistics.cells + cells * (t == DType::f64 ? sizeof(Cell<double>) : sizeof(Cell<float>)));
        EXPECT_GE(m.arena.used, m.statistics.planes + 3 * 12 * item);
        EXPECT_EQ((m.statistics.cells | m.statistics.planes) % 16, 0u);
      }
  p.spatial = int64_t(1) << 60;
  EXPECT_TRUE(is_too_large(p));
}

}  // namespace
}  // namespace kilter::cuda

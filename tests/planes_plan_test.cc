// Who owns what in the CUDA kernels of planes, at odd sizes; needs neither a GPU nor CUDA.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "families/planewise/cuda/memory.h"

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
      EXPECT_TRUE(p.team == kPlaneThreads || (p.team <= 32 && (p.team & (p.team - 1)) == 0));
      EXPECT_EQ(p.slots & (p.slots - 1), 0);
      EXPECT_LE(p.slots, p.all_slots);
      EXPECT_LE(p.accesses, int64_t(p.team) * p.slots);
      EXPECT_TRUE(p.chunks == 1 || (p.team == kPlaneThreads && p.slots == p.all_slots)) << "a block has a chunk of one run";
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
      EXPECT_GE(p.blocks(3) * p.runs_of_block(), 3 * 5 * p.chunks);
    }
}

TEST(PlanesPlan, SamplesOfAChannelShareAChunkWhereSlotsAreFree) {
  for (const DType t : kTypes)
    for (const int64_t length : kLengths)
      for (const int64_t batch : {1, 2, 3, 8, 21, 1000}) {
        SCOPED_TRACE(std::string(dtype_name(t)) + ", " + std::to_string(length) + ", " + std::to_string(batch));
        const RunPlan p = run_plan(length, 5, t, batch);
        EXPECT_EQ(p.samples & (p.samples - 1), 0);
        EXPECT_LE(p.sum_slots(), p.all_slots);
        EXPECT_TRUE(p.samples == 1 || p.chunks == 1);
        int64_t samples = 0;
        for (int64_t set = 0; set < p.sets(batch); ++set) {
          EXPECT_GT(p.samples_of(set * p.samples, batch), 0);
          samples += p.samples_of(set * p.samples, batch);
        }
        EXPECT_EQ(samples, batch);
        EXPECT_GE(p.blocks(batch) * p.runs_of_block(), p.sets(batch) * 5 * p.chunks);
      }
  EXPECT_EQ(run_plan(49, 64, DType::bf16, 256).samples, 4);
  EXPECT_EQ(run_plan(49, 64, DType::bf16, 256).sets(256) * 64, 64 * 64);
}

TEST(PlanesPlan, TilesHaveEveryChannelAndPlace) {
  for (const DType t : kTypes)
    for (const int64_t channels : {1, 3, 8, 31, 64, 320, 1000, 2048, 5000})
      for (const int64_t spatial : kLengths) {
        SCOPED_TRACE(std::string(dtype_name(t)) + ", " + std::to_string(channels) + " x " + std::to_string(spatial));
        const TilePlan p = tile_plan(channels, spatial, t, kBatchesOfSample);
        EXPECT_GE(p.across, 1);
        EXPECT_GE(p.down, 1);
        EXPECT_LE(p.threads(), kPlaneThreads);
        EXPECT_LE(p.channels(), kMostTile);
        EXPECT_LE(p.channels(), plane_entries(t));
        EXPECT_GE(p.tiles * p.channels(), channels);
        EXPECT_LT((p.tiles - 1) * p.channels(), channels);
        EXPECT_EQ(p.places, int64_t(p.down) * plane_slots(t) * p.batches);
        EXPECT_LE(p.batches * plane_slots(t), 32) << "terms of a thread's sum";
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
      const SlabPlan p = slab_plan(64, spatial, t);
      ASSERT_LE((p.elements() - 1 + spatial - 1) / spatial + 1, plane_entries(t)) << spatial;
      ASSERT_GE(p.slabs * p.elements(), 64 * spatial);
      for (int offset = 0; offset < p.elements(); offset += offset % 64 == 62 ? 2 : 1)
        ASSERT_EQ(p.quotient(offset), offset / spatial) << offset << " / " << spatial;
      ASSERT_EQ(p.quotient(p.elements() - 1), (p.elements() - 1) / spatial);
    }
}

TEST(PlanesPlan, FewPlacesMakeWideTilesAndShortRunsShareABlock) {
  EXPECT_EQ(tile_plan(2048, 1, DType::bf16, kBatchesOfSample).down, 1);
  EXPECT_EQ(tile_plan(2048, 1, DType::bf16, kBatchesOfSample).across, 128);
  EXPECT_EQ(tile_plan(320, 4096, DType::bf16, kBatchesOfSample).across, 20);
  EXPECT_EQ(run_plan(49, 2048, DType::bf16).runs_of_block(), 128);  // eight threads and a slot each
  EXPECT_EQ(run_plan(10240, 32, DType::bf16).chunks, 2);
  EXPECT_EQ(run_plan(8192, 32, DType::bf16).chunks, 1);
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
        EXPECT_GE(m.statistics.lo, m.statistics.mean + cells * item);
        EXPECT_GE(m.statistics.square, m.statistics.lo + cells * item);
        EXPECT_GE(m.statistics.planes, m.statistics.square + cells * sizeof(double));
        EXPECT_GE(m.arena.used, m.statistics.planes + 3 * 12 * item);
        EXPECT_EQ((m.statistics.lo | m.statistics.square | m.statistics.planes) % 16, 0u);
      }
  p.spatial = int64_t(1) << 60;
  EXPECT_TRUE(is_too_large(p));
}

}  // namespace
}  // namespace kilter::cuda

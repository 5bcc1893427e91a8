// Plans at their boundaries: the partition of rows, threads, streaming stores, blocks of chunks.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "families/rowwise/row_norm_cpu_plan.h"

namespace kilter {
namespace {

constexpr int64_t kMost = std::numeric_limits<int64_t>::max();

TEST(Partition, AsManyChunksAsTheRowLengthAllows) {
  const struct {
    int64_t n, most;
  } cases[] = {{1, 4096},   {127, 4096}, {128, 4096},  {129, 2048},  {256, 2048},
               {257, 1024}, {512, 1024}, {513, 512},   {1024, 512},  {1025, 256},
               {2048, 256}, {2049, 128}, {4096, 128},  {4097, 128},  {8192, 128},
               {8193, 64},  {16384, 64}, {16385, 32},  {32768, 32},  {32769, 16},
               {65536, 16}, {65537, 16}, {131072, 16}, {131073, 16}, {int64_t(1) << 40, 16},
               {kMost, 16}};
  for (const auto& [n, most] : cases) {
    SCOPED_TRACE(n);
    EXPECT_EQ(row_partition(0, n).chunk, 4);
    EXPECT_EQ(row_partition(0, n).chunks, 0);
    EXPECT_EQ(row_partition(1, n).chunks, 1);
    EXPECT_EQ(row_partition(5, n).chunks, 2);
    EXPECT_EQ(row_partition(4 * most, n).chunk, 4);
    EXPECT_EQ(row_partition(4 * most, n).chunks, most);
    EXPECT_EQ(row_partition(4 * most + 1, n).chunk, 8);
    EXPECT_EQ(row_partition(4 * most + 1, n).chunks, most / 2 + 1);
    EXPECT_EQ(row_partition(8 * most, n).chunk, 8);
    EXPECT_EQ(row_partition(8 * most + 1, n).chunk, 12);
    for (const int64_t rows : {int64_t(1) << 20, (int64_t(1) << 40) + 7, kMost}) {
      const RowPartition p = row_partition(rows, n);
      EXPECT_EQ(p.chunk % 4, 0);
      EXPECT_LE(p.chunks, most);
      EXPECT_LE(p.chunk - 4, rows / most);
      EXPECT_EQ(p.chunks, rows / p.chunk + (rows % p.chunk != 0));
    }
  }
}

TEST(Plan, ThreadsByElementsRowsAndWhatThereIs) {
  for (const int64_t n : {int64_t(1), int64_t(64), kElementsPerThread / 4})
    for (const int threads : {2, 3, 16}) {
      const int64_t rows = threads * kElementsPerThread / n;
      EXPECT_EQ(threads_for(rows, n, 64), threads);
      EXPECT_EQ(threads_for(rows - 1, n, 64), threads - 1);
      EXPECT_EQ(threads_for(rows, n, threads - 1), threads - 1);
    }
  EXPECT_EQ(threads_for(3, 1 << 20, 64), 3);
  EXPECT_EQ(threads_for(kElementsPerThread - 1, 1, 64), 1);
  EXPECT_EQ(threads_for(0, 1 << 20, 64), 1);
  EXPECT_EQ(threads_for(2 * kElementsPerThread, 0, 64), 2);
  EXPECT_EQ(threads_for(0, 0, 64), 1);
}

TEST(Plan, StreamingByBytes) {
  EXPECT_TRUE(large_enough_to_stream(1024, 1024, 4));
  EXPECT_FALSE(large_enough_to_stream(1, 1024 * 1024 - 1, 4));
  EXPECT_FALSE(large_enough_to_stream(1024, 1024, 2));
  EXPECT_TRUE(large_enough_to_stream(2048, 1024, 2));
}

TEST(Plan, BlocksOfChunksCoverAllAndKeepThreadsBusy) {
  for (const int threads : {1, 2, 3, 64})
    for (const int64_t n : {1, 128, 129, 1024, 65537})
      for (const int64_t rows : {0, 1, 4, 5, 511, 512, 513, 4097, 16384, 16385, 1 << 20}) {
        const SumPlan plan = sum_plan(rows, n, 2, 4, threads);
        const int64_t chunks = row_partition(rows, n).chunks, per_block = int64_t(1) << plan.level;
        EXPECT_EQ(plan.partition.chunks, chunks);
        EXPECT_GE(plan.blocks * per_block, chunks);
        EXPECT_LT((plan.blocks - 1) * per_block, std::max<int64_t>(1, chunks));
        EXPECT_TRUE(plan.level == 0 || threads == 1 || plan.blocks >= 4 * threads) << rows << " x " << n << ", " << threads << " threads";
        EXPECT_TRUE(threads > 1 || plan.blocks == 1);
      }
}

TEST(Plan, ShortRowsOfOneBlockJoinInTurn) {
  EXPECT_EQ(sum_plan(100, 256, 2, 4, 1).in_turn(), kChunksInTurn);
  EXPECT_EQ(sum_plan(100, 257, 2, 4, 1).in_turn(), 1);
  const int64_t rows = int64_t(2048) * kBlockRows;  // chunks of one block at most
  EXPECT_EQ(sum_plan(rows, 256, 2, 4, 1).in_turn(), kChunksInTurn);
  EXPECT_FALSE(sum_plan(rows, 256, 2, 4, 1).many_blocks());
  EXPECT_EQ(sum_plan(rows + 1, 256, 2, 4, 1).in_turn(), 1);
  EXPECT_TRUE(sum_plan(rows + 1, 256, 2, 4, 1).many_blocks());
}

TEST(Plan, BytesOfTheWorkspace) {
  // One block: a row of sums; for the thread two levels of the tree, eight chunks' terms and the two halves of a group's.
  EXPECT_EQ(sum_plan(12, 33, 1, 4, 1).bytes(), size_t(64 * 8 + 2 * 64 * 8 + 10 * 64 * 4 + 63));
  EXPECT_EQ(sum_plan(12, 33, 2, 8, 1).bytes(), size_t(4 * (64 * 8 + 2 * 64 * 8 + 10 * 64 * 4) + 63));
  for (const int64_t n : {1, 300, 5000, 65537})
    for (const int64_t rows : {77, 5000, 1 << 20})
      for (const int threads : {2, 5, 64}) EXPECT_GT(sum_plan(rows, n, 2, 4, threads).bytes(), sum_plan(rows, n, 2, 4, 1).bytes());
}

TEST(Plan, ThreadsWithoutABlockTakeNoMemory) {
  EXPECT_EQ(sum_plan(4, 65536, 2, 4, 128).bytes(), sum_plan(4, 65536, 2, 4, 1).bytes());
  EXPECT_EQ(sum_plan(8, 65536, 2, 4, 128).bytes(), sum_plan(8, 65536, 2, 4, 2).bytes());
  EXPECT_EQ(sum_plan(0, 100, 2, 4, 128).bytes(), sum_plan(0, 100, 2, 4, 1).bytes());
  // The longest rows that a workspace is asked for, on as many threads as can be: no overflow.
  const int64_t n = int64_t(1) << 48;
  const SumPlan plan = sum_plan(1 << 20, n, 2, 8, 4096);
  EXPECT_EQ(plan.blocks, 16);
  EXPECT_GT(plan.bytes(), size_t(plan.threads) * plan.scratch_bytes());
  EXPECT_EQ(plan.bytes() - 63, size_t(n) * 2 * 8 * (2 * 16 + 16 * size_t(2 * plan.wide_rows() + plan.narrow_rows())));
}

TEST(Plan, MoreThreadsNeedNoLess) {  // a call may use fewer threads than its workspace was asked for
  for (const int64_t n : {1, 128, 300, 5000, 65537})
    for (const int64_t rows : {1, 4, 5, 77, 513, 5000, 70000, 1 << 20})
      for (int threads = 2; threads <= 300; ++threads)
        EXPECT_GE(sum_plan(rows, n, 2, 4, threads).bytes(), sum_plan(rows, n, 2, 4, threads - 1).bytes()) << rows << " x " << n;
}

}  // namespace
}  // namespace kilter

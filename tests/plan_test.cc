// Plans at their boundaries: the partition of rows and the walk over it, threads, streaming stores, blocks of chunks.
#include "families/rowwise/cpu/plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

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
    EXPECT_EQ(row_partition(0, n).groups, 0);
    EXPECT_EQ(row_partition(0, n).chunks, 0);
    EXPECT_EQ(row_partition(1, n).chunks, 1);
    EXPECT_EQ(row_partition(5, n).chunks, 2);
    EXPECT_EQ(row_partition(4 * most, n).chunks, most);
    EXPECT_EQ(row_partition(4 * most + 1, n).chunks, most);
    EXPECT_EQ(row_partition(4 * most + 1, n).groups, most + 1);
    for (const int64_t rows : {int64_t(1) << 20, (int64_t(1) << 40) + 7, kMost}) {
      EXPECT_EQ(row_partition(rows, n).chunks, most < rows / 4 ? most : rows / 4);
      EXPECT_EQ(row_partition(rows, n).groups, rows / 4 + (rows % 4 != 0));
    }
  }
}

TEST(Partition, DealsGroupsOfFourRowsInTurn) {
  for (const int64_t n : {1, 1024, 65536})
    for (const int64_t rows : {0, 1, 4, 5, 63, 64, 65, 515, 2048, 2049, 16384, 16385, 40007}) {
      SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(n));
      const RowPartition p = row_partition(rows, n);
      int64_t all = 0, longest = 0;
      for (int64_t c = 0; c < p.chunks; ++c) {
        for (int64_t k = 0; k < p.groups_of(c); ++k) ASSERT_EQ(p.row(c, k), 4 * (c + k * p.chunks));
        ASSERT_LT(p.row(c, p.groups_of(c) - 1), rows);
        ASSERT_GE(p.row(c, p.groups_of(c)), rows);
        all += p.groups_of(c), longest = std::max(longest, p.groups_of(c));
      }
      EXPECT_EQ(all, p.groups);
      EXPECT_EQ(longest, p.steps());
    }
}

// Every row once, a chunk's groups in its order, blocks and sets where they end.
TEST(Walk, VisitsEveryRowOfItsChunks) {
  for (const auto& [rows, n] :
       {std::pair<int64_t, int64_t>{1, 8}, {7, 8}, {4096, 8}, {65, 65536}, {515, 65536}, {2049, 65536}, {2177, 65536}, {16391, 16}})
    for (const int set : {1, 2, 8, 64})
      for (const int most : {1, 4})
        for (const int64_t begin : {0, 8, 16}) {
          SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(n) + ", " + std::to_string(set) + " from " + std::to_string(begin));
          const RowPartition p = row_partition(rows, n);
          const int64_t end = std::min(p.chunks, begin == 8 ? begin + 8 : p.chunks);
          RowWalk walk(p, rows, begin, end, set);
          for (int64_t first = begin; first < end; first += set) {
            const int64_t last = std::min(end, first + set);
            for (int64_t k = 0; k < p.groups_of(first); ++k)
              for (int64_t c = first; c < last && k < p.groups_of(c); ++c)
                for (int place = 0; place < 4 && p.row(c, k) + place < rows; place += most) {
                  const RowPiece piece = walk.next(most);
                  ASSERT_EQ(piece.first, p.row(c, k) + place);
                  ASSERT_EQ(piece.count, std::min<int64_t>(most, rows - piece.first));
                  ASSERT_EQ(piece.place, place);
                  ASSERT_EQ(piece.turn, c - first);
                  const bool group_ends = place + most == 4 || piece.first + most >= rows, chunk_ends = k + 1 == p.groups_of(c);
                  ASSERT_EQ(piece.group_ends, group_ends);
                  ASSERT_EQ(piece.block_ends, group_ends && (chunk_ends || k % 32 == 31));
                  const bool set_ends = k + 1 == p.groups_of(first) && (c + 1 == last || k >= p.groups_of(c + 1));
                  ASSERT_EQ(piece.chunks, group_ends && set_ends ? last - first : 0);
                }
          }
          ASSERT_EQ(walk.next(most).count, 0);
          ASSERT_EQ(walk.next(most).count, 0);
        }
}

TEST(Walk, WithoutAPartitionRowsAsTheyCome) {
  for (const int64_t begin : {0, 3, 8})
    for (const int64_t end : {8, 9, 17})
      for (const int most : {1, 4}) {
        RowWalk walk(begin, end);
        for (int64_t r = begin; r < end; r += most) {
          const RowPiece piece = walk.next(most);
          ASSERT_EQ(piece.first, r);
          ASSERT_EQ(piece.count, std::min<int64_t>(most, end - r));
          ASSERT_EQ(piece.chunks, 0);
        }
        ASSERT_EQ(walk.next(most).count, 0);
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

TEST(Plan, SetsOfChunksByBytesOfTheirSums) {
  const auto set = [](int64_t rows, int64_t n, size_t item) { return sum_plan(rows, n, 2, item, 1).set(); };
  EXPECT_EQ(set(1 << 20, 1, 4), kMostInSet);
  EXPECT_EQ(set(1 << 20, 32, 4), kMostInSet);
  EXPECT_EQ(set(1 << 20, 128, 4), 128);
  EXPECT_EQ(set(1 << 20, 129, 4), 64);
  EXPECT_EQ(set(1 << 20, 128, 8), 64);
  EXPECT_EQ(set(1 << 20, 1024, 4), 16);
  EXPECT_EQ(set(1 << 20, 8192, 4), 2);
  EXPECT_EQ(set(1 << 20, 8193, 4), 1);
  EXPECT_EQ(set(1 << 20, 8192, 8), 1);
  EXPECT_EQ(set(1 << 20, 1 << 20, 4), 1);
  EXPECT_EQ(set(0, 128, 4), 1);  // not many more than there are
  EXPECT_EQ(set(4, 128, 4), 1);
  EXPECT_EQ(set(5, 128, 4), 2);
  EXPECT_EQ(set(12, 128, 4), 4);
}

TEST(Plan, LongChunksHaveManyBlocks) {
  for (const int64_t n : {1, 256, 300, 8192}) {
    const int64_t rows = 128 * row_partition(kMost, n).chunks;
    EXPECT_FALSE(sum_plan(rows, n, 2, 4, 1).many_blocks());
    EXPECT_TRUE(sum_plan(rows + 1, n, 2, 4, 1).many_blocks());
    EXPECT_EQ(sum_plan(rows, n, 2, 4, 1).block_rows(), 0);
    EXPECT_EQ(sum_plan(rows + 1, n, 2, 4, 1).block_rows(), sum_plan(rows, n, 2, 4, 1).set());
  }
}

TEST(Plan, BytesOfTheWorkspace) {
  // One block: a row of sums; for the thread two levels of the tree, a set of four chunks and the two halves of a group.
  EXPECT_EQ(sum_plan(12, 33, 1, 4, 1).bytes(), size_t(64 * 8 + 2 * 64 * 8 + 6 * 64 * 4 + 63));
  EXPECT_EQ(sum_plan(12, 33, 2, 8, 1).bytes(), size_t(4 * (64 * 8 + 2 * 64 * 8 + 6 * 64 * 4) + 63));
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

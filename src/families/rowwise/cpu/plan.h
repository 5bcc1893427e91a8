// Who does what of a row norm's call on the CPU: pure functions of sizes and threads, none of which change bits.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "cpu/share.h"
#include "families/rowwise/cpu/run.h"

namespace kilter {

// Of one gradient's sums in a set of chunks: larger sets have longer runs of consecutive rows, smaller ones their sums closer.
// Backward as a part of what chunks of consecutive rows take, two cores of a Zen 4, fp32, LayerNorm / RMSNorm, for sets of one
// chunk, 16 KiB, 64 KiB: 100000 x 64: 1.42 / 1.43, 1.05 / 1.08, 1.05 / 1.07; 65536 x 384: 1.10 / 1.11, 1.00 / 1.06, 0.98 / 1.05;
// 2048 x 1024: 1.04 / 1.02, 0.87 / 0.91, 0.88 / 0.90.
constexpr int64_t kSetBytes = 64 << 10;
constexpr int kMostInSet = 128;

// How dweight and dbias are summed: blocks of 2^level chunks, each by one thread, then a tree over blocks.
struct SumPlan {
  RowPartition partition;
  int level = 0;  // log2 of chunks per block
  int64_t blocks = 1;
  int planes = 2;      // dweight, dbias: those asked for
  int64_t stride = 0;  // elements of one padded row of n
  int threads = 1;
  size_t item = 4;  // bytes of a term; of a sum: twice as many

  bool many_blocks() const { return partition.steps() > kBlockGroups; }
  // Chunks of a set, a power of two.
  int set() const {
    int set = 1;
    while (set < kMostInSet && set < partition.chunks && 2 * set * stride * int64_t(item) <= kSetBytes) set *= 2;
    return set;
  }
  // For one thread and plane: rows of sums (the chunks', one per level of the tree over chunks), and rows of terms.
  int block_rows() const { return many_blocks() ? set() : 0; }
  int64_t wide_rows() const { return block_rows() + level; }
  int narrow_rows() const { return set() + 2; }
  size_t scratch_bytes() const { return size_t(stride) * item * size_t(planes) * size_t(2 * wide_rows() + narrow_rows()); }
  size_t bytes() const { return size_t(stride * planes * blocks) * 2 * item + size_t(threads) * scratch_bytes() + 63; }
};

inline SumPlan sum_plan(int64_t rows, int64_t n, int planes, size_t item, int threads) {
  SumPlan plan;
  plan.partition = row_partition(rows, n);
  plan.planes = planes;
  plan.stride = (n + kPadding - 1) / kPadding * kPadding;
  plan.item = item;
  const int64_t wanted = threads == 1 ? 1 : 4 * threads;  // blocks, for balance
  const auto blocks_at = [&](int level) { return (plan.partition.chunks + (int64_t(1) << level) - 1) >> level; };
  while (blocks_at(plan.level) > 1 && blocks_at(plan.level + 1) >= wanted) ++plan.level;
  plan.blocks = std::max<int64_t>(1, blocks_at(plan.level));
  plan.threads = int(std::min<int64_t>(threads, plan.blocks));  // others would find no block, and their scratch is long
  return plan;
}

// How the sums by modulation are: blocks of consecutive rows, each by one thread, then the modulations that lie in several.  Their
// number decides nothing but bits, so it is one for any number of threads.
struct ModulationPlan {
  int64_t block_rows = 0, blocks = 0;
  int64_t longest = 0;  // of a modulation's rows in a block, at most
  bool planes[3] = {};  // sums of dy * h, dy, d * branch
  bool dweight = false, dbias = false;
  int64_t stride = 0;  // elements of one padded row of n
  int threads = 1;
  size_t item = 4;  // bytes of a term; of a sum: twice as many

  bool many_blocks() const { return longest > kGroupRows * kBlockGroups; }
  int plane_count() const { return planes[0] + planes[1] + planes[2]; }
  // Rows of sums that a block leaves: the shares of two modulations, and of dweight and dbias.
  int64_t block_sums() const { return 2 * plane_count() + dweight + dbias; }
  // For one thread: for each plane rows of terms, and of sums; a row for the modulation's weight.
  size_t scratch_bytes() const { return size_t(stride) * item * (size_t(plane_count()) * (many_blocks() ? 5 : 3) + 1); }
  size_t bytes() const { return size_t(stride * block_sums() * blocks) * 2 * item + size_t(threads) * scratch_bytes() + 63; }
};

inline ModulationPlan modulation_plan(const Modulation& modulation, int64_t rows, int64_t n, size_t item, int threads) {
  ModulationPlan plan;
  plan.block_rows = modulation_block(rows);
  plan.blocks = rows / plan.block_rows + (rows % plan.block_rows != 0);
  plan.longest = modulation.lengths ? plan.block_rows : std::min(plan.block_rows, modulation.run);
  plan.stride = (n + kPadding - 1) / kPadding * kPadding;
  plan.item = item;
  plan.threads = int(std::max<int64_t>(1, std::min<int64_t>(threads, plan.blocks)));
  return plan;
}

}  // namespace kilter

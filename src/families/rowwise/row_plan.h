// Which kernel takes a call on a CUDA device, as pure functions of sizes, types and the device's properties; the host's tests
// walk their boundaries.  The plan may depend on the number of rows and of multiprocessors, the bits do not.
#pragma once

#include <cstdint>

#include "cuda/runtime.h"
#include "families/rowwise/row_parameters.h"
#include "families/rowwise/row_partition.h"

namespace kilter::cuda {

// A row of forward: `threads` of each of `warps` warps, each with `segments` of `stripes`, in `cluster` blocks; `rows` of them in
// flight per team.  instances.def lists what is compiled.
struct RowForwardPlan {
  int threads = 0, warps = 0, segments = 1, stripes = 1, rows = 1;
  int cluster = 1;
  bool early = false;    // weights are loaded before the reduction
  bool streams = false;  // y is written around the first cache
  bool spread = false;   // row_forward_spread.cuh
  int block = 0;         // threads
  int64_t blocks = 0;    // of the grid
  bool general = false;  // row_general_forward.cuh

  bool is(int t, int w, int g, int v, int r, bool c) const {
    return threads == t && warps == w && segments == g && stripes == v && rows == r && (cluster > 1) == c;
  }
};

constexpr int64_t kMaxBlocks = 0x7FFFFFFF;  // of one launch

constexpr int kWaveThreads = 1024;  // of a multiprocessor, resident at once

constexpr int64_t kSpreadLength = 4096;  // of the longest rows that are spread

// What depends on whether all blocks are resident at once.
inline void plan_memory(RowForwardPlan* p, int item_size, bool centered, const DeviceTraits& device) {
  const bool one_wave = p->blocks * p->block <= int64_t(kWaveThreads) * device.multiprocessors;
  // Copies of fp32 weights take so much shared memory that fewer blocks fit (LayerNorm 8192x4096: 93 us, 104 copied), and so do
  // LayerNorm's of the twice as many columns that a block of a cluster has (bf16 4096x65536: 419, 469).
  p->early = item_size == 2 ? !(p->cluster > 1 && centered) : one_wave;
  // Leaves the first cache to others; a successor that waits for y does so longer (LayerNorm 8192x4096: 47.3 us, 48.5 through the
  // cache; 1x4096: 2.25, 2.12).
  p->streams = !one_wave;
}

inline RowForwardPlan plan_forward(int64_t rows, int64_t n, int item_size, bool centered, const DeviceTraits& device) {
  RowForwardPlan p;
  const int64_t segments = (n + 1023) / 1024;
  const int narrow = item_size == 2 ? 64 : 32;  // columns of 8 threads
  if (n <= 0 || segments > 16 * 16 || (segments > 16 && !device.has_clusters())) {
    p.general = true;
    return p;
  }
  // LayerNorm's two exchanges between twice the warps cost more than they gain: 8192x4096 50 us, 48 without (RMSNorm 46.4, 46.8; of
  // few rows, 1024x768: 2.7, 2.8).
  if (!centered && item_size == 2 && n > 512 && n <= kSpreadLength) {
    p.spread = p.early = true;
    p.block = int(segments) * 64, p.blocks = rows;
    p.general = p.blocks > kMaxBlocks;
    return p;
  }
  p.threads = n <= narrow ? 8 : n <= 2 * narrow ? 16 : 32;
  if (segments == 1) {
    p.warps = 1;
    p.stripes = n <= 256 ? 1 : n <= 512 ? 2 : 4;
    // Four, of few rows too: 32768x256 takes 13.8 us with two, 13.4 with four (LayerNorm 15.1, 14.6).
    p.rows = 4 / p.stripes;
    p.block = 128;
    const int per_block = 4 * (32 / p.threads) * p.rows;
    p.blocks = (rows + per_block - 1) / per_block;
    plan_memory(&p, item_size, centered, device);
    p.general = p.blocks > kMaxBlocks;
    return p;
  }
  p.stripes = 4;
  p.warps = segments <= 2 ? 2 : segments <= 4 ? 4 : 8;
  p.segments = segments <= 8 ? 1 : 2;
  p.cluster = int((segments + 15) / 16);
  const int64_t used = (segments + p.segments - 1) / p.segments;
  p.block = p.cluster > 1 ? 256 : 32 * int(used < p.warps ? used : p.warps);
  p.blocks = rows * p.cluster;
  plan_memory(&p, item_size, centered, device);
  p.general = p.blocks > kMaxBlocks;
  return p;
}

// Backward: a block's slots, each `slot_threads` threads that walk one chunk of rows; or blocks of a team, each with
// `block_segments` segments of the rows of one chunk.  Three more warps help.
struct RowBackwardPlan {
  int threads = 32, stripes = 4;
  int team_blocks = 1, block_segments = 1;
  bool cluster = false;  // the team is one; else all blocks are launched at once, or not at all
  int64_t teams = 0;     // of the grid
  int rounds = 1;        // chunks that a team takes one after another
  int slots = 1, slot_threads = 0, row_bytes = 0;
  int unit_slots = 1, unit_rows = 1;  // of a unit of the ring
  int block = 0;                      // threads
  RowPartition partition = {};
  bool in_step = false;  // blocks wait for one another: all of them are on the device at once
  bool general = false;

  int64_t blocks() const { return teams * team_blocks; }  // of the grid
  int units() const { return slots / unit_slots * (kGroupRows / unit_rows); }
  // A team's messages about a row are of whole subtrees of its sums.
  int message_segments() const { return (block_segments & (block_segments - 1)) == 0 ? block_segments : 1; }
};

constexpr int kMostTeam = 128;  // blocks, each with a message for every row

// centered: LayerNorm; adds: dresidual_out to dx.
inline RowBackwardPlan plan_backward(int64_t rows, int64_t n, int item_size, bool centered, bool adds, const DeviceTraits& device) {
  RowBackwardPlan p;
  const int64_t segments = (n + 1023) / 1024;
  const int most = item_size == 2 ? 4 : 2;  // segments of a block: groups of four rows of them fit in shared memory
  const int most_threads = 128 * most;      // that compute
  p.partition = row_partition(rows, n);
  p.team_blocks = int((segments + most - 1) / most);
  p.general =
      rows <= 0 || n <= 0 || device.architecture < 90 || segments > most * kMostTeam || p.partition.steps() > INT32_MAX / kMostUnits;
  if (p.general) return p;
  p.cluster = p.team_blocks > 1 && p.team_blocks <= kMostClusterTeam;
  p.block_segments = p.team_blocks > 1 && !p.cluster ? most : int((segments + p.team_blocks - 1) / p.team_blocks);
  if (n <= 1024) {
    p.threads = n <= (item_size == 2 ? 128 : 64) ? 16 : 32;
    p.stripes = n <= 256 ? 1 : n <= 512 ? 2 : 4;
    p.slot_threads = p.threads == 16 ? 16 : p.stripes * 32;
    p.row_bytes = int(n) * item_size;
  } else {
    p.slot_threads = p.block_segments * 128;
    p.row_bytes = p.team_blocks > 1 ? p.block_segments * 1024 * item_size : int(n) * item_size;
  }
  const int64_t chunks = p.partition.chunks;
  if (p.team_blocks == 1) {
    const int least = p.slot_threads < 32 ? 2 : 1;
    const auto teams = [&](int slots) { return (chunks + slots - 1) / slots; };
    p.slots = most_threads / p.slot_threads;
    while (p.slots > least && teams(p.slots / 2) <= device.multiprocessors) p.slots /= 2;
    p.teams = teams(p.slots);
  } else if (p.cluster) {
    p.teams = chunks;
  } else {
    const int64_t resident = device.multiprocessors / p.team_blocks;
    p.general = resident == 0;
    if (p.general) return p;
    p.rounds = int((chunks + resident - 1) / resident);
    p.general = p.partition.steps() > INT32_MAX / kMostUnits / p.rounds;
    if (p.general) return p;
    p.teams = (chunks + p.rounds - 1) / p.rounds;
  }
  const int quarter = most_threads / 4;
  p.unit_slots = p.slot_threads >= quarter ? 1 : quarter / p.slot_threads < p.slots ? quarter / p.slot_threads : p.slots;
  p.unit_rows = p.slot_threads <= quarter ? 4 : p.slot_threads <= 2 * quarter ? 2 : 1;
  p.block = p.slots * p.slot_threads + kHelpers * 32;
  // In step or not, bf16, us: RMSNorm 8192x4096 74.5, 76.8; 16384x8192 277, 308; 65536x1024 140, 159; 4096x65536 648, 687.  LayerNorm
  // 65536x1024 148, 162; 262144x256 157, 162; 4096x65536 723, 750; but 8192x4096 80.6, 76.2; 16384x8192 308, 296; 524288x128 163, 151.
  // With only two groups in the ring, blocks that load and compute at the same times: add + RMSNorm 16384x8192 493, 393.
  const bool helps = !adds && (!centered || (n > 128 && n <= 1024) || (p.team_blocks > 1 && !p.cluster));
  p.in_step = helps && p.blocks() <= device.multiprocessors;
  p.general = p.blocks() > kMaxBlocks;
  return p;
}

// What the kernel is told of its plan.
inline void set_plan(const RowBackwardPlan& plan, RowBackwardParameters* p) {
  p->slots = plan.slots, p->slot_threads = plan.slot_threads;
  const auto logarithm = [](int v) {
    int bits = 0;
    while (1 << bits < v) ++bits;
    return bits;
  };
  p->slot_shift = plan.slots > 1 ? logarithm(plan.slot_threads) : 31;  // several: a power of two
  p->team_blocks = plan.team_blocks, p->teams = int(plan.teams), p->rounds = plan.rounds;
  p->block_segments = plan.block_segments, p->message_segments = plan.message_segments();
  p->padded = 1;
  while (p->padded < p->block_segments) p->padded *= 2;
  p->row_messages = plan.team_blocks * (plan.block_segments / p->message_segments);
  p->slots_shift = logarithm(plan.unit_slots), p->rows_shift = logarithm(plan.unit_rows), p->units_shift = logarithm(plan.units());
  // Two groups are worked on at a time; a third is on its way where it fits.
  p->ring_groups = p->flags & kHasResidual ? 2 : 3;
  p->chunks = int(plan.partition.chunks), p->steps = int(plan.partition.steps());
  p->wide = plan.partition.steps() > kBlockGroups;
  const auto is_dense = [&](const RowAddress& a) { return !a.data || a.stride == plan.row_bytes; };
  if (plan.team_blocks == 1 && is_dense(p->x) && is_dense(p->dy) && is_dense(p->dx) && is_dense(p->dresidual) && is_dense(p->dresidual_out))
    p->flags |= kDense;
}

}  // namespace kilter::cuda

// Which kernel takes a call on a CUDA device, as pure functions of sizes, types and the device's properties; the host's tests
// walk their boundaries.  The plan may depend on the number of rows and of multiprocessors, the bits do not.
#pragma once

#include <cstdint>

#include "core/partition.h"
#include "cuda/runtime.h"

namespace kilter::cuda {

// A row of forward: `threads` of each of `warps` warps, each with `segments` of `stripes`, in `cluster` blocks; `rows` of them in
// flight per team.  instances.def lists what is compiled.
struct RowForwardPlan {
  int threads = 0, warps = 0, segments = 1, stripes = 1, rows = 1;
  int cluster = 1;
  bool early = false;    // weights are loaded before the reduction
  bool streams = false;  // y is written around the first cache
  bool spread = false;   // forward_spread.cuh
  bool singles = false;  // an element at a time, of any type and in any place
  int block = 0;         // threads
  int64_t blocks = 0;    // of the grid
  bool general = false;  // general_forward.cuh

  bool is(int t, int w, int g, int v, int r, bool c) const {
    return threads == t && warps == w && segments == g && stripes == v && rows == r && (cluster > 1) == c;
  }
};

constexpr int64_t kMaxBlocks = 0x7FFFFFFF;  // of one launch

constexpr int kWaveThreads = 1024;  // of a multiprocessor, resident at once

constexpr int64_t kShiftedLength = 512;  // rows that are not aligned are shifted if they are longer: one is in flight then
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

inline bool too_long(int64_t n, const DeviceTraits& device) { return n > (device.has_clusters() ? 16 * 16384 : 16384); }

// Several warps, or blocks, to a row.
inline void plan_long_rows(RowForwardPlan* p, int64_t rows, int64_t segments, int warps) {
  p->warps = warps;  // at most
  p->stripes = 4;
  p->segments = segments <= 8 ? 1 : 2;
  p->cluster = int((segments + 15) / 16);
  const int64_t used = (segments + p->segments - 1) / p->segments;
  p->block = p->cluster > 1 ? 256 : 32 * int(used < p->warps ? used : p->warps);
  p->blocks = rows * p->cluster;
}
inline void plan_short_rows(RowForwardPlan* p, int64_t rows, int64_t n) {
  p->warps = 1;
  p->stripes = n <= 256 ? 1 : n <= 512 ? 2 : 4;
  p->block = 128;
  const int per_block = 4 * (32 / p->threads) * p->rows;
  p->blocks = (rows + per_block - 1) / per_block;
}

// Singles: teams whose threads own neighbours up to 128 elements, then lanes 32 apart.
inline RowForwardPlan plan_singles(int64_t rows, int64_t n, const DeviceTraits& device) {
  RowForwardPlan p;
  p.general = n <= 0 || too_long(n, device);
  if (p.general) return p;
  p.singles = true;
  p.threads = n <= 8 ? 1 : n <= 64 ? 8 : n <= 128 ? 16 : 32;
  p.rows = n <= 8 || n > 512 ? 1 : n <= 128 ? 4 : 2;
  if (n <= 1024)
    plan_short_rows(&p, rows, n);
  else
    plan_long_rows(&p, rows, (n + 1023) / 1024, 8);
  p.general = p.blocks > kMaxBlocks;
  return p;
}

// shifted: some rows are not aligned, and longer than kShiftedLength.
inline RowForwardPlan plan_forward(int64_t rows, int64_t n, int item_size, bool centered, const DeviceTraits& device,
                                   bool shifted = false) {
  RowForwardPlan p;
  const int64_t segments = (n + 1023) / 1024;
  const int narrow = item_size == 2 ? 64 : 32;  // columns of 8 threads
  p.general = n <= 0 || too_long(n, device);
  if (p.general) return p;
  const bool spreads = !centered && item_size == 2;
  // LayerNorm's two exchanges between twice the warps cost more than they gain: 8192x4096 50 us, 48 without (RMSNorm 46.4, 46.8; of
  // few rows, 1024x768: 2.7, 2.8).
  if (spreads && !shifted && n > 512 && n <= kSpreadLength) {
    p.spread = p.early = true;
    p.block = int(segments) * 64, p.blocks = rows;
    p.general = p.blocks > kMaxBlocks;
    return p;
  }
  p.threads = n <= narrow ? 8 : n <= 2 * narrow ? 16 : 32;
  if (segments == 1) {
    // Four, of few rows too: 32768x256 takes 13.8 us with two, 13.4 with four (LayerNorm 15.1, 14.6).
    p.rows = n <= 256 ? 4 : n <= 512 ? 2 : 1;
    plan_short_rows(&p, rows, n);
  } else {
    // Kernels of their own for few warps: with eight's, LayerNorm 8192x4096 takes 44.7 us instead of 37.3 (fp32 2048x4096: 20.2 both).
    plan_long_rows(&p, rows, segments, spreads ? 8 : segments <= 2 ? 2 : segments <= 4 ? 4 : 8);
  }
  plan_memory(&p, item_size, centered, device);
  p.general = p.blocks > kMaxBlocks;
  return p;
}

// Backward: a block's slots, each `slot_threads` threads that walk one chunk of rows; or blocks of a cluster, each with
// `block_segments` segments of the rows of one chunk.
struct RowBackwardPlan {
  int threads = 32, stripes = 4;
  int cluster = 1, block_segments = 1;
  int slots = 1, slot_threads = 0, row_bytes = 0;
  int block = 0;       // threads
  int64_t blocks = 0;  // of the grid
  RowPartition partition = {};
  bool singles = false;  // elements are taken one at a time
  bool general = false;
};

// item_size: of x or dy, whichever is larger.
inline RowBackwardPlan plan_backward(int64_t rows, int64_t n, int item_size, const DeviceTraits& device, bool singles = false,
                                     int64_t batches = 1) {
  RowBackwardPlan p;
  p.singles = singles;
  const int64_t segments = (n + 1023) / 1024;
  // Segments of a block: three groups of four rows of them fit in shared memory.  Two, in twice the blocks, are quicker for 16-bit
  // rows of 16K to 32K (4096x32768, H100: 319 against 354 us, LayerNorm 389 against 465), slower for 8K (327 against 298).
  const int most = item_size == 2 && !(segments > 16 && segments <= 32) ? 4 : 2;
  p.general = rows <= 0 || n <= 0 || segments > 16 * most || (segments > most && !device.has_clusters()) || device.architecture < 90;
  if (p.general) return p;
  p.partition = row_partition(rows, n);
  if (batches > 1) {  // together as many chunks as all rows have without batches: 16 batches of 256x1152 had a block for each group
    const int64_t share = row_partition(rows * batches, n).chunks / batches;
    p.partition.chunks = share < 1 ? 1 : share < p.partition.chunks ? share : p.partition.chunks;
  }
  p.cluster = int((segments + most - 1) / most);
  p.block_segments = int((segments + p.cluster - 1) / p.cluster);
  if (n <= 1024) {
    p.threads = n <= (singles || item_size == 2 ? 128 : 64) ? 16 : 32;
    p.stripes = n <= 256 ? 1 : n <= 512 ? 2 : 4;
    p.slot_threads = p.threads == 16 ? 16 : p.stripes * 32;
    p.row_bytes = int(n) * item_size;
  } else {
    p.slot_threads = p.block_segments * 128;
    p.row_bytes = p.block_segments * 1024 * item_size;
  }
  const int least = p.slot_threads < 32 ? 2 : 1;
  if (p.cluster == 1) {
    p.slots = 128 * most / p.slot_threads;
    while (p.slots > least && p.partition.chunks * batches < int64_t(p.slots) * device.multiprocessors) p.slots /= 2;
  }
  if (p.slots < least) p.slots = least;
  p.block = p.slots * p.slot_threads;
  p.blocks = (p.partition.chunks + p.slots - 1) / p.slots * p.cluster;
  p.general = p.blocks > kMaxBlocks || p.partition.steps() > INT32_MAX;
  return p;
}

}  // namespace kilter::cuda

// Which kernel takes a call on a CUDA device, as pure functions of sizes, types and the device's properties; the host's tests
// walk their boundaries.  The plan may depend on the number of rows and of multiprocessors, the bits do not.
#pragma once

#include <cstdint>

#include "cuda/runtime.h"

namespace kilter::cuda {

// A row of forward: `threads` of each of `warps` warps, each with `segments` of `stripes`, in `cluster` blocks; `rows` of them in
// flight per team.  instances.def lists what is compiled.
struct RowForwardPlan {
  int threads = 0, warps = 0, segments = 1, stripes = 1, rows = 1;
  int cluster = 1;
  int block = 0;         // threads
  int64_t blocks = 0;    // of the grid
  bool general = false;  // row_general_forward.cuh
};

constexpr int64_t kMaxBlocks = 0x7FFFFFFF;  // of one launch

// With fewer rows per multiprocessor than this, one row per warp occupies more of them than several.
constexpr int kRowsPerMultiprocessorInFlight = 64;

inline RowForwardPlan plan_forward(int64_t rows, int64_t n, int item_size, const DeviceTraits& device) {
  RowForwardPlan p;
  const int64_t segments = (n + 1023) / 1024;
  const int narrow = item_size == 2 ? 64 : 32;  // columns of 8 threads
  const bool many = rows >= int64_t(kRowsPerMultiprocessorInFlight) * device.multiprocessors;
  if (n <= 0 || segments > 16 * 16 || (segments > 16 && !device.has_clusters())) {
    p.general = true;
    return p;
  }
  p.threads = n <= narrow ? 8 : n <= 2 * narrow ? 16 : 32;
  if (segments == 1) {
    p.warps = 1;
    p.stripes = n <= 256 ? 1 : n <= 512 ? 2 : 4;
    p.rows = p.threads < 32 ? 4 : !many ? 1 : p.stripes == 1 ? 4 : p.stripes == 2 ? 2 : 1;
    p.block = 128;
    const int per_block = 4 * (32 / p.threads) * p.rows;
    p.blocks = (rows + per_block - 1) / per_block;
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
  p.general = p.blocks > kMaxBlocks;
  return p;
}

}  // namespace kilter::cuda

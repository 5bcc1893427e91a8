// Backward on a CUDA device for rows of up to 65536 elements (fp32: 32768): x and dy are read once; dx, dresidual and the terms of
// dweight and dbias come from the same read.  Aligned rows go in and out of registers 16 bytes at a time, others by single elements
// (backward_singles.cuh), at the same places in the row tree.
//
// A block owns `slots` neighbouring chunks (docs/numerics.md, "dweight and dbias"), or, as one of a cluster, up to four segments of the
// rows of one chunk.  It walks all its chunks at once, by groups of four rows: bulk copies bring the next two groups into a ring in
// shared memory while a group is worked on in two phases.  Sums: a warp owns one segment of one row, or several short rows.  Output: a
// thread owns eight columns of a slot, whose terms of four rows it adds to its registers.  The sums of group i + 1 are taken before the
// output of group i, so that warps seldom wait for one another, and blocks of a cluster have time to send each other theirs.  No barrier
// of the block: mbarriers count the warps that are done with a group's sums, the rows whose scalars are made, the warps that have written
// a group.  A second kernel adds up what the blocks leave (backward_finish.cuh), unless one block or cluster had all rows.
#pragma once

#include "cuda/dependent_launch.cuh"
#include "families/rowwise/cuda/backward_output.cuh"

namespace kilter::cuda {

template <class T, bool kCentered, class S>
__global__ void __launch_bounds__(kBackwardThreads<T>, 1) backward_kernel(const __grid_constant__ RowBackwardParameters p) {
#ifdef KILTER_ARCHITECTURE_90  // the plan launches it nowhere else
  char* const memory = dynamic_shared();
  __shared__ SumExchange exchange;
  __shared__ GroupRing ring;
  __shared__ WarpsDone summed, written;
  __shared__ ScalarMakers<T, kCentered, S> makers;
  wait_for_predecessor(p.flags & kDependent);
  const BackwardBlock<T> b(p, memory, S::kCluster ? cluster_rank() : 0, S::kCluster ? cluster_blocks() : 1);
  const int steps = p.steps;
  const int warps = (int(blockDim.x) + 31) / 32;
  summed.start(warps), written.start(warps), makers.start(b);
  ring.start(p.slots);
  __syncthreads();
  const SavedStatistics first = ring.load<kCentered>(b, 0, 0);
  SavedStatistics saved = ring.load<kCentered>(b, 1, 1);  // of the group whose copies were started last
  if (p.padded > p.segments)
    for (int i = threadIdx.x; i < (p.at.scalars - p.at.sums) / 4; i += blockDim.x) reinterpret_cast<float*>(memory + p.at.sums)[i] = 0;
  GroupOutput<T, kCentered> output(b);
  const GroupSums<T, kCentered, S> sums(b);
  const auto write = [&](int i, int stage, const Packed<T>(&upper)[kGroupRows]) {
    const uint32_t unusual = makers.wait(b, i);
    if (!kIsSingles<T> && __all_sync(0xFFFFFFFFu, unusual == 0))  // one write will do for single elements, whose code is long
      output.template write<!kIsSingles<T>>(b, i, stage, upper);
    else
      output.template write<false>(b, i, stage, upper);
    if (S::kCluster && unusual & kTakenAgain * 0x01010101u) meet_cluster();  // the others have read this block's rows
    if (p.wide && ((i + 1) % kBlockGroups == 0 || i + 1 == steps)) output.join_chunk(b, i < kBlockGroups);
  };

  if constexpr (S::kCluster) exchange.start();
  ring.complete(b, first, 0);
  __syncthreads();                      // the weights are there
  int stage = kStages - 1, parity = 1;  // of group i; parity of the stage's uses
#pragma unroll 1
  for (int i = -1; i < steps; ++i) {
    const int next = stage + 1 < kStages ? stage + 1 : 0, next_parity = next == 0 ? parity ^ 1 : parity;
    Packed<T> upper[kGroupRows];
    if (i >= 0) {
      output.load_upper(b, i, upper);
      makers.make(b, summed, exchange, i, stage);
    }
    if (i + 1 < steps) {
      barrier_wait(ring.barrier(next), next_parity);
      sums.take(b, exchange, i + 1, next);
      summed.arrive();
    }
    if (i >= 0) {
      write(i, stage, upper);
      written.arrive();
    }
    if (i + 2 < steps) ring.complete(b, saved, next + 1 < kStages ? next + 1 : 0);
    if (i + kStages < steps && int(threadIdx.x) < b.loaders()) {
      if (i >= 0) written.wait(i);
      saved = ring.load<kCentered>(b, i + kStages, stage);
    }
    stage = next, parity = next_parity;
  }
  let_successor_start(true);
  output.leave(b);
#endif
}

}  // namespace kilter::cuda

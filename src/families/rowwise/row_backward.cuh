// Backward on a CUDA device for aligned rows: x and dy are read once; dx, dresidual and the terms of dweight and dbias come from the
// same read.
//
// A block owns `slots` neighbouring chunks (docs/numerics.md, "dweight and dbias"), or, as one of a team, up to four segments (fp32:
// two) of the rows of a chunk.  It walks all its chunks at once, by groups of four rows, in a ring in shared memory.  Most of its warps
// compute, in two phases.  Sums: a warp owns one segment of one row, or several short rows.  Output: a thread owns eight columns of a
// slot, whose terms of four rows it adds to its registers.  The sums of group i + 1 are taken before the output of group i, so that
// the rest can happen beside them: one warp brings rows in, one takes gradients out (row_backward_ring.cuh), and one makes a row's
// scalars of its sums (row_backward_sums.cuh), with the other blocks of a team where there is one (row_backward_exchange.cuh).  They
// all meet at barriers in shared memory only.  A second kernel adds up what the blocks leave (row_finish.cuh).
#pragma once

#include "cuda/dependent_launch.cuh"
#include "families/rowwise/row_backward_sums.cuh"

namespace kilter::cuda {

// Phase two: this thread's columns.
template <class T, bool kCentered, class S>
struct GroupOutput {
  static constexpr int kItem = Packed<T>::kItem;
  static constexpr int kPlanes = kCentered ? 2 : 1;  // dweight, dbias
  float sum[kPlanes][8];

  __device__ __forceinline__ void start() {
#pragma unroll
    for (int plane = 0; plane < kPlanes; ++plane)
#pragma unroll
      for (int j = 0; j < 8; ++j) sum[plane][j] = 0;
  }

  // kUsual: all four rows are there, and none is rare.  kUp: dresidual_out is added.  Four columns at a time: these kernels are short of
  // registers.
  template <bool kUsual, bool kUp>
  __device__ __forceinline__ void write(const BackwardBlock<T, S>& b, const Group& g) {
    const RowBackwardParameters& p = b.p;
    const int here = kUsual ? kGroupRows : b.rows(g, b.slot);
    const bool writes = p.dx.data || p.dresidual.data;
    const uint32_t first = b.base + b.slot_offset(g) + b.column(0) * kItem, scalars = b.scalars(g.number, b.slot);
#pragma unroll
    for (int q = 0; q < 2; ++q) {
      const bool has = b.has(q);
      const float4 w4 = load_shared(b.weights(b.column(q)));
      const float weight[4] = {w4.x, w4.y, w4.z, w4.w};
      float pair[kPlanes][2][4];
#pragma unroll
      for (int row = 0; row < kGroupRows; ++row) {
        const uint32_t at = first + b.row_offset(row) + q * 4 * p.slot_threads * kItem;
        const RowScalars<kCentered> s(scalars + row * kScalarBytes);
        const bool is = kUsual || row < here;
        Quad<T> xv = {}, dy = {}, up = {};
        if (is) {  // of columns beyond the row: whatever lies there, for sums that nobody reads
          xv = Quad<T>::read_shared(at), dy = Quad<T>::read_shared(at + p.at.tensor);
          if (kUp) up = Quad<T>::read_shared(at + 2 * p.at.tensor);
        }
        float v[4], h[4];
        if constexpr (kCentered) {
#pragma unroll
          for (int j = 0; j < 4; ++j) h[j] = xv[j];
          if (!kUsual)
#pragma unroll
            for (int j = 0; j < 4; ++j) h[j] = h[j] * s.half();
#pragma unroll
          for (int j = 0; j < 4; ++j) h[j] = (h[j] - s.mean()) * s.h_rstd() - s.lo();
          if (!kUsual && s.lo2() != 0)
#pragma unroll
            for (int j = 0; j < 4; ++j) h[j] = h[j] - s.lo2();
        } else {
#pragma unroll
          for (int j = 0; j < 4; ++j) h[j] = xv[j] * s.rstd();
        }
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          float gradient = dy[j] * weight[j];
          if constexpr (kCentered) gradient = gradient - s.c2();
          v[j] = s.rstd() * (gradient - h[j] * s.c1());
          const float terms[2] = {dy[j] * h[j], dy[j]};
#pragma unroll
          for (int plane = 0; plane < kPlanes; ++plane)
            pair[plane][row / 2][j] = row % 2 == 0 ? terms[plane] : pair[plane][row / 2][j] + terms[plane];
        }
        if (kUp)
#pragma unroll
          for (int j = 0; j < 4; ++j) v[j] = v[j] + up[j];
        if (writes && has && is) Quad<T>::pack(v).write_shared(at);
        if (q == 1 && ((row + 1) & (p.unit_rows() - 1)) == 0) b.release(g.stage + b.unit + (row >> p.rows_shift), writes);
      }
#pragma unroll
      for (int plane = 0; plane < kPlanes; ++plane)
#pragma unroll
        for (int j = 0; j < 4; ++j) sum[plane][4 * q + j] = sum[plane][4 * q + j] + (pair[plane][0][j] + pair[plane][1][j]);
    }
  }

  // Chunks longer than a block of the contract: its sums join the chunk's wide sums, in the caller's memory.
  __device__ __forceinline__ void join_chunk(const BackwardBlock<T, S>& b, int chunk, bool first) {
#pragma unroll
    for (int plane = 0; plane < kPlanes; ++plane) {
      if (!b.p.partial[plane] || chunk >= b.p.chunks) continue;
#pragma unroll
      for (int q = 0; q < 2; ++q) {
        if (!b.has(q)) continue;
        double* const to = b.p.wide_sums[plane] + int64_t(chunk) * b.p.n + b.begin + b.column(q);
#pragma unroll
        for (int j = 0; j < 4; ++j) to[j] = first ? double(sum[plane][q * 4 + j]) : to[j] + double(sum[plane][q * 4 + j]);
      }
    }
    start();
  }

  // Of the only slot.  Each group passes here, so that this code has long come from memory when the chunk is done.
  __device__ __forceinline__ void leave(const BackwardBlock<T, S>& b, int chunk, bool done) {
    const int64_t place = int64_t(chunk) * b.p.n + b.begin + b.column(0);
#pragma unroll
    for (int plane = 0; plane < kPlanes; ++plane) {
      float* const to = static_cast<float*>(b.p.partial[plane]) + place;
#pragma unroll
      for (int q = 0; q < 2; ++q)
        if (done && b.p.partial[plane] && b.has(q))
          *reinterpret_cast<float4*>(to + q * 4 * b.p.slot_threads) =
              make_float4(sum[plane][q * 4], sum[plane][q * 4 + 1], sum[plane][q * 4 + 2], sum[plane][q * 4 + 3]);
    }
    if (S::kTeam && done) start();
  }
  // The slots' chunks are done: their sums as one, by the tree over chunks.
  __device__ __forceinline__ void leave_together(const BackwardBlock<T, S>& b) {
    const RowBackwardParameters& p = b.p;
    double* const columns = reinterpret_cast<double*>(dynamic_shared());  // [slot][column]
    const int row = p.slot_threads * 8, threads = p.slots * p.slot_threads;
#pragma unroll
    for (int plane = 0; plane < kPlanes; ++plane) {
      if (!p.partial[plane]) continue;
      if (plane > 0) b.meet_computing();  // the other one is done with
#pragma unroll
      for (int q = 0; q < 2; ++q) {
        if (!b.has(q)) continue;
        const int c = b.column(q), chunk = b.team * p.slots + b.slot;
        const double* const wide = p.wide_sums[plane] + int64_t(chunk) * p.n + b.begin + c;
#pragma unroll
        for (int j = 0; j < 4; ++j)
          columns[b.slot * row + c + j] = !p.wide ? double(sum[plane][q * 4 + j]) : chunk < p.chunks ? wide[j] : 0.0;
      }
      for (int step = 1; step < p.slots; step *= 2) {
        b.meet_computing();
        for (int i = threadIdx.x; i < p.slots / (2 * step) * row; i += threads) {
          double* const left = columns + i / row * (2 * step) * row + i % row;
          *left = *left + left[step * row];
        }
      }
      b.meet_computing();
      double* const to = static_cast<double*>(p.partial[plane]) + int64_t(b.team) * p.n;
      for (int c = threadIdx.x; c < b.width; c += threads) to[c] = columns[c];
    }
  }
};

template <class T, bool kCentered, class S>
__global__ void __launch_bounds__(kBackwardThreads<T> + kHelpers * 32, 1) backward_kernel(const __grid_constant__ RowBackwardParameters p) {
#ifdef KILTER_ARCHITECTURE_90  // the plan launches it nowhere else
  wait_for_predecessor(p.flags & kDependent);
  const InGrid in = InGrid::find<S>(p);
  const int helper = (int(threadIdx.x) - p.slots * p.slot_threads) >> 5;  // below 0: computes
  GroupOutput<T, kCentered, S> output;
  output.start();
  {
    const BackwardBlock<T, S> b(p, in);
    if (helper == 0) {
      Loader<T, kCentered, S>(b).run();
    } else if (helper == 1) {
      b.start_units();
      barriers_are_ready();
      b.meet();
      Storer<T, S>{b}.run();
    } else if (helper == 2) {
      b.start_groups();
      barriers_are_ready();
#pragma unroll 1
      for (uint32_t at = p.at.sums + threadIdx.x % 32 * 4; at < uint32_t(p.at.messages); at += 32 * 4) store_shared(b.base + at, 0.0f);
      b.meet();
      ScalarMaker<T, kCentered, S>{b}.run();
    } else {
      // Weights go to shared memory, where both phases read them.
#pragma unroll 1
      for (int q = 0; q < 2; ++q) {
        if (b.slot != 0 || !b.has(q)) continue;
        FourWeights<T> weights;
        weights.load(p, b.begin + b.column(q));
        store_shared(b.weights(b.column(q)), weights.scaled(p));
      }
      b.meet();
    }
    if (helper >= 0) {
      if (p.slots > 1) __syncthreads();  // the ring is done with
      return;
    }
  }
#pragma unroll 1
  for (int i = -1; i < p.rounds * p.steps; ++i) {
    {
      const BackwardBlock<T, S> b(p, in);
      if (i + 1 < b.groups()) {
        const Group next = b.group(i + 1);
        const GroupSums<T, kCentered, S> sums(b);
        barrier_wait(b.full(next.stage + sums.unit), next.parity);
        sums.take(b, next);
        __syncwarp();
        if (threadIdx.x % 32 == 0) barrier_arrive(b.summed(i + 1));
      }
    }
    if (i < 0) continue;
    const BackwardBlock<T, S> b(p, in);
    const Group now = b.group(i);
    barrier_wait(b.known(i), i >> 1 & 1);
    const bool usual = __all_sync(0xFFFFFFFFu, load_shared_float(b.usual(i, b.slot)) != 0), has_up = p.flags & kHasResidual;
    if (!has_up && usual)
      output.template write<true, false>(b, now);
    else if (!has_up)
      output.template write<false, false>(b, now);
    else if (usual)
      output.template write<true, true>(b, now);
    else
      output.template write<false, true>(b, now);
    const bool last = now.index + 1 == p.steps;
    if (p.wide) {
      if ((now.index + 1) % kBlockGroups == 0 || last) output.join_chunk(b, now.first_chunk + b.slot, now.index < kBlockGroups);
    } else if (p.slots == 1) {
      output.leave(b, now.first_chunk, last && now.first_chunk < p.chunks);
    }
  }
  let_successor_start(true);  // the second kernel waits for all of this one
  if (p.slots == 1) return;
  __syncthreads();
  output.leave_together(BackwardBlock<T, S>(p, in));
#endif
}

}  // namespace kilter::cuda

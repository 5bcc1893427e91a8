// Backward on a CUDA device for rows of up to 65536 elements (fp32: 32768): x and dy are read once; dx, dresidual and the terms of
// dweight and dbias come from the same read.  Aligned rows go in and out of registers 16 bytes at a time, others by single elements
// (backward_singles.cuh), at the same places in the row tree.
//
// A block owns `slots` neighbouring chunks (docs/numerics.md, "dweight and dbias"), or, as one of a cluster, up to four segments of the
// rows of one chunk.  It walks all its chunks at once, by groups of four rows: bulk copies bring the next two groups into a ring in
// shared memory while a group is worked on in two phases.  Sums: a warp owns one segment of one row, or several short rows.  Output: a
// thread owns eight columns of a slot, whose terms of four rows it adds to its registers.  The sums of group i + 1 are taken before the
// output of group i, so that one barrier per group is enough, and blocks of a cluster have time to send each other theirs.  A second
// kernel adds up what the blocks leave (backward_finish.cuh), unless one block or cluster had all rows.
#pragma once

#include "cuda/dependent_launch.cuh"
#include "cuda/element.cuh"
#include "families/rowwise/cuda/backward_scalars.cuh"

namespace kilter::cuda {

// Phase two: this thread's columns.
template <class T, bool kCentered>
struct GroupOutput {
  static constexpr int kParts = Packed<T>::kParts, kItem = Packed<T>::kItem, kWidth = Packed<T>::kWidth;
  static constexpr int kPlanes = kCentered || kIsSingles<T> ? 2 : 1;  // dweight, dbias
  float sum[kPlanes][8];

  // Weights go to shared memory, where both phases read them.
  __device__ __forceinline__ explicit GroupOutput(const BackwardBlock<T>& b) {
    float w[8];
    float* const to = reinterpret_cast<float*>(b.memory + b.p.at.weights);
    if constexpr (kIsSingles<T>) {
      scaled_weights<T>(b.p, b.begin + b.part_column(0), 0, b.left(), w);
      if (b.slot == 0)
#pragma unroll
        for (int j = 0; j < 8; ++j) to[b.part_column(j)] = w[j];
    } else {
#pragma unroll
      for (int q = 0; q < kParts; ++q) {  // a part at a time: columns of fp32 rows are not those of a stripe
        scaled_weights<T>(b.p, b.begin + b.part_column(q), 0, b.has_part(q) ? 1 : 0, w);
        if (b.slot == 0)
#pragma unroll
          for (int j = 0; j < kWidth; ++j) to[b.part_column(q) + j] = w[j];
      }
    }
#pragma unroll
    for (int plane = 0; plane < kPlanes; ++plane)
#pragma unroll
      for (int j = 0; j < 8; ++j) sum[plane][j] = 0;
  }

  // kUsual: all four rows are there, and none is rare.
  template <bool kUsual>
  __device__ __forceinline__ void write(const BackwardBlock<T>& b, int i, int stage) {
    const RowBackwardParameters& p = b.p;
    const int here = kUsual ? kGroupRows : b.rows(b.slot, i), part_bytes = b.part_bytes();
    const bool has_up = p.flags & kHasResidual;
    const int64_t r = b.row(b.slot, i);
    const int left = b.left();
    char* dx = b.at_row(p.dx, p.types.dy, r);
    float weight[8];
    const auto load_weights = [&, from = b.base + p.at.weights + b.part_column(0) * 4] {
      if constexpr (kIsSingles<T>) {
#pragma unroll
        for (int j = 0; j < 8; ++j) weight[j] = load_shared_float(from + part_place<T>(j) * 4);
      } else {
#pragma unroll
        for (int q = 0; q < 2; ++q) {
          const float4 w = load_shared(from + (kParts == 2 ? q * part_bytes : q * 16));
          weight[4 * q] = w.x, weight[4 * q + 1] = w.y, weight[4 * q + 2] = w.z, weight[4 * q + 3] = w.w;
        }
      }
    };
    constexpr bool kAgain = kIsSingles<T> || (kCentered && kItem == 2);  // for each row: these kernels are short of registers
    if constexpr (!kAgain) load_weights();
    Packed<T> upper = {};
    float pair[kPlanes][2][8];
#pragma unroll
    for (int row = 0; row < kGroupRows; ++row) {
      const bool is = kUsual || row < here;
      if (has_up && is) {
        const char* const from = b.at_row(p.dresidual_out, p.types.dresidual_out, r + row);
        if constexpr (kIsSingles<T>)
          upper = read_bits<T>(p.types.dresidual_out, from, left);
        else
#pragma unroll
          for (int q = 0; q < kParts; ++q)
            if (b.has_part(q)) upper.part[q] = *reinterpret_cast<const uint4*>(from + q * part_bytes);
      }
      const RowScalars<kCentered> s = b.template scalars<kCentered>(b.slot * kGroupRows + row);
      Packed<T> xv = {}, dy = {};
      if (is) {
        const StageRow at = b.stage_row(b.own_head(stage, row), stage, b.slot * kGroupRows + row);
        if constexpr (kIsSingles<T>)
          xv = shared_singles<T>(p.types.x, at.x, b.part_column(0), 0), dy = shared_singles<T>(p.types.dy, at.dy, b.part_column(0), 0);
        else
#pragma unroll
          for (int q = 0; q < kParts; ++q) {
            xv.part[q] = load_shared_words(at.x + b.part_column(0) * kItem + q * part_bytes);
            dy.part[q] = load_shared_words(at.dy + b.part_column(0) * kItem + q * part_bytes);
          }
      }
      if constexpr (kAgain) load_weights();
      float v[8], h[8];
      if constexpr (kCentered) {
#pragma unroll
        for (int j = 0; j < 8; ++j) h[j] = xv[j];
        if (!kUsual && s.rare())
#pragma unroll
          for (int j = 0; j < 8; ++j) h[j] = h[j] * s.half;
#pragma unroll
        for (int j = 0; j < 8; ++j) h[j] = (h[j] - s.mean) * s.h_rstd - s.lo;
        if (!kUsual && s.rare())
#pragma unroll
          for (int j = 0; j < 8; ++j) h[j] = h[j] - s.lo2;
      } else {
#pragma unroll
        for (int j = 0; j < 8; ++j) h[j] = xv[j] * s.rstd;
      }
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        float g = dy[j] * weight[j];
        if constexpr (kCentered) g = g - s.c2;
        v[j] = s.rstd * (g - h[j] * s.c1);
        const float terms[2] = {dy[j] * h[j], dy[j]};
#pragma unroll
        for (int plane = 0; plane < kPlanes; ++plane)
          pair[plane][row / 2][j] = row % 2 == 0 ? terms[plane] : pair[plane][row / 2][j] + terms[plane];
      }
      if (has_up) {
        if constexpr (kIsSingles<T>)
          if (is) convert_bits(p.types.dresidual_out, upper);
#pragma unroll
        for (int j = 0; j < 8; ++j) v[j] = v[j] + upper[j];
      }
      if constexpr (kIsSingles<T>) {
        if (p.dx.data && is) write_singles<T>(p.types.dy, dx, left, v);
        if (p.dresidual.data && is) write_singles<T>(p.types.dresidual, b.at_row(p.dresidual, p.types.dresidual, r + row), left, v);
      } else {
#pragma unroll
        for (int q = 0; q < kParts; ++q) {
          const uint4 packed = Packed<T>::pack(v + q * kWidth);
          const bool writes = b.has_part(q) && is;
          if (p.dx.data && writes) *reinterpret_cast<uint4*>(dx + q * part_bytes) = packed;
          if (p.dresidual.data && writes)
            *reinterpret_cast<uint4*>(b.at_row(p.dresidual, p.types.dresidual, r + row) + q * part_bytes) = packed;
        }
      }
      dx += p.dx.stride;
    }
#pragma unroll
    for (int plane = 0; plane < kPlanes; ++plane)
#pragma unroll
      for (int j = 0; j < 8; ++j) sum[plane][j] = sum[plane][j] + (pair[plane][0][j] + pair[plane][1][j]);
  }

  // Chunks longer than a block of the contract: its sums join the chunk's wide sums, in the caller's memory.
  __device__ __forceinline__ void join_chunk(const BackwardBlock<T>& b, bool first) {
#pragma unroll
    for (int plane = 0; plane < kPlanes; ++plane) {
      if (!b.p.partial[plane] || b.chunk() >= b.p.chunks) continue;
#pragma unroll
      for (int q = 0; q < kParts; ++q) {
        if (!b.has_part(q)) continue;
        double* const to = b.p.wide_sums[plane] + int64_t(b.chunk()) * b.p.n + b.begin + b.part_column(q);
#pragma unroll
        for (int j = 0; j < kWidth; ++j) {
          to[j] = first ? double(sum[plane][q * kWidth + j]) : to[j] + double(sum[plane][q * kWidth + j]);
          sum[plane][q * kWidth + j] = 0;
        }
      }
    }
  }

  // The chunks' sums leave the block: those of its slots as one, by the tree over chunks.  If there are no others, they are the result.
  __device__ __forceinline__ void leave(const BackwardBlock<T>& b) {
    const RowBackwardParameters& p = b.p;
    const int64_t to = int64_t(b.team()) * p.n + b.begin;
#pragma unroll
    for (int plane = 0; plane < kPlanes; ++plane) {
      if (!p.partial[plane]) continue;
      if (p.slots == 1 && !p.wide) {
#pragma unroll
        for (int q = 0; q < kParts; ++q) {
          if (!b.has_part(q)) continue;
          if (p.out[plane]) {
#pragma unroll
            for (int j = 0; j < kWidth; ++j)
              store_element<float>(p.out_types[plane], p.out[plane], b.begin + b.part_column(q) + j, sum[plane][q * kWidth + j]);
            continue;
          }
          float* const column = static_cast<float*>(p.partial[plane]) + to + b.part_column(q);
          const float* const v = sum[plane] + q * kWidth;
          if constexpr (kIsSingles<T>) {
            *column = *v;
          } else {
#pragma unroll
            for (int j = 0; j < kWidth; j += 4) *reinterpret_cast<float4*>(column + j) = make_float4(v[j], v[j + 1], v[j + 2], v[j + 3]);
          }
        }
        continue;
      }
      add_slots(b, plane, static_cast<double*>(p.partial[plane]) + to);
    }
  }
  __device__ __forceinline__ void add_slots(const BackwardBlock<T>& b, int plane, double* to) {
    const RowBackwardParameters& p = b.p;
    double* const columns = reinterpret_cast<double*>(b.memory);  // [slot][column]
    const int row = p.slot_threads * 8;
    __syncthreads();  // the ring, or the other plane, is done with
#pragma unroll
    for (int q = 0; q < kParts; ++q) {
      if (!b.has_part(q)) continue;
      const int c = b.part_column(q);
      double v[kWidth];
      if (p.wide) {
        const double* const chunk = p.wide_sums[plane] + int64_t(b.chunk()) * p.n + b.begin + c;
#pragma unroll
        for (int j = 0; j < kWidth; ++j) v[j] = b.chunk() < p.chunks ? chunk[j] : 0.0;
      } else {
#pragma unroll
        for (int j = 0; j < kWidth; ++j) v[j] = double(sum[plane][q * kWidth + j]);
      }
#pragma unroll
      for (int j = 0; j < kWidth; ++j) columns[b.slot * row + c + j] = v[j];
    }
    for (int step = 1; step < p.slots; step *= 2) {
      __syncthreads();
      for (int i = threadIdx.x; i < p.slots / (2 * step) * row; i += blockDim.x) {
        double* const left = columns + i / row * (2 * step) * row + i % row;
        *left = *left + left[step * row];
      }
    }
    __syncthreads();
    for (int c = threadIdx.x; c < b.width; c += blockDim.x) {
      if (p.out[plane])
        store_element<float>(p.out_types[plane], p.out[plane], b.begin + c, float(columns[c]));
      else
        to[c] = columns[c];
    }
  }
};

template <class T, bool kCentered, class S>
__global__ void __launch_bounds__(kBackwardThreads<T>, 1) backward_kernel(const __grid_constant__ RowBackwardParameters p) {
#ifdef KILTER_ARCHITECTURE_90  // the plan launches it nowhere else
  char* const memory = dynamic_shared();
  __shared__ SumExchange exchange;
  __shared__ GroupRing ring;
  __shared__ ScalarMakers<T, kCentered, S> makers;
  wait_for_predecessor(p.flags & kDependent);
  const BackwardBlock<T> b(p, memory, S::kCluster ? cluster_rank() : 0, S::kCluster ? cluster_blocks() : 1);
  const int steps = p.steps;
  Pace pace(p.progress);
  makers.start(b);
  ring.start(p.slots);
  __syncthreads();
  static_assert(kStages == 3);
  const SavedStatistics first = ring.load<kCentered>(b, 0, 0);
  SavedStatistics saved = ring.load<kCentered>(b, 1, 1);  // of the group whose copies were started last
  if (p.padded > p.segments)
    for (int i = threadIdx.x; i < (p.at.scalars - p.at.sums) / 4; i += blockDim.x) reinterpret_cast<float*>(memory + p.at.sums)[i] = 0;
  GroupOutput<T, kCentered> output(b);
  const GroupSums<T, kCentered, S> sums(b);
  const auto write = [&](int i, int stage) {
    const uint32_t unusual = makers.wait(b, i);
    if (!kIsSingles<T> && __all_sync(0xFFFFFFFFu, unusual == 0))  // one write will do for single elements, whose code is long
      output.template write<!kIsSingles<T>>(b, i, stage);
    else
      output.template write<false>(b, i, stage);
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
    if (i >= 0) makers.make(b, exchange, i, stage);
    if (i + 1 < steps) {
      barrier_wait(ring.barrier(next), next_parity);
      sums.take(b, exchange, i + 1, next);
    }
    if (i >= 0) write(i, stage);
    if (i + 2 < steps) ring.complete(b, saved, next + 1 < kStages ? next + 1 : 0);
    __syncthreads();  // all are done with group i, and have taken the sums of the next
    if (i + kStages < steps && int(threadIdx.x) < b.loaders()) {
      if (i >= 0 && threadIdx.x % 32 == 0) pace.wait(p.progress, i);
      __syncwarp(b.loaders() < 32 ? (1u << b.loaders()) - 1 : 0xFFFFFFFFu);
      saved = ring.load<kCentered>(b, i + kStages, stage);
    }
    stage = next, parity = next_parity;
  }
  let_successor_start(true);
  output.leave(b);
#endif
}

}  // namespace kilter::cuda

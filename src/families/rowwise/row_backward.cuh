// Backward on a CUDA device for aligned rows of up to 65536 elements (fp32: 32768): x and dy are read once; dx, dresidual and the
// terms of dweight and dbias come from the same read.
//
// A block owns `slots` neighbouring chunks of rows (docs/numerics.md, "dweight and dbias"), or, as one of a cluster, up to four
// segments of the rows of one chunk.  It walks all its chunks by groups of four rows: copies of the next two groups arrive in a ring of
// shared memory (cp.async) while a group is worked on in two phases.  Sums: a warp owns one segment of one row, or several short
// rows.  Output: a thread owns eight columns of a slot, whose terms of four rows it adds to its registers.  A barrier before each
// phase.  Blocks of a cluster send each other their segments' sums one group ahead: the sums of group i + 1 are taken before the output
// of group i, between two barriers.  A second kernel adds up what the blocks leave (row_finish.cuh).
#pragma once

#include <type_traits>

#include "cuda/dependent_launch.cuh"
#include "families/rowwise/row_backward_sums.cuh"

namespace kilter::cuda {

// Phase two: this thread's columns.
template <class T, bool kCentered>
struct GroupOutput {
  static constexpr int kParts = Packed<T>::kParts, kItem = Packed<T>::kItem, kWidth = Packed<T>::kWidth;
  static constexpr int kPlanes = kCentered ? 2 : 1;  // dweight, dbias
  float sum[kPlanes][8];

  // Weights go to shared memory, where both phases read them.
  __device__ __forceinline__ explicit GroupOutput(const BackwardBlock<T>& b) {
#pragma unroll
    for (int q = 0; q < kParts; ++q) {  // a part at a time: columns of fp32 rows are not those of a stripe
      float w[8];
      scaled_weights<T>(b.p, b.begin + b.part_column(q), 0, b.has_part(q) ? 1 : 0, w);
      if (b.slot == 0)
#pragma unroll
        for (int j = 0; j < kWidth; ++j) reinterpret_cast<float*>(b.memory + b.p.at.weights)[b.part_column(q) + j] = w[j];
    }
#pragma unroll
    for (int plane = 0; plane < kPlanes; ++plane)
#pragma unroll
      for (int j = 0; j < 8; ++j) sum[plane][j] = 0;
  }

  // kAll: the group has its four rows.
  template <bool kAll>
  __device__ __forceinline__ void write(const BackwardBlock<T>& b, const RowScalars<kCentered>* scalars, int i, int stage) {
    const RowBackwardParameters& p = b.p;
    const int here = b.rows - i * kGroupRows, part_bytes = b.part_bytes();
    const bool has_up = p.flags & kHasResidual;
    const int64_t r = b.first_row + int64_t(i) * kGroupRows;
    char *dx = p.dx.data + r * p.dx.stride + b.own_bytes(), *dresidual = p.dresidual.data + r * p.dresidual.stride + b.own_bytes();
    const char* up = p.dresidual_out.data + r * p.dresidual_out.stride + b.own_bytes();
    uint32_t at = b.base + stage * b.p.at.stage + b.slot_bytes() + b.part_column(0) * kItem;
    float weight[8];
    const uint32_t weights_at = b.base + b.p.at.weights + b.part_column(0) * 4;
#pragma unroll
    for (int q = 0; q < 2; ++q) {
      const float4 w = load_shared(weights_at + (kParts == 2 ? q * part_bytes : q * 16));
      weight[4 * q] = w.x, weight[4 * q + 1] = w.y, weight[4 * q + 2] = w.z, weight[4 * q + 3] = w.w;
    }
    Packed<T> upper;
    float pair[kPlanes][2][8];
#pragma unroll
    for (int row = 0; row < kGroupRows; ++row, at += b.p.at.row) {
      if (has_up)
#pragma unroll
        for (int q = 0; q < kParts; ++q)
          if (b.has_part(q) && (kAll || row < here)) upper.part[q] = *reinterpret_cast<const uint4*>(up + q * part_bytes);
      const RowScalars<kCentered> s = scalars[row];
      Packed<T> xv = {}, dy = {};
#pragma unroll
      for (int q = 0; q < kParts; ++q) {
        if (!kAll && row >= here) continue;
        xv.part[q] = load_words(at + q * part_bytes);
        dy.part[q] = load_words(at + q * part_bytes + b.dy_from_x());
      }
      float v[8], h[8];
      if constexpr (kCentered) {
#pragma unroll
        for (int j = 0; j < 8; ++j) h[j] = xv[j];
        if (s.rare())
#pragma unroll
          for (int j = 0; j < 8; ++j) h[j] = h[j] * s.half;
#pragma unroll
        for (int j = 0; j < 8; ++j) h[j] = (h[j] - s.mean) * s.h_rstd - s.lo;
        if (s.rare())
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
      if (has_up)
#pragma unroll
        for (int j = 0; j < 8; ++j) v[j] = v[j] + upper[j];
#pragma unroll
      for (int q = 0; q < kParts; ++q) {
        const uint4 packed = Packed<T>::pack(v + q * kWidth);
        const bool writes = b.has_part(q) && (kAll || row < here);
        if (p.dx.data && writes) *reinterpret_cast<uint4*>(dx + q * part_bytes) = packed;
        if (p.dresidual.data && writes) *reinterpret_cast<uint4*>(dresidual + q * part_bytes) = packed;
      }
      dx += p.dx.stride, dresidual += p.dresidual.stride, up += p.dresidual_out.stride;
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
      if (!b.p.partial[plane] || b.rows == 0) continue;
#pragma unroll
      for (int q = 0; q < kParts; ++q) {
        if (!b.has_part(q)) continue;
        double* const to = b.p.chunks[plane] + b.chunk() * b.p.n + b.begin + b.part_column(q);
#pragma unroll
        for (int j = 0; j < kWidth; ++j) {
          to[j] = first ? double(sum[plane][q * kWidth + j]) : to[j] + double(sum[plane][q * kWidth + j]);
          sum[plane][q * kWidth + j] = 0;
        }
      }
    }
  }

  // The chunks' sums leave the block: those of its slots as one, by the tree over chunks.
  __device__ __forceinline__ void leave(const BackwardBlock<T>& b) {
    const RowBackwardParameters& p = b.p;
    const int64_t to = b.team() * p.n + b.begin;
#pragma unroll
    for (int plane = 0; plane < kPlanes; ++plane) {
      if (!p.partial[plane]) continue;
      if (p.slots == 1 && !p.wide) {
#pragma unroll
        for (int q = 0; q < kParts; ++q)
#pragma unroll
          for (int j = 0; j < kWidth; j += 4)
            if (b.has_part(q))
              *reinterpret_cast<float4*>(static_cast<float*>(p.partial[plane]) + to + b.part_column(q) + j) =
                  make_float4(sum[plane][q * kWidth + j], sum[plane][q * kWidth + j + 1], sum[plane][q * kWidth + j + 2],
                              sum[plane][q * kWidth + j + 3]);
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
        const double* const chunk = p.chunks[plane] + b.chunk() * p.n + b.begin + c;
#pragma unroll
        for (int j = 0; j < kWidth; ++j) v[j] = b.rows == 0 ? 0.0 : chunk[j];
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
    for (int c = threadIdx.x; c < b.width; c += blockDim.x) to[c] = columns[c];
  }
};

template <class T, bool kCentered, class S>
__global__ void __launch_bounds__(kBackwardThreads<T>, 1) backward_kernel(const __grid_constant__ RowBackwardParameters p) {
  using Loader = GroupLoader<T, kCentered>;
  extern __shared__ __align__(16) char memory[];
  __shared__ SumExchange exchange;
  wait_for_predecessor(p.flags & kDependent);
  int rank = 0, blocks = 1;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  if constexpr (S::kCluster) {
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    asm("mov.u32 %0, %%cluster_nctarank;" : "=r"(blocks));
  }
#endif
  const BackwardBlock<T> b(p, memory, rank, blocks);
  const int steps = b.steps();
  Loader loader(b);
  loader.start(b, 0);
  if (steps > 1)
    loader.start(b, 1);
  else
    Loader::commit();
  if (b.p.padded > b.p.segments)
    for (int i = threadIdx.x; i < (b.p.at.scalars - b.p.at.sums) / 4; i += blockDim.x)
      reinterpret_cast<float*>(memory + b.p.at.sums)[i] = 0;
  GroupOutput<T, kCentered> output(b);
  const GroupSums<T, kCentered, S> sums(b);
  RowScalars<kCentered>* const scalars =
      reinterpret_cast<RowScalars<kCentered>*>(memory + b.p.at.scalars) + threadIdx.x / 32 * (2 * kGroupRows);
  const RowScalars<kCentered>* const own_scalars = scalars + (S::kThreads == 16 ? (threadIdx.x & 16) / 16 * kGroupRows : 0);

  const auto write = [&](int i, int stage) {
    make_scalars<T, kCentered, S>(b, i, stage, scalars);
    if (b.rows - i * kGroupRows >= kGroupRows)
      output.template write<true>(b, own_scalars, i, stage);
    else
      output.template write<false>(b, own_scalars, i, stage);
    if (p.wide && ((i + 1) % (kBlockRows / kGroupRows) == 0 || i + 1 == steps)) output.join_chunk(b, i < kBlockRows / kGroupRows);
    __syncwarp();
  };
  int first = 0, second = 1, third = 2;  // stages
  const auto turn = [&] {
    const int next = first;
    first = second, second = third, third = next;
  };
  if constexpr (S::kCluster) {
    Loader::template wait<1>();
    __syncthreads();
    exchange.start();
    sums.take(b, exchange, 0, 0);
#pragma unroll 1
    for (int i = 0; i < steps; ++i, turn()) {
      Loader::template wait<0>();
      __syncthreads();  // group i + 1 is here, group i - 1 is done
      if (i + 2 < steps) loader.start(b, third);
      if (i + 1 < steps) sums.take(b, exchange, i + 1, second);
      exchange.wait(i);
      write(i, first);
    }
  } else {
#pragma unroll 1
    for (int i = 0; i < steps; ++i, turn()) {
      Loader::template wait<1>();
      __syncthreads();  // group i is here, group i - 1 is done
      if (i + 2 < steps)
        loader.start(b, third);
      else
        Loader::commit();
      sums.take(b, exchange, i, first);
      __syncthreads();
      write(i, first);
    }
  }
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
  output.leave(b);
}

}  // namespace kilter::cuda

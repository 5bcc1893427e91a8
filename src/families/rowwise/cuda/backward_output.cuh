// Backward's phase two: dx and dresidual of a group of four rows, and the sums of columns, which stay in the registers of the thread that
// owns the columns until the block has walked all its groups.
#pragma once

#include "cuda/element.cuh"
#include "families/rowwise/cuda/backward_scalars.cuh"

namespace kilter::cuda {

// This thread's columns.
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
      scaled_weights<T>(b, b.begin + b.part_column(0), 0, b.left(), w);
      if (b.slot == 0)
#pragma unroll
        for (int j = 0; j < 8; ++j) to[b.part_column(j)] = w[j];
    } else {
#pragma unroll
      for (int q = 0; q < kParts; ++q) {  // a part at a time: columns of fp32 rows are not those of a stripe
        scaled_weights<T>(b, b.begin + b.part_column(q), 0, b.has_part(q) ? 1 : 0, w);
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

  // dresidual_out of a row, and of group i, which takes long to come: it is asked for before the sums of the next group, where there are
  // registers for it (add + RMSNorm @@).
  static constexpr bool kEarly = !kCentered && !kIsSingles<T>;
  __device__ __forceinline__ void load_upper(const BackwardBlock<T>& b, const char* from, Packed<T>& upper) const {
    if constexpr (kIsSingles<T>)
      upper = read_bits<T>(b.p.types.dresidual_out, from, b.left());
    else
#pragma unroll
      for (int q = 0; q < kParts; ++q)
        if (b.has_part(q)) upper.part[q] = *reinterpret_cast<const uint4*>(from + q * b.part_bytes());
  }
  __device__ __forceinline__ void load_upper(const BackwardBlock<T>& b, int i, Packed<T> (&upper)[kGroupRows]) const {
    if (!kEarly || !(b.p.flags & kHasResidual)) return;
    const int here = b.rows(b.slot, i);
#pragma unroll
    for (int row = 0; row < kGroupRows; ++row)
      if (row < here) load_upper(b, b.at_row(b.p.dresidual_out, b.p.types.dresidual_out, b.row(b.slot, i) + row), upper[row]);
  }

  // kUsual: all four rows are there, and none is rare.
  template <bool kUsual>
  __device__ __forceinline__ void write(const BackwardBlock<T>& b, int i, int stage, const Packed<T> (&early)[kGroupRows]) {
    const RowBackwardParameters& p = b.p;
    const int here = kUsual ? kGroupRows : b.rows(b.slot, i), part_bytes = b.part_bytes();
    const bool has_up = p.flags & kHasResidual;
    const int64_t r = b.row(b.slot, i);
    const int left = b.left();
    char *dx = b.at_row(p.dx, p.types.dy, r), *dresidual = b.at_row(p.dresidual, p.types.dresidual, r);
    const char* up = b.at_row(p.dresidual_out, p.types.dresidual_out, r);
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
      if (kEarly)
        upper = early[row];
      else if (has_up && is)
        load_upper(b, up, upper);
      const RowScalars<kCentered> s = b.template scalars<kCentered>(i, b.slot * kGroupRows + row);
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
        if (p.dresidual.data && is) write_singles<T>(p.types.dresidual, dresidual, left, v);
      } else {
#pragma unroll
        for (int q = 0; q < kParts; ++q) {
          const uint4 packed = Packed<T>::pack(v + q * kWidth);
          const bool writes = b.has_part(q) && is;
          if (p.dx.data && writes) *reinterpret_cast<uint4*>(dx + q * part_bytes) = packed;
          if (p.dresidual.data && writes) *reinterpret_cast<uint4*>(dresidual + q * part_bytes) = packed;
        }
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
      if (!b.p.partial[plane] || b.chunk() >= b.p.chunks) continue;
#pragma unroll
      for (int q = 0; q < kParts; ++q) {
        if (!b.has_part(q)) continue;
        double* const to = b.p.wide_sums[plane] + (blockIdx.y * int64_t(b.p.chunks) + b.chunk()) * b.p.n + b.begin + b.part_column(q);
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
    const int64_t to = b.team() * p.n + b.begin;
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
              store_element<float>(p.out_types[plane], p.out[plane] + blockIdx.y * p.out_stride[plane], b.begin + b.part_column(q) + j,
                                   sum[plane][q * kWidth + j]);
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
        const double* const chunk = p.wide_sums[plane] + (blockIdx.y * int64_t(p.chunks) + b.chunk()) * p.n + b.begin + c;
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
        store_element<float>(p.out_types[plane], p.out[plane] + blockIdx.y * p.out_stride[plane], b.begin + c, float(columns[c]));
      else
        to[c] = columns[c];
    }
  }
};

}  // namespace kilter::cuda

// Forward on a CUDA device for the usual call: rows of at most 16384 elements whose vectors are aligned, without residuals.
//
// A block of 256 threads holds 8 / kWarps rows, each owned by kWarps warps, each warp by kSegments segments of 1024 elements that
// it keeps in registers: the row is read once.  Thread t of a warp owns lanes 8t ... 8t + 7.  Barriers: two between the warps of a
// row (RMSNorm one; none if a row is one warp), one more after which the block takes rows that need more than one exchange.
#pragma once

#include "families/rowwise/row_general_forward.cuh"

namespace kilter::cuda {

template <class T>
struct Packed;  // eight consecutive elements as they lie in memory

template <>
struct Packed<float> {
  static constexpr DType type = DType::f32;
  float4 low, high;
  __device__ __forceinline__ float operator[](int j) const {
    const float v[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
    return v[j];
  }
  __device__ __forceinline__ void read(const char* p) {
    low = reinterpret_cast<const float4*>(p)[0];
    high = reinterpret_cast<const float4*>(p)[1];
  }
  __device__ __forceinline__ static void write(char* p, const float (&v)[8]) {
    reinterpret_cast<float4*>(p)[0] = make_float4(v[0], v[1], v[2], v[3]);
    reinterpret_cast<float4*>(p)[1] = make_float4(v[4], v[5], v[6], v[7]);
  }
};

struct Bf16 {};
struct Half {};

template <>
struct Packed<Bf16> {
  static constexpr DType type = DType::bf16;
  uint4 words;
  __device__ __forceinline__ uint32_t word(int k) const { return k == 0 ? words.x : k == 1 ? words.y : k == 2 ? words.z : words.w; }
  __device__ __forceinline__ float operator[](int j) const {
    const uint32_t w = word(j / 2);
    return __uint_as_float(j & 1 ? w & 0xFFFF0000u : w << 16);
  }
  __device__ __forceinline__ void read(const char* p) { words = *reinterpret_cast<const uint4*>(p); }
  __device__ __forceinline__ static uint32_t pack(float low, float high) {
    uint32_t word;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
    return word;
  }
  __device__ __forceinline__ static void write(char* p, const float (&v)[8]) {
    *reinterpret_cast<uint4*>(p) = make_uint4(pack(v[0], v[1]), pack(v[2], v[3]), pack(v[4], v[5]), pack(v[6], v[7]));
  }
};

template <>
struct Packed<Half> {
  static constexpr DType type = DType::f16;
  uint4 words;
  __device__ __forceinline__ uint32_t word(int k) const { return k == 0 ? words.x : k == 1 ? words.y : k == 2 ? words.z : words.w; }
  __device__ __forceinline__ float operator[](int j) const {
    const uint16_t h = uint16_t(j & 1 ? word(j / 2) >> 16 : word(j / 2) & 0xFFFF);
    float v;
    asm("cvt.f32.f16 %0, %1;" : "=f"(v) : "h"(h));
    return v;
  }
  __device__ __forceinline__ void read(const char* p) { words = *reinterpret_cast<const uint4*>(p); }
  __device__ __forceinline__ static uint32_t pack(float low, float high) {
    uint32_t word;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
    return word;
  }
  __device__ __forceinline__ static void write(char* p, const float (&v)[8]) {
    *reinterpret_cast<uint4*>(p) = make_uint4(pack(v[0], v[1]), pack(v[2], v[3]), pack(v[4], v[5]), pack(v[6], v[7]));
  }
};

// Eight weights or biases, of T or fp32.
template <class T>
__device__ __forceinline__ void read_weights(const View& v, int64_t i, float (&out)[8]) {
  if (v.dtype == DType::f32) {
    Packed<float> w;
    w.read(v.data + i * 4);
#pragma unroll
    for (int j = 0; j < 8; ++j) out[j] = w[j];
  } else {
    Packed<T> w;
    w.read(v.data + i * item_size(Packed<T>::type));
#pragma unroll
    for (int j = 0; j < 8; ++j) out[j] = w[j];
  }
}

// One segment's lanes of a thread: its tree's levels 0 to 2 in the thread, 3 to 7 between threads.  The lanes started with their
// first element instead of +0.0: only a sum of nothing but -0.0 differs, which the last addition mends.
__device__ __forceinline__ float segment_tree(const float (&a)[8]) {
  float sum = ((a[0] + a[1]) + (a[2] + a[3])) + ((a[4] + a[5]) + (a[6] + a[7]));
#pragma unroll
  for (int bit = 1; bit < 32; bit *= 2) sum = sum + exchange(sum, bit);
  return sum + 0.0f;
}

// kSegments segment sums of a warp, then kWarps of them through shared memory.
template <int kWarps, int kSegments, int N>
__device__ __forceinline__ void row_tree(const float (&segment)[N][kSegments], float (*memory)[kBlockWarps], float (&out)[N]) {
#pragma unroll
  for (int q = 0; q < N; ++q) {
    static_assert(kSegments == 1 || kSegments == 2);
    out[q] = kSegments == 1 ? segment[q][0] : segment[q][0] + segment[q][kSegments - 1];
  }
  if constexpr (kWarps > 1) {
    const int warp = threadIdx.x >> 5, first = warp / kWarps * kWarps;
    if ((threadIdx.x & 31) == 0)
      for (int q = 0; q < N; ++q) memory[q][warp] = out[q];
    __syncthreads();
#pragma unroll
    for (int q = 0; q < N; ++q) {
      float v[kWarps];
#pragma unroll
      for (int i = 0; i < kWarps; ++i) v[i] = memory[q][first + i];
#pragma unroll
      for (int step = 1; step < kWarps; step *= 2)
#pragma unroll
        for (int i = 0; i + step < kWarps; i += 2 * step) v[i] = v[i] + v[i + step];
      out[q] = v[0];
    }
  }
}

template <class T, bool kCentered, int kWarps, int kSegments>
__global__ void __launch_bounds__(kBlockThreads) forward_kernel(const __grid_constant__ RowNormForward p) {
  constexpr int kRows = kBlockWarps / kWarps;
  __shared__ float first_memory[1][kBlockWarps], second_memory[2][kBlockWarps];
  __shared__ TreeMemory<2, float> general_memory;
  __shared__ bool rare[kRows];
  const int t = threadIdx.x & 31, warp = threadIdx.x >> 5, slot = warp / kWarps, part = warp % kWarps;
  const int n = int(p.n), start = part * kSegments * kSegmentLength + 8 * t;
  const float eps = float(p.eps), offset = float(p.weight_offset), count = float(n);
  constexpr int kItem = Packed<T>::type == DType::f32 ? 4 : 2;
  for (int64_t base = int64_t(blockIdx.x) * kRows; base < p.rows; base += int64_t(gridDim.x) * kRows) {
    const int64_t r = base + slot;
    const bool active = r < p.rows;
    const char* const x = active ? p.x.row(r) : nullptr;
    Packed<T> v[kSegments][4];
    const auto inside = [&](int s, int k) { return active && start + s * kSegmentLength + k * kLaneCount < n; };
#pragma unroll
    for (int s = 0; s < kSegments; ++s)
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        v[s][k] = {};
        if (inside(s, k)) v[s][k].read(x + int64_t(start + s * kSegmentLength + k * kLaneCount) * kItem);
      }
    RowStatistics<float> statistics;
    Moments<float>& m = statistics.m;
    if constexpr (kCentered) {
      float segment[1][kSegments], sum[1], both[2][kSegments], sums[2];
#pragma unroll
      for (int s = 0; s < kSegments; ++s) {
        float a[8];  // elements beyond the row are +0.0
#pragma unroll
        for (int j = 0; j < 8; ++j) a[j] = ((v[s][0][j] + v[s][1][j]) + v[s][2][j]) + v[s][3][j];
        segment[0][s] = segment_tree(a);
      }
      row_tree<kWarps, kSegments, 1>(segment, first_memory, sum);
      const float mean = sum[0] / count;
#pragma unroll
      for (int s = 0; s < kSegments; ++s) {
        float a[8] = {}, b[8] = {};
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          if (!inside(s, k)) continue;
#pragma unroll
          for (int j = 0; j < 8; ++j) {
            const float d = v[s][k][j] - mean;
            a[j] = a[j] + d;
            b[j] = b[j] + d * d;
          }
        }
        both[0][s] = segment_tree(a);
        both[1][s] = segment_tree(b);
      }
      row_tree<kWarps, kSegments, 2>(both, second_memory, sums);
      m.set(count, mean, sums[0], sums[1]);
    } else {
      float segment[1][kSegments], sum[1];
#pragma unroll
      for (int s = 0; s < kSegments; ++s) {
        float a[8];
#pragma unroll
        for (int j = 0; j < 8; ++j)
          a[j] = ((v[s][0][j] * v[s][0][j] + v[s][1][j] * v[s][1][j]) + v[s][2][j] * v[s][2][j]) + v[s][3][j] * v[s][3][j];
        segment[0][s] = segment_tree(a);
      }
      row_tree<kWarps, kSegments, 1>(segment, first_memory, sum);
      m.set_rms(count, sum[0]);
    }
    const bool is_rare = active && (m.extreme() || (kCentered && m.cancels()));
    if (active && !is_rare) {
      statistics.complete(eps, Prescale<float>());
      if (part == 0 && t == 0) {
        if (kCentered && p.mean.present()) *reinterpret_cast<float*>(p.mean.row(r)) = statistics.saved_mean;
        if (p.rstd.present()) *reinterpret_cast<float*>(p.rstd.row(r)) = statistics.saved_rstd;
      }
      char* const y = p.y.row(r);
#pragma unroll
      for (int s = 0; s < kSegments; ++s)
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          if (!inside(s, k)) continue;
          const int64_t i = start + s * kSegmentLength + k * kLaneCount;
          float out[8];
#pragma unroll
          for (int j = 0; j < 8; ++j) {
            out[j] = v[s][k][j];
            if constexpr (kCentered) out[j] = (out[j] - m.mean) - m.lo;
            out[j] = out[j] * statistics.rstd;
          }
          float w[8];
          if (p.weight.present()) {
            read_weights<T>(p.weight, i, w);
#pragma unroll
            for (int j = 0; j < 8; ++j) {
              if (offset != 0) w[j] = w[j] + offset;
              out[j] = out[j] * w[j];
            }
          }
          if (p.bias.present()) {
            read_weights<T>(p.bias, i, w);
#pragma unroll
            for (int j = 0; j < 8; ++j) out[j] = out[j] + w[j];
          }
          Packed<T>::write(y + i * kItem, out);
        }
    }
    if (!__syncthreads_or(is_rare)) continue;
    if (part == 0 && t == 0) rare[slot] = is_rare;
    __syncthreads();
    for (int s = 0; s < kRows; ++s)
      if (rare[s]) general_forward_row<float, kCentered>(p, base + s, general_memory);
    __syncthreads();
  }
}

}  // namespace kilter::cuda

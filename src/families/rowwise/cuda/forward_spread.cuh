// RMSNorm's forward on a CUDA device for 16-bit rows of 513 to 4096 elements, each spread over twice the warps of forward.cuh.
//
// Two warps share a segment: a thread owns four neighbouring lanes in each of its four stripes.  The trees over the two warps and
// over segments are one tree over the block's warps, with one barrier.  Weights wait in registers.  Rare rows go through shared
// memory into the hands of forward_rare.cuh.
#pragma once

#include "cuda/dependent_launch.cuh"
#include "cuda/scalars.cuh"
#include "families/rowwise/cuda/forward_rare.cuh"

namespace kilter::cuda {

// Four neighbours as they lie in memory.
template <class T>
struct Quad {
  uint2 w;
  __device__ __forceinline__ float operator[](int j) const {
    const uint32_t word = j < 2 ? w.x : w.y;
    return j & 1 ? T::upper(word) : T::lower(word);
  }
  __device__ __forceinline__ static Quad pack(const float (&v)[4]) { return {make_uint2(T::pair(v[0], v[1]), T::pair(v[2], v[3]))}; }
};
template <>
struct Quad<float> {
  float4 w;
  __device__ __forceinline__ float operator[](int j) const { return j == 0 ? w.x : j == 1 ? w.y : j == 2 ? w.z : w.w; }
};

template <class T>
__device__ __forceinline__ Quad<T> read_quad(const char* at, int k, int left) {
  Quad<T> v = {};
  if (k * kStripeLength < left) v = *reinterpret_cast<const Quad<T>*>(at + k * kStripeLength * int(sizeof(Quad<T>) / 4));
  return v;
}
template <class T>
__device__ __forceinline__ void write_quad(char* at, int k, int left, const Quad<T>& v) {
  if (k * kStripeLength < left) *reinterpret_cast<Quad<T>*>(at + k * kStripeLength * int(sizeof(Quad<T>) / 4)) = v;
}

// A thread's part of a row: one quad in each stripe of its segment.
template <class T>
struct SpreadRow {
  Quad<T> v[4];
  __device__ __forceinline__ void read(const char* at, int left) {
#pragma unroll
    for (int k = 0; k < 4; ++k) v[k] = read_quad<T>(at, k, left);
  }
};

// Weights or biases; fp32 ones beside 16-bit rows are read when they are needed.
template <class T, bool kPlain>
struct SpreadWeights {
  SpreadRow<T> row;
  const char* wide = nullptr;

  __device__ __forceinline__ void start(const char* vector, bool is_float, int column, int left) {
    if (!kPlain && is_float)
      wide = vector + int64_t(column) * 4;
    else
      row.read(vector + int64_t(column) * Packed<T>::kItem, left);
  }
  __device__ __forceinline__ void get(int k, int left, float (&w)[4]) const {
    if (!kPlain && wide) {
      const Quad<float> f = read_quad<float>(wide, k, left);
#pragma unroll
      for (int j = 0; j < 4; ++j) w[j] = f[j];
    } else {
#pragma unroll
      for (int j = 0; j < 4; ++j) w[j] = row.v[k][j];
    }
  }
};

template <class T, int kWarps, bool kPlain>
__global__ void __launch_bounds__(kWarps * 32, 1024 / (kWarps * 32)) spread_kernel(const __grid_constant__ RowForwardParameters p) {
  static_assert(Packed<T>::kItem == 2 && kWarps == 8);
  using Rare = RowShape<32, kWarps, 1, 4, 1, false>;
  char* const row_memory = dynamic_shared();
  __shared__ BlockExchange<kWarps> memory;
  const uint32_t flags = kPlain ? p.flags & ~kTwoStrides : p.flags, base = shared_address(&memory);
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int column = (warp >> 1) * kSegmentLength + (warp & 1) * 128 + lane * 4, left = p.n - column;
  const int64_t r = blockIdx.x, bytes = int64_t(column) * Packed<T>::kItem;
  const bool is_dependent = flags & kDependent;

  if constexpr (kPlain) {
    const int place = threadIdx.x * 64;  // a line
    prefetch(p.weight + int64_t(place) * Packed<T>::kItem, is_dependent && place < p.n);
  }
  wait_for_predecessor(is_dependent);
  SpreadRow<T> x;
  SpreadWeights<T, kPlain> weight, bias;
  x.read(row_at(p.x, p.x_runs, flags, r) + bytes, left);
  if (kPlain || (flags & kHasWeight)) weight.start(p.weight, flags & kFloatWeight, column, left);
  if (!kPlain && (flags & kHasBias)) bias.start(p.bias, flags & kFloatBias, column, left);
  memory.start(blockDim.x / 32, 1);
  char* const y = row_at(p.y, p.y_runs, flags, r) + bytes;
  if constexpr (!kPlain) {
    if (flags & kHasResidual) {
      SpreadRow<T> add;
      add.read(row_at(p.residual, p.residual_runs, flags, r) + bytes, left);
      char* const out = row_at(p.residual_out, p.residual_out_runs, flags, r) + bytes;
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        float sum[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) sum[j] = x.v[k][j] + add.v[k][j];
        x.v[k] = Quad<T>::pack(sum);
        write_quad<T>(out, k, p.residual_out.data ? left : 0, x.v[k]);
      }
    }
  }

  float lanes[4];
#pragma unroll
  for (int k = 0; k < 4; ++k)
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float v = x.v[k][j];
      lanes[j] = k == 0 ? v * v : lanes[j] + v * v;
    }
  float sum = (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
#pragma unroll
  for (int bit = 1; bit < 32; bit *= 2) sum = sum + exchange(sum, bit);
  if (lane == 0) store_shared(base + warp * 4, sum);
  __syncthreads();
  QuickStatistics<false> statistics;
  statistics.complete(0, combine_shared<Add, kWarps>(base), float(p.n), p.inverse_n, p.eps);
  if (statistics.is_rare) {  // so judge all threads of the block
#pragma unroll
    for (int k = 0; k < 4; ++k) *reinterpret_cast<Quad<T>*>(row_memory + bytes + k * kStripeLength * Packed<T>::kItem) = x.v[k];
    __syncthreads();
    RowTeam<T, Rare> team(memory);
    Packed<T> held[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) held[k] = read_stripe<T>(row_memory + int64_t(team.column) * Packed<T>::kItem, k, p.n - team.column);
    return rare_rows<T, false, Rare, true>(p, team, held, r);
  }
  if (threadIdx.x == 0 && p.rstd.data) *reinterpret_cast<float*>(row_at(p.rstd, p.rstd_runs, flags, r)) = statistics.rstd;
  let_successor_start(is_dependent);
  const char* const after = row_at(p.post_residual, p.post_residual_runs, flags, r) + bytes;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    float v[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) v[j] = x.v[k][j] * statistics.rstd;
    affine<T, kPlain, false>(
        p, flags, v, [&](float(&w)[4]) { weight.get(k, left, w); }, [&](float(&w)[4]) { bias.get(k, left, w); },
        [&](float(&w)[4]) {
          const Quad<T> a = read_quad<T>(after, k, left);
#pragma unroll
          for (int j = 0; j < 4; ++j) w[j] = a[j];
        });
    write_quad<T>(y, k, left, Quad<T>::pack(v));
  }
}

}  // namespace kilter::cuda

// weight_norm on a CUDA device, slices of columns.
//
// column_sums_kernel: a block owns a tile of columns of a chunk of rows; its rows of threads take the rows in turn, and their sums add up
// in shared memory, in order.  column_merge_kernel adds up a slice's columns and chunks, in order, and leaves what the elements are
// multiplied by; column_apply_kernel reads v, and dw, again.
#pragma once

#include "families/weights/cuda/access.cuh"

namespace kilter::cuda {

// Of a multiprocessor at least: what is under way hides the memory's latency.
template <class T>
constexpr int kColumnBlocks = sizeof(ComputeOf<T>) == 4 ? 2 : 1;
constexpr int kRowsAtOnce = kChain;  // of a thread; their terms are a chain

// A thread's columns of a row.
template <class T>
class ColumnAccess {
 public:
  static constexpr int W = kAccessWidth<T>;
  __device__ __forceinline__ ColumnAccess(const WeightsParameters& p, int64_t tile, int across)
      : p_(p), first_(tile * (kColumnsAcross * W) + (p.vectors ? across * W : across)), step_(p.vectors ? 1 : kColumnsAcross) {}
  __device__ __forceinline__ int64_t column(int j) const { return first_ + j * step_; }
  // Row r, or none.
  __device__ __forceinline__ Place place(int64_t row, bool is) const { return {row, first_, is ? p_.slices.length(row) : 0, step_}; }
  __device__ __forceinline__ int64_t slice(int j) const {
    const Slices& s = p_.slices;
    const int64_t group = s.inner == 1 ? column(j) : divided(column(j), s.inner).whole;
    return divided(group, s.kept).rest;
  }

 private:
  const WeightsParameters& p_;
  int64_t first_;
  int step_;
};

// A thread's squares of a column once more if their sum is out of the ordinary.
template <class T, class C>
__device__ __noinline__ void any_column(const WeightsParameters& p, int64_t begin, int64_t end, int64_t column, Squares<C>* sum) {
  constexpr int kItem = int(sizeof(typename Stored<T>::type));
  *sum = no_squares<C>();
  double scale = 1;
  for (int turn = sizeof(C) == 8 ? 0 : 1; turn < 2; ++turn) {
    double most = 0;
    for (int64_t row = begin; row < end; row += kColumnsDown) {
      if (column >= p.slices.length(row)) continue;
      const int64_t element = row * p.slices.n + column;
      const char* const at = p.flat ? p.v.data + element * kItem : far_element(p.v, p.slices.row_length, element, kItem);
      const double x = Stored<T>::value(*reinterpret_cast<const typename Stored<T>::type*>(at));
      most = fmax(most, fabs(x));
      if constexpr (sizeof(C) == 8) {
        if (turn == 1) add_chain(*sum, (x * scale) * (x * scale));
      } else {
        sum->hi = sum->hi + x * x;
      }
    }
    if constexpr (sizeof(C) == 8) scale = turn == 0 ? scale_for<double>(most) : scale, sum->scale = scale;
  }
}

template <class T>
__global__ void __launch_bounds__(kWeightsThreads, kColumnBlocks<T>) column_sums_kernel(const __grid_constant__ WeightsParameters p) {
  using C = ComputeOf<T>;
  constexpr int W = kAccessWidth<T>, N = kRowsAtOnce;
  __shared__ Squares<C> shared[kColumnsDown][kColumnsAcross * W];
  wait_for_predecessor(p.dependent);
  const int across = threadIdx.x % kColumnsAcross, down = threadIdx.x / kColumnsAcross;
  const Quotient at = divided(blockIdx.x, p.chunks);
  const int64_t tile = at.whole, chunk = at.rest, begin = chunk * p.rows;
  const int64_t end = p.slices.rows - begin < p.rows ? p.slices.rows : begin + p.rows;
  const ColumnAccess<T> access(p, tile, across);
  C scale[W], inverse[W];
  Squares<C> sum[W];
#pragma unroll
  for (int j = 0; j < W; ++j) {
    sum[j] = no_squares<C>(), scale[j] = inverse[j] = 0;
    if (!p.backward || access.column(j) >= p.slices.n) continue;
    const SliceFactors<C> f = backward_factors<C>(p, access.slice(j));
    scale[j] = f.scale, inverse[j] = f.inverse;
  }
  for (int64_t row = begin + down; row < end; row += N * kColumnsDown) {
    Words v[N], dw[N];
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const int64_t r = row + k * kColumnsDown;
      v[k] = load_access<T>(p, p.v, access.place(r, r < end));
      if (p.backward) dw[k] = load_access<T>(p, p.dw, access.place(r, r < end));
    }
#pragma unroll
    for (int j = 0; j < W; ++j) {
      C chain = 0;
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const C x = value_in<T>(v[k].w, j);
        chain = chain + (p.backward ? value_in<T>(dw[k].w, j) * ((x * scale[j]) * inverse[j]) : x * x);
      }
      add_chain(sum[j], chain);
    }
  }
#pragma unroll
  for (int j = 0; j < W; ++j) {
    if (!p.backward && !is_ordinary(value_of(sum[j]))) any_column<T>(p, begin + down, end, access.column(j), &sum[j]);
    shared[down][access.column(j) - tile * (kColumnsAcross * W)] = sum[j];
  }
  __syncthreads();
  for (int i = threadIdx.x; i < kColumnsAcross * W; i += kWeightsThreads) {
    Squares<C> all = shared[0][i];
    for (int d = 1; d < kColumnsDown; ++d) add(all, shared[d][i]);
    const int64_t column = tile * (kColumnsAcross * W) + i;
    if (column < p.slices.n) static_cast<Squares<C>*>(p.sums)[chunk * p.slices.n + column] = all;
  }
  let_successor_start(true);
}

template <class C>
__global__ void __launch_bounds__(kWeightsThreads) column_merge_kernel(const __grid_constant__ WeightsParameters p) {
  __shared__ Squares<C> shared[kColumnsDown][kColumnsAcross];
  wait_for_predecessor(true);
  const int across = threadIdx.x % kColumnsAcross, down = threadIdx.x / kColumnsAcross;
  const Slices& s = p.slices;
  const int64_t slice = int64_t(blockIdx.x) * kColumnsAcross + across, of_row = s.n / s.kept, terms = p.chunks * of_row;
  Squares<C> sum = no_squares<C>();
  for (int64_t i = down; slice < s.kept && i < terms; i += kColumnsDown) {
    const Quotient at = divided(i, of_row), group = divided(at.rest, s.inner);
    add(sum, static_cast<const Squares<C>*>(p.sums)[at.whole * s.n + (group.whole * s.kept + slice) * s.inner + group.rest]);
  }
  shared[down][across] = sum;
  __syncthreads();
  if (down > 0 || slice >= s.kept) return;
  for (int d = 1; d < kColumnsDown; ++d) add(sum, shared[d][across]);
  SliceFactors<C> f;
  if (p.backward)
    f = backward_factors<C>(p, slice), set_sum(p, slice, sum, true, &f);
  else
    f = forward_factors(p, slice, sum, true);
  static_cast<SliceFactors<C>*>(p.factors)[slice] = f;
  let_successor_start(true);
}

template <class T>
__global__ void __launch_bounds__(kWeightsThreads, kColumnBlocks<T>) column_apply_kernel(const __grid_constant__ WeightsParameters p) {
  using C = ComputeOf<T>;
  constexpr int W = kAccessWidth<T>, N = kRowsAtOnce;
  wait_for_predecessor(true);
  const int across = threadIdx.x % kColumnsAcross, down = threadIdx.x / kColumnsAcross;
  const Quotient at = divided(gridDim.x - 1 - blockIdx.x, p.chunks);  // what was read last, first
  const int64_t begin = at.rest * p.rows, end = p.slices.rows - begin < p.rows ? p.slices.rows : begin + p.rows;
  const ColumnAccess<T> access(p, at.whole, across);
  SliceFactors<C> f[W];
#pragma unroll
  for (int j = 0; j < W; ++j)
    f[j] = access.column(j) < p.slices.n ? static_cast<const SliceFactors<C>*>(p.factors)[access.slice(j)] : SliceFactors<C>{};
  for (int64_t row = begin + down; row < end; row += N * kColumnsDown) {
    Words v[N], dw[N];
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const int64_t r = row + k * kColumnsDown;
      v[k] = load_access<T>(p, p.v, access.place(r, r < end));
      if (p.backward) dw[k] = load_access<T>(p, p.dw, access.place(r, r < end));
    }
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const int64_t r = row + k * kColumnsDown;
      if (r >= end) break;
      C out[W];
#pragma unroll
      for (int j = 0; j < W; ++j)
        out[j] = p.backward ? backward_value<C>(value_in<T>(v[k].w, j), value_in<T>(dw[k].w, j), f[j])
                            : forward_value<C>(value_in<T>(v[k].w, j), f[j]);
      store_access<T>(p, p.out, access.place(r, true), out);
    }
  }
  let_successor_start(p.dependent);
}

}  // namespace kilter::cuda

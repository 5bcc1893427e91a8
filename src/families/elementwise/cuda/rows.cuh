// How the kernels of the elementwise ops read and write: VectorRows, 16 bytes at a time, where every row starts at a multiple of 16
// bytes and all tensors have one type; ElementRows, one element at a time, whatever the type, stride and alignment.
#pragma once

#include "core/wide_sum.h"
#include "cuda/element.cuh"
#include "cuda/packed.cuh"
#include "families/elementwise/cuda/parameters.h"
#include "families/elementwise/functions.h"

namespace kilter::cuda {

// Hardware's 2^v and 1 / v, and fused multiply-add: errors of an ulp or so, the same on every GPU of an architecture.
struct Approximate {
  __device__ __forceinline__ static float mad(float a, float b, float c) { return __fmaf_rn(a, b, c); }
  __device__ __forceinline__ static double mad(double a, double b, double c) { return a * b + c; }
  __device__ __forceinline__ static float select(bool is, float a, float b) { return is ? a : b; }
  __device__ __forceinline__ static float inverse(float v) { return approximate_inverse(v); }
  __device__ __forceinline__ static float exp2(float v) { return approximate_exp2(v); }
};

// Type: float, Bf16 or Half.
template <class Type>
struct VectorRows {
  using C = float;
  using Sum = Wide<C>;
  static constexpr int kWidth = Packed<Type>::kWidth;
  struct Tensor {
    RowAddress address;
    RowRuns runs;
    KILTER_INLINE bool present() const { return address.data; }
  };
  using Raw = uint4;  // as it lies in memory

  // False: these kernels do not take it.
  static bool take(const View& v, int64_t rows, Tensor* t) {
    return v.dtype == DType::none ||
           (v.dtype == Packed<Type>::type && to_address(v, rows, &t->address, &t->runs) && aligned(t->address, t->runs));
  }

  // Column of a thread's element j: `first` is its access's number in the row.
  __device__ __forceinline__ static int64_t column(int64_t first, int j, int) { return first * kWidth + j; }
  __device__ __forceinline__ static bool is_inside(int64_t first, int64_t n) { return first * kWidth < n; }

  __device__ __forceinline__ static char* place(const Tensor& t, int64_t r, int64_t first) {
    char* row = t.address.data + first * 16;
    if (t.runs.inner == 0) return row + r * t.address.stride;
    const uint32_t q = uint32_t(r) / t.runs.inner;
    return row + (uint32_t(r) - q * t.runs.inner) * t.address.stride + q * t.runs.outer;
  }
  __device__ __forceinline__ static Raw load(const Tensor& t, int64_t r, int64_t first, int64_t, int) {
    return *reinterpret_cast<const uint4*>(place(t, r, first));
  }
  __device__ __forceinline__ static C value(const Tensor&, const Raw& raw, int j) {
    Packed<Type> p;
    p.part[0] = raw;
    return p[j];
  }
  __device__ __forceinline__ static void store(const Tensor& t, int64_t r, int64_t first, int64_t, int, const C (&v)[kWidth]) {
    *reinterpret_cast<uint4*>(place(t, r, first)) = Packed<Type>::pack(v);
  }
  __device__ __forceinline__ static void round(const Tensor&, C (&v)[kWidth]) { round_to<Type>(v); }
};

template <class Compute>
struct ElementRows {
  using C = Compute;
  using Sum = Wide<C>;
  static constexpr int kWidth = 4;  // elements of a thread, as far apart as neighbours in a block allow
  using Tensor = View;
  static bool take(const View& v, int64_t, Tensor* t) { return *t = v, true; }
  struct Raw {
    C v[kWidth];
  };

  __device__ __forceinline__ static int64_t column(int64_t first, int j, int across) {
    const int64_t tile = first / across;
    return tile * across * kWidth + (first - tile * across) + int64_t(j) * across;
  }
  __device__ __forceinline__ static bool is_inside(int64_t, int64_t) { return true; }

  __device__ __forceinline__ static Raw load(const Tensor& t, int64_t r, int64_t first, int64_t n, int across) {
    Raw raw;
    const char* const row = t.row(r);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      const int64_t i = column(first, j, across);
      raw.v[j] = i < n ? load_element<C>(t.dtype, row, i) : C(0);
    }
    return raw;
  }
  __device__ __forceinline__ static C value(const Tensor&, const Raw& raw, int j) { return raw.v[j]; }
  __device__ __forceinline__ static void store(const Tensor& t, int64_t r, int64_t first, int64_t n, int across, const C (&v)[kWidth]) {
    char* const row = t.row(r);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      const int64_t i = column(first, j, across);
      if (i < n) store_element<C>(t.dtype, row, i, v[j]);
    }
  }
  __device__ __forceinline__ static void round(const Tensor& t, C (&v)[kWidth]) {
#pragma unroll
    for (int j = 0; j < kWidth; ++j) v[j] = rounded_to<C>(t.dtype, v[j]);
  }
};

// A thread's place: its access's number in the row, and its row in the block.
struct ElementwisePlace {
  int64_t first;
  int down;
  bool inside;
};
template <class Rows>
__device__ __forceinline__ ElementwisePlace elementwise_place(const ElementwiseTile& tile, int64_t n) {
  const int down = threadIdx.x / tile.across, across = threadIdx.x - down * tile.across;
  const int64_t first = int64_t(blockIdx.x) * tile.across + across;
  return {first, down, Rows::is_inside(first, n)};
}

// One value, `absent` without it.
template <class C>
__device__ __forceinline__ C scalar(const Column& c, C absent) {
  return c.data ? load_element<C>(c.type, c.data, 0) : absent;
}

// A thread's columns of a vector, `absent` without one.
template <class Rows, class C = typename Rows::C>
__device__ __forceinline__ void load_columns(const Column& c, int64_t first, int across, int64_t n, C absent, C (&v)[Rows::kWidth]) {
#pragma unroll
  for (int j = 0; j < Rows::kWidth; ++j) {
    const int64_t i = Rows::column(first, j, across);
    v[j] = c.data && i < n ? load_element<C>(c.type, c.data, i) : absent;
  }
}

}  // namespace kilter::cuda

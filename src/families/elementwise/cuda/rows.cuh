// How the kernels of the elementwise ops read and write: VectorRows, 16 bytes at a time, where every row starts at a multiple of 16
// bytes and all tensors have one type; ElementRows, one element at a time, whatever the type, stride and alignment.
//
// A thread has one access in a row, which it names by its number `first` among the row's; kWidth elements belong to it.
#pragma once

#include "cuda/approximate.cuh"
#include "cuda/element.cuh"
#include "cuda/packed.cuh"
#include "families/elementwise/cuda/parameters.h"
#include "families/elementwise/functions.h"

namespace kilter::cuda {

// Type: float, Bf16 or Half.
template <class Type>
struct VectorRows {
  using C = float;
  static constexpr int kWidth = Packed<Type>::kWidth, kForwardBlocks = 4;  // of a multiprocessor at least
  using Tensor = RowAddress;
  using Raw = uint4;   // as it lies in memory
  struct RawColumns {  // of a vector of T or fp32
    uint4 part[kWidth / 4];
  };

  // False: these kernels do not take it.
  static bool take(const View& v, RowAddress* t) {
    RowRuns runs;
    if (v.dtype == DType::none) return true;
    return v.dtype == Packed<Type>::type && to_address(v, 0, t, &runs) && runs.inner == 0 && aligned(*t, runs);
  }
  static bool take(const View& v) {
    return !v.present() || ((v.dtype == Packed<Type>::type || v.dtype == DType::f32) && reinterpret_cast<uintptr_t>(v.data) % 16 == 0);
  }

  __device__ __forceinline__ static bool present(const Tensor& t) { return t.data; }
  __device__ __forceinline__ static bool is_inside(int64_t first, int64_t n) { return first * kWidth < n; }
  __device__ __forceinline__ static int64_t column(int64_t first, int j, int) { return first * kWidth + j; }

  // Row r + q, q a constant.
  struct Cursor {
    char* at;
    int64_t stride;
    __device__ __forceinline__ Cursor(const Tensor& t, int64_t r, int64_t first, int64_t, int)
        : at(t.data + r * t.stride + first * 16), stride(t.stride) {}
    __device__ __forceinline__ Raw load(int q) const { return *reinterpret_cast<const uint4*>(at + q * stride); }
    __device__ __forceinline__ void store(int q, const C (&v)[kWidth]) const {
      *reinterpret_cast<uint4*>(at + q * stride) = Packed<Type>::pack(v);
    }
  };
  __device__ __forceinline__ static C value(const Raw& raw, int j) {
    Packed<Type> p;
    p.part[0] = raw;
    return p[j];
  }
  __device__ __forceinline__ static void round(const Tensor&, C (&v)[kWidth]) { round_to<Type>(v); }

  // Loads without a wait for what they bring; then what they brought.
  __device__ __forceinline__ static RawColumns load_columns(const Column& c, int64_t first, int64_t, int) {
    RawColumns raw = {};
    const bool wide = Packed<Type>::kItem == 2 && c.type == DType::f32;
    const uint4* const at = reinterpret_cast<const uint4*>(c.data) + (wide ? 2 * first : first);
    if (c.data) raw.part[0] = at[0];
    if (c.data && wide) raw.part[kWidth / 4 - 1] = at[1];
    return raw;
  }
  __device__ __forceinline__ static void values(const Column& c, const RawColumns& raw, C absent, C (&v)[kWidth]) {
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      const uint4& w = raw.part[j / 4];
      const float wide = __uint_as_float(j % 4 == 0 ? w.x : j % 4 == 1 ? w.y : j % 4 == 2 ? w.z : w.w);
      v[j] = !c.data ? absent : c.type == Packed<Type>::type ? value(raw.part[0], j) : wide;
    }
  }
};

template <class Compute>
struct ElementRows {
  using C = Compute;
  static constexpr int kWidth = 4;  // elements of a thread, as far apart as neighbours in a block allow
  static constexpr int kForwardBlocks = sizeof(C) == 4 ? 3 : 1;
  using Tensor = View;
  struct Raw {
    C v[kWidth];
  };
  using RawColumns = Raw;

  static bool take(const View& v, View* t) { return *t = v, true; }
  static bool take(const View&) { return true; }

  __device__ __forceinline__ static bool present(const Tensor& t) { return t.present(); }
  __device__ __forceinline__ static bool is_inside(int64_t, int64_t) { return true; }
  __device__ __forceinline__ static int64_t column(int64_t first, int j, int across) {
    const int64_t tile = first / across;
    return tile * across * kWidth + (first - tile * across) + int64_t(j) * across;
  }

  struct Cursor {
    const Tensor& t;
    int64_t r, first, n;
    int across;
    __device__ __forceinline__ Cursor(const Tensor& tensor, int64_t row, int64_t access, int64_t length, int neighbours)
        : t(tensor), r(row), first(access), n(length), across(neighbours) {}
    __device__ __forceinline__ Raw load(int q) const {
      Raw raw;
      const char* const row = t.row(r + q);
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        const int64_t i = column(first, j, across);
        raw.v[j] = i < n ? load_element<C>(t.dtype, row, i) : C(0);
      }
      return raw;
    }
    __device__ __forceinline__ void store(int q, const C (&v)[kWidth]) const {
      char* const row = t.row(r + q);
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        const int64_t i = column(first, j, across);
        if (i < n) store_element<C>(t.dtype, row, i, v[j]);
      }
    }
  };
  __device__ __forceinline__ static C value(const Raw& raw, int j) { return raw.v[j]; }
  __device__ __forceinline__ static void round(const Tensor& t, C (&v)[kWidth]) {
#pragma unroll
    for (int j = 0; j < kWidth; ++j) v[j] = rounded_to<C>(t.dtype, v[j]);
  }

  __device__ __forceinline__ static RawColumns load_columns(const Column& c, int64_t first, int64_t n, int across) {
    RawColumns raw;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      const int64_t i = column(first, j, across);
      raw.v[j] = c.data && i < n ? load_element<C>(c.type, c.data, i) : C(0);
    }
    return raw;
  }
  __device__ __forceinline__ static void values(const Column& c, const RawColumns& raw, C absent, C (&v)[kWidth]) {
#pragma unroll
    for (int j = 0; j < kWidth; ++j) v[j] = c.data ? raw.v[j] : absent;
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

// One value, as it lies in memory, then as a number; `absent` without it.
struct RawScalar {
  double wide = 0;
  uint32_t word = 0;
};
__device__ __forceinline__ RawScalar load_scalar(const Column& c) {
  RawScalar raw;
  if (c.type == DType::f64) raw.wide = *reinterpret_cast<const double*>(c.data);
  if (c.type == DType::f32) raw.word = *reinterpret_cast<const uint32_t*>(c.data);
  if (c.data && item_size(c.type) == 2) raw.word = *reinterpret_cast<const uint16_t*>(c.data);
  return raw;
}
template <class C>
__device__ __forceinline__ C value_of(const Column& c, const RawScalar& raw, C absent) {
  switch (c.type) {
    case DType::f64:
      return C(raw.wide);
    case DType::f32:
      return C(__uint_as_float(raw.word));
    case DType::f16:
      return C(half_value(raw.word));
    case DType::bf16:
      return C(__uint_as_float(raw.word << 16));
    case DType::u8:
    case DType::i32:
    case DType::i64:
    case DType::none:
      break;
  }
  return absent;
}

}  // namespace kilter::cuda

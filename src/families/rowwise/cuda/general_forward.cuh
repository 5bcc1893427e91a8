// Forward on a CUDA device for every row there is: any length, stride, alignment, type and feature.
//
// One block owns a row and reads it from memory as often as the formulas ask: once or twice for the statistics (from cache, if
// the row fits there), once more to write y.  A barrier before and after each sum.  docs/numerics.md states every operation.
#pragma once

#include <type_traits>

#include "cuda/block_tree.cuh"
#include "cuda/element.cuh"
#include "families/rowwise/cuda/modulation.cuh"
#include "families/rowwise/problem.h"
#include "kilter/device/row_formulas.h"

namespace kilter::cuda {

// W of docs/numerics.md ("Modulation") for column i of a row with modulation m, or its weight.
template <class C, class Problem>
__device__ __forceinline__ C general_factor(const Problem& p, int64_t m, int64_t i) {
  const C f = load_element<C>(p.scale.dtype, p.scale.row(m), i), offset = C(p.scale_offset);
  return offset != 0 ? f + offset : f;
}
template <class C, class Problem>
__device__ __forceinline__ C general_weight(const Problem& p, int64_t m, int64_t i) {
  const C w = p.weight.present() ? load_element<C>(p.weight.dtype, p.weight.data, i) : C(1), offset = C(p.weight_offset);
  if (!p.scale.present()) return offset != 0 ? w + offset : w;
  const C f = general_factor<C>(p, m, i);
  return p.weight.present() ? f * w : f;
}

// One row as the norm reads it: x, or (gate *) x + residual rounded to the residual's type, times 2^k if the row is pre-scaled.
template <class C>
struct GeneralRow {
  const char* x;
  const char *residual, *gate;  // null: none
  DType x_type, residual_type, gate_type;
  bool scaled;
  C up1, up2;

  __device__ C at(int64_t i) const {
    C v = load_element<C>(x_type, x, i);
    if (gate) v = v * load_element<C>(gate_type, gate, i);
    if (residual) v = rounded_to<C>(residual_type, v + load_element<C>(residual_type, residual, i));
    if (scaled) v = (v * up1) * up2;
    return v;
  }
};

template <class C>
__device__ void measure_chunk(const GeneralRow<C>& row, int64_t begin, int64_t end, TreeMemory<2, C>& memory, Moments<C>* s) {
  const C n = C(end - begin);
  C sums[2];
  block_sums<2>(begin, end, memory, sums, [&](int64_t i, C* t) { t[0] = row.at(i), t[1] = 0; });
  const C mean = sums[0] / n;
  block_sums<2>(begin, end, memory, sums, [&](int64_t i, C* t) {
    const C d = row.at(i) - mean;
    t[0] = d;
    t[1] = d * d;
  });
  s->set(n, mean, sums[0], sums[1]);
  if (!s->cancels()) return;
  const C lo = s->lo;
  block_sums<2>(begin, end, memory, sums, [&](int64_t i, C* t) {
    const C d = (row.at(i) - mean) - lo;
    t[0] = d;
    t[1] = d * d;
  });
  s->refine(n, sums[0], sums[1]);
}

template <class C, bool kCentered>
__device__ void measure(const GeneralRow<C>& row, int64_t n, TreeMemory<2, C>& memory, Moments<C>* s) {
  if constexpr (!kCentered) {
    C sums[2];
    block_sums<2>(0, n, memory, sums, [&](int64_t i, C* t) {
      const C v = row.at(i);
      t[0] = v * v, t[1] = 0;
    });
    s->set_rms(C(n), sums[0]);
  } else {
    if (n <= kStatisticsChunk) return measure_chunk(row, 0, n, memory, s);
    Chunk<C> level[40];  // a binary counter of subtrees
    uint64_t count = 0;
    for (int64_t begin = 0; begin < n; begin += kStatisticsChunk, ++count) {
      const int64_t end = n - begin < kStatisticsChunk ? n : begin + kStatisticsChunk;
      measure_chunk(row, begin, end, memory, s);
      Chunk<C> node = chunk_of(*s, end - begin);
      int b = 0;
      for (uint64_t c = count; c & 1; c >>= 1, ++b) node = merge_chunks(level[b], node);
      level[b] = node;
    }
    int b = __ffsll(static_cast<long long>(count)) - 1;
    Chunk<C> whole = level[b];
    for (++b; count >> b; ++b)
      if (count >> b & 1) whole = merge_chunks(level[b], whole);
    set_from(s, whole);
  }
}

// k of the pre-scale, 0 for none.  Rare.
template <class C, bool kCentered>
__device__ int row_prescale_exponent(const GeneralRow<C>& row, const Moments<C>& s, int64_t n, C eps) {
  using Bits = std::conditional_t<sizeof(C) == 8, unsigned long long, unsigned>;
  __shared__ Bits largest_bits;  // of magnitudes, whose order is that of their bits
  if (threadIdx.x == 0) largest_bits = 0;
  bool deviates = false, finite = true;
  C largest = 0;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    const C v = row.at(i), a = v < 0 ? -v : v;
    finite = finite && a - a == 0;
    largest = a > largest ? a : largest;
    deviates = deviates || (kCentered ? v - s.mean != 0 : v != 0);
  }
  finite = __syncthreads_and(finite);
  deviates = __syncthreads_or(deviates);
  atomicMax(&largest_bits, __builtin_bit_cast(Bits, largest));
  __syncthreads();
  largest = __builtin_bit_cast(C, largest_bits);
  if (!finite || largest == 0 || (s.moment == 0 && !deviates)) return 0;
  return prescale_exponent<C>(ilogb(double(largest)), eps != 0, eps != 0 ? ilogb(double(eps)) : 0);
}

// One row by all threads of the block.
template <class C, bool kCentered>
__device__ void general_forward_row(const RowNormForward& p, int64_t r, TreeMemory<2, C>& memory) {
  const int64_t n = p.n;
  const C eps = C(p.eps);
  const DType t = p.x.dtype;
  const int64_t modulation = p.scale.present() ? modulation_of(p.modulation, r) : 0;
  GeneralRow<C> row{p.x.row(r),
                    p.residual.present() ? p.residual.row(r) : nullptr,
                    p.gate.present() ? p.gate.row(modulation) : nullptr,
                    t,
                    p.residual.dtype,
                    p.gate.dtype,
                    false,
                    C(1),
                    C(1)};
  if (p.residual_out.present()) {  // written first, so that y may overwrite x or residual
    char* const out = p.residual_out.row(r);
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) store_element<C>(p.residual_out.dtype, out, i, row.at(i));
    row.x = out, row.x_type = p.residual_out.dtype, row.residual = row.gate = nullptr;
    __syncthreads();
  }
  RowStatistics<C> s;
  Prescale<C> scale;
  measure<C, kCentered>(row, n, memory, &s.m);
  if (s.m.extreme()) {
    if (const int k = row_prescale_exponent<C, kCentered>(row, s.m, n, eps)) {
      scale = prescale_by<C>(k);
      row.scaled = true, row.up1 = scale.up1, row.up2 = scale.up2;
      measure<C, kCentered>(row, n, memory, &s.m);
    }
  }
  s.complete(eps, scale);
  if (threadIdx.x == 0) {
    if (kCentered && p.mean.present()) *reinterpret_cast<C*>(p.mean.row(r)) = s.saved_mean;
    if (p.rstd.present()) *reinterpret_cast<C*>(p.rstd.row(r)) = s.saved_rstd;
  }
  char* const y = p.y.row(r);
  const char* const after = p.post_residual.present() ? p.post_residual.row(r) : nullptr;
  const auto round = [&](C v) { return p.round_then_multiply ? rounded_to<C>(t, v) : v; };
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    C v = row.at(i);
    if constexpr (kCentered) v = ((v - s.m.mean) - s.m.lo) - s.m.lo2;
    v = round(v * s.rstd);
    if (p.weight.present() || p.scale.present()) v = round(v * general_weight<C>(p, modulation, i));
    if (p.bias.present() || p.shift.present()) {
      C b = p.bias.present() ? load_element<C>(p.bias.dtype, p.bias.data, i) : C(0);
      if (p.scale.present() && p.bias.present()) b = general_factor<C>(p, modulation, i) * b;
      if (p.shift.present()) {
        const C shift = load_element<C>(p.shift.dtype, p.shift.row(modulation), i);
        b = p.bias.present() ? b + shift : shift;
      }
      v = round(v + b);
    }
    if (after) v = v + load_element<C>(p.post_residual.dtype, after, i);
    store_element<C>(t, y, i, v);
  }
}

template <class C, bool kCentered>
__global__ void __launch_bounds__(kBlockThreads) general_forward_kernel(const __grid_constant__ RowNormForward p) {
  __shared__ TreeMemory<2, C> memory;
  for (int64_t r = blockIdx.x; r < p.rows; r += gridDim.x) {
    __syncthreads();  // the last row is done with shared memory
    general_forward_row<C, kCentered>(p, r, memory);
  }
}

// Rows without elements: their statistics are those of an empty sum, 0 / 0.
template <class C>
__global__ void empty_statistics_kernel(const __grid_constant__ RowNormForward p) {
  for (int64_t r = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; r < p.rows; r += int64_t(gridDim.x) * blockDim.x) {
    const C nan = C(__builtin_nanf(""));
    if (p.mean.present()) *reinterpret_cast<C*>(p.mean.row(r)) = nan;
    if (p.rstd.present()) *reinterpret_cast<C*>(p.rstd.row(r)) = nan;
  }
}

}  // namespace kilter::cuda

// Backward on a CUDA device for every row there is; see general_forward.cuh.
//
// Four kernels, each reading x and dy where it needs them: a row's sums (one block a row), whose results go to the workspace; the
// terms of dweight and dbias by chunks of rows (a thread owns a column of a chunk); their tree over chunks; dx (one block a
// row), last, so that it may overwrite x or dy.
#pragma once

#include "core/wide_sum.h"
#include "families/rowwise/cuda/general_forward.cuh"

namespace kilter::cuda {

template <class C>
struct BackwardMemory {  // in the caller's workspace
  RowGradient<C>* rows;
  Wide<C>* chunks[2];  // dweight, dbias: partition.chunks rows of n; null: not asked for
  RowPartition partition;
  Wide<C>* modulated;  // sums of the terms of dscale, dshift and dgate: three times `slots` rows of n
  int64_t block_rows, slots;
};

template <class C, bool kCentered>
struct GeneralGradient {
  const char *x, *dy;
  DType x_type, dy_type;

  __device__ GeneralGradient(const RowNormBackward& p, int64_t r)
      : x(p.x.row(r)), dy(p.dy.row(r)), x_type(p.x.dtype), dy_type(p.dy.dtype) {}
  __device__ C g(int64_t i) const { return load_element<C>(dy_type, dy, i); }
  __device__ C h(const RowGradient<C>& s, int64_t i) const {  // before the mean's correction
    C v = load_element<C>(x_type, x, i);
    if constexpr (kCentered) {
      if (s.halve) v = v * C(0.5);
      v = v - s.mean;
    }
    return v * s.h_rstd;
  }
  __device__ C corrected_h(const RowGradient<C>& s, int64_t i) const {
    const C v = h(s, i);
    return kCentered ? (v - s.lo) - s.lo2 : v;
  }
};

template <class C, bool kCentered>
__global__ void __launch_bounds__(kBlockThreads) general_row_sums_kernel(const __grid_constant__ RowNormBackward p, BackwardMemory<C> m) {
  __shared__ TreeMemory<3, C> memory;
  const C n = C(p.n);
  const bool weighted = p.weight.present() || p.scale.present();
  for (int64_t r = blockIdx.x; r < p.rows; r += gridDim.x) {
    const GeneralGradient<C, kCentered> row(p, r);
    const int64_t modulation = p.scale.present() ? modulation_of(p.modulation, r) : 0;
    RowGradient<C> s;
    s.start(kCentered, kCentered ? *reinterpret_cast<const C*>(p.mean.row(r)) : C(0), *reinterpret_cast<const C*>(p.rstd.row(r)));
    C sums[3];
    const auto add_up = [&](bool again) {
      block_sums<3>(0, p.n, memory, sums, [&](int64_t i, C* t) {
        const C h = again ? row.h(s, i) - s.lo : row.h(s, i), dy = row.g(i), g = weighted ? dy * general_weight<C>(p, modulation, i) : dy;
        t[0] = g * h;
        t[1] = kCentered ? g : C(0);
        t[2] = kCentered ? h : C(0);
      });
    };
    add_up(false);
    if constexpr (!kCentered) {
      s.set_rms(n, sums[0]);
    } else if (s.set(n, sums[0], sums[1], sums[2])) {
      add_up(true);
      s.refine(n, sums[0], sums[1], sums[2]);
    }
    if (threadIdx.x == 0) m.rows[r] = s;
  }
}

template <class C, bool kCentered>
__global__ void general_columns_kernel(const __grid_constant__ RowNormBackward p, BackwardMemory<C> m) {
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < p.n; i += int64_t(gridDim.x) * blockDim.x) {
    for (int64_t c = blockIdx.y; c < m.partition.chunks; c += gridDim.y) {
      const int64_t steps = m.partition.groups_of(c);
      Wide<C> wide[2] = {};
      C block[2] = {}, group[2][kGroupRows];
      for (int64_t step = 0; step < steps; ++step) {
        const int64_t first = m.partition.row(c, step);
        const int count = p.rows - first < kGroupRows ? int(p.rows - first) : kGroupRows;
        for (int place = 0; place < count; ++place) {
          const GeneralGradient<C, kCentered> row(p, first + place);
          const C dy = row.g(i);
          group[0][place] = dy * row.corrected_h(m.rows[first + place], i);
          group[1][place] = dy;
        }
        for (int k = 0; k < 2; ++k) {
          C low = group[k][0], high = 0;
          if (count > 1) low = low + group[k][1];
          if (count > 2) high = group[k][2];
          if (count > 3) high = high + group[k][3];
          block[k] = block[k] + (count > 2 ? low + high : low);
          if (step + 1 != steps && (step + 1) % kBlockGroups != 0) continue;
          add_to(wide[k], widen(block[k]));
          block[k] = 0;
        }
      }
      for (int k = 0; k < 2; ++k)
        if (m.chunks[k]) m.chunks[k][c * p.n + i] = wide[k];
    }
  }
}

template <class C>
__global__ void general_finish_kernel(const __grid_constant__ RowNormBackward p, BackwardMemory<C> m) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= p.n) return;
  for (int k = 0; k < 2; ++k) {
    if (!m.chunks[k]) continue;
    Wide<C> level[40];  // a binary counter of subtrees
    const int64_t count = m.partition.chunks;
    for (int64_t c = 0; c < count; ++c) {
      Wide<C> node = m.chunks[k][c * p.n + i];
      int b = 0;
      for (int64_t left = c; left & 1; left >>= 1, ++b) {
        Wide<C> older = level[b];
        add_to(older, node);
        node = older;
      }
      level[b] = node;
    }
    Wide<C> sum = {};
    if (count > 0) {
      int b = __ffsll(static_cast<long long>(count)) - 1;
      sum = level[b];
      for (++b; count >> b; ++b) {
        if (!(count >> b & 1)) continue;
        Wide<C> older = level[b];
        add_to(older, sum);
        sum = older;
      }
    }
    const View& out = k == 0 ? p.dweight : p.dbias;
    store_element<C>(out.dtype, out.data, i, C(value_of(sum)));
  }
}

// dx before a gate, and dresidual: for column i of row r.
template <class C, bool kCentered>
__device__ __forceinline__ C general_gradient(const RowNormBackward& p, const GeneralGradient<C, kCentered>& row, const RowGradient<C>& s,
                                              int64_t modulation, int64_t r, int64_t i) {
  const C h = row.corrected_h(s, i), dy = row.g(i);
  C g = p.weight.present() || p.scale.present() ? dy * general_weight<C>(p, modulation, i) : dy;
  if constexpr (kCentered) g = g - s.c2;
  C v = s.rstd * (g - h * s.c1);
  if (p.dresidual_out.present()) v = v + load_element<C>(p.dresidual_out.dtype, p.dresidual_out.row(r), i);
  return v;
}

template <class C, bool kCentered>
__global__ void __launch_bounds__(kBlockThreads) general_dx_kernel(const __grid_constant__ RowNormBackward p, BackwardMemory<C> m) {
  for (int64_t r = blockIdx.x; r < p.rows; r += gridDim.x) {
    const GeneralGradient<C, kCentered> row(p, r);
    const RowGradient<C> s = m.rows[r];
    const int64_t modulation = p.scale.present() ? modulation_of(p.modulation, r) : 0;
    char* const dx = p.dx.present() ? p.dx.row(r) : nullptr;
    char* const dresidual = p.dresidual.present() ? p.dresidual.row(r) : nullptr;
    const char* const gate = p.gate.present() ? p.gate.row(modulation) : nullptr;
    for (int64_t i = threadIdx.x; i < p.n; i += blockDim.x) {
      const C v = general_gradient<C, kCentered>(p, row, s, modulation, r, i);
      if (dx) store_element<C>(p.dx.dtype, dx, i, gate ? v * load_element<C>(p.gate.dtype, gate, i) : v);
      if (dresidual) store_element<C>(p.dresidual.dtype, dresidual, i, v);
    }
  }
}

}  // namespace kilter::cuda

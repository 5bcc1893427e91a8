// Backward's sums by modulation on a CUDA device, for every row there is (docs/numerics.md, "Modulation").
//
// Rows are cut into blocks; a thread owns a column of a block and leaves the sums of each modulation's rows there in the workspace: the
// block's b-th and the m-th modulation's at b + m, which grows from one to the next.  A second kernel adds up what a modulation has in
// several blocks, a third dweight and dbias.
#pragma once

#include "families/rowwise/cuda/general_backward.cuh"

namespace kilter::cuda {

// First row of modulation m, and of the next one.
__device__ __forceinline__ int64_t first_row(const RowNormBackward& p, int64_t m) {
  const int64_t first = p.modulation.start_of(m);
  return first < 0 ? 0 : first < p.rows ? first : p.rows;
}

template <class C, bool kCentered>
__global__ void modulated_columns_kernel(const __grid_constant__ RowNormBackward p, BackwardMemory<C> m) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= p.n) return;
  for (int64_t b = blockIdx.y; b * m.block_rows < p.rows; b += gridDim.y) {
    const int64_t last = (b + 1) * m.block_rows, end = last < p.rows ? last : p.rows;
    for (int64_t row = b * m.block_rows; row < end;) {
      const int64_t modulation = modulation_of(p.modulation, row), next = first_row(p, modulation + 1);
      const int64_t stop = next <= row ? row + 1 : next < end ? next : end;  // lengths that decrease do no harm
      Wide<C> wide[3] = {};
      C sum[3] = {};
      for (int groups = 1; row < stop; ++groups) {
        C group[3][kGroupRows];
        const int count = stop - row < kGroupRows ? int(stop - row) : kGroupRows;
        for (int place = 0; place < count; ++place, ++row) {
          const GeneralGradient<C, kCentered> at(p, row);
          const RowGradient<C> s = m.rows[row];
          const C dy = at.g(i);
          group[0][place] = dy * at.corrected_h(s, i);
          group[1][place] = dy;
          group[2][place] = p.dgate.present() ? general_gradient<C, kCentered>(p, at, s, modulation, row, i) *
                                                    load_element<C>(p.branch.dtype, p.branch.row(row), i)
                                              : C(0);
        }
        for (int k = 0; k < 3; ++k) {
          C low = group[k][0], high = 0;
          if (count > 1) low = low + group[k][1];
          if (count > 2) high = group[k][2];
          if (count > 3) high = high + group[k][3];
          sum[k] = sum[k] + (count > 2 ? low + high : low);
          if (row < stop && groups % kBlockGroups != 0) continue;
          add_to(wide[k], widen(sum[k]));
          sum[k] = 0;
        }
      }
      for (int k = 0; k < 3; ++k) m.modulated[(k * m.slots + b + modulation) * p.n + i] = wide[k];
    }
  }
}

// dscale, dshift and dgate.
template <class C>
__global__ void modulated_finish_kernel(const __grid_constant__ RowNormBackward p, BackwardMemory<C> m) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= p.n) return;
  for (int64_t modulation = blockIdx.y; modulation < p.modulation.count; modulation += gridDim.y) {
    const int64_t first = first_row(p, modulation), stop = first_row(p, modulation + 1);
    Wide<C> sum[3] = {};
    if (first < stop)
      for (int64_t b = first / m.block_rows; b <= (stop - 1) / m.block_rows; ++b)
        for (int k = 0; k < 3; ++k) add_to(sum[k], m.modulated[(k * m.slots + b + modulation) * p.n + i]);
    if (p.dscale.present()) {
      const C w = p.weight.present() ? load_element<C>(p.weight.dtype, p.weight.data, i) : C(1);
      const C bias = p.bias.present() ? load_element<C>(p.bias.dtype, p.bias.data, i) : C(0);
      store_element<C>(p.dscale.dtype, p.dscale.row(modulation), i,
                       C(value_of(scale_gradient(sum[0], w, p.bias.present() ? sum[1] : Wide<C>{}, bias))));
    }
    if (p.dshift.present()) store_element<C>(p.dshift.dtype, p.dshift.row(modulation), i, C(value_of(sum[1])));
    if (p.dgate.present()) store_element<C>(p.dgate.dtype, p.dgate.row(modulation), i, C(value_of(sum[2])));
  }
}

// dweight and dbias, of modulated rows.
template <class C>
__global__ void modulated_weights_kernel(const __grid_constant__ RowNormBackward p, BackwardMemory<C> m) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= p.n) return;
  Wide<C> total[2] = {};
  for (int64_t b = 0; b * m.block_rows < p.rows; ++b) {
    const int64_t last = (b + 1) * m.block_rows, end = last < p.rows ? last : p.rows;
    Wide<C> sum[2] = {};
    for (int64_t row = b * m.block_rows; row < end;) {
      const int64_t modulation = modulation_of(p.modulation, row), next = first_row(p, modulation + 1);
      const C f = general_factor<C>(p, modulation, i);
      for (int k = 0; k < 2; ++k) add_to(sum[k], scaled(m.modulated[(k * m.slots + b + modulation) * p.n + i], f));
      row = next <= row ? row + 1 : next;
    }
    for (int k = 0; k < 2; ++k) add_to(total[k], sum[k]);
  }
  if (p.dweight.present()) store_element<C>(p.dweight.dtype, p.dweight.data, i, C(value_of(total[0])));
  if (p.dbias.present()) store_element<C>(p.dbias.dtype, p.dbias.data, i, C(value_of(total[1])));
}

}  // namespace kilter::cuda

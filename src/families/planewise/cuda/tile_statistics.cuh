// Cells of channels on a CUDA device, channels last.
//
// A block owns a tile of channels of a chunk of places, each channel with a cell of its own; in a longer chunk it takes as many places
// at a time as its threads hold.  Elements are read once, into registers, and s = x + residual is written if it is asked for.  The block
// meets a few times, and for each level of three trees.
#pragma once

#include "families/planewise/cuda/cells.cuh"

namespace kilter::cuda {

struct TilePlace {
  int64_t sample, chunk, tile;
  int column, row;
};
__device__ __forceinline__ TilePlace tile_of_block(const TilePlan& tiles) {
  const Quotient by_tile = divided(blockIdx.x, tiles.tiles), by_chunk = divided(by_tile.whole, tiles.chunks);
  const int row = threadIdx.x / tiles.across;
  return {by_chunk.whole, by_chunk.rest, by_tile.rest, int(threadIdx.x) - row * tiles.across, row};
}

template <class T>
__global__ void __launch_bounds__(kPlaneThreads, PlaneAccess<T>::kBlocks)
    tile_statistics_kernel(const __grid_constant__ StatisticsParameters<typename PlaneAccess<T>::C> p) {
  using A = PlaneAccess<T>;
  using C = typename A::C;
  constexpr int W = A::kWidth, kSlots = A::kSlots;
  __shared__ C sums[3][W][kPlaneThreads];
  __shared__ double wide[2][1][kPlaneThreads];
  wait_for_predecessor(p.dependent);
  const TilePlan& tiles = p.tiles;
  const TilePlace b = tile_of_block(tiles);
  const int across = tiles.across, down = tiles.down, t = threadIdx.x, step = p.shape.vectors ? 1 : across;
  const int64_t begin = b.chunk * tiles.places, end = begin + tiles.places_of(b.chunk, p.shape.spatial);
  for (int64_t first = begin; first < end; first += down * kSlots) {
    const int n = end - first < down * kSlots ? int(end - first) : down * kSlots;
    const auto at = [&](int k) {
      const int64_t place = first + k * down + b.row;
      return tile_place<A>(p.shape, tiles, b.sample, b.tile, b.column, place, place < end);
    };
    C v[kSlots][W];
    load<T>(p.x, p.shape.vectors, step, at, v);
    if (p.residual.data) {
      C r[kSlots][W];
      load<T>(p.residual, p.shape.vectors, step, at, r);
#pragma unroll
      for (int k = 0; k < kSlots; ++k) {
        add_residual<T>(p.residual, r[k], v[k]);
        if (p.residual_out.data) store<T>(p.residual_out, p.shape.vectors, step, at(k), v[k]);
      }
    }
    const int own = b.row < n ? (n - b.row - 1) / down + 1 : 0;  // places of this thread
#pragma unroll
    for (int j = 0; j < W; ++j) {
      C sum = 0;
#pragma unroll
      for (int k = 0; k < kSlots; ++k) sum = sum + (k < own ? v[k][j] : C(0));
      sums[0][j][t] = sum;
    }
    __syncthreads();
    add_rows(sums[0], across, down, b.row);
    C mean[W];
#pragma unroll
    for (int j = 0; j < W; ++j) {
      mean[j] = sums[0][j][b.column] / C(n);
      C sum = 0, squares = 0;
#pragma unroll
      for (int k = 0; k < kSlots; ++k) {
        const C d = k < own ? v[k][j] - mean[j] : C(0);
        sum = sum + d, squares = Approximate::mad(d, d, squares);
      }
      sums[1][j][t] = sum, sums[2][j][t] = squares;
    }
    __syncthreads();
    add_rows(sums[1], across, down, b.row);
    add_rows(sums[2], across, down, b.row);
    const auto put = [&](int in_tile, Cell<C> cell) {
      const int64_t channel = b.tile * tiles.channels() + in_tile;
      if (channel >= p.shape.channels) return;
      const int64_t at = p.strides.of(b.sample, channel, b.chunk);
      if (first > begin) {  // one more of what lies there
        const Cell<C> before = {p.cells.mean[at], p.cells.lo[at], p.cells.square[at]};
        cell = merged(before, double(first - begin), cell, double(n));
      }
      p.cells.mean[at] = cell.mean, p.cells.lo[at] = cell.lo, p.cells.square[at] = cell.square;
    };
    // The tile's channels, a thread each as far as there are threads.
    bool rare = false, differs = false;
    for (int i = t; sizeof(C) == 4 && i < across * W; i += blockDim.x) rare = rare || is_rare_square(sums[2][i / across][i % across]);
    if (sizeof(C) == 4 && __syncthreads_or(rare)) {
#pragma unroll
      for (int j = 0; j < W; ++j)
#pragma unroll
        for (int k = 0; k < kSlots; ++k) differs = differs || (k < own && v[k][j] != mean[j] && is_rare_square(sums[2][j][b.column]));
      differs = __syncthreads_or(differs);
    }
    for (int i = t; i < across * W; i += blockDim.x) {
      const int j = i / across, column = i - j * across;
      if (differs && is_rare_square(sums[2][j][column])) continue;
      put(p.shape.vectors ? column * W + j : i, cell_of(sums[0][j][column] / C(n), sums[1][j][column], sums[2][j][column], n));
    }
    if constexpr (sizeof(C) == 4)
      if (differs)
#pragma unroll
        for (int j = 0; j < W; ++j) {
          wide[0][0][t] = 0;
#pragma unroll
          for (int k = 0; k < kSlots; ++k) wide[0][0][t] = wide[0][0][t] + (k < own ? double(v[k][j]) : 0.0);
          __syncthreads();
          add_rows(wide[0], across, down, b.row);
          const double wide_mean = wide[0][0][b.column] / n;
          double squares = 0;
#pragma unroll
          for (int k = 0; k < kSlots; ++k) {
            const double d = k < own ? double(v[k][j]) - wide_mean : 0.0;
            squares = squares + d * d;
          }
          wide[1][0][t] = squares;
          __syncthreads();
          add_rows(wide[1], across, down, b.row);
          const C narrow = sums[2][j][b.column];
          if (b.row == 0 && is_rare_square(narrow)) {
            const Cell<C> cell = cell_of(sums[0][j][b.column] / C(n), sums[1][j][b.column], narrow, n);
            put(p.shape.vectors ? b.column * W + j : b.column + j * across, wide_cell(cell, narrow, wide_mean, wide[1][0][b.column]));
          }
          __syncthreads();  // before wide is written again
        }
    __syncthreads();  // before sums are written again
  }
  let_successor_start(p.dependent);
}

}  // namespace kilter::cuda

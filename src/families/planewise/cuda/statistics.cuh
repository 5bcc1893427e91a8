// The statistics of planes' parts on a CUDA device: a cell is the mean of a chunk, what it lost when it was rounded, and the sum of
// the squares of what is left.
//
// Channels first, a team of threads owns a chunk of a run of neighbouring elements, a plane's or a channel's; short runs have a cell
// each, as many in a block as it has room for.  Channels last, a block owns a tile of channels of a chunk of places, each channel with
// a cell of its own.  Elements are read once, into registers, and s = x + residual is written if it is asked for.  Teams of a block meet
// twice, tiles twice and for each level of two trees.
#pragma once

#include "cuda/dependent_launch.cuh"
#include "families/planewise/cuda/combine.cuh"

namespace kilter::cuda {

// Below it squares underflow.  fp64 is taken as it is.
template <class C>
__device__ __forceinline__ bool is_rare_square(C) {
  return false;
}
template <>
__device__ __forceinline__ bool is_rare_square(float q) {
  return !(q >= 0x1p-96f && q <= 0x1.fffffep127f);
}

template <class C>
struct Cell {
  C mean, lo;
  double square;
};
// Of sums over n elements: mean = sum / n; d = element - mean.
template <class C>
__device__ __forceinline__ Cell<C> cell_of(C mean, C sum_d, C sum_of_squares, int n) {
  const C lo = sum_d / C(n), hi = mean + lo;
  if (!(hi - hi == 0)) return {mean, C(0), double(hi - hi)};  // beside an infinity nothing else is known
  return {hi, (mean - hi) + lo, double(sum_of_squares) - double(lo) * double(lo) * n};
}
// The same from sums in fp64, where squares in fp32 overflow, or vanish although elements differ; `narrow` if none do.
__device__ __forceinline__ Cell<float> wide_cell(const Cell<float>& narrow, float squares, double mean, double sum_of_squares) {
  if (!is_rare_square(squares)) return narrow;
  if (squares <= 0x1.fffffep127f && !(sum_of_squares > mean * mean * 0x1p-80)) return narrow;
  const float hi = float(mean);
  return {hi, hi - hi == 0 ? float(mean - double(hi)) : 0.0f, sum_of_squares};
}

// Chan's formula.
template <class C>
__device__ __forceinline__ Cell<C> merged(const Cell<C>& a, double a_count, const Cell<C>& b, double b_count) {
  const double distance = (double(b.mean) - double(a.mean)) + (double(b.lo) - double(a.lo)), share = b_count / (a_count + b_count);
  const double rest = double(a.lo) + distance * share, mean = double(a.mean) + rest;
  const C hi = C(mean);
  const double square = (a.square + b.square) + distance * distance * share * a_count;
  if (!(hi - hi == 0)) return {C(double(a.mean) + double(b.mean)), C(0), square};
  return {hi, C((double(a.mean) - double(hi)) + rest), square};
}

// A plane's from its variance.  rstd in fp32 where that holds it: fp64 is slow on many GPUs.
template <class C>
__device__ __forceinline__ C inverse_deviation(double square, double n, double eps) {
  const double variance = square > 0 || !(square == square) ? square : 0;
  if constexpr (sizeof(C) == 4) {
    const float v = float(variance) / float(n) + float(eps);
    if (v > 0x1p-90f && v < 0x1p120f && float(variance) < 0x1p120f) return 1.0f / sqrtf(v);
  }
  return C(1 / sqrt(variance / n + eps));
}

// Where a plane's statistics go.
template <class C>
__device__ __forceinline__ void write_plane(const PlaneResults<C>& to, int64_t plane, int64_t sample, int64_t in_sample, const Cell<C>& all,
                                            double n) {
  C mean = all.mean, lo = all.lo;
  const C rstd = inverse_deviation<C>(all.square, n, to.eps);
  store_of<C>(to.mean, sample, in_sample, mean);
  store_of<C>(to.rstd, sample, in_sample, rstd);
  if (to.saved_mean.data) {
    const C saved = load_of<C>(to.saved_mean, sample, in_sample, C(0));
    lo = (mean - saved) + lo, mean = saved;
  }
  to.planes[3 * plane] = mean, to.planes[3 * plane + 1] = lo, to.planes[3 * plane + 2] = rstd;
}

// ---- channels first

// Which run and chunk a thread's slots are of, and its elements.
struct RunPlace {
  int64_t sample, in_sample, chunk;
  RunChunk part;
};
__device__ __forceinline__ RunPlace first_run(const RunPlan& runs) {
  const int64_t item = runs.team <= 32 ? int64_t(blockIdx.x) * runs.runs_of_block() + (threadIdx.x >> runs.team_bits) : int64_t(blockIdx.x);
  const Quotient by_chunk = runs.chunks == 1 ? Quotient{item, 0} : divided(item, runs.chunks);
  const Quotient by_sample = divided(by_chunk.whole, runs.in_sample);
  return {by_sample.whole, by_sample.rest, by_chunk.rest, {}};
}
// Of slot k, from the first's.
__device__ __forceinline__ RunPlace run_of(const RunPlan& runs, int64_t batch, const RunPlace& first, int k) {
  RunPlace r = first;
  if (runs.slots < runs.all_slots) {
    r.in_sample += (k >> runs.slot_bits) * runs.teams();
    if (runs.in_sample > runs.all_slots * kPlaneThreads) {
      if (r.in_sample >= runs.in_sample) r.in_sample -= runs.in_sample, ++r.sample;
    } else {
      const uint32_t samples = uint32_t(r.in_sample) / uint32_t(runs.in_sample);
      r.sample += samples, r.in_sample -= samples * uint32_t(runs.in_sample);
    }
  }
  r.part = r.sample < batch ? runs.chunk(r.in_sample, r.chunk) : RunChunk{0, 0, 0};
  return r;
}
// Of all of a thread's slots.
template <class A>
struct RunPlaces {
  Place places[A::kSlots];
  int count[A::kSlots];  // elements of the slot's run
  __device__ __forceinline__ RunPlaces(const RunPlan& runs, int64_t batch, const RunPlace& first) {
    const int lane = threadIdx.x & (runs.team - 1);
    RunPlace r = run_of(runs, batch, first, 0);
#pragma unroll
    for (int k = 0; k < A::kSlots; ++k) {
      if (runs.slots < A::kSlots && k > 0) r = run_of(runs, batch, first, k);
      const int start = ((k & (runs.slots - 1)) * runs.team + lane) * A::kWidth;
      places[k] = {r.sample, r.part.start + start, start, r.part.from, r.part.to};
      count[k] = r.part.count();
    }
  }
};

template <class T>
__global__ void __launch_bounds__(kPlaneThreads, 2)
    run_statistics_kernel(const __grid_constant__ StatisticsParameters<typename PlaneAccess<T>::C> p) {
  using A = PlaneAccess<T>;
  using C = typename A::C;
  constexpr int W = A::kWidth, kSlots = A::kSlots;
  __shared__ C narrow[3][kPlaneThreads / 32];
  __shared__ double wide[2][1][kPlaneThreads / 32];
  wait_for_predecessor(p.dependent);
  const RunPlan& runs = p.runs;
  const int team = runs.team, slots = runs.slots, lane = threadIdx.x & (team - 1);
  const bool ragged = runs.ragged();
  const RunPlace first = first_run(runs);
  const RunPlaces<A> own(runs, p.shape.batch, first);
  const auto at = [&](int k) { return own.places[k]; };
  C v[kSlots][W];
  load<T>(p.x, p.shape.vectors, 1, at, v);
  if (p.residual.data) {
    C r[kSlots][W];
    load<T>(p.residual, p.shape.vectors, 1, at, r);
#pragma unroll
    for (int k = 0; k < kSlots; ++k) {
      add_residual<T>(p.residual, r[k], v[k]);
      if (p.residual_out.data) store<T>(p.residual_out, p.shape.vectors, 1, at(k), v[k]);
    }
  }
  // Bits of the elements that count, and how many of a run's do.
  uint64_t inside = 0;
  C count[kSlots];
#pragma unroll
  for (int k = 0; k < kSlots; ++k) {
    const Place& place = own.places[k];
    count[k] = C(own.count[k]);
    if (!ragged && !place.any(W, 1)) continue;
#pragma unroll
    for (int j = 0; j < W; ++j)
      if (!ragged || place.has(j, 1)) inside |= uint64_t(1) << (k * W + j);
  }
  const auto is_inside = [&](int k, int j) { return bool(inside >> (k * W + j) & 1); };

  C mean[1][kSlots], sums[2][kSlots];
#pragma unroll
  for (int k = 0; k < kSlots; ++k) {
    mean[0][k] = 0;
#pragma unroll
    for (int j = 0; j < W; ++j) mean[0][k] = mean[0][k] + (is_inside(k, j) ? v[k][j] : C(0));
  }
  team_sums(mean, team, slots, reinterpret_cast<C(&)[1][kPlaneThreads / 32]>(narrow[0]));
#pragma unroll
  for (int k = 0; k < kSlots; ++k) {
    mean[0][k] = mean[0][k] / count[k];
    sums[0][k] = sums[1][k] = 0;
#pragma unroll
    for (int j = 0; j < W; ++j) {
      const C d = is_inside(k, j) ? v[k][j] - mean[0][k] : C(0);
      sums[0][k] = sums[0][k] + d;
      sums[1][k] = Approximate::mad(d, d, sums[1][k]);
    }
  }
  team_sums(sums, team, slots, reinterpret_cast<C(&)[2][kPlaneThreads / 32]>(narrow[1]));

  double wide_mean[1][kSlots] = {}, wide_square[1][kSlots] = {};
  if constexpr (sizeof(C) == 4) {
    bool rare = false;
#pragma unroll
    for (int k = 0; k < kSlots; ++k)
      if (is_rare_square(sums[1][k]))
#pragma unroll
        for (int j = 0; j < W; ++j) rare = rare || (is_inside(k, j) && v[k][j] != mean[0][k]);
    if (team > 32 ? __syncthreads_or(rare) : __any_sync(0xFFFFFFFFu, rare)) {
#pragma unroll
      for (int k = 0; k < kSlots; ++k)
#pragma unroll
        for (int j = 0; j < W; ++j) wide_mean[0][k] = wide_mean[0][k] + (is_inside(k, j) ? double(v[k][j]) : 0.0);
      team_sums(wide_mean, team, slots, wide[0]);
#pragma unroll
      for (int k = 0; k < kSlots; ++k) {
        wide_mean[0][k] = wide_mean[0][k] / double(count[k]);
#pragma unroll
        for (int j = 0; j < W; ++j) {
          const double d = is_inside(k, j) ? double(v[k][j]) - wide_mean[0][k] : 0.0;
          wide_square[0][k] = wide_square[0][k] + d * d;
        }
      }
      team_sums(wide_square, team, slots, wide[1]);
    }
  }
  // Each of a team's threads takes the runs of other slots.
#pragma unroll
  for (int base = 0; base < kSlots; ++base) {
    const int group = base * team + lane;
    const uint32_t own_bit = group * slots < kSlots ? 1u << (group * slots) : 0;
    if (base * team * slots >= kSlots) break;
    C own_mean = 0, own_d = 0, own_square = 0;
    double own_wide_mean = 0, own_wide_square = 0;
#pragma unroll
    for (int k = 0; k < kSlots; ++k) {
      const bool is = own_bit >> k & 1;  // k == group * slots would make the compiler index the arrays, in local memory
      own_mean = is ? mean[0][k] : own_mean, own_d = is ? sums[0][k] : own_d, own_square = is ? sums[1][k] : own_square;
      own_wide_mean = is ? wide_mean[0][k] : own_wide_mean, own_wide_square = is ? wide_square[0][k] : own_wide_square;
    }
    if (group * slots >= kSlots) continue;
    const RunPlace r = run_of(runs, p.shape.batch, first, group * slots);
    if (r.sample >= p.shape.batch) continue;
    const int n = r.part.count();
    Cell<C> cell = {0, 0, 0};
    if (n > 0) {
      cell = cell_of(own_mean, own_d, own_square, n);
      if constexpr (sizeof(C) == 4) cell = wide_cell(cell, own_square, own_wide_mean, own_wide_square);
    }
    const int64_t run = r.sample * runs.in_sample + r.in_sample;
    if (p.results.planes) {
      write_plane(p.results, run, r.sample, r.in_sample, cell, double(n));
    } else {
      const int64_t at_cell = run * runs.chunks + r.chunk;
      p.cells.mean[at_cell] = cell.mean, p.cells.lo[at_cell] = cell.lo, p.cells.square[at_cell] = cell.square;
    }
  }
  let_successor_start(p.dependent);
}

// ---- channels last

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
__global__ void __launch_bounds__(kPlaneThreads, 2)
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
  const int64_t at_cell = (b.sample * tiles.chunks + b.chunk) * p.shape.channels + b.tile * tiles.channels();
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
      if (b.tile * tiles.channels() + in_tile >= p.shape.channels) return;
      const int64_t at = at_cell + in_tile;
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

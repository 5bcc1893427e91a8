// Cells of neighbouring elements on a CUDA device, channels first.
//
// A team of threads, a warp at most, owns a chunk: a part of a run, which is a plane or a channel of a sample, or the runs of several
// samples.  Elements are read once, and s = x + residual is written if it is asked for.  No barrier.
#pragma once

#include "families/planewise/cuda/moments.cuh"

namespace kilter::cuda {

// What a thread's team owns.
struct RunPlace {
  int64_t set, in_sample, chunk;  // of samples; a run's number in its sample
  int64_t sample;                 // the first
  int samples;                    // 0 behind the last chunk
  RunChunk part;
};
__device__ __forceinline__ RunPlace run_of_team(const RunPlan& runs, int64_t batch) {
  const int64_t item = int64_t(blockIdx.x) * runs.teams() + (threadIdx.x >> runs.team_bits);
  const Quotient by_chunk = runs.chunks == 1 ? Quotient{item, 0} : divided(item, runs.chunks);
  const Quotient by_set = divided(by_chunk.whole, runs.in_sample);
  return {by_set.whole,
          by_set.rest,
          by_chunk.rest,
          by_set.whole * runs.samples,
          runs.samples_of(by_set.whole, batch),
          runs.chunk(by_set.rest, by_chunk.rest)};
}
// f(at) for each batch of accesses of a thread's: at(k), the k-th's place.
template <class A, class F>
__device__ __forceinline__ void each_batch(const RunPlan& runs, const RunPlace& own, F f) {
  for (int64_t n = 0; n < own.samples; ++n)
    for (int access = int(threadIdx.x & (runs.team - 1)); access * A::kWidth < own.part.to; access += runs.team * kPlaneSlots)
      f([&](int k) {
        const int first = (access + k * runs.team) * A::kWidth;
        return Place{own.sample + n, own.part.start + first, first, own.part.from, own.part.to};
      });
}

// x + residual, one by one.
template <class T>
__device__ __forceinline__ double element_of(const StatisticsParameters<typename PlaneAccess<T>::C>& p, int64_t sample, int64_t element) {
  using C = typename PlaneAccess<T>::C;
  if (p.residual_out.data) return load_of<C>(p.residual_out, sample, element, C(0));  // x may be overwritten
  C v[2] = {load_of<C>(p.x, sample, element, C(0)), C(0)}, r[2] = {load_of<C>(p.residual, sample, element, C(0)), C(0)};
  if (p.residual.data) add_residual<T>(p.residual, r, v);
  return v[0];
}
// A batch of s, which is written if it is asked for.
template <class T, class At>
__device__ __forceinline__ void load_s(const StatisticsParameters<typename PlaneAccess<T>::C>& p, int step, At at,
                                       typename PlaneAccess<T>::C (&v)[kPlaneSlots][PlaneAccess<T>::kWidth]) {
  load<T>(p.x, p.shape.vectors, step, at, v);
  if (!p.residual.data) return;
#pragma unroll
  for (int k = 0; k < kPlaneSlots; ++k) {
    typename PlaneAccess<T>::C r[PlaneAccess<T>::kWidth];
    load_one<T>(p.residual, p.shape.vectors, step, at(k), r);
    add_residual<T>(p.residual, r, v[k]);
    if (p.residual_out.data) store<T>(p.residual_out, p.shape.vectors, step, at(k), v[k]);
  }
}

// A batch's elements around m's pivot join it.
template <class C, int W, class At>
__device__ __forceinline__ void add_batch(At at, C (&v)[kPlaneSlots][W], Moments<C>* m) {
  C sums[W] = {}, squares[W] = {};
#pragma unroll
  for (int k = 0; k < kPlaneSlots; ++k) {
    keep(at(k), 1, v[k], m->pivot);
#pragma unroll
    for (int j = 0; j < W; ++j) {
      const C d = v[k][j] - m->pivot;
      m->bits |= bits_in(d);
      sums[j] = sums[j] + d, squares[j] = Approximate::mad(d, d, squares[j]);
    }
  }
  m->sum = m->sum + tree_sum(sums), m->squares = m->squares + tree_sum(squares);
}

template <class T>
__global__ void __launch_bounds__(kPlaneThreads, 3)
    run_statistics_kernel(const __grid_constant__ StatisticsParameters<typename PlaneAccess<T>::C> p) {
  using A = PlaneAccess<T>;
  using C = typename A::C;
  constexpr int W = A::kWidth;
  const RunPlan& runs = p.runs;
  const RunPlace own = run_of_team(runs, p.shape.batch);
  wait_for_predecessor(p.dependent);
  let_successor_start(true);
  Moments<C> m;
  C count = 0;
  int batch = 0;
  each_batch<A>(runs, own, [&](auto at) {
    C v[kPlaneSlots][W];
    load_s<T>(p, 1, at, v);
    int n = 0;
#pragma unroll
    for (int k = 0; k < kPlaneSlots; ++k) n += at(k).count(W);
    if (batch == 0) {  // the batch's mean, by distances from one of its elements
#pragma unroll
      for (int j = 0; j < W; ++j) m.pivot = at(0).has(j, 1) ? v[0][j] : m.pivot;
      C distances[W] = {};
#pragma unroll
      for (int k = 0; k < kPlaneSlots; ++k) {
        keep(at(k), 1, v[k], m.pivot);
#pragma unroll
        for (int j = 0; j < W; ++j) distances[j] = distances[j] + (v[k][j] - m.pivot);
      }
      m.pivot = m.pivot + tree_sum(distances) * near_inverse(C(n));
    }
    add_batch(at, v, &m);
    count = count + C(n);
    if (is_power_of_two(++batch)) m.move_to_mean(count);
  });
  m = team_moments(m, &count, runs.team);
  Cell<C> cell = cell_of(m, count);
  if constexpr (sizeof(C) == 4) {
    // The warp takes the chunk of one team after another.
    uint32_t rare = __ballot_sync(0xFFFFFFFFu, count > 0 && is_rare(m));
    while (rare != 0) {
      const int lane = __ffs(int(rare)) - 1, length = __shfl_sync(0xFFFFFFFFu, own.part.count(), lane);
      const int samples = __shfl_sync(0xFFFFFFFFu, own.samples, lane);
      const int64_t sample = __shfl_sync(0xFFFFFFFFu, own.sample, lane);
      const int64_t start = __shfl_sync(0xFFFFFFFFu, own.part.start + own.part.from, lane);
      const Cell<C> wide = wide_cell<C>(int64_t(samples) * length, [&](int64_t i) {
        const Quotient q = divided(i, length);
        return element_of<T>(p, sample + q.whole, start + q.rest);
      });
      if (int(threadIdx.x & 31 & -runs.team) == lane) cell = wide;
      rare &= ~(uint32_t((uint64_t(1) << runs.team) - 1) << lane);
    }
  }
  if (own.samples > 0 && count > 0 && (threadIdx.x & (runs.team - 1)) == 0) {
    if (p.results.planes)
      write_plane(p.results, own.sample * runs.in_sample + own.in_sample, own.sample, own.in_sample, cell, double(count));
    else
      p.cells[p.strides.of(own.set, own.in_sample, own.chunk)] = cell;
  }
}

}  // namespace kilter::cuda

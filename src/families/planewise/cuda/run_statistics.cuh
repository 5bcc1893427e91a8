// Cells of neighbouring elements on a CUDA device, channels first.
//
// A team of threads owns a chunk of a run, which is a plane or a channel of a sample; short runs have a cell each, as many in a block as it
// has room for.  Elements are read once, into registers, and s = x + residual is written if it is asked for.  Teams of a block meet
// twice, others never.
#pragma once

#include "families/planewise/cuda/cells.cuh"

namespace kilter::cuda {

// Which run and chunk a thread's slots are of, and its elements.
struct RunPlace {
  int64_t sample, in_sample, chunk;  // of a first one, sample is a set's number
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
  if (runs.sum_slots() < runs.all_slots) {
    r.in_sample += (k >> runs.sum_bits()) * runs.teams();
    if (runs.in_sample > runs.all_slots * kPlaneThreads) {
      if (r.in_sample >= runs.in_sample) r.in_sample -= runs.in_sample, ++r.sample;
    } else {
      const uint32_t samples = uint32_t(r.in_sample) / uint32_t(runs.in_sample);
      r.sample += samples, r.in_sample -= samples * uint32_t(runs.in_sample);
    }
  }
  r.sample = (r.sample << runs.sample_bits) + (k >> runs.slot_bits & (runs.samples - 1));
  r.part = r.sample < batch ? runs.chunk(r.in_sample, r.chunk) : RunChunk{0, 0, 0};
  return r;
}
// Of all of a thread's slots, in few registers.
template <class A>
struct RunPlaces {
  int64_t element[A::kSlots];
  uint32_t sample[A::kSlots], range[A::kSlots];  // range: of the run's elements, the first in the lowest four bits
  int slots, team;
  __device__ __forceinline__ RunPlaces(const RunPlan& runs, int64_t batch, const RunPlace& first) : slots(runs.slots), team(runs.team) {
    RunPlace r = run_of(runs, batch, first, 0);
#pragma unroll
    for (int k = 0; k < A::kSlots; ++k) {
      if (runs.slots < A::kSlots && k > 0) r = run_of(runs, batch, first, k);
      element[k] = r.part.start + first_of(k), sample[k] = uint32_t(r.sample);
      range[k] = uint32_t(r.part.from) | uint32_t(r.part.to > r.part.from ? r.part.to : r.part.from) << 4;
    }
  }
  __device__ __forceinline__ int first_of(int k) const { return ((k & (slots - 1)) * team + int(threadIdx.x & (team - 1))) * A::kWidth; }
  __device__ __forceinline__ Place place(int k) const {
    return {int64_t(sample[k]), element[k], first_of(k), int(range[k] & 15), int(range[k] >> 4)};
  }
  __device__ __forceinline__ int count(int k) const { return int(range[k] >> 4) - int(range[k] & 15); }
};

template <class T>
__global__ void __launch_bounds__(kPlaneThreads, PlaneAccess<T>::kBlocks)
    run_statistics_kernel(const __grid_constant__ StatisticsParameters<typename PlaneAccess<T>::C> p) {
  using A = PlaneAccess<T>;
  using C = typename A::C;
  constexpr int W = A::kWidth, kSlots = A::kSlots;
  __shared__ C narrow[3][kPlaneThreads / 32];
  __shared__ double wide[2][1][kPlaneThreads / 32];
  wait_for_predecessor(p.dependent);
  const RunPlan& runs = p.runs;
  const int team = runs.team, slots = runs.sum_slots(), lane = threadIdx.x & (team - 1);
  const bool ragged = runs.ragged();
  const RunPlace first = first_run(runs);
  const RunPlaces<A> own(runs, p.shape.batch, first);
  const auto at = [&](int k) { return own.place(k); };
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
    const Place place = own.place(k);
    count[k] = C(own.count(k) * runs.samples_of(place.sample, p.shape.batch));
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
    const int n = r.part.count() * runs.samples_of(r.sample, p.shape.batch);
    Cell<C> cell = {0, 0, 0};
    if (n > 0) {
      cell = cell_of(own_mean, own_d, own_square, n);
      if constexpr (sizeof(C) == 4) cell = wide_cell(cell, own_square, own_wide_mean, own_wide_square);
    }
    if (p.results.planes) {
      write_plane(p.results, r.sample * runs.in_sample + r.in_sample, r.sample, r.in_sample, cell, double(n));
    } else {
      const int64_t at_cell = p.strides.of(r.sample >> runs.sample_bits, r.in_sample, r.chunk);
      p.cells.mean[at_cell] = cell.mean, p.cells.lo[at_cell] = cell.lo, p.cells.square[at_cell] = cell.square;
    }
  }
  let_successor_start(p.dependent);
}

}  // namespace kilter::cuda

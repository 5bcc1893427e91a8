// Sums of elements' distances from a pivot among them, and of the squares, on a CUDA device: each element is taken once, as it arrives.
//
// The pivot is the mean of a thread's first elements, and moves to that of all whenever these have doubled, so that at most half of
// what squares hold is the pivot's distance from the mean.  A team's threads agree on a pivot and add up.  In fp32 squares overflow, or
// vanish although elements differ: such a part of a plane is taken once more in fp64, by a warp.
#pragma once

#include "families/planewise/cuda/cells.cuh"

namespace kilter::cuda {

// Whether a pivot moves behind the batch of this number.
__device__ __forceinline__ bool is_power_of_two(int v) { return (v & (v - 1)) == 0; }

// A pivot need not be the mean to the last bit.
__device__ __forceinline__ float near_inverse(float v) { return approximate_inverse(v); }
__device__ __forceinline__ double near_inverse(double v) { return 1 / v; }

// 0 only of 0.  fp64 is taken as it is, whatever vanishes.
__device__ __forceinline__ uint32_t bits_in(float d) { return __float_as_uint(d); }
__device__ __forceinline__ uint32_t bits_in(double) { return 0; }

// How many elements is known otherwise.
template <class C>
struct Moments {
  C pivot = 0, sum = 0, squares = 0;
  uint32_t bits = 0;  // of any differences from a pivot

  __device__ __forceinline__ void move(C to, C count) {
    const C d = to - pivot;
    squares = squares + d * (count * d - (sum + sum));
    sum = sum - count * d;
    pivot = to;
  }
  __device__ __forceinline__ void move_to_mean(C count) { move(pivot + sum * near_inverse(count), count); }
  // `more` elements, which lie around a pivot of their own.
  __device__ __forceinline__ void add(C count, const Moments& o, C more) {
    if (count == 0) {
      *this = o;
      return;
    }
    const C d = o.pivot - pivot;
    squares = squares + (o.squares + d * (more * d + (o.sum + o.sum)));
    sum = sum + (o.sum + more * d);
    bits |= o.bits | bits_in(d);
    move_to_mean(count + more);
  }
};

// Of a team, a power of two of threads up to a warp, of whose threads each has *count elements, the first some if any has;
// *count becomes the team's.  All threads of the warp take part.
template <class C>
__device__ __forceinline__ Moments<C> team_moments(Moments<C> own, C* count, int team) {
  const C near = __shfl_sync(0xFFFFFFFFu, own.pivot, int(threadIdx.x & 31) & -team), distance = own.pivot - near;
  C all[2] = {*count, *count * distance + own.sum};
  team_sums(all, team);
  if (*count > 0) own.bits |= bits_in(distance);
  own.move(all[0] > 0 ? near + all[1] * near_inverse(all[0]) : near, *count);
  C sums[2] = {own.sum, own.squares};
  team_sums(sums, team);
  for (int bit = 1; bit < team; bit *= 2) own.bits |= __shfl_xor_sync(0xFFFFFFFFu, own.bits, bit);
  *count = all[0];
  return {own.pivot, sums[0], sums[1], own.bits};
}

// Whether squares are not to be relied on.
__device__ __forceinline__ bool is_rare(const Moments<float>& m) {
  return !(m.squares <= 0x1.fffffep127f) || (m.squares < 0x1p-96f && m.bits != 0);
}
__device__ __forceinline__ bool is_rare(const Moments<double>&) { return false; }

// Of n elements.  Beside an infinity nothing is known but the mean.
template <class C>
__device__ __forceinline__ Cell<C> cell_of(const Moments<C>& m, C n) {
  const C lo = m.sum / n, hi = m.pivot + lo;
  const double square = double(m.squares) - double(lo) * double(m.sum);
  return {hi, (m.pivot - hi) + lo, square < 0 ? 0 : square};
}

// Of the elements value(0) to value(count - 1), by all threads of a warp.
template <class C, class F>
__device__ __noinline__ Cell<C> wide_cell(int64_t count, F value) {
  Moments<double> m;
  double n = 0, plain[1] = {};
  for (int64_t i = threadIdx.x & 31; i < count; i += 32) {
    const double v = value(i);
    plain[0] = plain[0] + v;
    m.add(n, {v, 0, 0, 0}, 1);
    n = n + 1;
  }
  team_sums(plain, 32);
  m = team_moments(m, &n, 32);
  if (!(plain[0] - plain[0] == 0)) return {C(plain[0]), C(0), plain[0] - plain[0]};
  const Cell<double> cell = cell_of(m, n);
  const C hi = C(cell.mean);
  return {hi, hi - hi == 0 ? C((cell.mean - double(hi)) + cell.lo) : C(0), cell.square};
}

}  // namespace kilter::cuda

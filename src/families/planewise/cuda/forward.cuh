// y = activation(((s - mean) rstd weight + bias) f + shift), f = scale_offset + scale, on a CUDA device, from planes' statistics.
//
// A block owns a run of neighbouring accesses of a sample (channels first), or a tile of channels of some places (channels last).  What it
// needs of its channels lies in shared memory, a thread makes a channel's; so elements have a table entry to read, one for an access where
// none has parts of two channels.  Elements are read once, on their way while the table is made, and written once.  One barrier.
#pragma once

#include "core/activation.h"
#include "families/planewise/cuda/tile_statistics.cuh"

namespace kilter::cuda {

// What the accesses of a block's slots are: f(k), and the channel of an access's element, as an entry of the table.
template <class A>
struct SlabBlock {
  int64_t sample, start, elements, channel;  // the first channel's number
  int left;                                  // of its elements, from start on
  int entries;
  __device__ __forceinline__ SlabBlock(const PlaneShape& shape, const SlabPlan& slabs) {
    const Quotient by_slab = divided(blockIdx.x, slabs.slabs);
    sample = by_slab.whole, start = by_slab.rest * slabs.elements(), elements = shape.channels * shape.spatial;
    const Quotient by_channel = divided(start, shape.spatial);
    channel = by_channel.whole;
    const int64_t rest = shape.spatial - by_channel.rest, end = elements - start < slabs.elements() ? elements - start : slabs.elements();
    left = rest < (1 << 20) ? int(rest) : 1 << 20;
    entries = rest >= end ? 1 : int((end - rest - 1) / shape.spatial) + 2;
  }
  __device__ __forceinline__ Place place(int access) const {
    const int64_t rest = elements - start;
    return {sample, start + int64_t(access) * A::kWidth, access * A::kWidth, 0, rest < (1 << 20) ? int(rest) : 1 << 20};
  }
  __device__ __forceinline__ int entry(const SlabPlan& slabs, int offset) const {
    return offset < left ? 0 : slabs.quotient(offset - left) + 1;
  }
};

template <class C>
struct alignas(4 * sizeof(C)) Coefficients {  // y = activation((s - mean) * factor + term)
  C mean, factor, term;
};
template <class C>
__device__ __forceinline__ Coefficients<C> coefficients(const ApplyParameters<C>& p, int64_t sample, int64_t channel) {
  const C* const plane = p.statistics + 3 * p.planes_of.of(sample, channel);
  const PlaneNumbers<C> of = p.statistics ? PlaneNumbers<C>{plane[0], plane[1], plane[2]} : given_numbers<C>(p.given, channel);
  const C w = load_of<C>(p.weight, 0, channel, C(1)), b = load_of<C>(p.bias, 0, channel, C(0));
  const C f = p.scale.data ? load_of<C>(p.scale, sample, channel, C(0)) + p.scale_offset : C(1);
  const C shift = load_of<C>(p.shift, sample, channel, C(0));
  const C factor = of.rstd * w * f;
  return {of.mean, factor, Approximate::mad(b, f, shift) - of.lo * factor};
}
template <class C, int W>
__device__ __forceinline__ void normalize(C (&v)[W], int j, const Coefficients<C>& c) {
  v[j] = Approximate::mad(v[j] - c.mean, c.factor, c.term);
}
// What lies before the norm, and behind it.
template <class T>
__device__ __forceinline__ void add_before(const ApplyParameters<typename PlaneAccess<T>::C>& p, int step, const Place& place,
                                           typename PlaneAccess<T>::C (&v)[PlaneAccess<T>::kWidth]) {
  if (p.residual_behind || !p.residual.data) return;
  typename PlaneAccess<T>::C r[PlaneAccess<T>::kWidth];
  load_one<T>(p.residual, p.shape.vectors, step, place, r);
  add_residual<T>(p.residual, r, v);
}
// Returns relu's derivative, bit j of element j.
template <class T>
__device__ __forceinline__ unsigned finish(const ApplyParameters<typename PlaneAccess<T>::C>& p, int step, const Place& place,
                                           typename PlaneAccess<T>::C (&v)[PlaneAccess<T>::kWidth]) {
  if (p.residual_behind && p.residual.data) {
    typename PlaneAccess<T>::C r[PlaneAccess<T>::kWidth];
    load_one<T>(p.residual, p.shape.vectors, step, place, r);
#pragma unroll
    for (int j = 0; j < PlaneAccess<T>::kWidth; ++j) v[j] = v[j] + r[j];
  }
  unsigned passes = 0;
  if (p.mask.bytes.data)
#pragma unroll
    for (int j = 0; j < PlaneAccess<T>::kWidth; ++j) passes |= unsigned(place.has(j, step) && !(v[j] <= 0)) << j;
  activate<Approximate>(p.activation, v);
  store<T>(p.y, p.shape.vectors, step, place, v);
  return passes;
}

template <class T>
__global__ void __launch_bounds__(kPlaneThreads, 3)
    slab_apply_kernel(const __grid_constant__ ApplyParameters<typename PlaneAccess<T>::C> p) {
  using A = PlaneAccess<T>;
  using C = typename A::C;
  constexpr int W = A::kWidth, kSlots = A::kSlots;
  __shared__ Coefficients<C> table[A::kEntries];
  const SlabBlock<A> b(p.shape, p.slabs);
  const bool whole = p.shape.spatial % W == 0;
  wait_for_predecessor(!p.early);
  for (int batch = 0; batch < p.slabs.batches; ++batch) {
    const auto at = [&](int k) {
      Place place = b.place((batch * p.slabs.slots + k) * kPlaneThreads + int(threadIdx.x));
      if (k >= p.slabs.slots) place.to = 0;
      return place;
    };
    C v[kSlots][W];
    load<T>(p.x, p.shape.vectors, 1, at, v);
    if (batch == 0) {
      wait_for_predecessor(p.early);
      for (int i = threadIdx.x; i < b.entries; i += kPlaneThreads) table[i] = coefficients(p, b.sample, b.channel + i);
      __syncthreads();
    }
#pragma unroll
    for (int k = 0; k < kSlots; ++k) {
      const Place place = at(k);
      unsigned passes = 0;
      if (place.any(W, 1)) {
        add_before<T>(p, 1, place, v[k]);
        if (whole) {
          const Coefficients<C> c = table[b.entry(p.slabs, place.first)];
#pragma unroll
          for (int j = 0; j < W; ++j) normalize(v[k], j, c);
        } else {
#pragma unroll
          for (int j = 0; j < W; ++j)
            if (place.has(j, 1)) normalize(v[k], j, table[b.entry(p.slabs, place.first + j)]);
        }
        passes = finish<T>(p, 1, place, v[k]);
      }
      if (p.mask.bytes.data) store_bits<W>(p.mask, 1, place, passes);
    }
  }
}

template <class T>
__global__ void __launch_bounds__(kPlaneThreads, 3)
    tile_apply_kernel(const __grid_constant__ ApplyParameters<typename PlaneAccess<T>::C> p) {
  using A = PlaneAccess<T>;
  using C = typename A::C;
  constexpr int W = A::kWidth, kAtOnce = A::kSlots / 2;
  __shared__ Coefficients<C> table[A::kTile];
  const TilePlan& tiles = p.tiles;
  const TilePlace b = tile_of_block(tiles);
  wait_for_predecessor(true);
  const bool vectors = p.shape.vectors;
  const int step = vectors ? 1 : tiles.across;
  const TileColumn<A> column(p.shape, tiles, b);
  for (int i = threadIdx.x; i < tiles.channels(); i += blockDim.x) {
    const int64_t channel = b.tile * tiles.channels() + i;
    table[i] = channel < p.shape.channels ? coefficients(p, b.sample, channel) : Coefficients<C>{};
  }
  __syncthreads();
  Coefficients<C> own[W];
#pragma unroll
  for (int j = 0; j < W; ++j) own[j] = table[column.channel() + j * step];
  column.with_places([&](auto place_of) {
    for (int done = 0; done < column.count(); done += kAtOnce) {
      C v[kAtOnce][W];
      load<T>(
          p.x, vectors, step, [&](int k) { return place_of(done + k); }, v);
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) {
        const Place place = place_of(done + k);
        unsigned passes = 0;
        if (place.any(W, step)) {
          add_before<T>(p, step, place, v[k]);
#pragma unroll
          for (int j = 0; j < W; ++j) normalize(v[k], j, own[j]);
          passes = finish<T>(p, step, place, v[k]);
        }
        if (p.mask.bytes.data) store_bits<W>(p.mask, step, place, passes);
      }
    }
  });
}

}  // namespace kilter::cuda

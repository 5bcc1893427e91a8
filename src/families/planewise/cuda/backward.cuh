// dx = rstd (f weight u - A - (h - lost) B) + dresidual_out on a CUDA device, from planes' sums A, B and what h lost (sums_merge.cuh).
//
// As in forward.cuh a block owns neighbouring accesses of a sample, or a tile of channels of some places, and has its channels'
// coefficients in shared memory.  x, dy and dresidual_out are read once, dx and dresidual written once.  One barrier.
#pragma once

#include "families/planewise/cuda/forward.cuh"
#include "families/planewise/cuda/sums.cuh"

namespace kilter::cuda {

template <class C>
struct alignas(16) GradientCoefficients {  // as in sums.cuh; dx = of_u u - (of_h h + level)
  C mean, rstd, of_u, of_h, level, factor, term;
};
template <class C>
__device__ __forceinline__ GradientCoefficients<C> gradient_coefficients(const GradientParameters<C>& p, int64_t sample, int64_t channel) {
  const int64_t plane = p.planes_of.of(sample, channel), in_sample = p.planes_of.sample_planes ? p.planes_of.in_sample(channel) : plane;
  const C mean = load_of<C>(p.mean, sample, in_sample, C(0)), rstd = load_of<C>(p.rstd, sample, in_sample, C(0));
  const C f = p.scale.data ? load_of<C>(p.scale, sample, channel, C(0)) + p.scale_offset : C(1);
  const C s = scale_for(rstd);
  const C factor = load_of<C>(p.weight, 0, channel, C(1)) * f;
  C of_all = p.lone ? C(0) : rstd, of_h = 0, level = 0, lost = 0;
  if (p.planes)
    level = p.planes[3 * plane], of_h = p.planes[3 * plane + 1], lost = p.planes[3 * plane + 2];
  else if (p.statistics)
    lost = p.statistics[3 * plane + 1] * rstd;
  if (p.count.data) {
    const double m = load_of<double>(p.count, 0, 0, 0.0), w = double(factor);
    const double b = w * load_of<double>(p.sum_uh, 0, channel, 0.0) / m;
    of_h = C(b), level = C(w * load_of<double>(p.sum_u, 0, channel, 0.0) / m - double(lost) * b);
    if (m == 1) of_all = 0;
  }
  C term = 0;
  if (p.activation != KILTER_ACTIVATION_NONE)
    term = Approximate::mad(load_of<C>(p.bias, 0, channel, C(0)), f, load_of<C>(p.shift, sample, channel, C(0))) - lost * factor;
  return {mean * s, rstd / s, of_all * factor, of_all * of_h, of_all * level, factor, term};
}

template <class T, class F>
__device__ __forceinline__ void write_gradient(const GradientParameters<typename PlaneAccess<T>::C>& p, int step, const Place& place,
                                               typename PlaneAccess<T>::C (&x)[PlaneAccess<T>::kWidth],
                                               typename PlaneAccess<T>::C (&dy)[PlaneAccess<T>::kWidth], F coefficients) {
  using C = typename PlaneAccess<T>::C;
  constexpr int W = PlaneAccess<T>::kWidth;
  to_terms<T>(p, step, place, x, dy, coefficients);
#pragma unroll
  for (int j = 0; j < W; ++j) {
    const GradientCoefficients<C> c = coefficients(j);
    x[j] = Approximate::mad(c.of_u, dy[j], -Approximate::mad(c.of_h, x[j], c.level));
  }
  if (p.dresidual_out.data) {
    C up[W];
    load_one<T>(p.dresidual_out, p.shape.vectors, step, place, up);
#pragma unroll
    for (int j = 0; j < W; ++j) x[j] = x[j] + up[j];
  }
  if (p.dx.data) store<T>(p.dx, p.shape.vectors, step, place, x);
  if (!p.dresidual.data) return;
#pragma unroll
  for (int j = 0; j < W; ++j) x[j] = p.residual_behind ? dy[j] : x[j];
  store<T>(p.dresidual, p.shape.vectors, step, place, x);
}

template <class T>
__global__ void __launch_bounds__(kPlaneThreads, PlaneAccess<T>::kBlocks)
    slab_gradient_kernel(const __grid_constant__ GradientParameters<typename PlaneAccess<T>::C> p) {
  using A = PlaneAccess<T>;
  using C = typename A::C;
  constexpr int W = A::kWidth, kSlots = A::kSlots;
  __shared__ GradientCoefficients<C> table[A::kEntries];
  const SlabBlock<A> b(p.shape, p.slabs);
  const bool whole = p.shape.spatial % W == 0;
  wait_for_predecessor(!p.early);
  for (int batch = 0; batch < p.slabs.batches; ++batch) {
    const auto at = [&](int k) {
      Place place = b.place((batch * p.slabs.slots + k) * kPlaneThreads + int(threadIdx.x));
      if (k >= p.slabs.slots) place.to = 0;
      return place;
    };
    C x[kSlots][W], dy[kSlots][W];
    load<T>(p.x, p.shape.vectors, 1, at, x);
    load<T>(p.dy, p.shape.vectors, 1, at, dy);
    if (batch == 0) {
      wait_for_predecessor(p.early);
      for (int i = threadIdx.x; i < b.entries; i += kPlaneThreads) table[i] = gradient_coefficients(p, b.sample, b.channel + i);
      __syncthreads();
    }
#pragma unroll
    for (int k = 0; k < kSlots; ++k) {
      const Place place = at(k);
      if (!place.any(W, 1)) continue;
      const int entry = b.entry(p.slabs, place.first);
      if (whole) {
        const GradientCoefficients<C> c = table[entry];
        write_gradient<T>(p, 1, place, x[k], dy[k], [&](int) { return c; });
      } else {
        const auto of = [&](int j) { return table[place.has(j, 1) ? b.entry(p.slabs, place.first + j) : entry]; };
        write_gradient<T>(p, 1, place, x[k], dy[k], of);
      }
    }
  }
}

template <class T>
__global__ void __launch_bounds__(kPlaneThreads, PlaneAccess<T>::kBlocks)
    tile_gradient_kernel(const __grid_constant__ GradientParameters<typename PlaneAccess<T>::C> p) {
  using A = PlaneAccess<T>;
  using C = typename A::C;
  constexpr int W = A::kWidth, N = kPlaneSlots / 2;
  __shared__ C table[7][A::kTile];  // a coefficient's of all channels behind one another, for neighbours to read them at once
  const TilePlan& tiles = p.tiles;
  const TilePlace b = tile_of_block(tiles);
  wait_for_predecessor(true);
  const bool vectors = p.shape.vectors;
  const int step = vectors ? 1 : tiles.across;
  for (int i = threadIdx.x; i < tiles.channels(); i += blockDim.x) {
    const int64_t channel = b.tile * tiles.channels() + i;
    const GradientCoefficients<C> c = channel < p.shape.channels ? gradient_coefficients(p, b.sample, channel) : GradientCoefficients<C>{};
    table[0][i] = c.mean, table[1][i] = c.rstd, table[2][i] = c.of_u, table[3][i] = c.of_h, table[4][i] = c.level;
    table[5][i] = c.factor, table[6][i] = c.term;
  }
  __syncthreads();
  const TileColumn<A> column(p.shape, tiles, b);
  const int own = column.channel();
  C c[5][W];
#pragma unroll
  for (int q = 0; q < 5; ++q)
#pragma unroll
    for (int j = 0; j < W; ++j) c[q][j] = table[q][own + j * step];
  const auto of = [&](int j) {  // factor and term, which only slopes need, stay where they are
    return GradientCoefficients<C>{c[0][j], c[1][j], c[2][j], c[3][j], c[4][j], table[5][own + j * step], table[6][own + j * step]};
  };
  column.with_places([&](auto place_of) {
    const auto places = [&](int batch) { return [=](int k) { return place_of(batch * N + k); }; };
    each_fetched(stream_of<T, N>(p, step), (column.count() + N - 1) / N, places, [&](int batch, const StreamPair<T, N>& held) {
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const Place place = place_of(batch * N + k);
        if (!place.any(W, step)) continue;
        C x[W], dy[W];
        held.x.value(k, place, x), held.dy.value(k, place, dy);
        write_gradient<T>(p, step, place, x, dy, of);
      }
    });
  });
}

}  // namespace kilter::cuda

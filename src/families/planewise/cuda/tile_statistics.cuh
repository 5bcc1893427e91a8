// Cells of channels on a CUDA device, channels last.
//
// A block owns a tile of channels of a chunk of places, a thread an access of every so many of them; each plane of which the tile has
// channels gets a cell, by a team of threads that reads what all threads have of them in shared memory.  Elements are read once, and
// s = x + residual is written if it is asked for.  One barrier, and another where a cell is taken once more.
#pragma once

#include "families/planewise/cuda/run_statistics.cuh"

namespace kilter::cuda {

struct TilePlace {
  int64_t sample, chunk, tile;
  int column, row;  // of the thread; there are threads behind the last row
};
__device__ __forceinline__ TilePlace tile_of_block(const TilePlan& tiles) {
  const Quotient by_tile = divided(blockIdx.x, tiles.tiles), by_chunk = divided(by_tile.whole, tiles.chunks);
  const int row = threadIdx.x / tiles.across;
  return {by_chunk.whole, by_chunk.rest, by_tile.rest, int(threadIdx.x) - row * tiles.across, row};
}
// Of a chunk's places, those that a row of threads has.
__device__ __forceinline__ int places_of_row(int places, int down, int row) { return row < places ? (places - row - 1) / down + 1 : 0; }

// A thread's accesses in a chunk: f(place_of) with place_of(i) the i-th's place, of count().  Where samples lie side by side no access
// needs a division, which would keep the next one waiting.
template <class A>
class TileColumn {
 public:
  __device__ __forceinline__ TileColumn(const PlaneShape& s, const TilePlan& t, const TilePlace& b)
      : shape_(s),
        down_(t.down),
        count_(b.row < t.down ? places_of_row(int(t.places_of(b.chunk, s.spatial)), t.down, b.row) : 0),
        place_(b.chunk * t.places + b.row),
        own_(tile_place<A>(s, t, b.sample, b.tile, b.column, place_, true)) {}
  __device__ __forceinline__ int count() const { return count_; }
  __device__ __forceinline__ int channel() const { return own_.first; }  // in the tile
  template <class F>
  __device__ __forceinline__ void with_places(F f) const {
    const int channels = count_ > 0 ? own_.to : 0;
    if (shape_.in_sample >= shape_.spatial) {
      const int64_t step = down_ * shape_.channels;
      return f([=, this](int i) { return Place{own_.sample, own_.element + i * step, own_.first, 0, i < count_ ? channels : 0}; });
    }
    const Quotient at = divided(place_, shape_.in_sample);
    const int64_t begin = own_.element - at.rest * shape_.channels;
    f([=, this](int i) {
      const Quotient place = divided(place_ + int64_t(i) * down_, shape_.in_sample);
      return Place{place.whole, begin + place.rest * shape_.channels, own_.first, 0, i < count_ ? channels : 0};
    });
  }

 private:
  const PlaneShape& shape_;
  int down_, count_;
  int64_t place_;
  Place own_;
};

// The planes of which a tile has channels.
struct TilePlanes {
  int64_t first, begin, end;  // channels
  int64_t width;
  int count;
  __device__ __forceinline__ TilePlanes(const PlaneShape& shape, const TilePlan& tiles, const PlanesOf& planes, int64_t tile)
      : begin(tile * tiles.channels()), width(planes.width) {
    end = begin + tiles.channels() < shape.channels ? begin + tiles.channels() : shape.channels;
    first = divided(begin, width).whole, count = int(divided(end - 1, width).whole - first) + 1;
  }
  // The i-th's first channel in the tile, and how many there are.
  __device__ __forceinline__ int channel(int i) const {
    const int64_t at = (first + i) * width - begin;
    return at > 0 ? int(at) : 0;
  }
  __device__ __forceinline__ int channels(int i) const {
    const int64_t to = (first + i + 1) * width - begin;
    return (to < end - begin ? int(to) : int(end - begin)) - channel(i);
  }
};

template <class T>
__global__ void __launch_bounds__(kPlaneThreads, 2)
    tile_statistics_kernel(const __grid_constant__ StatisticsParameters<typename PlaneAccess<T>::C> p) {
  using A = PlaneAccess<T>;
  using C = typename A::C;
  constexpr int W = A::kWidth;
  __shared__ C held[3][W][kPlaneThreads + 32 / W];  // pivots, sums, squares; neighbouring channels in banks of their own
  __shared__ bool rare[A::kTile];
  const TilePlan& tiles = p.tiles;
  const TilePlace b = tile_of_block(tiles);
  wait_for_predecessor(p.dependent);
  let_successor_start(true);
  const int step = p.shape.vectors ? 1 : tiles.across, places = int(tiles.places_of(b.chunk, p.shape.spatial));
  const int64_t begin = b.chunk * tiles.places;
  C pivot[W] = {}, sum[W] = {}, squares[W] = {};
  uint32_t bits[W] = {};
  const TileColumn<A> column(p.shape, tiles, b);
  column.with_places([&](auto place_of) {
    for (int done = 0, batch = 0; done < column.count(); done += kPlaneSlots) {
      const int n = column.count() - done < kPlaneSlots ? column.count() - done : kPlaneSlots;
      C v[kPlaneSlots][W];
      load_s<T>(
          p, step, [&](int k) { return place_of(done + k); }, v);
      if (done == 0) {
#pragma unroll
        for (int j = 0; j < W; ++j) {
          C distance = 0;
#pragma unroll
          for (int k = 1; k < kPlaneSlots; ++k) distance = distance + (k < n ? v[k][j] - v[0][j] : C(0));
          pivot[j] = v[0][j] + distance * near_inverse(C(n));
        }
      }
#pragma unroll
      for (int k = 0; k < kPlaneSlots; ++k)
        if (k < n)
#pragma unroll
          for (int j = 0; j < W; ++j) {
            const C d = v[k][j] - pivot[j];
            bits[j] |= bits_in(d);
            sum[j] = sum[j] + d, squares[j] = Approximate::mad(d, d, squares[j]);
          }
      if (!is_power_of_two(++batch)) continue;
#pragma unroll
      for (int j = 0; j < W; ++j) {
        Moments<C> m = {pivot[j], sum[j], squares[j], 0};
        m.move_to_mean(C(done + n));
        pivot[j] = m.pivot, sum[j] = m.sum, squares[j] = m.squares;
      }
    }
  });
#pragma unroll
  for (int j = 0; j < W; ++j) {
    held[0][j][threadIdx.x] = pivot[j], held[1][j][threadIdx.x] = sum[j];
    held[2][j][threadIdx.x] = squares[j] == 0 && bits[j] != 0 ? C(0x1p-149f) : squares[j];  // is it one of differences?
  }
  __syncthreads();

  const TilePlanes planes(p.shape, tiles, p.planes_of, b.tile);
  const auto cell_at = [&](int i) -> Cell<C>& { return p.cells[p.strides.of(b.sample, planes.first + i + b.tile, b.chunk)]; };
  int team = 32, wide = 1;  // threads of a plane, of which so many have channels of their own
  while (team > 1 && team * planes.count > int(blockDim.x)) team /= 2;
  while (wide < team && wide < planes.width) wide *= 2;
  const int lane = threadIdx.x & (team - 1);
  bool again = false;
  for (int base = 0; base < planes.count; base += blockDim.x / team) {
    const int i = base + threadIdx.x / team;
    const bool is = i < planes.count;
    Moments<C> m;
    C count = 0;
    for (int c = lane & (wide - 1); is && c < planes.channels(i); c += wide) {
      const int channel = planes.channel(i) + c, j = p.shape.vectors ? channel % W : channel / tiles.across;
      for (int row = lane / wide; row < tiles.down; row += team / wide) {
        const int n = places_of_row(places, tiles.down, row),
                  t = row * tiles.across + (p.shape.vectors ? channel / W : channel % tiles.across);
        if (n == 0) break;
        m.add(count, {held[0][j][t], held[1][j][t], held[2][j][t], uint32_t(held[2][j][t] != 0)}, C(n));
        count = count + C(n);
      }
    }
    m = team_moments(m, &count, team);
    if (!is || lane != 0) continue;
    cell_at(i) = cell_of(m, count);
    rare[i] = is_rare(m), again = again || rare[i];
  }
  if (sizeof(C) == 4 && __syncthreads_or(again))
    for (int i = threadIdx.x / 32; i < planes.count; i += blockDim.x / 32) {
      if (!rare[i]) continue;
      const int channels = planes.channels(i);
      const int64_t channel = planes.begin + planes.channel(i);
      const Cell<C> cell = wide_cell<C>(int64_t(channels) * places, [&](int64_t k) {
        const Quotient q = divided(k, channels), at = divided(begin + q.whole, p.shape.in_sample);
        const bool one = p.shape.in_sample >= p.shape.spatial;  // all places in one sample
        return element_of<T>(p, one ? b.sample : at.whole, (one ? begin + q.whole : at.rest) * p.shape.channels + channel + q.rest);
      });
      if ((threadIdx.x & 31) == 0) cell_at(i) = cell;
    }
}

}  // namespace kilter::cuda

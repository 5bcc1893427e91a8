// Who owns what in the CUDA kernels of planes: pure functions of shape, layout and type, never of the device, so that sums and their
// bits are everyone's.
//
// An access is 16 bytes of T.  Channels first, a sample's accesses lie at multiples of 16 bytes from its start, whatever a plane's start
// is: those at a plane's ends are shared by two, of which each takes its own elements.  Channels last, an access is of neighbouring
// channels of a place.
#pragma once

#include "families/planewise/problem.h"

namespace kilter::cuda {

constexpr int kPlaneThreads = 256;
constexpr int kMostTile = 1024;  // channels of a tile

KILTER_INLINE constexpr int plane_width(DType t) { return 16 / item_size(t); }  // elements of an access

constexpr int kPlaneSlots = 4;  // accesses that a thread has under way at once

// Channels that a block has the coefficients of: a slab's, and as many as a tile has at most.
KILTER_INLINE constexpr int plane_entries(DType t) { return t == DType::f64 ? 520 : 1032; }

KILTER_INLINE constexpr int64_t ceil_div(int64_t a, int64_t b) { return a / b + (a % b != 0); }
KILTER_INLINE constexpr int power_of_two(int64_t least) {
  int p = 1;
  while (p < least) p *= 2;
  return p;
}

KILTER_INLINE constexpr int bits_of(int power) {
  int bits = 0;
  while (1 << bits < power) ++bits;
  return bits;
}

// Of a chunk of a run: the accesses' first element, and which of the elements from there on are the run's.
struct RunChunk {
  int64_t start;
  int from, to;
  KILTER_INLINE constexpr int count() const { return to > from ? to - from : 0; }
};

// Channels first: runs of `length` neighbouring elements, `in_sample` of them to a sample.  A team of threads, a warp at most, owns a
// chunk: a part of a run, or the runs of some samples that share a plane.
struct RunPlan {
  int64_t length = 0, in_sample = 0;
  int team = 1, width = 1;
  int samples = 1;                    // of a chunk
  int team_bits = 0, width_bits = 0;  // no division by a number that a kernel has at run time
  int64_t chunks = 0, accesses = 0;   // of a run; of a chunk in a sample

  KILTER_INLINE constexpr bool ragged() const { return (length & (width - 1)) != 0; }
  KILTER_INLINE constexpr int teams() const { return kPlaneThreads >> team_bits; }
  KILTER_INLINE constexpr int64_t sets(int64_t batch) const { return ceil_div(batch, samples); }
  KILTER_INLINE constexpr int64_t blocks(int64_t batch) const { return ceil_div(sets(batch) * in_sample * chunks, teams()); }
  // Of a set of samples.
  KILTER_INLINE constexpr int samples_of(int64_t set, int64_t batch) const {
    const int64_t left = batch - set * samples;
    return left >= samples ? samples : left > 0 ? int(left) : 0;
  }
  KILTER_INLINE constexpr RunChunk chunk(int64_t run_in_sample, int64_t k) const {
    const int64_t begin = run_in_sample * length, first = begin >> width_bits, start = (first + k * accesses) << width_bits;
    const int64_t from = begin - start, to = begin + length - start, most = accesses << width_bits;
    return {start, from > 0 ? int(from) : 0, to > most ? int(most) : to > 0 ? int(to) : 0};
  }
};
// A thread's batches of accesses in a chunk at most: what it adds up is of so many terms, each of a batch.
constexpr int64_t kMostBatches = 16;
// Teams' batches, from which chunks are longer than one: enough threads for any device, if a call has them.
constexpr int64_t kBatchesOfSample = 256, kBatchesOfAll = 8192;
KILTER_INLINE constexpr int64_t between(int64_t v, int64_t least, int64_t most) { return v < least ? least : v > most ? most : v; }

// batch: samples that share planes.
KILTER_INLINE constexpr RunPlan run_plan(int64_t length, int64_t in_sample, DType t, int64_t batch = 1) {
  RunPlan p;
  p.length = length, p.in_sample = in_sample, p.width = plane_width(t), p.width_bits = bits_of(p.width);
  if (length == 0) return p;
  const int64_t accesses = p.ragged() ? (length - 1 + p.width - 1) / p.width + 1 : length / p.width;
  p.team = power_of_two(between(ceil_div(accesses, kPlaneSlots), 1, 32)), p.team_bits = bits_of(p.team);
  const int64_t batches = ceil_div(accesses, p.team * kPlaneSlots), wanted = batch > 1 ? kBatchesOfAll : kBatchesOfSample;
  const int64_t most = between(batch * in_sample * batches * p.team / 32 / wanted, 1, kMostBatches);  // of a chunk
  p.chunks = ceil_div(batches, most);
  p.accesses = ceil_div(accesses, p.chunks);
  if (p.chunks > 1) p.accesses = ceil_div(p.accesses, 8) * 8, p.chunks = ceil_div(accesses, p.accesses);  // whole lines of memory
  p.samples = int(between(most / batches, 1, batch));
  return p;
}

// Blocks from which on each has several batches.
constexpr int64_t kBlocksOfSample = 32, kBlocksOfAll = 1024;

// Channels last: a block owns a tile of `across` accesses and the places of a chunk, `down` times the slots at a time.
struct TilePlan {
  int across = 1, down = 1, width = 1;
  int64_t tiles = 0, chunks = 0, batches = 1, places = 0;  // of a sample's channels, of its places; of a chunk

  KILTER_INLINE constexpr int threads() const { return (across * down + 31) / 32 * 32; }  // whole warps
  KILTER_INLINE constexpr int channels() const { return across * width; }
  KILTER_INLINE constexpr int64_t blocks(int64_t batch) const { return batch * chunks * tiles; }
  KILTER_INLINE constexpr int64_t places_of(int64_t chunk, int64_t spatial) const {
    return spatial - chunk * places < places ? spatial - chunk * places : places;
  }
};
// wanted: how many blocks a sample should have, or all samples that share planes.  together: neighbours of a place that have to be one
// tile's and one warp's, 1 or 8.
KILTER_INLINE constexpr TilePlan tile_plan(int64_t channels, int64_t spatial, DType t, int64_t wanted, int together = 1) {
  TilePlan p;
  p.width = plane_width(t);
  if (channels == 0 || spatial == 0) return p;
  const int64_t accesses = ceil_div(channels, p.width), rows = ceil_div(spatial, kPlaneSlots);
  int64_t most = rows < 8 ? kPlaneThreads / rows : 32;
  if (most > kMostTile / p.width) most = kMostTile / p.width;
  p.tiles = ceil_div(accesses, most);
  p.across = int(ceil_div(accesses, p.tiles));
  if (together > 1) p.across = int(ceil_div(p.across, together)) * together, p.tiles = ceil_div(accesses, p.across);
  p.down = kPlaneThreads / p.across;
  if (p.down > rows) p.down = int(rows);
  const int64_t at_once = int64_t(p.down) * kPlaneSlots, batches = ceil_div(spatial, at_once);
  p.batches = between(batches * p.tiles / wanted, 1, kMostBatches);
  if (p.batches == 1 && batches >= 8) p.batches = 2;  // what the block does once is not worth less
  p.places = p.batches * at_once;
  p.chunks = ceil_div(spatial, p.places);
  return p;
}

// Channels first, the kernels that write: a block owns neighbouring accesses of a sample, as many as it can have the channels of.
struct SlabPlan {
  int width = 1, slots = 1, batches = 1;
  int64_t slabs = 0;
  uint32_t inverse = 0;  // what quotient() multiplies with

  KILTER_INLINE constexpr int elements() const { return kPlaneThreads * slots * batches * width; }
  // offset / spatial for offset < 2^15, of any slab; not for spatial = 1, where samples are channels last as well.
  KILTER_INLINE constexpr int quotient(int offset) const { return int(uint64_t(uint32_t(offset)) * inverse >> 32); }
};
KILTER_INLINE constexpr SlabPlan slab_plan(int64_t channels, int64_t spatial, DType t, int64_t batch) {
  SlabPlan p;
  p.width = plane_width(t), p.slots = kPlaneSlots;
  if (channels == 0 || spatial == 0) return p;
  while (p.batches < 4 && batch * channels * spatial / p.elements() > 2 * kBlocksOfAll) p.batches *= 2;
  while (p.batches > 1 && p.elements() / spatial + 2 > plane_entries(t)) p.batches /= 2;
  while (p.slots > 1 && p.elements() / spatial + 2 > plane_entries(t)) p.slots /= 2;
  p.slabs = ceil_div(channels * spatial, p.elements());
  p.inverse = spatial == 1 || spatial >= 1 << 16 ? 0 : uint32_t(((int64_t(1) << 32) + spatial - 1) / spatial);
  return p;
}

// What a call computes with: the layout of each kind of kernel.  Without other places a sample is both; then its statistics are of
// neighbours, and its coefficients too, unless its channels are planes that it shares with others, whose places samples are.
template <class Problem>
constexpr bool writes_lie_first(const Problem& p) {
  return (p.x.layout & kChannelsFirst) && !(p.spatial == 1 && (p.x.layout & kChannelsLast));
}
template <class Problem>
constexpr bool statistics_lie_first(const Problem& p) {
  return p.over_batch ? writes_lie_first(p) : bool(p.x.layout & kChannelsFirst);
}
// Channels last, all samples that share planes are one, of so many places.
template <class Problem>
constexpr int64_t places_of_set(const Problem& p) {
  return samples_of_set(p) * p.spatial;
}

// Where a cell lies: of a set of samples, a run or a channel, a chunk.
struct CellStrides {
  int64_t set, run, chunk;
  KILTER_INLINE constexpr int64_t of(int64_t n, int64_t r, int64_t k) const { return n * set + r * run + k * chunk; }
};
// Of statistics, of a plane's parts; of backward's sums, of a channel's.
struct CellPlan {
  bool first;
  RunPlan runs;
  TilePlan tiles;
  CellStrides strides;
  int64_t sets, parts;  // of the cells; of a run or channel of a set
  int64_t cells;
};
// What no sum depends on may follow from the batch.
template <class Problem>
constexpr TilePlan write_tiles(const Problem& p, DType t) {
  return tile_plan(p.channels, places_of_set(p), t, between(kBlocksOfAll / sets_of(p), 1, kBlocksOfAll), p.mask.present() ? 8 : 1);
}

template <class Problem>
constexpr CellPlan cell_plan(const Problem& p, bool first, int64_t runs, DType t) {
  CellPlan plan = {first, {}, {}, {}, sets_of(p), 0, 0};
  if (p.empty()) return plan;
  if (first)
    plan.runs = run_plan(p.channels / runs * p.spatial, runs, t, samples_of_set(p));
  else
    plan.tiles = tile_plan(p.channels, places_of_set(p), t, p.over_batch ? kBlocksOfAll : kBlocksOfSample);
  // A tile that a run begins in, and one that it goes on in, have a cell each.
  const int64_t units = first ? runs : runs + plan.tiles.tiles - 1, chunks = first ? plan.runs.chunks : plan.tiles.chunks;
  plan.parts = p.over_batch && first ? plan.runs.sets(p.batch) * chunks : chunks;
  plan.cells = plan.sets * units * plan.parts;
  if (p.over_batch)  // a plane's behind one another
    plan.strides = {chunks, plan.parts, 1};
  else
    plan.strides = first ? CellStrides{units * chunks, chunks, 1} : CellStrides{units * chunks, 1, units};
  return plan;
}
template <class Problem>
constexpr CellPlan statistics_plan(const Problem& p) {
  return cell_plan(p, statistics_lie_first(p), p.groups, p.x.dtype);
}
constexpr CellPlan sums_plan(const PlaneBackward& p) { return cell_plan(p, writes_lie_first(p), p.channels, p.dy.dtype); }
// The workspace: arrays behind one another, each at a multiple of 16 bytes.
struct Arena {
  size_t used = 0;
  KILTER_INLINE size_t take(int64_t count, size_t bytes) {
    const size_t at = used;
    used += (size_t(count) * bytes + 15) / 16 * 16;
    return at;
  }
};
// Offsets.
struct StatisticsMemory {
  size_t cells;    // mean, what it lost, and in fp64 the sum of the squares of what is left
  size_t planes;   // three values each: mean, what it lost, rstd
  size_t moments;  // means and variances in fp64, for running statistics of several sets
  StatisticsMemory(Arena& arena, int64_t cell_count, int64_t plane_count, int64_t moment_count, size_t item)
      : cells(arena.take(cell_count, 2 * item + sizeof(double))),
        planes(arena.take(3 * plane_count, item)),
        moments(arena.take(2 * moment_count, sizeof(double))) {}
};
struct SumsMemory {
  size_t cells;     // three sums each: of u, of u h, of h
  size_t channels;  // of a sample: two sums each, in fp64
  size_t planes;    // three values each
  SumsMemory(Arena& arena, int64_t cell_count, int64_t channel_count, int64_t plane_count, size_t item)
      : cells(arena.take(cell_count, 4 * item)),
        channels(arena.take(2 * channel_count, sizeof(double))),
        planes(arena.take(3 * plane_count, item)) {}
};

}  // namespace kilter::cuda

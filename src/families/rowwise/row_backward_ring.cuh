// Backward's shared memory: a ring of groups of four rows, and the two warps that bring them in and take their gradients out.
//
// A group comes in units, about 8 KiB of each tensor: a row or two of it, or whole groups of neighbouring slots.  A unit has three
// barriers: `full`, once its copies are there; `done`, once all warps that work on it have left dx in place of x; `free`, once that
// is on its way to memory and the unit can be filled anew.
#pragma once

#include "families/rowwise/row_forward_rare.cuh"

namespace kilter::cuda {

template <class T>
constexpr int kBackwardThreads = Packed<T>::kItem == 2 ? 512 : 256;  // that compute, at most

template <int kThreads_, int kStripes_, bool kTeam_>
struct BackwardShape {
  static constexpr int kThreads = kThreads_, kStripes = kStripes_;
  static constexpr bool kTeam = kTeam_;                                        // several blocks share a row
  static constexpr int kWarpRows = kStripes == 4 ? 1 : kStripes == 2 ? 2 : 4;  // rows of a group whose sums a warp takes
  static_assert(kThreads == 32 || (kThreads == 16 && kStripes == 1));
};

// What a row's output needs to know of it, as it lies in shared memory.
template <bool kCentered>
struct RowScalars;
template <>
struct RowScalars<true> {
  float4 first, second;
  __device__ __forceinline__ explicit RowScalars(uint32_t at) : first(load_shared(at)), second(load_shared(at + 16)) {}
  __device__ __forceinline__ static void write(uint32_t at, const RowGradient<float>& s) {
    store_shared(at, make_float4(s.mean, s.h_rstd, s.lo, s.c1));
    store_shared(at + 16, make_float4(s.c2, s.rstd, s.lo2, s.halve ? 0.5f : 1.0f));
  }
  __device__ __forceinline__ float mean() const { return first.x; }
  __device__ __forceinline__ float h_rstd() const { return first.y; }
  __device__ __forceinline__ float lo() const { return first.z; }
  __device__ __forceinline__ float c1() const { return first.w; }
  __device__ __forceinline__ float c2() const { return second.x; }
  __device__ __forceinline__ float rstd() const { return second.y; }
  __device__ __forceinline__ float lo2() const { return second.z; }
  __device__ __forceinline__ float half() const { return second.w; }  // 0.5 if x - mean could overflow, else 1
};
template <>
struct RowScalars<false> {
  uint2 both;
  __device__ __forceinline__ explicit RowScalars(uint32_t at) : both(load_shared_pair(at)) {}
  __device__ __forceinline__ static void write(uint32_t at, const RowGradient<float>& s) {
    store_shared(at, make_uint2(__float_as_uint(s.rstd), __float_as_uint(s.c1)));
  }
  __device__ __forceinline__ float rstd() const { return __uint_as_float(both.x); }
  __device__ __forceinline__ float c1() const { return __uint_as_float(both.y); }
};

// Group `number` of a block, counted over all its chunks: which rows, and where in the ring.  Nothing of it is kept from group to
// group, and nothing of BackwardBlock: these kernels are short of registers.
struct Group {
  int number, first_chunk, index;  // of the slots' chunks; in the chunk
  int stage, parity;               // its first unit; of how often the ring has gone round

  __device__ __forceinline__ Group(const RowBackwardParameters& p, bool team, int first_chunk_of_block, int group)
      : number(group), first_chunk(first_chunk_of_block), index(group) {
    if (team && p.rounds > 1) {
      const int round = group / p.steps;
      index = group - round * p.steps, first_chunk += round * p.teams * p.slots;
    }
    const int cycle = p.ring_groups == 2 ? group / 2 : group / 3;
    stage = (group - cycle * p.ring_groups) << p.units_shift, parity = cycle & 1;
  }
};

// Where a block stands, found once; a team's by a division.
struct InGrid {
  uint32_t base;  // of the block's shared memory
  int team, rank;
  template <class S>
  __device__ __forceinline__ static InGrid find(const RowBackwardParameters& p) {
    const int team = S::kTeam ? int(blockIdx.x) / p.team_blocks : int(blockIdx.x);
    return {shared_address(dynamic_shared()), team, S::kTeam ? int(blockIdx.x) - team * p.team_blocks : 0};
  }
};

// A block, its slots and a thread's place in them.
template <class T, class S>
struct BackwardBlock : InGrid {
  static constexpr int kItem = Packed<T>::kItem;
  const RowBackwardParameters& p;
  int slot, thread;  // of this thread: its slot, its place there
  int begin, width;  // columns of the block's part of a row
  int unit, place;   // the slot's first unit of a group, its first row in there

  __device__ __forceinline__ BackwardBlock(const RowBackwardParameters& parameters, const InGrid& in) : InGrid(in), p(parameters) {
    const int all = made_again(int(threadIdx.x));
    slot = all >> p.slot_shift;
    thread = all - (slot << p.slot_shift);
    begin = rank * p.block_segments * kSegmentLength;
    width = S::kTeam && p.n - begin > p.block_segments * kSegmentLength ? p.block_segments * kSegmentLength : p.n - begin;
    unit = unit_of(slot), place = place_of(slot);
  }
  __device__ __forceinline__ int unit_of(int s) const { return s >> p.slots_shift << (kGroupShift - p.rows_shift); }
  __device__ __forceinline__ int place_of(int s) const { return (s & (p.unit_slots() - 1)) * kGroupRows; }
  __device__ __forceinline__ Group group(int number) const { return Group(p, S::kTeam, team * p.slots, number); }
  __device__ __forceinline__ int groups() const { return p.rounds * p.steps; }
  // A slot's rows in a group: the first, and how many there are.
  __device__ __forceinline__ int64_t row(const Group& g, int s) const {
    return (g.first_chunk + s + int64_t(g.index) * p.chunks) * kGroupRows;
  }
  __device__ __forceinline__ int rows(const Group& g, int s) const {
    const int64_t left = g.first_chunk + s < p.chunks ? p.rows - row(g, s) : 0;
    return left <= 0 ? 0 : left < kGroupRows ? int(left) : kGroupRows;
  }
  // This thread's columns, from the block's first: two runs of four.
  __device__ __forceinline__ int column(int q) const { return (q * p.slot_threads + thread) * 4; }
  __device__ __forceinline__ bool has(int q) const { return column(q) < width; }

  // Where four neighbouring columns of the weight lie: so that a warp's eight columns a thread, and its four, are each without conflict.
  __device__ __forceinline__ uint32_t weights(int column) const {
    const int four = column >> 2;
    return base + p.at.weights + (four ^ (four >> 3 & 1)) * 16;
  }

  // The slot's row in the ring.
  __device__ __forceinline__ int row_offset(int row) const { return (row & 1) * p.at.odd_row + (row >> 1) * p.at.second_row; }
  __device__ __forceinline__ int slot_offset(const Group& g) const { return (g.stage + unit) * p.at.stage + place * p.at.row; }
  // Its mean and rstd.
  __device__ __forceinline__ uint32_t statistics(const Group& g, int s, int row) const {
    return base + p.at.statistics + (((g.stage + unit_of(s)) << (p.slots_shift + p.rows_shift)) + place_of(s) + row) * 8;
  }
  // Three sums of a row, each p.padded segments of this block.
  __device__ __forceinline__ uint32_t sums(int buffer, int s, int row) const {
    return base + p.at.sums + ((buffer * p.slots + s) * kGroupRows + row) * 3 * p.padded * 4;
  }
  // What the output of a row needs of it; and whether that of the slot's four rows is the usual one.
  __device__ __forceinline__ uint32_t scalars(int number, int s) const {
    return base + p.at.scalars + ((number & 1) * p.slots + s) * kGroupRows * kScalarBytes;
  }
  __device__ __forceinline__ uint32_t usual(int number, int s) const { return base + p.at.usual + ((number & 1) * p.slots + s) * 4; }

  // Barriers: a unit's, a group's.
  __device__ __forceinline__ uint32_t full(int stage) const { return base + p.at.barriers + stage * 8; }
  __device__ __forceinline__ uint32_t done(int stage) const { return full(kMostUnits + stage); }
  __device__ __forceinline__ uint32_t free(int stage) const { return full(2 * kMostUnits + stage); }
  __device__ __forceinline__ uint32_t summed(int number) const { return full(3 * kMostUnits + (number & 1)); }
  __device__ __forceinline__ uint32_t known(int number) const { return full(3 * kMostUnits + 2 + (number & 1)); }
  __device__ __forceinline__ uint32_t exchanged(int buffer) const { return full(3 * kMostUnits + 4 + buffer); }

  // By the helpers, before they meet the rest.
  __device__ __forceinline__ void start_full() const {
    const int lane = threadIdx.x & 31;
    if (lane < p.ring_units()) barrier_init(full(lane), 1 + 32);
  }
  __device__ __forceinline__ void start_units() const {
    const int lane = threadIdx.x & 31, unit_warps = (p.unit_slots() * p.slot_threads + 31) / 32;
    if (lane < p.ring_units()) barrier_init(done(lane), unit_warps), barrier_init(free(lane), 1);
  }
  __device__ __forceinline__ void start_groups() const {
    const int lane = threadIdx.x & 31, warps = p.slots * p.slot_threads / 32;
    if (lane < 2) barrier_init(summed(lane), warps), barrier_init(known(lane), 1);
    if (S::kTeam && lane < 2 * kExchanges) barrier_init(exchanged(lane), 1);
  }
  // All, helpers too, and the other blocks of a cluster.
  __device__ __forceinline__ void meet() const {
    if (S::kTeam && !p.messages)
      meet_cluster();
    else
      __syncthreads();
  }
  // By a warp that has left what is to be written in place of x.
  __device__ __forceinline__ void release(int stage, bool writes) const {
    if (writes) shared_writes_before_copies();
    __syncwarp();
    if (threadIdx.x % 32 == 0) barrier_arrive(done(stage));
  }
  __device__ __forceinline__ void meet_computing() const { meet_threads(1, p.slots * p.slot_threads); }
};

// Keeps the blocks in step.  Memory does not serve all multiprocessors alike: left alone, the first are done after two thirds of the
// time, and the rest cannot use all that these leave (docs/decisions/0007).  Only when, never what: a wait that lasts is given up.
struct Pace {
  static constexpr int kMostPolls = 40;  // about 30 us
  static constexpr int kLead = 1;        // units that a block may have asked for beyond the average
  bool on;
  unsigned seen = 0, coming = 0;  // `coming` was asked for a unit ago: nobody waits for it

  __device__ __forceinline__ explicit Pace(unsigned* progress) : on(progress) {
    if (on && blockIdx.x == 0) atomicExch(progress, 0u);
  }
  // Before a block asks for another unit, having asked for `number`.
  __device__ __forceinline__ void wait(unsigned* progress, int number) {
    if (!on) return;
    const volatile unsigned* const now = progress;
    atomicAdd(progress, 1u);
    const int64_t all = int64_t(number - kLead) * gridDim.x;
    if (seen < all) seen = coming;
    for (int polls = 0; seen < all; ++polls) {
      seen = *now;
      on = polls < kMostPolls;
      if (!on) return;
    }
    coming = *now;
  }
};

// A unit's rows, which lie one after another; one copy takes them all if no tensor has gaps.
template <class T, class S>
struct UnitCopies {
  const BackwardBlock<T, S>& b;
  int lane, row_bytes;

  __device__ __forceinline__ explicit UnitCopies(const BackwardBlock<T, S>& block)
      : b(block), lane(threadIdx.x & 31), row_bytes(block.width * Packed<T>::kItem) {}
  struct Rows {
    int64_t first;
    int count;
  };
  __device__ __forceinline__ Rows rows(const Group& g, int u) const {
    const RowBackwardParameters& p = b.p;
    const int parts = kGroupShift - p.rows_shift, slot = u >> parts << p.slots_shift;  // parts of a group, their logarithm
    const int64_t first = b.row(g, slot) + ((u & ((1 << parts) - 1)) << p.rows_shift), left = p.rows - first;
    const int left_slots = p.chunks - (g.first_chunk + slot), slots = left_slots < p.unit_slots() ? left_slots : p.unit_slots();
    const int most = slots <= 0 ? 0 : slots << p.rows_shift;
    return {first, left >= most ? most : left < 0 ? 0 : int(left)};
  }
  // copy(memory, row in the unit, bytes), by one thread
  template <class F>
  __device__ __forceinline__ void each(const RowAddress& a, const Rows& r, F copy) const {
    const bool dense = b.p.flags & kDense;
    char* at = a.data + r.first * a.stride + int64_t(b.begin) * Packed<T>::kItem;
    const int calls = dense ? r.count > 0 : r.count, bytes = dense ? r.count * row_bytes : row_bytes;
#pragma unroll 1
    for (int row = 0; row < calls; ++row, at += a.stride) copy(at, row, bytes);
  }
};

// The warp that brings units in.
template <class T, bool kCentered, class S>
struct Loader {
  const BackwardBlock<T, S>& b;
  UnitCopies<T, S> copies;

  __device__ __forceinline__ explicit Loader(const BackwardBlock<T, S>& block) : b(block), copies(block) {}
  __device__ __forceinline__ void load(const Group& g, int u) const {
    const RowBackwardParameters& p = b.p;
    const auto r = copies.rows(g, u);
    const int lane = copies.lane;
    const uint32_t full = b.full(g.stage + u);
    if (lane == 0) {
      uint32_t to = b.base + (g.stage + u) * p.at.stage;
      const auto copy = [&](char* from, int row, int bytes) { copy_bulk(to + row * p.at.row, from, bytes, full); };
      barrier_arrive_expecting(full, r.count * copies.row_bytes * (p.flags & kHasResidual ? 3 : 2));
      copies.each(p.x, r, copy);
      to += p.at.tensor, copies.each(p.dy, r, copy);
      if (p.flags & kHasResidual) to += p.at.tensor, copies.each(p.dresidual_out, r, copy);
    }
    if (lane < r.count) {
      const uint32_t statistics = b.base + p.at.statistics + (((g.stage + u) << (p.slots_shift + p.rows_shift)) + lane) * 8;
      if (kCentered) copy_float(statistics, p.mean.data + (r.first + lane) * p.mean.stride);
      copy_float(statistics + 4, p.rstd.data + (r.first + lane) * p.rstd.stride);
    }
    barrier_arrive_with_floats(full);
  }
  // The first group is under way while the block prepares.  Until then nothing is: that it is asked for early is worth more than all
  // else here, since code comes from memory too, about a microsecond for each kilobyte.
  __device__ __forceinline__ void run() const {
    const RowBackwardParameters& p = b.p;
    b.start_full();
    barriers_are_ready();
    __syncwarp();
    Pace pace(copies.lane == 0 ? p.progress : nullptr);
#pragma unroll 1
    for (int i = 0; i < b.groups(); ++i) {
      const Group g = b.group(i);
#pragma unroll 1
      for (int u = 0; u < p.units(); ++u) {
        if (i >= p.ring_groups) {
          barrier_wait(b.free(g.stage + u), g.parity ^ 1);
          pace.wait(p.progress, (i - p.ring_groups) * p.units() + u);
          __syncwarp();
        }
        load(g, u);
      }
      if (i == 0) b.meet();
    }
  }
};

// The warp that takes dx, or dresidual, or both, out.
template <class T, class S>
struct Storer {
  const BackwardBlock<T, S>& b;

  __device__ __forceinline__ void run() const {
    const RowBackwardParameters& p = b.p;
    const UnitCopies<T, S> copies(b);
#pragma unroll 1
    for (int i = 0; i < b.groups(); ++i) {
      const Group g = b.group(i);
#pragma unroll 1
      for (int u = 0; u < p.units(); ++u) {
        const auto r = copies.rows(g, u);
        const uint32_t from = b.base + (g.stage + u) * p.at.stage;
        barrier_wait(b.done(g.stage + u), g.parity);
        if (copies.lane == 0) {
          const auto copy = [&](char* to, int row, int bytes) { store_bulk(to, from + row * p.at.row, bytes); };
          if (p.dx.data) copies.each(p.dx, r, copy);
          if (p.dresidual.data) copies.each(p.dresidual, r, copy);
        }
        bulk_stores_end();
        wait_for_bulk_stores_to_read();
        __syncwarp();
        if (copies.lane == 0) barrier_arrive(b.free(g.stage + u));
      }
    }
    wait_for_bulk_stores();
  }
};

}  // namespace kilter::cuda

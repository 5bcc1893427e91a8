// Backward's shared memory: a ring of groups of four rows on their way in, and what their rows' sums are made of.
//
// Bulk copies bring rows: aligned ones as they are, of others the 16 byte units that cover them, and a row's head says where it begins.
//  A thread starts a row's copies, loads its mean and rstd, and stores these in shared memory a group later.
#pragma once

#include "families/rowwise/cuda/backward_singles.cuh"
#include "families/rowwise/cuda/forward_rare.cuh"

namespace kilter::cuda {

template <class T>
constexpr int kBackwardThreads = Packed<T>::kItem == 2 || kIsSingles<T> ? 512 : 256;  // at most

template <int kThreads_, int kStripes_, bool kCluster_>
struct BackwardShape {
  static constexpr int kThreads = kThreads_, kStripes = kStripes_;
  static constexpr bool kCluster = kCluster_;
  static constexpr int kWarpRows = kStripes == 4 ? 1 : kStripes == 2 ? 2 : 4;  // rows of a group whose sums a warp takes
  static_assert(kThreads == 32 || (kThreads == 16 && kStripes == 1));
};

// What a row's output needs to know of it.
template <bool kCentered>
struct RowScalars;
template <>
struct alignas(16) RowScalars<true> {
  float mean, h_rstd, lo, c1;
  float c2, rstd, lo2, half;  // half: 0.5 if x - mean could overflow, else 1
  __device__ __forceinline__ bool rare() const { return lo2 != 0 || half != 1; }
};
template <>
struct alignas(8) RowScalars<false> {
  float rstd, c1;
};
static_assert(sizeof(RowScalars<true>) == kScalarBytes);

// What a row's loading thread stores in shared memory while the row itself is under way.
struct SavedStatistics {
  float mean, rstd;
};
template <class T, bool kSingles = kIsSingles<T>>
struct RowHead : SavedStatistics {};
template <class T>
struct alignas(16) RowHead<T, true> : SavedStatistics {
  uint32_t x, dy;  // where these begin, as shared addresses
};
struct StageRow {
  uint32_t x, dy;
};

// A block, its slots and a thread's place in them.
template <class T>
struct BackwardBlock {
  static constexpr int kParts = Packed<T>::kParts, kItem = Packed<T>::kItem, kWidth = Packed<T>::kWidth;
  const RowBackwardParameters& p;
  char* memory;
  uint32_t base;      // of memory, as a shared address
  int slot, thread;   // of this thread: its slot, its place there
  int rank, blocks;   // in the cluster
  int begin, width;   // columns of the block's part of a row
  int first_chunk;    // of the slots'
  int64_t first_row;  // of the batch
  const char* weight;

  __device__ __forceinline__ BackwardBlock(const RowBackwardParameters& parameters, char* shared, int in_rank, int in_blocks)
      : p(parameters), memory(shared), base(shared_address(shared)), rank(in_rank), blocks(in_blocks) {
    slot = p.slots == 1 ? 0 : threadIdx.x / p.slot_threads;
    thread = int(threadIdx.x) - slot * p.slot_threads;
    begin = rank * p.block_segments * kSegmentLength;
    width = p.n - begin < p.block_segments * kSegmentLength ? p.n - begin : p.block_segments * kSegmentLength;
    first_chunk = int(blockIdx.x) / blocks * p.slots;
    first_row = int64_t(blockIdx.y) * p.rows, weight = p.weight + blockIdx.y * p.weight_stride;
  }
  // Of the grid's slots together, and of all batches'.
  __device__ __forceinline__ int64_t team() const { return (int64_t(blockIdx.y) * gridDim.x + blockIdx.x) / blocks; }
  __device__ __forceinline__ int chunk() const { return first_chunk + slot; }
  // Group i of a slot: its first row, and how many it has.
  __device__ __forceinline__ int64_t row(int s, int i) const { return first_row + (first_chunk + s + int64_t(i) * p.chunks) * kGroupRows; }
  __device__ __forceinline__ int64_t rows_from(int64_t r) const { return first_row + p.rows - r; }
  __device__ __forceinline__ int rows(int s, int i) const {
    const int64_t left = first_chunk + s < p.chunks ? rows_from(row(s, i)) : 0;
    return left <= 0 ? 0 : left < kGroupRows ? int(left) : kGroupRows;
  }
  // Columns of this thread, from the block's first: kWidth from each of its kParts accesses.  Single ones: of a stripe for each warp.
  __device__ __forceinline__ int part_column(int q) const {
    if constexpr (kIsSingles<T>) return thread / 32 * kStripeLength + thread % 32 + part_place<T>(q);
    return q * kWidth * p.slot_threads + thread * kWidth;
  }
  __device__ __forceinline__ bool has_part(int q) const { return part_column(q) < width; }
  __device__ __forceinline__ int part_bytes() const { return kWidth * kItem * p.slot_threads; }  // from one to the next
  __device__ __forceinline__ int left() const { return width - part_column(0); }                 // columns from this thread's first on
  // This thread's first element of a row.
  __device__ __forceinline__ char* at_row(const RowAddress& a, DType type, int64_t r) const {
    const int item = kIsSingles<T> ? item_size(type) : kItem;
    return a.data + r * a.stride + int64_t(begin + part_column(0)) * item;
  }

  __device__ __forceinline__ int loaders() const { return kGroupRows * p.slots; }  // threads that load, each a row
  __device__ __forceinline__ RowHead<T>& head(int stage, int loader) const {
    return reinterpret_cast<RowHead<T>*>(memory + p.at.statistics)[stage * loaders() + loader];
  }
  // Of the rows of this thread's slot.
  __device__ __forceinline__ RowHead<T>& own_head(int stage, int row) const { return head(stage, slot * kGroupRows + row); }
  // Rows of a group are counted through all slots from here on.
  __device__ __forceinline__ StageRow stage_row(const RowHead<T>& h, int stage, int row) const {
    if constexpr (kIsSingles<T>) return {h.x, h.dy};
    const uint32_t x = base + stage * p.at.stage + row * p.at.row;
    return {x, x + p.at.dy};
  }
  // Three sums of a row of group i, each p.padded segments.
  __device__ __forceinline__ float* sums(int i, int row) const {
    return reinterpret_cast<float*>(memory + p.at.sums) + (i % kSumBuffers * loaders() + row) * 3 * p.padded;
  }
  template <bool kCentered>
  __device__ __forceinline__ RowScalars<kCentered>& scalars(int i, int row) const {
    return reinterpret_cast<RowScalars<kCentered>*>(memory + p.at.scalars)[(i & 1) * loaders() + row];
  }
  __device__ __forceinline__ uint8_t* unusual(int i) const {
    return reinterpret_cast<uint8_t*>(memory + p.at.unusual) + (i & 1) * loaders();
  }
};

// Counts the warps that are done with group 0, 1, ...: who waits for one must be done itself with none beyond the next.
struct WarpsDone {
  uint64_t done;

  __device__ __forceinline__ void start(int warps) const {
    if (threadIdx.x == 0) barrier_init(shared_place(&done), warps);
  }
  __device__ __forceinline__ void arrive() const {
    __syncwarp();
    if (threadIdx.x % 32 == 0) barrier_arrive(shared_place(&done));
  }
  __device__ __forceinline__ void wait(int i) const { barrier_wait(shared_place(&done), i & 1); }
};

// Groups on their way into the stages, each counted by a barrier: rows in bytes, their statistics by an arrival for each row.
struct GroupRing {
  uint64_t full[kStages];

  __device__ __forceinline__ uint32_t barrier(int stage) const { return shared_place(&full[stage]); }
  __device__ __forceinline__ void start(int slots) const {
    if (threadIdx.x != 0) return;
    for (int k = 0; k < kStages; ++k) barrier_init(barrier(k), kGroupRows * slots);
    barriers_are_ready();
  }
  // Group i into a stage that is free: a thread for each row, or, of rows without gaps, one for all that follow.
  // Nobody waits for the statistics, which complete() stores a group later.
  template <bool kCentered, class T>
  __device__ __forceinline__ SavedStatistics load(const BackwardBlock<T>& b, int i, int stage) const {
    const RowBackwardParameters& p = b.p;
    SavedStatistics saved = {};
    if (int(threadIdx.x) >= b.loaders()) return saved;
    const int s = threadIdx.x / kGroupRows, place = threadIdx.x % kGroupRows;
    const bool is = place < b.rows(s, i);
    const int64_t r = b.row(s, i) + place;
    int count = is;
    if (p.flags & kDense) {
      const int chunks = p.chunks - b.first_chunk < p.slots ? p.chunks - b.first_chunk : p.slots;
      const int64_t left = b.rows_from(r);
      count = threadIdx.x != 0 || !is ? 0 : left < chunks * kGroupRows ? int(left) : chunks * kGroupRows;
    }
    const uint32_t at = b.base + stage * p.at.stage, x = at + int(threadIdx.x) * p.at.row,
                   dy = at + p.at.dy + int(threadIdx.x) * p.at.dy_row;
    if constexpr (kIsSingles<T>) {
      const int64_t first = p.flags & kDense ? b.row(0, i) : r;  // whose place decides
      RowHead<T>& head = b.head(stage, int(threadIdx.x));
      head.x = x + copy_singles(p.x, p.types.x, b, first, x, count, stage);
      head.dy = dy + copy_singles(p.dy, p.types.dy, b, first, dy, count, stage);
    } else if (count > 0) {
      const int bytes = count * b.width * Packed<T>::kItem;
      const int64_t skip = int64_t(b.begin) * Packed<T>::kItem;
      barrier_expect(barrier(stage), 2 * bytes);
      copy_bulk(x, p.x.data + r * p.x.stride + skip, bytes, barrier(stage));
      copy_bulk(dy, p.dy.data + r * p.dy.stride + skip, bytes, barrier(stage));
    }
    if (is) {
      if (p.flags & kHasResidual) {
        const int item = kIsSingles<T> ? item_size(p.types.dresidual_out) : Packed<T>::kItem;
        const char* const from = p.dresidual_out.data + r * p.dresidual_out.stride + int64_t(b.begin) * item;
        if constexpr (kIsSingles<T>)
          prefetch_cover(from, b.width * item, end_of(p.dresidual_out, p.rows * p.batches, int64_t(p.n) * item));
        else
          prefetch_bulk(from, b.width * item);
      }
      if (kCentered) saved.mean = *reinterpret_cast<const float*>(p.mean.data + r * p.mean.stride);
      saved.rstd = *reinterpret_cast<const float*>(p.rstd.data + r * p.rstd.stride);
    }
    return saved;
  }
  template <class T>
  __device__ __forceinline__ void complete(const BackwardBlock<T>& b, const SavedStatistics& saved, int stage) const {
    if (int(threadIdx.x) >= b.loaders()) return;
    static_cast<SavedStatistics&>(b.head(stage, int(threadIdx.x))) = saved;
    barrier_arrive(barrier(stage));
  }
  // `count` rows from row r on (0: another thread copies this one); how far behind `to` they begin.
  template <class T>
  __device__ __forceinline__ int copy_singles(const RowAddress& a, DType type, const BackwardBlock<T>& b, int64_t r, uint32_t to, int count,
                                              int stage) const {
    const int item = item_size(type);
    const char* const from = a.data + r * a.stride + int64_t(b.begin) * item;
    if (count > 0) copy_cover(to, from, count * b.width * item, end_of(a, b.p.rows * b.p.batches, int64_t(b.p.n) * item), barrier(stage));
    return misalignment(from);
  }
};

}  // namespace kilter::cuda

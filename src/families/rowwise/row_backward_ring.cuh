// Backward's shared memory: a ring of groups of four rows on their way in, and what their rows' sums are made of.
#pragma once

#include "families/rowwise/row_forward_rare.cuh"

namespace kilter::cuda {

template <class T>
constexpr int kBackwardThreads = Packed<T>::kItem == 2 ? 512 : 256;  // at most

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

__device__ __forceinline__ void copy_async(uint32_t to, const void* from, bool valid) {
  asm volatile("{ .reg .pred p; setp.ne.u32 p, %2, 0; @p cp.async.cg.shared.global [%0], [%1], 16; }" ::"r"(to), "l"(from),
               "r"(uint32_t(valid))
               : "memory");
}
__device__ __forceinline__ void copy_float_async(uint32_t to, const void* from) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(to), "l"(from) : "memory");
}
__device__ __forceinline__ uint4 load_words(uint32_t a) {
  uint4 v;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(a) : "memory");
  return v;
}

__device__ __forceinline__ uint4 load_words_if(uint32_t a, bool is) {  // else zeros
  uint4 v;
  asm volatile(
      "{ .reg .pred p; setp.ne.u32 p, %5, 0; mov.u32 %0, 0; mov.u32 %1, 0; mov.u32 %2, 0; mov.u32 %3, 0; @p ld.shared.v4.u32 {%0, %1, %2, "
      "%3}, "
      "[%4]; }"
      : "=&r"(v.x), "=&r"(v.y), "=&r"(v.z), "=&r"(v.w)
      : "r"(a), "r"(uint32_t(is))
      : "memory");
  return v;
}

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
  int64_t first_row;  // of the slot's chunk
  int rows;           // of it

  __device__ __forceinline__ BackwardBlock(const RowBackwardParameters& parameters, char* shared, int in_rank, int in_blocks)
      : p(parameters), memory(shared), base(shared_address(shared)), rank(in_rank), blocks(in_blocks) {
    slot = p.slots == 1 ? 0 : threadIdx.x / p.slot_threads;
    thread = int(threadIdx.x) - slot * p.slot_threads;
    begin = rank * p.block_segments * kSegmentLength;
    width = p.n - begin < p.block_segments * kSegmentLength ? p.n - begin : p.block_segments * kSegmentLength;
    first_row = chunk() * p.chunk < p.rows ? chunk() * p.chunk : p.rows;
    rows = int(p.rows - first_row < p.chunk ? p.rows - first_row : p.chunk);
  }
  __device__ __forceinline__ int64_t team() const { return blockIdx.x / blocks; }  // of the grid's slots together
  __device__ __forceinline__ int64_t chunk() const { return team() * p.slots + slot; }
  // Columns of this thread, from the block's first: kWidth from each of its kParts accesses.
  __device__ __forceinline__ int part_column(int q) const { return q * kWidth * p.slot_threads + thread * kWidth; }
  __device__ __forceinline__ bool has_part(int q) const { return part_column(q) < width; }
  __device__ __forceinline__ int part_bytes() const { return kWidth * kItem * p.slot_threads; }  // from one to the next
  __device__ __forceinline__ int64_t own_bytes() const { return int64_t(begin + part_column(0)) * kItem; }

  __device__ __forceinline__ int slot_bytes() const { return slot * (kGroupRows * p.at.row); }
  __device__ __forceinline__ int dy_from_x() const { return p.slots * (kGroupRows * p.at.row); }
  // Mean and rstd of the rows in a stage.
  __device__ __forceinline__ const float* statistics(int stage, int row) const {
    return reinterpret_cast<const float*>(memory + p.at.statistics) + ((stage * p.slots + slot) * kGroupRows + row) * 2;
  }
  // Three sums of a row of group i, each p.padded segments.
  __device__ __forceinline__ float* sums(int i, int row) const {
    return reinterpret_cast<float*>(memory + p.at.sums) + ((i % kSumBuffers * p.slots + slot) * kGroupRows + row) * 3 * p.padded;
  }
  // The first slot has the most rows; all slots and blocks take as many steps.
  __device__ __forceinline__ int steps() const {
    const int64_t left = p.rows - team() * p.slots * p.chunk;
    return int(((left < p.chunk ? left : p.chunk) + kGroupRows - 1) / kGroupRows);
  }
};

// The copies of a thread: where they come from moves on by a group each time.
template <class T, bool kCentered>
struct GroupLoader {
  const char *x, *dy;
  int done = 0;  // rows of the slot's chunk whose copies were started

  __device__ __forceinline__ explicit GroupLoader(const BackwardBlock<T>& b) {
    const RowBackwardParameters& p = b.p;
    x = p.x.data + b.first_row * p.x.stride + b.own_bytes(), dy = p.dy.data + b.first_row * p.dy.stride + b.own_bytes();
  }
  __device__ __forceinline__ void start(const BackwardBlock<T>& b, int stage) {
    const RowBackwardParameters& p = b.p;
    const int part = b.part_bytes(), left = b.rows - done;
    uint32_t at = b.base + stage * p.at.stage + b.slot_bytes() + b.part_column(0) * Packed<T>::kItem;
#pragma unroll
    for (int row = 0; row < kGroupRows; ++row, at += p.at.row) {
#pragma unroll
      for (int q = 0; q < Packed<T>::kParts; ++q) {
        copy_async(at + q * part, x + q * part, row < left && b.has_part(q));
        copy_async(at + q * part + b.dy_from_x(), dy + q * part, row < left && b.has_part(q));
      }
      x += p.x.stride, dy += p.dy.stride;
    }
    if (b.thread < kGroupRows && b.thread < left) {
      const uint32_t s = b.base + p.at.statistics + ((stage * p.slots + b.slot) * kGroupRows + b.thread) * 8;
      const int64_t r = b.first_row + done + b.thread;
      if (kCentered) copy_float_async(s, p.mean.data + r * p.mean.stride);
      copy_float_async(s + 4, p.rstd.data + r * p.rstd.stride);
    }
    done += kGroupRows;
    commit();
  }
  __device__ __forceinline__ static void commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
  template <int kPending>
  __device__ __forceinline__ static void wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
  }
};

}  // namespace kilter::cuda

// Backward on a CUDA device for rows of up to 65536 elements whose vectors are aligned: x and dy are read once; dx, dresidual and
// the terms of dweight and dbias come from the same read.
//
// A block owns `slots` neighbouring chunks of rows (docs/numerics.md, "dweight and dbias"), or, as one of a cluster, up to four
// segments of the rows of one chunk.  It walks all its chunks by groups of four rows: copies of later groups arrive in a ring of
// shared memory (cp.async) while a group is worked on in two phases.  Sums: a warp owns one segment of one row, or several short
// rows.  Output: a thread owns eight columns of a slot, whose terms of four rows it adds to its registers.  The sums of group i + 1
// are taken between the same two barriers as the output of group i, so that there is one barrier per group; blocks of a cluster
// send each other their segments' sums, one group ahead.  A second kernel adds up the chunks (row_finish.cuh).
#pragma once

#include "families/rowwise/row_forward_rare.cuh"

namespace kilter::cuda {

constexpr int kGroupRows = 4;   // whose terms add up first
constexpr int kSumBuffers = 4;  // groups whose sums may be under way between the blocks of a cluster
template <class T>
constexpr int kBackwardThreads = Packed<T>::kItem == 2 ? 512 : 256;  // at most

// What phase two needs of a row.
struct RowScalars {
  float mean, h_rstd, lo, lo2;
  float c1, c2, rstd, half;  // half: 0.5 if x - mean could overflow, else 1
};

template <int kThreads_, int kStripes_, bool kCluster_>
struct BackwardShape {
  static constexpr int kThreads = kThreads_, kStripes = kStripes_;
  static constexpr bool kCluster = kCluster_;
  static constexpr int kWarpRows = kStripes == 4 ? 1 : kStripes == 2 ? 2 : 4;  // rows of a group whose sums a warp takes
  static_assert(kThreads == 32 || (kThreads == 16 && kStripes == 1));
};

// Where things lie in a block's dynamic shared memory.
struct BackwardLayout {
  int row;    // bytes of a row's part of x (or dy)
  int stage;  // x, dy of a group of every slot
  int stages;
  int weights, statistics, sums, scalars, total;  // offsets after the stages

  KILTER_INLINE BackwardLayout(int row_bytes, int columns, int slots, int in_stages, int segments, int warps) {
    row = row_bytes;
    stage = 2 * kGroupRows * slots * row;
    stages = in_stages;
    weights = stages * stage;
    statistics = weights + columns * 4;
    sums = statistics + stages * slots * kGroupRows * 8;
    scalars = sums + kSumBuffers * slots * kGroupRows * 3 * segments * 4;
    scalars = (scalars + 15) / 16 * 16;
    total = scalars + warps * 2 * kGroupRows * int(sizeof(RowScalars));
    if (slots > 1 && total < slots * columns * 8) total = slots * columns * 8;  // their sums, at the end
  }
};

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

template <class T, bool kCentered, class S>
struct BackwardBlock {
  const RowBackwardParameters& p;
  char* memory;
  uint32_t base;  // of memory, as a shared address
  BackwardLayout at;
  int slot, thread;          // of this thread: its slot, its place there
  int rank = 0, blocks = 1;  // in the cluster
  int begin, width;          // columns of the block's part of a row
  int64_t first_row;         // of the slot's chunk
  int rows;                  // of it
  int segments, padded;      // of a whole row; to a power of two

  static constexpr int kParts = Packed<T>::kParts, kItem = Packed<T>::kItem, kWidth = Packed<T>::kWidth;

  __device__ __forceinline__ int part_column(int q) const { return q * kWidth * p.slot_threads + thread * kWidth; }  // in the block's part
  __device__ __forceinline__ bool has_part(int q) const { return part_column(q) < width; }
  __device__ __forceinline__ char* stage(int i) const { return memory + i % at.stages * at.stage; }
  __device__ __forceinline__ char* row_in_stage(char* stage, int in_slot, int row, bool dy) const {
    return stage + ((dy ? p.slots : 0) + in_slot) * kGroupRows * at.row + row * at.row;
  }
  __device__ __forceinline__ float* statistics(int i, int in_slot, int row) const {
    return reinterpret_cast<float*>(memory + at.statistics) + ((i % at.stages * p.slots + in_slot) * kGroupRows + row) * 2;
  }
  __device__ __forceinline__ float* sums(int i, int in_slot, int row) const {
    return reinterpret_cast<float*>(memory + at.sums) + ((i % kSumBuffers * p.slots + in_slot) * kGroupRows + row) * 3 * padded;
  }
  __device__ __forceinline__ bool valid(int i, int row) const { return i * kGroupRows + row < rows; }

  // Starts the copies of group i of this thread's slot.
  __device__ __forceinline__ void load(int i) const {
    const uint32_t to = base + (i % at.stages) * at.stage + slot * (kGroupRows * at.row) + part_column(0) * kItem,
                   dy_from_x = p.slots * (kGroupRows * at.row);
    const int64_t r = first_row + int64_t(i) * kGroupRows, bytes = int64_t(begin + part_column(0)) * kItem;
    const char *x = p.x.data + r * p.x.stride + bytes, *dy = p.dy.data + r * p.dy.stride + bytes;
    const int here = rows - i * kGroupRows, part = kWidth * kItem * p.slot_threads;  // rows; bytes to the second part
#pragma unroll
    for (int row = 0; row < kGroupRows; ++row) {
#pragma unroll
      for (int q = 0; q < kParts; ++q) {
        copy_async(to + row * at.row + q * part, x + q * part, row < here && has_part(q));
        copy_async(to + row * at.row + q * part + dy_from_x, dy + q * part, row < here && has_part(q));
      }
      x += p.x.stride, dy += p.dy.stride;
    }
    if (thread < kGroupRows && thread < here) {
      const uint32_t s = base + at.statistics + ((i % at.stages * p.slots + slot) * kGroupRows + thread) * 8;
      if (kCentered) copy_float_async(s, p.mean.data + (r + thread) * p.mean.stride);
      copy_float_async(s + 4, p.rstd.data + (r + thread) * p.rstd.stride);
    }
  }
};

// Eight columns of the weight as the products read them.
template <class T>
__device__ __forceinline__ void scaled_weights(const RowBackwardParameters& p, int column, int k, int left, float (&w)[8]) {
#pragma unroll
  for (int j = 0; j < 8; ++j) w[j] = 1;
  if (!(p.flags & kHasWeight)) return;
  late_weights<T>(p.weight, p.flags & kFloatWeight, column, k, left, w);
  if (p.flags & kHasOffset)
#pragma unroll
    for (int j = 0; j < 8; ++j) w[j] = w[j] + p.weight_offset;
}

// The terms of A, B and H (docs/numerics.md) of a stripe, added to their lanes.  kWhole: all of it lies in the row.
template <class T, bool kCentered, bool kWhole>
__device__ __forceinline__ void add_terms(const Packed<T>& x, const Packed<T>& dy, const float (&w)[8], const RowScalars& s, int k,
                                          int left, bool first, float (&a)[3][8]) {
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    float v = x[j];
    if (kCentered) v = v * s.half - s.mean;
    const float h = kCentered ? v * s.h_rstd - s.lo : v * s.h_rstd, g = dy[j] * w[j];
    float terms[3] = {g * h, g, h};
#pragma unroll
    for (int q = 0; q < (kCentered ? 3 : 1); ++q) {
      if (!kWhole && !(k * 256 + j / Packed<T>::kWidth * 128 < left)) terms[q] = 0;
      a[q][j] = first ? terms[q] : a[q][j] + terms[q];
    }
  }
}

// The sums between the blocks of a cluster: four groups' worth, each counted in bytes by an mbarrier.
struct SumExchange {
  uint64_t arrived[kSumBuffers];
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  __device__ __forceinline__ static uint32_t address(const void* q) { return uint32_t(__cvta_generic_to_shared(q)); }
  __device__ __forceinline__ static uint32_t peer(uint32_t local, int rank) {
    uint32_t remote;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(local), "r"(rank));
    return remote;
  }
  __device__ __forceinline__ static void meet() {
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
  }
  __device__ __forceinline__ void start() {
    if (threadIdx.x == 0) {
      for (uint64_t& b : arrived) asm volatile("mbarrier.init.shared.b64 [%0], 1;" ::"r"(address(&b)) : "memory");
      asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    meet();
  }
  __device__ __forceinline__ void expect(int i, int bytes) {
    if (threadIdx.x == 0)
      asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(address(&arrived[i % kSumBuffers])), "r"(bytes) : "memory");
  }
  __device__ __forceinline__ void send(int i, const float* to, float v, int rank) {
    asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %1, [%2];" ::"r"(peer(address(to), rank)),
                 "r"(__float_as_uint(v)), "r"(peer(address(&arrived[i % kSumBuffers]), rank))
                 : "memory");
  }
  __device__ __forceinline__ void wait(int i) {
    uint32_t done = 0;
    while (!done)
      asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                   : "=r"(done)
                   : "r"(address(&arrived[i % kSumBuffers])), "r"(i / kSumBuffers & 1)
                   : "memory");
  }
  __device__ __forceinline__ static uint4 read(const char* local, int rank) {
    uint4 v;
    asm volatile("ld.shared::cluster.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "r"(peer(address(local), rank)));
    return v;
  }
#else  // never launched: the plan takes clusters only where there are some
  __device__ __forceinline__ static void meet() {}
  __device__ __forceinline__ void start() {}
  __device__ __forceinline__ void expect(int, int) {}
  __device__ __forceinline__ void send(int, const float*, float, int) {}
  __device__ __forceinline__ void wait(int) {}
  __device__ __forceinline__ static uint4 read(const char*, int) { return {}; }
#endif
};

// A, B and H of one row of group i again, with h - lo for h, by one warp from the shared memory of all blocks.  Rare.
template <class T, bool kCentered, class S>
__device__ __noinline__ void sums_again(const BackwardBlock<T, kCentered, S>& b, int i, int row, float lo, float (&out)[3]) {
  using Tree = LaneTree<T, S::kThreads, 1>;
  const int t = threadIdx.x % S::kThreads, lane = threadIdx.x & 31;
  RowGradient<float> start;
  start.start(kCentered, b.statistics(i, b.slot, row)[0], b.statistics(i, b.slot, row)[1]);
  const RowScalars s{start.mean, start.h_rstd, lo, 0, 0, 0, 0, start.halve ? 0.5f : 1.0f};
  float kept[2][3] = {};  // the sums of segments `lane` and 32 + lane
#pragma unroll 1
  for (int segment = 0; segment < b.segments; ++segment) {
    const int owner = segment / b.p.block_segments, place = stripe_place<T>(t, 0), left = b.p.n - segment * kSegmentLength - place;
    float a[3][8] = {};
#pragma unroll 1
    for (int k = 0; k < S::kStripes; ++k) {
      Packed<T> v[2] = {};
      float w[8];
      const char* const x = b.row_in_stage(b.stage(i), b.slot, row, false) +
                            ((segment - owner * b.p.block_segments) * kSegmentLength + place) * Packed<T>::kItem;
      const char* const dy = x + (b.row_in_stage(b.stage(i), b.slot, row, true) - b.row_in_stage(b.stage(i), b.slot, row, false));
      if constexpr (S::kCluster) {
        for (int q = 0; q < Packed<T>::kParts; ++q) {
          const int c = k * 256 + q * 128;
          if (c < left)
            v[0].part[q] = SumExchange::read(x + c * Packed<T>::kItem, owner),
            v[1].part[q] = SumExchange::read(dy + c * Packed<T>::kItem, owner);
        }
      } else {
        v[0] = read_stripe<T>(x, k, left), v[1] = read_stripe<T>(dy, k, left);
      }
      scaled_weights<T>(b.p, segment * kSegmentLength + place, k, left, w);
      add_terms<T, kCentered, false>(v[0], v[1], w, s, k, left, false, a);
    }
#pragma unroll
    for (int q = 0; q < 3; ++q) {
      float v[1] = {Tree::template inside<Add>(a[q], t & 1)};
      const float sum = Tree::template between<Add>(v, t);
      if (segment % 32 == lane || S::kThreads < 32) kept[segment / 32][q] = sum;
    }
  }
#pragma unroll
  for (int q = 0; q < 3; ++q) {
    float sum = kept[0][q], high = kept[1][q];
    if (S::kThreads == 32)
      for (int bit = 1; bit < 32; bit *= 2) sum = sum + exchange(sum, bit), high = high + exchange(high, bit);
    out[q] = sum + high;
  }
}

// What phase two needs of the rows of group i, by each warp for its slot (two slots), from the segments' sums.
template <class T, bool kCentered, class S>
__device__ __forceinline__ void make_scalars(const BackwardBlock<T, kCentered, S>& b, int i, RowScalars* out) {
  const int lane = threadIdx.x & 31;
  constexpr int kShare = S::kThreads / kGroupRows;  // threads of a row: 8 or 4
  const int row = lane % S::kThreads / kShare, sub = lane % kShare;
  const float *const sums = b.sums(i, b.slot, row), *const statistics = b.statistics(i, b.slot, row);
  float v[3] = {};
#pragma unroll
  for (int q = 0; q < (kCentered ? 3 : 1); ++q) {
    const float* const s = sums + q * b.padded;
    if (S::kThreads < 32 || S::kStripes < 4) {
      v[q] = s[0];
      continue;
    }
    if (b.padded <= 8) {
      v[q] = sub < b.padded ? s[sub] : 0;
    } else {
      const int share = b.padded / 8;  // 2, 4 or 8 consecutive segments
      float e[8];
#pragma unroll
      for (int k = 0; k < 8; ++k) e[k] = k < share ? s[sub * share + k] : 0;
      v[q] = ((e[0] + e[1]) + (e[2] + e[3])) + ((e[4] + e[5]) + (e[6] + e[7]));
    }
#pragma unroll
    for (int bit = 1; bit < 8; bit *= 2) v[q] = v[q] + exchange(v[q], bit);
  }
  const bool valid = b.valid(i, row);
  RowGradient<float> g;
  g.start(kCentered, kCentered ? statistics[0] : 0.0f, statistics[1]);
  if constexpr (kCentered) {
    const bool rare = g.set(float(b.p.n), v[0], v[1], v[2]) && valid;
    if (__any_sync(0xFFFFFFFFu, rare)) {
#pragma unroll 1
      for (int other = 0; other < kGroupRows; ++other) {
        const int source = (lane & ~(S::kThreads - 1)) + other * kShare;
        const bool again = __shfl_sync(0xFFFFFFFFu, rare, source);
        if (!__any_sync(0xFFFFFFFFu, again)) continue;
        float sums_of_row[3];
        const BackwardBlock<T, kCentered, S> copy = b;
        sums_again<T, kCentered, S>(copy, i, other, __shfl_sync(0xFFFFFFFFu, g.lo, source), sums_of_row);
        if (again && row == other) g.refine(float(b.p.n), sums_of_row[0], sums_of_row[1], sums_of_row[2]);
      }
      if constexpr (S::kCluster) SumExchange::meet();  // the others have read this block's rows
    }
  } else {
    g.set_rms(float(b.p.n), v[0]);
  }
  if (sub == 0) {
    RowScalars s{g.mean, g.h_rstd, g.lo, g.lo2, g.c1, g.c2, g.rstd, g.halve ? 0.5f : 1.0f};
    if (!valid) s = {0, 0, 0, 0, 0, 0, 0, 1};
    out[lane / kShare] = s;
  }
  __syncwarp();
}

template <class T, bool kCentered, class S>
__global__ void __launch_bounds__(kBackwardThreads<T>, 1) backward_kernel(const __grid_constant__ RowBackwardParameters p) {
  constexpr int kParts = Packed<T>::kParts, kItem = Packed<T>::kItem, kWidth = Packed<T>::kWidth;
  constexpr int kSums = kCentered ? 3 : 1;
  using Tree = LaneTree<T, S::kThreads, S::kWarpRows>;
  extern __shared__ __align__(16) char memory[];
  __shared__ SumExchange exchange_memory;
  const int warps = blockDim.x / 32, warp = threadIdx.x / 32;
  int rank = 0, blocks = 1;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  if constexpr (S::kCluster) {
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    asm("mov.u32 %0, %%cluster_nctarank;" : "=r"(blocks));
  }
#endif
  const int64_t team = S::kCluster ? blockIdx.x / blocks : blockIdx.x;
  const int slot = p.slots == 1 ? 0 : threadIdx.x / p.slot_threads, segments = (p.n + kSegmentLength - 1) / kSegmentLength;
  int padded = 1;
  while (padded < segments) padded *= 2;
  const int64_t chunk = team * p.slots + slot, first_row = chunk * p.chunk < p.rows ? chunk * p.chunk : p.rows;
  const int begin = rank * p.block_segments * kSegmentLength;
  const BackwardBlock<T, kCentered, S> b{p,
                                         memory,
                                         shared_address(memory),
                                         BackwardLayout(p.row_bytes, p.slot_threads * 8, p.slots, p.stages, padded, warps),
                                         slot,
                                         int(threadIdx.x) - slot * p.slot_threads,
                                         rank,
                                         blocks,
                                         begin,
                                         p.n - begin < p.block_segments * kSegmentLength ? p.n - begin : p.block_segments * kSegmentLength,
                                         first_row,
                                         int(p.rows - first_row < p.chunk ? p.rows - first_row : p.chunk),
                                         segments,
                                         padded};
  // The first slot has the most rows; all slots and blocks take as many steps.
  const int64_t rows_left = p.rows - team * p.slots * p.chunk;
  const int steps = int(((rows_left < p.chunk ? rows_left : p.chunk) + kGroupRows - 1) / kGroupRows);

  b.load(0);
  asm volatile("cp.async.commit_group;" ::: "memory");
  if (steps > 1) b.load(1);
  asm volatile("cp.async.commit_group;" ::: "memory");
  if (padded > segments)
    for (int i = threadIdx.x; i < (b.at.scalars - b.at.sums) / 4; i += blockDim.x) reinterpret_cast<float*>(memory + b.at.sums)[i] = 0;

  // This thread's columns: their weights, for phase one as well, and sums.
  float w2[8], weight_sum[8] = {}, bias_sum[8] = {};
  {
#pragma unroll
    for (int q = 0; q < kParts; ++q) {  // a part at a time: columns of fp32 rows are not those of a stripe
      float w[8];
      scaled_weights<T>(p, begin + b.part_column(q), 0, b.has_part(q) ? 1 : 0, w);
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        w2[q * kWidth + j] = w[j];
        if (slot == 0) reinterpret_cast<float*>(memory + b.at.weights)[b.part_column(q) + j] = w[j];
      }
    }
  }
  // Phase one: this warp's rows and segment.
  const int slot_warp = b.thread / 32, local_segment = S::kStripes == 4 ? slot_warp / kGroupRows : 0;
  const int first_of_group = S::kStripes == 4 ? slot_warp % kGroupRows : S::kStripes == 2 ? 2 * slot_warp : 0;
  const int t = threadIdx.x % S::kThreads, place = local_segment * kSegmentLength + stripe_place<T>(t, 0), left = b.width - place;
  const int whole_left = b.width - local_segment * kSegmentLength;
  const float* const weights = reinterpret_cast<const float*>(memory + b.at.weights) + local_segment * kSegmentLength;
  const auto take_sums = [&](int i) {
    float lanes[3][S::kWarpRows];
#pragma unroll
    for (int m = 0; m < S::kWarpRows; ++m) {
      const int row = first_of_group + m;
      const float* const statistics = b.statistics(i, slot, row);
      RowGradient<float> start;
      start.start(kCentered, kCentered ? statistics[0] : 0.0f, statistics[1]);
      const RowScalars s{start.mean, start.h_rstd, 0, 0, 0, 0, 0, start.halve ? 0.5f : 1.0f};
      const char* const x = b.row_in_stage(b.stage(i), slot, row, false) + place * kItem;
      const char* const dy = b.row_in_stage(b.stage(i), slot, row, true) + place * kItem;
      float a[3][8];
#pragma unroll
      for (int k = 0; k < S::kStripes; ++k) {
        const Packed<T> xv = read_stripe<T>(x, k, left), dv = read_stripe<T>(dy, k, left);
        float w[8];
        read_floats<T>(reinterpret_cast<const char*>(weights + stripe_place<T>(t, 0)), k, 1 << 20, w);
        if ((k + 1) * kStripeLength <= whole_left)
          add_terms<T, kCentered, true>(xv, dv, w, s, k, left, k == 0, a);
        else
          add_terms<T, kCentered, false>(xv, dv, w, s, k, left, k == 0, a);
      }
#pragma unroll
      for (int q = 0; q < kSums; ++q) lanes[q][m] = Tree::template inside<Add>(a[q], t & 1);
    }
    if constexpr (S::kCluster) exchange_memory.expect(i, kGroupRows * kSums * segments * 4);
#pragma unroll
    for (int q = 0; q < kSums; ++q) {
      const float sum = Tree::template between<Add>(lanes[q], t);
      float* const to = b.sums(i, slot, first_of_group + Tree::own_row(t)) + q * padded + rank * p.block_segments + local_segment;
      if constexpr (S::kCluster) {
        if (t < blocks && local_segment * kSegmentLength < b.width) exchange_memory.send(i, to, sum, t);
      } else {
        if (Tree::writes(t)) *to = sum;
      }
    }
  };

  RowScalars* const scalars = reinterpret_cast<RowScalars*>(memory + b.at.scalars) + warp * 2 * kGroupRows;
  const RowScalars* const own_scalars = scalars + (S::kThreads == 16 ? (threadIdx.x & 16) / 16 * kGroupRows : 0);
  const bool writes_up = p.flags & kHasResidual;
  const int64_t own_bytes = int64_t(begin + b.part_column(0)) * kItem;
  const int part_bytes = kWidth * kItem * p.slot_threads;
  // kAll: all four rows are there.
  const auto write_rows = [&](int i, auto all) {
    constexpr bool kAll = decltype(all)::value;
    const int here = b.rows - i * kGroupRows;
    const uint32_t x_at = b.base + (i % b.at.stages) * b.at.stage + slot * (kGroupRows * b.at.row) + b.part_column(0) * kItem;
    const uint32_t dy_from_x = p.slots * (kGroupRows * b.at.row);
    const int64_t r = first_row + int64_t(i) * kGroupRows;
    char *dx = p.dx.data + r * p.dx.stride + own_bytes, *dresidual = p.dresidual.data + r * p.dresidual.stride + own_bytes;
    const char* up = p.dresidual_out.data + r * p.dresidual_out.stride + own_bytes;
    Packed<T> ups[2];
    float wsum[2][8], bsum[2][8];
#pragma unroll
    for (int row = 0; row < kGroupRows; ++row) {
      if (writes_up && row % 2 == 0)
#pragma unroll
        for (int k = 0; k < 2; ++k, up += p.dresidual_out.stride)
#pragma unroll
          for (int q = 0; q < kParts; ++q)
            if (b.has_part(q) && (kAll || row + k < here)) ups[k].part[q] = *reinterpret_cast<const uint4*>(up + q * part_bytes);
      const RowScalars s = own_scalars[row];
      Packed<T> x = {}, dy = {};
#pragma unroll
      for (int q = 0; q < kParts; ++q) {
        if (!kAll && row >= here) continue;
        x.part[q] = load_words(x_at + row * b.at.row + q * part_bytes);
        dy.part[q] = load_words(x_at + row * b.at.row + q * part_bytes + dy_from_x);
      }
      float v[8];
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        float h = x[j];
        if (kCentered) h = h * s.half - s.mean;
        h = h * s.h_rstd;
        if (kCentered) h = (h - s.lo) - s.lo2;
        float g = dy[j] * w2[j];
        if (kCentered) g = g - s.c2;
        v[j] = s.rstd * (g - h * s.c1);
        const float term = dy[j] * h;
        wsum[row / 2][j] = row % 2 == 0 ? term : wsum[row / 2][j] + term;
        bsum[row / 2][j] = row % 2 == 0 ? dy[j] : bsum[row / 2][j] + dy[j];
      }
      if (writes_up)
#pragma unroll
        for (int j = 0; j < 8; ++j) v[j] = v[j] + ups[row % 2][j];
#pragma unroll
      for (int q = 0; q < kParts; ++q) {
        const uint4 packed = Packed<T>::pack(v + q * kWidth);
        const bool writes = b.has_part(q) && (kAll || row < here);
        if (p.dx.data && writes) *reinterpret_cast<uint4*>(dx + q * part_bytes) = packed;
        if (p.dresidual.data && writes) *reinterpret_cast<uint4*>(dresidual + q * part_bytes) = packed;
      }
      dx += p.dx.stride, dresidual += p.dresidual.stride;
    }
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      weight_sum[j] = weight_sum[j] + (wsum[0][j] + wsum[1][j]);
      bias_sum[j] = bias_sum[j] + (bsum[0][j] + bsum[1][j]);
    }
  };
  // Chunks longer than a block of the contract: its sums join the chunk's wide sums, in the caller's memory.
  const auto join_chunk = [&](bool first) {
#pragma unroll
    for (int plane = 0; plane < 2; ++plane) {
      if (!p.partial[plane] || b.rows == 0) continue;
      float(&sum)[8] = plane == 0 ? weight_sum : bias_sum;
#pragma unroll
      for (int q = 0; q < kParts; ++q) {
        if (!b.has_part(q)) continue;
        double* const to = p.chunks[plane] + chunk * p.n + begin + b.part_column(q);
#pragma unroll
        for (int j = 0; j < kWidth; ++j) {
          to[j] = first ? double(sum[q * kWidth + j]) : to[j] + double(sum[q * kWidth + j]);
          sum[q * kWidth + j] = 0;
        }
      }
    }
  };
  // The chunks' sums leave the block: those of its slots as one, by the tree over chunks.
  const auto finish = [&] {
    double* const columns = reinterpret_cast<double*>(memory);  // [slot][column]
    const int row = p.slot_threads * 8;
#pragma unroll
    for (int plane = 0; plane < 2; ++plane) {
      if (!p.partial[plane]) continue;
      const float(&sum)[8] = plane == 0 ? weight_sum : bias_sum;
      __syncthreads();  // the ring, or the other plane, is done with
#pragma unroll
      for (int q = 0; q < kParts; ++q) {
        if (!b.has_part(q)) continue;
        const int c = b.part_column(q);
#pragma unroll
        for (int j = 0; j < kWidth; ++j) {
          const double v = !p.wide ? double(sum[q * kWidth + j]) : b.rows == 0 ? 0.0 : p.chunks[plane][chunk * p.n + begin + c + j];
          if (p.slots > 1)
            columns[slot * row + c + j] = v;
          else if (p.wide)
            static_cast<double*>(p.partial[plane])[team * p.n + begin + c + j] = v;
          else
            static_cast<float*>(p.partial[plane])[team * p.n + begin + c + j] = sum[q * kWidth + j];
        }
      }
      if (p.slots == 1) continue;
      for (int step = 1; step < p.slots; step *= 2) {
        __syncthreads();
        for (int i = threadIdx.x; i < p.slots / (2 * step) * row; i += blockDim.x) {
          double* const to = columns + i / row * (2 * step) * row + i % row;
          *to = *to + to[step * row];
        }
      }
      __syncthreads();
      for (int c = threadIdx.x; c < b.width; c += blockDim.x) static_cast<double*>(p.partial[plane])[team * p.n + c] = columns[c];
    }
  };

  asm volatile("cp.async.wait_group 1;" ::: "memory");
  __syncthreads();
  if constexpr (S::kCluster) exchange_memory.start();
  take_sums(0);
#pragma unroll 1
  for (int i = 0; i < steps; ++i) {
    asm volatile("cp.async.wait_group 0;" ::: "memory");
    __syncthreads();  // group i + 1 is here, group i - 1 is done
    if (i + 2 < steps) b.load(i + 2);
    asm volatile("cp.async.commit_group;" ::: "memory");
    if (i + 1 < steps) take_sums(i + 1);
    if constexpr (S::kCluster) exchange_memory.wait(i);
    make_scalars<T, kCentered, S>(b, i, scalars);
    if (b.rows - i * kGroupRows >= kGroupRows)
      write_rows(i, std::true_type());
    else
      write_rows(i, std::false_type());
    if (p.wide && ((i + 1) % (kBlockRows / kGroupRows) == 0 || i + 1 == steps)) join_chunk(i < kBlockRows / kGroupRows);
    __syncwarp();
  }
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
  finish();
}

}  // namespace kilter::cuda

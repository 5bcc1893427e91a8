// The sums of a row between the blocks of a team, which share its columns.
//
// Each block sends every other (and itself) messages for each row of a group: three sums, over as many of its segments as make a
// whole subtree of the row's.  Blocks of a cluster write into each other's shared memory, where a barrier counts the bytes.  Others
// leave their messages in global memory, each 16 bytes that are written at once, with the number of the exchange in each word that has
// no sum; that memory is zero before the kernel starts, and all blocks run at once (a cooperative launch).
//
// One warp of each block does it, eight threads for a row.  A buffer is taken again after kExchanges exchanges; two would be enough,
// since a block that is at exchange i + 2 has messages of i + 1 from all others, who had therefore collected those of i.
#pragma once

#include "families/rowwise/row_backward_ring.cuh"

namespace kilter::cuda {

template <class T, bool kCentered, class S>
struct SumExchange {
  static constexpr int kSums = kCentered ? 3 : 1;
  const BackwardBlock<T, S>& b;
  bool again;  // the sums of rare rows, which are taken once more, have buffers of their own

  __device__ __forceinline__ int buffer(int number) const { return (again ? kExchanges : 0) + number % kExchanges; }
  __device__ __forceinline__ int64_t place(int number, int row) const {
    return int64_t(buffer(number) * kGroupRows + row) * b.p.row_messages * kMessageBytes;
  }
  __device__ __forceinline__ char* global(int number, int row) const {
    return b.p.messages + message_bytes(b.team, b.p.row_messages) + place(number, row);
  }
  __device__ __forceinline__ uint32_t shared(int number, int row) const { return b.base + b.p.at.messages + int(place(number, row)); }

  // Sums over segments lie in buffer `from`.
  __device__ __forceinline__ void publish(int number, int from) const {
    const RowBackwardParameters& p = b.p;
    const int lane = threadIdx.x & 31, row = lane / 8, segment = lane & (kMostBlockSegments - 1);
    float v[3] = {};
#pragma unroll
    for (int q = 0; q < kSums; ++q) {
      v[q] = segment < p.padded ? load_shared_float(b.sums(from, 0, row) + (q * p.padded + segment) * 4) : 0;
#pragma unroll
      for (int bit = 1; bit < kMostBlockSegments; bit *= 2) {
        const float other = exchange(v[q], bit);
        if (bit < p.message_segments) v[q] = v[q] + other;
      }
    }
    const bool sends = segment < p.block_segments && segment % p.message_segments == 0;
    const uint32_t name = uint32_t(number + 1);
    const uint4 message = {__float_as_uint(v[0]), kCentered ? __float_as_uint(v[1]) : name, kCentered ? __float_as_uint(v[2]) : name, name};
    const int m = (b.rank * p.block_segments + segment) / p.message_segments, rank = lane % 8 / kMostBlockSegments;
    static_assert(kMostClusterTeam * kMostBlockSegments <= 8);
    if (p.messages) {
      if (rank == 0 && sends) store_message(global(number, row) + m * kMessageBytes, message);
      return;
    }
    const uint32_t barrier = b.exchanged(buffer(number));
    if (lane == 0) barrier_arrive_expecting(barrier, kGroupRows * p.row_messages * kMessageBytes);
    if (rank < p.team_blocks && sends)
      send_words(remote_address(shared(number, row) + m * kMessageBytes, rank), message, remote_address(barrier, rank));
  }

  // Waits for the messages and adds them up: thread t receives the sums of row t / 8.
  __device__ __forceinline__ void collect(int number, float (&v)[3]) const {
    const RowBackwardParameters& p = b.p;
    const int lane = threadIdx.x & 31, row = lane / 8;
    int share = 1;  // of a thread: neighbours
    while (share * 8 < p.row_messages) share *= 2;
    if (!p.messages) barrier_wait_for_cluster(b.exchanged(buffer(number)), number / kExchanges & 1);
    constexpr int kRounds = kMostMessages / 8 / 4;  // of four
    float sum[kRounds][3] = {};
#pragma unroll
    for (int k = 0; k < kRounds; ++k) {
      if (k * 4 >= share) continue;
      const int first = lane % 8 * share + k * 4, there = p.row_messages - first, most = share < 4 ? share : 4;
      const int count = there < 0 ? 0 : there < most ? there : most;
      uint4 message[4] = {};
      if (p.messages)
        wait_for_messages<kSums>(global(number, row) + first * kMessageBytes, count, uint32_t(number + 1), message);
      else
#pragma unroll
        for (int i = 0; i < 4; ++i) message[i] = load_shared_words_if(shared(number, row) + (first + i) * kMessageBytes, i < count);
#pragma unroll
      for (int q = 0; q < kSums; ++q) {
        const auto of = [q](const uint4& m) { return __uint_as_float(q == 0 ? m.x : q == 1 ? m.y : m.z); };
        sum[k][q] = (of(message[0]) + of(message[1])) + (of(message[2]) + of(message[3]));
      }
    }
    __syncwarp();
    static_assert(kRounds == 4);
#pragma unroll
    for (int q = 0; q < kSums; ++q) {
      v[q] = (sum[0][q] + sum[1][q]) + (sum[2][q] + sum[3][q]);
#pragma unroll
      for (int bit = 1; bit < 8; bit *= 2) v[q] = v[q] + exchange(v[q], bit);
    }
  }
};

}  // namespace kilter::cuda

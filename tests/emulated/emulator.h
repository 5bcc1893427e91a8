// Runs a kernel on the host: a block is a thread of the host, a thread of the kernel a fiber of it.  The blocks of a cluster run
// side by side, clusters one after another, and only one fiber runs at any time, so that a run is the same each time.
//
// Asynchronous copies arrive late and in any order, and their destination holds NaN until then: code that does not wait for them
// computes nonsense.  A barrier that nobody completes, and memory written beyond a block's own, end the program with a message.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <functional>

namespace emulated {

struct Dim {
  unsigned x = 1, y = 1, z = 1;
  Dim(unsigned in_x = 1, unsigned in_y = 1, unsigned in_z = 1) : x(in_x), y(in_y), z(in_z) {}
};
inline thread_local Dim threadIdx, blockIdx, blockDim, gridDim;

struct Config {
  Dim grid, block;
  unsigned cluster;
  size_t shared_bytes;
};
void* allocate(size_t bytes);  // device memory
void release(void* p);
bool is_allocated(const void* p, size_t bytes);
void check_load(const void* p, size_t bytes);  // ends the program if it is not
void run(const Config& config, const std::function<void()>& kernel);

// ---- from a kernel's thread

void meet_block();
int count_block(bool v);  // meets; of how many threads v is true
void meet_warp(unsigned mask);
void arrive_at_cluster();
void wait_for_cluster();
int cluster_rank();
int cluster_blocks();

// What every lane has, until the caller exchanges again: none can be two exchanges ahead of it.
const std::array<uint64_t, 32>& exchange_words(unsigned mask, uint64_t v);
template <class T>
struct Lanes {
  const std::array<uint64_t, 32>& words;
  T operator[](size_t lane) const {
    T v;
    std::memcpy(&v, &words[lane], sizeof v);
    return v;
  }
};
template <class T>
Lanes<T> exchange_warp(unsigned mask, T v) {
  static_assert(sizeof(T) <= 8);
  uint64_t word = 0;
  std::memcpy(&word, &v, sizeof v);
  return {exchange_words(mask, word)};
}

char* dynamic_shared();
uint32_t shared_place(const void* p);  // an address of 32 bits
uint32_t remote_place(uint32_t place, int rank);
void* at_place(uint32_t place);

void barrier_init(uint32_t barrier, int arrivals);
void barrier_expect(uint32_t barrier, int bytes);
void barrier_arrive(uint32_t barrier);
void barrier_settle(uint32_t barrier);  // after a change of what it expects
void barrier_wait(uint32_t barrier, int parity);
// Later: the copy, and what it counts at the barrier (none: 0).
void copy_later(uint32_t to, const void* from, int bytes, uint32_t barrier);
void wait_for_own_copies();

}  // namespace emulated

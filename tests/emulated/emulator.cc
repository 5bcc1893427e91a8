#include "emulator.h"

#include <setjmp.h>
#include <ucontext.h>

#include <bit>
#include <cstdio>
#include <cstdlib>
#include <latch>
#include <map>
#include <mutex>
#include <semaphore>
#include <thread>
#include <utility>
#include <vector>

namespace emulated {
namespace {

constexpr size_t kStackBytes = 64 << 10, kGuardBytes = 4096, kMostShared = 227 << 10;
constexpr char kGuard = 0x3C;
constexpr int kIdleTurns = 100;  // of each block of a cluster, until it counts as stuck

[[noreturn]] void stop(const char* what) {
  std::fprintf(stderr, "emulator: %s (block %u of %u, thread %u)\n", what, blockIdx.x, gridDim.x, threadIdx.x);
  std::abort();
}

// Threads that meet, any number of times.
struct Meeting {
  uint64_t arrived = 0;
  std::array<uint64_t, 32> rounds = {};  // of each lane
  std::array<std::array<uint64_t, 32>, 2> values = {};
};

struct Warp {
  Meeting all;
  std::map<unsigned, Meeting> some;  // by mask
};

struct Barrier {  // as it lies in shared memory
  int16_t pending, count;
  uint32_t phase : 1;
  int32_t bytes : 31;
  void settle() {
    if (pending == 0 && bytes == 0) phase ^= 1, pending = count;
    if (pending < 0) stop("a barrier with more arrivals than it was made for");
  }
};
static_assert(sizeof(Barrier) == 8);

// Where fibers run, one after another: starting one asks the kernel for the signal mask, so that a fiber which has ended takes up the next.
struct Stack {
  ucontext_t start;
  jmp_buf point;  // later on
  bool started = false;
  char memory[kStackBytes];
};

struct Fiber {
  Stack* stack = nullptr;
  std::function<bool()> ready;  // empty: at once
  bool done = false;
  uint64_t block_meetings = 0, cluster_arrivals = 0;
};

struct Later {
  int fiber;
  uint32_t to = 0, barrier = 0;
  const void* from = nullptr;
  int bytes = 0;
};

struct Cluster;
struct Block {
  Cluster* cluster = nullptr;
  int rank = 0;
  const Config* config = nullptr;
  const std::function<void()>* kernel = nullptr;
  std::vector<char> memory;
  char *shared = nullptr, *anchor = nullptr;
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  std::vector<Later> later;
  uint64_t met = 0;  // arrivals at the block's barrier
  int counted = 0;   // by count_block
  int alive = 0, running = -1;
  std::binary_semaphore turn{0};
  bool finished = false;
  jmp_buf scheduler;
  uint32_t random = 1;

  bool chance() { return (random = random * 1664525u + 1013904223u) >> 31; }
};
struct Cluster {
  explicit Cluster(unsigned count) : blocks(count), all_there(count) {}
  std::vector<Block> blocks;
  std::latch all_there;
  std::mutex start;
  uint64_t arrived = 0, threads = 0;
  int idle = 0;  // turns without progress

  void pass_on(Block& from) {
    const size_t count = blocks.size();
    for (size_t k = 1; k <= count; ++k) {
      Block& to = blocks[(size_t(from.rank) + k) % count];
      if (to.finished) continue;
      if (&to != &from) to.turn.release();
      if (&to != &from && !from.finished) from.turn.acquire();
      return;
    }
  }
};

thread_local Block* own = nullptr;
thread_local char tls_anchor;

Fiber& self() { return own->fibers[size_t(own->running)]; }

std::vector<Stack*> free_stacks;  // by whoever has the turn, or starts

void resume(Stack& s) {
  if (_setjmp(own->scheduler)) return;
  if (s.started) _longjmp(s.point, 1);
  s.started = true;
  setcontext(&s.start);
}
void suspend(Stack& s) {
  if (!_setjmp(s.point)) _longjmp(own->scheduler, 1);
}

template <class F>
void wait_until(F ready) {
  if (ready()) return;
  Fiber& f = self();
  f.ready = ready;
  suspend(*f.stack);
}

// Not inlined: the next time, another thread of the host may be the block's, whose `own` is elsewhere.
[[gnu::noinline]] void run_fiber() {
  (*own->kernel)();
  --own->alive;
  self().done = true;
  suspend(*self().stack);
}
[[noreturn]] void run_fibers() {
  for (;;) run_fiber();
}
Stack* new_stack() {
  auto* const s = new Stack;
  getcontext(&s->start);
  s->start.uc_stack.ss_sp = s->memory, s->start.uc_stack.ss_size = kStackBytes, s->start.uc_link = nullptr;
  makecontext(&s->start, run_fibers, 0);
  return s;
}

void perform(const Later& l) {
  std::memcpy(at_place(l.to), l.from, size_t(l.bytes));
  if (!l.barrier) return;
  Barrier& barrier = *static_cast<Barrier*>(at_place(l.barrier));
  barrier.bytes -= l.bytes;
  barrier.settle();
}

// Some of what is under way arrives; of each thread in its order.
bool perform_some(Block& b, bool all) {
  if (b.later.empty()) return false;
  std::vector<Later> rest;
  std::vector<bool> waits(b.fibers.size());
  bool any = false;
  for (const Later& l : b.later) {
    if (!all && (waits[size_t(l.fiber)] || b.chance())) {
      waits[size_t(l.fiber)] = true;
      rest.push_back(l);
      continue;
    }
    perform(l);
    any = true;
  }
  b.later = std::move(rest);
  return any;
}

void run_block(Block& b) {
  std::unique_lock<std::mutex> lock(b.cluster->start);
  own = &b;
  const Config& c = *b.config;
  blockDim = c.block, gridDim = c.grid;
  if (c.shared_bytes > kMostShared) stop("more shared memory than a block can have");
  b.memory.assign(c.shared_bytes + 2 * kGuardBytes, kGuard);
  b.shared = b.memory.data() + kGuardBytes;
  b.shared += (128 - reinterpret_cast<uintptr_t>(b.shared) % 128) % 128;
  std::memset(b.shared, 0xFF, c.shared_bytes);
  b.anchor = &tls_anchor;
  const int threads = int(c.block.x);
  b.fibers.resize(size_t(threads));
  b.warps.resize(size_t(threads + 31) / 32);
  b.alive = threads;
  b.random = blockIdx.x * 7919u + 12345u;
  for (Fiber& f : b.fibers) {
    if (free_stacks.empty()) free_stacks.push_back(new_stack());
    f.stack = free_stacks.back();
    free_stacks.pop_back();
  }
  lock.unlock();
  b.cluster->all_there.arrive_and_wait();
  if (b.rank != 0) b.turn.acquire();
  while (b.alive > 0) {
    bool progress = perform_some(b, false);
    for (int k = 0; k < threads; ++k) {
      Fiber& f = b.fibers[size_t(k)];
      if (f.done || (f.ready && !f.ready())) continue;
      f.ready = nullptr;
      b.running = k, threadIdx.x = unsigned(k);
      resume(*f.stack);
      progress = true;
    }
    if (!progress && perform_some(b, true)) progress = true;
    if (progress) b.cluster->idle = 0;
    if (!progress && ++b.cluster->idle > kIdleTurns * int(b.cluster->blocks.size()))
      stop("all threads wait for something that never comes");
    if (b.alive > 0) b.cluster->pass_on(b);
  }
  for (const Fiber& f : b.fibers) free_stacks.push_back(f.stack);
  perform_some(b, true);
  for (const char* p = b.memory.data(); p < b.shared; ++p)
    if (*p != kGuard) stop("shared memory before the block's was written");
  for (const char* p = b.shared + c.shared_bytes; p < b.memory.data() + b.memory.size(); ++p)
    if (*p != kGuard) stop("shared memory beyond the block's was written");
  b.finished = true;
  b.cluster->pass_on(b);
}

}  // namespace

void run(const Config& config, const std::function<void()>& kernel) {
  for (unsigned yz = 0; yz < config.grid.y * config.grid.z; ++yz)
    for (unsigned first = 0; first < config.grid.x; first += config.cluster) {
      Cluster cluster(config.cluster);
      cluster.threads = uint64_t(config.cluster) * config.block.x;
      std::vector<std::thread> threads;
      for (unsigned k = 0; k < config.cluster; ++k) {
        Block& b = cluster.blocks[k];
        b.cluster = &cluster, b.rank = int(k), b.config = &config, b.kernel = &kernel;
        const auto work = [&b, x = first + k, y = yz % config.grid.y, z = yz / config.grid.y] {
          blockIdx = Dim(x, y, z), threadIdx = Dim(0, 0, 0);
          run_block(b);
        };
        if (k + 1 < config.cluster)
          threads.emplace_back(work);
        else
          work();  // here: most clusters are of one block
      }
      for (std::thread& t : threads) t.join();
    }
}

void meet_block() {
  const uint64_t round = ++self().block_meetings;
  Block* const b = own;
  ++b->met;
  wait_until([b, round] { return b->met >= round * uint64_t(b->alive); });
}

int count_block(bool v) {
  meet_block();  // the round before was read
  int& count = own->counted;
  if (threadIdx.x == 0) count = 0;
  meet_block();
  count += v;
  meet_block();
  return count;
}

const std::array<uint64_t, 32>& exchange_words(unsigned mask, uint64_t v) {
  const int lane = int(threadIdx.x & 31);
  if (!(mask >> lane & 1)) stop("a warp operation whose mask leaves its caller out");
  Warp& warp = own->warps[threadIdx.x / 32];
  Meeting& m = mask == 0xFFFFFFFFu ? warp.all : warp.some[mask];
  const uint64_t round = m.rounds[size_t(lane)]++, all = (round + 1) * uint64_t(std::popcount(mask));
  m.values[round & 1][size_t(lane)] = v;
  ++m.arrived;
  wait_until([&m, all] { return m.arrived >= all; });
  return m.values[round & 1];
}
void meet_warp(unsigned mask) { (void)exchange_words(mask, 0); }

void arrive_at_cluster() {
  ++self().cluster_arrivals;
  ++own->cluster->arrived;
}
void wait_for_cluster() {
  Cluster* const c = own->cluster;
  const uint64_t all = self().cluster_arrivals * c->threads;
  wait_until([c, all] { return c->arrived >= all; });
}
int cluster_rank() { return own->rank; }
int cluster_blocks() { return int(own->cluster->blocks.size()); }

// Bits 27 and up: the block's rank + 1, or 0 for the own; bit 26: a variable of the block, by its distance from one of them.
constexpr uint32_t kVariable = 1u << 26, kMiddle = 1u << 24, kOffset = kVariable - 1;
constexpr int kRankShift = 27;

char* dynamic_shared() { return own->shared; }
uint32_t shared_place(const void* p) {
  const char* const at = static_cast<const char*>(p);
  if (at >= own->shared && at < own->shared + own->config->shared_bytes) return uint32_t(at - own->shared);
  const ptrdiff_t distance = at - own->anchor;
  if (distance <= -ptrdiff_t(kMiddle) || distance >= ptrdiff_t(kMiddle)) stop("an address that is not a shared one");
  return kVariable | uint32_t(distance + ptrdiff_t(kMiddle));
}
uint32_t remote_place(uint32_t place, int rank) { return place | uint32_t(rank + 1) << kRankShift; }
void* at_place(uint32_t place) {
  const int rank = int(place >> kRankShift) - 1;
  Block& b = rank < 0 ? *own : own->cluster->blocks[size_t(rank)];
  const uint32_t offset = place & kOffset;
  if (place & kVariable) return b.anchor + (ptrdiff_t(offset) - ptrdiff_t(kMiddle));
  if (offset > b.config->shared_bytes) stop("an access beyond the block's shared memory");
  return b.shared + offset;
}

void barrier_init(uint32_t barrier, int arrivals) {
  const Barrier b = {int16_t(arrivals), int16_t(arrivals), 0, 0};
  std::memcpy(at_place(barrier), &b, sizeof b);
}
void barrier_expect(uint32_t barrier, int bytes) { static_cast<Barrier*>(at_place(barrier))->bytes += bytes; }
void barrier_arrive(uint32_t barrier) {
  Barrier& b = *static_cast<Barrier*>(at_place(barrier));
  --b.pending;
  b.settle();
}
void barrier_settle(uint32_t barrier) { static_cast<Barrier*>(at_place(barrier))->settle(); }
void barrier_wait(uint32_t barrier, int parity) {
  const Barrier* const b = static_cast<Barrier*>(at_place(barrier));
  wait_until([b, parity] { return int(b->phase) != parity; });
}
void check_load(const void* p, size_t bytes) {
  if (!is_allocated(p, bytes)) stop("a load of memory that no allocation has");
}

void copy_later(uint32_t to, const void* from, int bytes, uint32_t barrier) {
  if (bytes % 16 == 0 && ((to & kOffset) % 16 != 0 || reinterpret_cast<uintptr_t>(from) % 16 != 0)) stop("a copy that is not aligned");
  if (!(to & kVariable) && (to & kOffset) + uint32_t(bytes) > own->config->shared_bytes && !(to >> kRankShift))
    stop("a copy beyond the block's shared memory");
  if (!is_allocated(from, size_t(bytes))) stop("a copy of memory that no allocation has");
  std::memset(at_place(to), 0xFF, size_t(bytes));
  own->later.push_back({own->running, to, barrier, from, bytes});
}
void wait_for_own_copies() {
  Block* const b = own;
  const int fiber = b->running;
  wait_until([b, fiber] {
    for (const Later& l : b->later)
      if (l.fiber == fiber) return false;
    return true;
  });
}

}  // namespace emulated

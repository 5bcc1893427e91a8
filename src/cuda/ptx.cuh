// What the kernels say to the machine in PTX: accesses with hints, conversions, asynchronous copies, barriers in shared memory
// (mbarrier), clusters.  All of it is here and in dependent_launch.cuh, so that a test can put other headers in their place and run
// the kernels on the host (tests/emulated).
//
// Barriers, bulk copies and clusters are those of architecture 90; before it they do nothing, and no plan launches what uses them.
// Addresses of 32 bits are shared ones (shared_address).
#pragma once

#include <cstdint>

namespace kilter::cuda {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define KILTER_ARCHITECTURE_90
#define KILTER_ASM_90(...) asm volatile(__VA_ARGS__)
#else
#define KILTER_ASM_90(...) (void)0
#endif

// What the launch asked for.
__device__ __forceinline__ char* dynamic_shared() {
  extern __shared__ __align__(16) char launch_memory[];
  return launch_memory;
}
__device__ __forceinline__ uint32_t shared_place(const void* p) { return uint32_t(__cvta_generic_to_shared(p)); }
// One that the compiler keeps instead of making it again at every access.
__device__ __forceinline__ uint32_t shared_address(const void* p) {
  uint32_t a = shared_place(p);
  asm volatile("" : "+r"(a));
  return a;
}

__device__ __forceinline__ float4 load_shared(uint32_t a) {
  float4 v;
  asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];" : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w) : "r"(a) : "memory");
  return v;
}
__device__ __forceinline__ float load_shared_float(uint32_t a) {
  float v;
  asm volatile("ld.shared.f32 %0, [%1];" : "=f"(v) : "r"(a) : "memory");
  return v;
}
__device__ __forceinline__ uint16_t load_shared_half(uint32_t a) {
  uint16_t v;
  asm volatile("ld.shared.u16 %0, [%1];" : "=h"(v) : "r"(a) : "memory");
  return v;
}
__device__ __forceinline__ uint4 load_shared_words(uint32_t a) {
  uint4 v;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(a) : "memory");
  return v;
}
__device__ __forceinline__ uint4 load_shared_words_if(uint32_t a, bool is) {  // else zeros
  uint4 v;
  asm volatile(
      "{ .reg .pred p; setp.ne.u32 p, %5, 0; mov.u32 %0, 0; mov.u32 %1, 0; mov.u32 %2, 0; mov.u32 %3, 0; @p ld.shared.v4.u32 {%0, %1, %2, "
      "%3}, [%4]; }"
      : "=&r"(v.x), "=&r"(v.y), "=&r"(v.z), "=&r"(v.w)
      : "r"(a), "r"(uint32_t(is))
      : "memory");
  return v;
}
__device__ __forceinline__ void store_shared_half(uint32_t a, uint16_t v) {
  asm volatile("st.shared.u16 [%0], %1;" ::"r"(a), "h"(v) : "memory");
}
__device__ __forceinline__ void store_shared(uint32_t a, float v) { asm volatile("st.shared.f32 [%0], %1;" ::"r"(a), "f"(v) : "memory"); }
__device__ __forceinline__ void store_shared(uint32_t a, const float4& v) {
  asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(a), "f"(v.x), "f"(v.y), "f"(v.z), "f"(v.w) : "memory");
}

// ---- global memory

// One that the compiler keeps instead of making it again at every access.
template <class C>
__device__ __forceinline__ C* global_address(C* p) {
  asm volatile("" : "+l"(p));
  __builtin_assume(__isGlobal(p));
  return p;
}
// 16 bytes, aligned.
__device__ __forceinline__ uint4 load_unit(const char* at) { return *reinterpret_cast<const uint4*>(at); }
// Around the first cache: nobody reads it again soon.
__device__ __forceinline__ uint4 load_streaming(const char* at) {
  uint4 v;
  asm volatile("ld.global.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(at));
  return v;
}
__device__ __forceinline__ void store_streaming_if(char* at, const uint4& v, bool streams) {
  asm volatile(
      "{ .reg .pred p; setp.ne.u32 p, %5, 0; @p st.global.L1::no_allocate.v4.u32 [%0], {%1, %2, %3, %4}; @!p st.global.v4.u32 [%0], "
      "{%1, %2, %3, %4}; }" ::"l"(at),
      "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w), "r"(uint32_t(streams)));
}

// ---- values

__device__ __forceinline__ uint32_t bf16_pair(float low, float high) {
  uint32_t word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
}
__device__ __forceinline__ uint32_t half_pair(float low, float high) {
  uint32_t word;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
}
__device__ __forceinline__ float half_value(uint32_t bits) {
  float v;
  asm("cvt.f32.f16 %0, %1;" : "=f"(v) : "h"(uint16_t(bits)));
  return v;
}
__device__ __forceinline__ float approximate_inverse_root(float v) {
  float r;
  asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(v));
  return r;
}
__device__ __forceinline__ float approximate_inverse(float v) {
  float r;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(v));
  return r;
}
__device__ __forceinline__ float approximate_exp2(float v) {  // below the normal numbers: 0
  float r;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(v));
  return r;
}
// The compiler takes these for other values than before, and one made of the others.
__device__ __forceinline__ void forget(uint4& w) { asm volatile("" : "+r"(w.x), "+r"(w.y), "+r"(w.z), "+r"(w.w)); }
__device__ __forceinline__ void forget(float& v, uint4& w) { asm volatile("" : "+f"(v), "+r"(w.x), "+r"(w.y), "+r"(w.z), "+r"(w.w)); }

// ---- barriers

// By one thread, before the others meet (__syncthreads, or meet_cluster for barriers that other blocks reach).
__device__ __forceinline__ void barrier_init(uint32_t barrier, int arrivals) {
  KILTER_ASM_90("mbarrier.init.shared.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
__device__ __forceinline__ void barriers_are_ready() { KILTER_ASM_90("fence.mbarrier_init.release.cluster;" ::: "memory"); }
// Bytes that copies will bring; and an arrival along with it.
__device__ __forceinline__ void barrier_expect(uint32_t barrier, int bytes) {
  KILTER_ASM_90("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
__device__ __forceinline__ void barrier_arrive(uint32_t barrier) {
  KILTER_ASM_90("mbarrier.arrive.shared.b64 _, [%0];" ::"r"(barrier) : "memory");
}
__device__ __forceinline__ void barrier_arrive_expecting(uint32_t barrier, int bytes) {
  KILTER_ASM_90("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
// For the end of a phase: 0 for the first, 1 for the second, 0 for the third.
__device__ __forceinline__ void barrier_wait(uint32_t barrier, int parity) {
#ifdef KILTER_ARCHITECTURE_90
  uint32_t done = 0;
  while (!done)
    asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                 : "=r"(done)
                 : "r"(barrier), "r"(parity)
                 : "memory");
#endif
}

// ---- copies

// `bytes` and both addresses are multiples of 16.
__device__ __forceinline__ void copy_bulk(uint32_t to, const void* from, int bytes, uint32_t barrier) {
  KILTER_ASM_90("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to), "l"(from), "r"(bytes),
                "r"(barrier)
                : "memory");
}
// 16 bytes, for wait_for_own_copies by the same thread.
__device__ __forceinline__ void copy_words(uint32_t to, const void* from) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}
// Of them the first `bytes`, then zeros.
__device__ __forceinline__ void copy_words(uint32_t to, const void* from, int bytes) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}
__device__ __forceinline__ void wait_for_own_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }
// Into the L2 cache, for whoever reads it soon.
__device__ __forceinline__ void prefetch_bulk(const void* from, int bytes) {
  KILTER_ASM_90("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes) : "memory");
}
// By a thread that stored to shared memory what later copies may overwrite.
__device__ __forceinline__ void stores_before_copies() { KILTER_ASM_90("fence.proxy.async.shared::cta;" ::: "memory"); }

// ---- clusters

__device__ __forceinline__ int cluster_rank() {
  int rank = 0;
  KILTER_ASM_90("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
__device__ __forceinline__ int cluster_blocks() {
  int blocks = 1;
  KILTER_ASM_90("mov.u32 %0, %%cluster_nctarank;" : "=r"(blocks));
  return blocks;
}
__device__ __forceinline__ void arrive_at_cluster() { KILTER_ASM_90("barrier.cluster.arrive.release.aligned;" ::: "memory"); }
// Without making writes visible.
__device__ __forceinline__ void arrive_at_cluster_relaxed() { KILTER_ASM_90("barrier.cluster.arrive.relaxed.aligned;" ::: "memory"); }
__device__ __forceinline__ void wait_for_cluster() { KILTER_ASM_90("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }
__device__ __forceinline__ void meet_cluster() {
  arrive_at_cluster();
  wait_for_cluster();
}
// The same place in block `rank`'s shared memory.
__device__ __forceinline__ uint32_t remote_address(uint32_t local, int rank) {
  uint32_t remote = local;
#ifdef KILTER_ARCHITECTURE_90
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(local), "r"(rank));
#endif
  return remote;
}
// To another block's memory, where it counts as four bytes at that block's barrier.
__device__ __forceinline__ void send_float(uint32_t remote, float v, uint32_t remote_barrier) {
  KILTER_ASM_90("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %1, [%2];" ::"r"(remote), "r"(__float_as_uint(v)),
                "r"(remote_barrier)
                : "memory");
}
__device__ __forceinline__ uint4 load_remote(uint32_t remote) {
  uint4 v = {};
  KILTER_ASM_90("ld.shared::cluster.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(remote));
  return v;
}
__device__ __forceinline__ uint32_t load_remote_word(uint32_t remote) {
  uint32_t v = 0;
  KILTER_ASM_90("ld.shared::cluster.u32 %0, [%1];" : "=r"(v) : "r"(remote));
  return v;
}

}  // namespace kilter::cuda

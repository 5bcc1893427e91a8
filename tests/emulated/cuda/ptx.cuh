// In place of src/cuda/ptx.cuh, whose comments say what these are for.
#pragma once

#include <cuda_runtime_api.h>

#include <cmath>

#include "core/dtype.h"

#define KILTER_ARCHITECTURE_90

namespace kilter::cuda {

inline char* dynamic_shared() { return emulated::dynamic_shared(); }
inline uint32_t shared_place(const void* p) { return emulated::shared_place(p); }
inline uint32_t shared_address(const void* p) { return emulated::shared_place(p); }
template <class T>
T read_place(uint32_t a) {
  T v;
  std::memcpy(&v, emulated::at_place(a), sizeof v);
  return v;
}
inline float4 load_shared(uint32_t a) { return read_place<float4>(a); }
inline float load_shared_float(uint32_t a) { return read_place<float>(a); }
inline uint16_t load_shared_half(uint32_t a) { return read_place<uint16_t>(a); }
inline uint4 load_shared_words(uint32_t a) { return read_place<uint4>(a); }
inline uint4 load_shared_words_if(uint32_t a, bool is) { return is ? read_place<uint4>(a) : uint4{}; }
inline void store_shared_half(uint32_t a, uint16_t v) { std::memcpy(emulated::at_place(a), &v, sizeof v); }
inline void store_shared(uint32_t a, float v) { std::memcpy(emulated::at_place(a), &v, sizeof v); }
inline void store_shared(uint32_t a, const float4& v) { std::memcpy(emulated::at_place(a), &v, sizeof v); }

template <class C>
C* global_address(C* p) {
  return p;
}
inline uint4 load_unit(const char* at) {
  emulated::check_load(at, sizeof(uint4));
  return *reinterpret_cast<const uint4*>(at);
}
inline uint4 load_streaming(const char* at) { return *reinterpret_cast<const uint4*>(at); }
inline void store_streaming_if(char* at, const uint4& v, bool) { *reinterpret_cast<uint4*>(at) = v; }

inline uint32_t bf16_pair(float low, float high) { return float_to_bf16(low) | uint32_t(float_to_bf16(high)) << 16; }
inline uint32_t half_pair(float low, float high) { return float_to_half(low) | uint32_t(float_to_half(high)) << 16; }
inline float half_value(uint32_t bits) { return half_to_float(uint16_t(bits)); }
// Approximations have errors; these are off by a unit in the last place or so.
inline float approximate_inverse_root(float v) { return std::nextafter(float(1 / std::sqrt(double(v))), 0.0f); }
inline float approximate_inverse(float v) { return std::nextafter(1 / v, 0.0f); }
inline float approximate_exp2(float v) {
  const float r = std::nextafter(float(std::exp2(double(v))), 0.0f);
  return r < 0x1p-126f ? 0 : r;
}
inline void forget(uint4&) {}
inline void forget(float&, uint4&) {}

inline void barrier_init(uint32_t barrier, int arrivals) { emulated::barrier_init(barrier, arrivals); }
inline void barriers_are_ready() {}
inline void barrier_expect(uint32_t barrier, int bytes) { emulated::barrier_expect(barrier, bytes); }
inline void barrier_arrive(uint32_t barrier) { emulated::barrier_arrive(barrier); }
inline void barrier_arrive_expecting(uint32_t barrier, int bytes) {
  emulated::barrier_expect(barrier, bytes);
  emulated::barrier_arrive(barrier);
}
inline void barrier_wait(uint32_t barrier, int parity) { emulated::barrier_wait(barrier, parity); }

inline void copy_bulk(uint32_t to, const void* from, int bytes, uint32_t barrier) { emulated::copy_later(to, from, bytes, barrier); }
inline void copy_words(uint32_t to, const void* from) { emulated::copy_later(to, from, 16, 0); }
inline void copy_words(uint32_t to, const void* from, int bytes) {
  std::memset(static_cast<char*>(emulated::at_place(to)) + bytes, 0, 16 - size_t(bytes));
  emulated::copy_later(to, from, bytes, 0);
}
inline void wait_for_own_copies() { emulated::wait_for_own_copies(); }
inline void prefetch_bulk(const void*, int) {}
inline void stores_before_copies() {}

inline int cluster_rank() { return emulated::cluster_rank(); }
inline int cluster_blocks() { return emulated::cluster_blocks(); }
inline void arrive_at_cluster() { emulated::arrive_at_cluster(); }
inline void arrive_at_cluster_relaxed() { emulated::arrive_at_cluster(); }
inline void wait_for_cluster() { emulated::wait_for_cluster(); }
inline void meet_cluster() {
  emulated::arrive_at_cluster();
  emulated::wait_for_cluster();
}
inline uint32_t remote_address(uint32_t local, int rank) { return emulated::remote_place(local, rank); }
inline void send_float(uint32_t remote, float v, uint32_t remote_barrier) {
  emulated::barrier_expect(remote_barrier, -4);
  store_shared(remote, v);
  emulated::barrier_settle(remote_barrier);
}
inline uint4 load_remote(uint32_t remote) { return read_place<uint4>(remote); }
inline uint32_t load_remote_word(uint32_t remote) { return read_place<uint32_t>(remote); }

}  // namespace kilter::cuda

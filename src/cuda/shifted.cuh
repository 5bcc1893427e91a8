// Rows of one type that begin anywhere, 16 bytes at a time all the same: whole units of memory are read and written, and put in
// place by shifts in registers.
//
// A thread has N vectors of 16 bytes, 512 bytes apart, neighbours those between; `shift` bytes of a unit lie before a vector.  Bytes of a
// unit that are not the row's are read (but for those behind the last row) and ignored; they are never written.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cuda/ptx.cuh"

namespace kilter::cuda {

constexpr int kUnit = 16, kVectorStep = 32 * kUnit;  // bytes

__device__ __forceinline__ int shift_of(const char* at) { return int(reinterpret_cast<uintptr_t>(at)) & (kUnit - 1); }

__device__ __forceinline__ uint32_t word_of(const uint4& v, int j) { return j == 0 ? v.x : j == 1 ? v.y : j == 2 ? v.z : v.w; }
// Of two vectors, one after the other.
__device__ __forceinline__ uint32_t word_of(const uint4& low, const uint4& high, int j) {
  return j < 4 ? word_of(low, j) : word_of(high, j - 4);
}

// f(c) with the number of words in `shift` as a constant: less than to choose words by it.
template <class F>
__device__ __forceinline__ void with_words(int shift, F f) {
  if (shift < 8) {
    if (shift < 4)
      f(std::integral_constant<int, 0>{});
    else
      f(std::integral_constant<int, 1>{});
  } else {
    if (shift < 12)
      f(std::integral_constant<int, 2>{});
    else
      f(std::integral_constant<int, 3>{});
  }
}

// 16 bytes of low and high: from byte 4 * kWords + bits / 8 on, and those that end as many before the end of low.
template <int kItem, int kWords>
__device__ __forceinline__ uint4 shifted_down(const uint4& low, const uint4& high, int bits) {
  const auto word = [&](int j) {
    const uint32_t first = word_of(low, high, j + kWords);
    return kItem == 4 ? first : __funnelshift_r(first, word_of(low, high, j + kWords + 1), bits);
  };
  return make_uint4(word(0), word(1), word(2), word(3));
}
template <int kItem, int kWords>
__device__ __forceinline__ uint4 shifted_up(const uint4& low, const uint4& high, int bits) {
  const auto word = [&](int j) {
    const uint32_t last = word_of(low, high, j + 4 - kWords);
    return kItem == 4 ? last : __funnelshift_l(word_of(low, high, j + 3 - kWords), last, bits);
  };
  return make_uint4(word(0), word(1), word(2), word(3));
}

// The first `count` bytes of a unit, the others zero.
template <int kItem>
__device__ __forceinline__ uint4 read_part(const char* unit, int count) {
  uint32_t w[4] = {};
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const char* const at = unit + 4 * j;
    if (4 * j + 4 <= count)
      w[j] = *reinterpret_cast<const uint32_t*>(at);
    else if (kItem == 2 && 4 * j < count)
      w[j] = *reinterpret_cast<const uint16_t*>(at);
  }
  return make_uint4(w[0], w[1], w[2], w[3]);
}
// Bytes begin ... end - 1 of a unit.
template <int kItem>
__device__ __forceinline__ void write_part(char* unit, const uint4& v, int begin, int end) {
#pragma unroll
  for (int j = 0; j < kUnit; j += kItem) {
    const uint32_t word = word_of(v, j / 4);
    if (j < begin || j >= end) continue;
    if constexpr (kItem == 4)
      *reinterpret_cast<uint32_t*>(unit + j) = word;
    else
      *reinterpret_cast<uint16_t*>(unit + j) = uint16_t(j & 2 ? word >> 16 : word);
  }
}

// The low `bytes` bytes of a word.
__device__ __forceinline__ uint32_t kept(uint32_t word, int bytes) { return bytes >= 4 ? word : bytes <= 0 ? 0 : word & 0xFFFF; }

// to = from if so: a select for each word, where the compiler would rather choose an address in local memory.
__device__ __forceinline__ void choose(bool is, uint4& to, const uint4& from) {
  to.x = is ? from.x : to.x, to.y = is ? from.y : to.y, to.z = is ? from.z : to.z, to.w = is ? from.w : to.w;
}

// Vectors on their way: the units that cover each.
template <int kItem, int N>
struct ShiftedVectors {
  uint4 low[N], high[N];

  // at: the thread's first vector; bytes: of the row from there on; is_last: no row lies behind this one.
  __device__ __forceinline__ void load(const char* at, int bytes, bool is_last) {
    const int shift = shift_of(at), end = bytes + shift, whole = is_last ? end & ~(kUnit - 1) : end;
    const int low_end = bytes < whole ? bytes : whole, high_end = shift ? whole - kUnit : 0;
    const char* const unit = global_address(at - shift);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      low[i] = high[i] = uint4{};
      if (i * kVectorStep < low_end) low[i] = load_unit(unit + i * kVectorStep);
      if (i * kVectorStep < high_end) high[i] = load_unit(unit + i * kVectorStep + kUnit);
    }
    if (whole < end && whole >= 0) {
      const uint4 part = read_part<kItem>(unit + whole, end - whole);
#pragma unroll
      for (int i = 0; i < N; ++i) {
        choose(i * kVectorStep == whole && whole < bytes, low[i], part);
        choose(i * kVectorStep == whole - kUnit, high[i], part);
      }
    }
  }
  // Puts them in place, in `low`, with zeros beyond the row.  team_bytes: of the row from the vectors of the warp's first thread on.
  __device__ __forceinline__ void place(const char* at, int bytes, int team_bytes) {
    const int shift = shift_of(at), bits = shift % 4 * 8, last = team_bytes / kVectorStep;
    with_words(shift, [&](auto words) {
#pragma unroll
      for (int i = 0; i < N; ++i) low[i] = shifted_down<kItem, words()>(low[i], high[i], bits);
    });
    if (team_bytes % kUnit == 0 || last >= N) return;
    uint4 v = low[0];
#pragma unroll
    for (int i = 1; i < N; ++i) choose(last == i, v, low[i]);
    const int count = bytes - last * kVectorStep;
    v = make_uint4(kept(v.x, count), kept(v.y, count - 4), kept(v.z, count - 8), kept(v.w, count - 12));
#pragma unroll
    for (int i = 0; i < N; ++i) choose(last == i, low[i], v);
  }
};

// v[i]: vector i of thread t of a warp.
template <int kItem, int N>
__device__ __forceinline__ void write_shifted(char* at, int bytes, int t, const uint4 (&v)[N]) {
  const int shift = shift_of(at), end = bytes + shift, bits = shift % 4 * 8;
  char* const to = global_address(at - shift);
  const bool is_first = t == 0 && shift, is_last = t == 31;
  // A unit begins with the end of the neighbour's vector; the last thread has one more.
  uint4 unit[N + 1];
#pragma unroll
  for (int i = 0; i < N; ++i) {
    uint4 before = v[i];
    if (i > 0) choose(is_last, before, v[i - 1]);
    const auto neighbours = [&](uint32_t word) { return __shfl_sync(0xFFFFFFFFu, word, t + 31); };
    unit[i] = make_uint4(neighbours(before.x), neighbours(before.y), neighbours(before.z), neighbours(before.w));
  }
  with_words(shift, [&](auto words) {
#pragma unroll
    for (int i = 0; i < N; ++i) unit[i] = shifted_up<kItem, words()>(unit[i], v[i], bits);
    unit[N] = shifted_up<kItem, words()>(v[N - 1], uint4{}, bits);
  });
#pragma unroll
  for (int i = 0; i < N; ++i)
    if (i * kVectorStep + kUnit <= end && !(i == 0 && is_first)) *reinterpret_cast<uint4*>(to + i * kVectorStep) = unit[i];
  // What is no whole unit: before the first, and behind the last one of the row or of the thread.
  if (is_first && bytes > 0) write_part<kItem>(to, unit[0], shift, end);
  constexpr int kExtra = (N - 1) * kVectorStep + kUnit;
  const bool is_extra = is_last && end > kExtra;
  const int last = end / kVectorStep, begin = is_extra ? kExtra : last * kVectorStep;
  int count = end - begin;
  if (is_extra && count > shift) count = shift;
  if (count > 0 && count < kUnit && (is_extra || last < N) && !(begin == 0 && is_first)) {
    uint4 part = unit[N];
#pragma unroll
    for (int i = 0; i < N; ++i) choose(begin == i * kVectorStep, part, unit[i]);
    write_part<kItem>(to + begin, part, 0, count);
  }
}

}  // namespace kilter::cuda

#include "kilter/copy.h"

#include <algorithm>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace kilter::cli {
namespace {

void memcpy_copy(const char* a, const char*, char* c, int64_t bytes) { std::memcpy(c, a, size_t(bytes)); }

// STREAM's copy and add, on integers: sums of arbitrary bits as floats could be slow subnormals.
[[gnu::always_inline]] inline void copy_words(const char* a, char* c, int64_t bytes) {
  const auto* from = reinterpret_cast<const uint64_t*>(a);
  auto* to = reinterpret_cast<uint64_t*>(c);
  for (int64_t i = 0; i < bytes / 8; ++i) to[i] = from[i];
  for (int64_t i = bytes / 8 * 8; i < bytes; ++i) c[i] = a[i];
}

[[gnu::always_inline]] inline void add_words(const char* a, const char* b, char* c, int64_t bytes) {
  const auto *left = reinterpret_cast<const uint64_t*>(a), *right = reinterpret_cast<const uint64_t*>(b);
  auto* to = reinterpret_cast<uint64_t*>(c);
  for (int64_t i = 0; i < bytes / 8; ++i) to[i] = left[i] + right[i];
  for (int64_t i = bytes / 8 * 8; i < bytes; ++i) c[i] = char(a[i] + b[i]);
}

#if defined(__x86_64__)
// Chosen by hand: target_clones' resolvers run before a sanitizer is ready.
[[gnu::target("avx2")]] void copy_words_256(const char* a, char* c, int64_t bytes) { copy_words(a, c, bytes); }
[[gnu::target("avx2")]] void add_words_256(const char* a, const char* b, char* c, int64_t bytes) { add_words(a, b, c, bytes); }
bool has_256() { return __builtin_cpu_supports("avx2"); }
#else
void copy_words_256(const char* a, char* c, int64_t bytes) { copy_words(a, c, bytes); }
void add_words_256(const char* a, const char* b, char* c, int64_t bytes) { add_words(a, b, c, bytes); }
bool has_256() { return false; }
#endif

void stream_copy(const char* a, const char*, char* c, int64_t bytes) { has_256() ? copy_words_256(a, c, bytes) : copy_words(a, c, bytes); }
void stream_add(const char* a, const char* b, char* c, int64_t bytes) {
  has_256() ? add_words_256(a, b, c, bytes) : add_words(a, b, c, bytes);
}

#if defined(__x86_64__)
// Ranges start at multiples of 64 from a 64-byte aligned array, so the stores are aligned.
__attribute__((target("avx512f"))) void past_caches_512(const char* a, const char* b, char* c, int64_t bytes) {
  for (int64_t i = 0; i + 64 <= bytes; i += 64) {
    __m512i v = _mm512_loadu_si512(a + i);
    if (b) v = _mm512_add_epi64(v, _mm512_loadu_si512(b + i));
    _mm512_stream_si512(reinterpret_cast<__m512i*>(c + i), v);
  }
}

void past_caches_128(const char* a, const char* b, char* c, int64_t bytes) {
  for (int64_t i = 0; i + 64 <= bytes; i += 64)
    for (int64_t j = i; j < i + 64; j += 16) {
      __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(a + j));
      if (b) v = _mm_add_epi64(v, _mm_loadu_si128(reinterpret_cast<const __m128i*>(b + j)));
      _mm_stream_si128(reinterpret_cast<__m128i*>(c + j), v);
    }
}

void past_caches(const char* a, const char* b, char* c, int64_t bytes) {
  if (__builtin_cpu_supports("avx512f"))
    past_caches_512(a, b, c, bytes);
  else
    past_caches_128(a, b, c, bytes);
  const int64_t rest = bytes / 64 * 64;
  if (b)
    stream_add(a + rest, b + rest, c + rest, bytes - rest);
  else
    stream_copy(a + rest, nullptr, c + rest, bytes - rest);
  _mm_sfence();
}

void streaming_copy(const char* a, const char*, char* c, int64_t bytes) { past_caches(a, nullptr, c, bytes); }
void streaming_add(const char* a, const char* b, char* c, int64_t bytes) { past_caches(a, b, c, bytes); }
#endif

template <class F>
void for_ranges(int64_t bytes, int threads, F body) {
#ifdef _OPENMP
#pragma omp parallel for num_threads(threads) schedule(static, 1)
#endif
  for (int t = 0; t < threads; ++t) {
    const int64_t lines = (bytes + 63) / 64;
    const int64_t begin = std::min(bytes, lines * t / threads * 64), end = std::min(bytes, lines * (t + 1) / threads * 64);
    body(begin, end - begin);
  }
}

}  // namespace

std::vector<Copy> copies(bool backward) {
  std::vector<Copy> list;
  if (backward)
    list.push_back({"add", stream_add});
  else
    list = {{"memcpy", memcpy_copy}, {"stream_copy", stream_copy}};
#if defined(__x86_64__)
  list.push_back(backward ? Copy{"streaming_store_add", streaming_add} : Copy{"streaming_store_copy", streaming_copy});
#endif
  return list;
}

void run_copy(const Copy& copy, const char* a, const char* b, char* c, int64_t bytes, int threads) {
  for_ranges(bytes, threads, [&](int64_t begin, int64_t size) { copy.run(a + begin, b ? b + begin : nullptr, c + begin, size); });
}

void touch(char* data, int64_t bytes, int threads) {
  for_ranges(bytes, threads, [&](int64_t begin, int64_t size) { std::memset(data + begin, 0, size_t(size)); });
}

}  // namespace kilter::cli

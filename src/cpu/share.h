// When a call on the CPU is worth a second thread, and stores past the caches.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>

#include "core/view.h"

namespace kilter {

// Elements a thread must have to be worth its start.  LayerNorm fp32, n = 256, one thread / two on a Xeon (AVX-512), µs:
// 16384 elements: forward 6.8 / 5.3, backward 9.7 / 12.2; 32768: 12.8 / 8.3, 17.9 / 17.3; 65536: 24.9 / 14.7, 34.2 / 23.6.
constexpr int64_t kElementsPerThread = 16384;

// Outputs from this many bytes on are written past the caches.  LayerNorm fp32, n = 1024, through the caches / past them, µs:
// 2 MiB: forward 67 / 81, backward 181 / 157; 4 MiB: 162 / 162, 365 / 338; 32 MiB: 1736 / 1597, 3387 / 2319.
constexpr int64_t kStreamBytes = 4 << 20;

// Threads for rows of n, which are not divided.
inline int threads_for(int64_t rows, int64_t n, int available) {
  const int64_t useful = std::max<int64_t>(1, rows * std::max<int64_t>(n, 1) / kElementsPerThread);
  return int(std::min<int64_t>({available, useful, std::max<int64_t>(rows, 1)}));
}

inline bool large_enough_to_stream(int64_t rows, int64_t n, int item) { return rows * n * item >= kStreamBytes; }

// In place, the lines are in cache already.
inline bool should_stream(const View& out, int64_t rows, int64_t n, std::initializer_list<const View*> inputs) {
  if (!out.present() || !large_enough_to_stream(rows, n, item_size(out.dtype))) return false;
  return std::none_of(inputs.begin(), inputs.end(), [&](const View* in) { return in->present() && in->data == out.data; });
}

}  // namespace kilter

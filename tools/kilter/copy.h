// What the bench compares with: moving the same bytes and doing nothing.
#pragma once

#include <cstdint>
#include <vector>

namespace kilter::cli {

// Forward moves a to c; backward reads a and b and writes c.  Each thread has one contiguous range.
struct Copy {
  const char* name;
  void (*run)(const char* a, const char* b, char* c, int64_t bytes);  // one thread's range
};

// Their best time is "the copy".
std::vector<Copy> copies(bool backward);

// Runs on `threads` threads; bytes is the size of one array, a multiple of nothing.
void run_copy(const Copy& copy, const char* a, const char* b, char* c, int64_t bytes, int threads);

// Touches an array first on the threads that will copy it.
void touch(char* data, int64_t bytes, int threads);

}  // namespace kilter::cli

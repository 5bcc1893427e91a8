#include "harness/guarded_buffer.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

namespace kilter::test {

GuardedBuffer::GuardedBuffer(size_t size, bool at_end) : size_(size), page_(size_t(sysconf(_SC_PAGESIZE))) {
  inner_ = (std::max<size_t>(size, 1) + page_ - 1) / page_ * page_;
  void* memory = mmap(nullptr, inner_ + 2 * page_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  mapping_ = static_cast<char*>(memory);
  char* const inner = mapping_ + page_;
  if (mprotect(inner, inner_, PROT_READ | PROT_WRITE) != 0) std::abort();
  std::memset(inner, kCanary, inner_);
  data_ = at_end ? inner + inner_ - size_ : inner;
}

GuardedBuffer::~GuardedBuffer() {
  EXPECT_TRUE(slack_intact()) << "bytes around a buffer of " << size_ << " were written";
  munmap(mapping_, inner_ + 2 * page_);
}

bool GuardedBuffer::slack_intact() const {
  const auto is_canary = [](char c) { return c == kCanary; };
  const char* const inner = mapping_ + page_;
  return std::all_of(inner, static_cast<const char*>(data_), is_canary) && std::all_of(data_ + size_, mapping_ + page_ + inner_, is_canary);
}

SparseMapping::SparseMapping(size_t size) : size_(size) {
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  data_ = memory == MAP_FAILED ? nullptr : static_cast<char*>(memory);
  // Huge pages would give each touched row two megabytes.
  if (data_) madvise(data_, size, MADV_NOHUGEPAGE);
}

SparseMapping::~SparseMapping() {
  if (data_) munmap(data_, size_);
}

size_t available_memory() {
  std::ifstream meminfo("/proc/meminfo");
  for (std::string line; std::getline(meminfo, line);)
    if (line.rfind("MemAvailable:", 0) == 0) return std::strtoull(line.c_str() + 13, nullptr, 10) * 1024;
  return 0;
}

}  // namespace kilter::test

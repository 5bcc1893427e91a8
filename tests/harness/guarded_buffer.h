// Bytes between two pages that fault: reading or writing past either end of what a test owns ends the test program there.
#pragma once

#include <cstddef>
#include <vector>

namespace kilter::test {

class GuardedBuffer {
 public:
  static constexpr char kCanary = 0x5A;

  // at_end: the last byte touches the page behind, so that vector reads past the end fault; else the first byte touches the
  // page before.  Everything holds the canary at first.
  explicit GuardedBuffer(size_t size, bool at_end = true);
  ~GuardedBuffer();  // fails the running test if a byte around the data was written
  GuardedBuffer(const GuardedBuffer&) = delete;
  GuardedBuffer& operator=(const GuardedBuffer&) = delete;

  char* data() const { return data_; }
  size_t size() const { return size_; }
  bool slack_intact() const;
  std::vector<char> bytes() const { return {data_, data_ + size_}; }

 private:
  size_t size_, page_, inner_;  // inner_: bytes between the guard pages
  char* mapping_;
  char* data_;
};

// Address space that costs memory only where it is written; null data() if the system refuses.
class SparseMapping {
 public:
  explicit SparseMapping(size_t size);
  ~SparseMapping();
  SparseMapping(const SparseMapping&) = delete;
  SparseMapping& operator=(const SparseMapping&) = delete;
  char* data() const { return data_; }

 private:
  size_t size_;
  char* data_;
};

// Of the machine, in bytes; 0 if unknown.
size_t available_memory();

}  // namespace kilter::test

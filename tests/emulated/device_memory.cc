// "Device memory" that ends, to 16 bytes, where the process's does: what is read or written behind it ends the test.
#include <sys/mman.h>
#include <unistd.h>

#include <map>
#include <mutex>

#include "emulator.h"

namespace emulated {
namespace {

std::mutex mutex;
struct Mapping {
  void* memory;
  size_t whole, bytes;  // of the mapping; of what was asked for
};
std::map<const void*, Mapping> mappings;  // by the address given out

}  // namespace

void* allocate(size_t bytes) {
  const size_t page = size_t(sysconf(_SC_PAGESIZE)), used = (bytes + 15) / 16 * 16, whole = (used + page - 1) / page * page + page;
  void* const memory = mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  char* const end = static_cast<char*>(memory) + whole - page;
  if (mprotect(end, page, PROT_NONE) != 0) return nullptr;
  const std::lock_guard lock(mutex);
  mappings[end - used] = {memory, whole, bytes};
  return end - used;
}

void release(void* p) {
  if (!p) return;
  const std::lock_guard lock(mutex);
  const auto found = mappings.find(p);
  munmap(found->second.memory, found->second.whole);
  mappings.erase(found);
}

bool is_allocated(const void* p, size_t bytes) {
  const std::lock_guard lock(mutex);
  auto found = mappings.upper_bound(p);
  if (found == mappings.begin()) return false;
  --found;
  return static_cast<const char*>(p) + bytes <= static_cast<const char*>(found->first) + found->second.bytes;
}

}  // namespace emulated

// "Device memory" that ends, to 16 bytes, where the process's does: what is read or written behind it ends the test.
#include <sys/mman.h>
#include <unistd.h>

#include <map>
#include <mutex>

#include "emulator.h"

namespace emulated {
namespace {

std::mutex mutex;
std::map<void*, std::pair<void*, size_t>> mappings;  // by the address given out

}  // namespace

void* allocate(size_t bytes) {
  const size_t page = size_t(sysconf(_SC_PAGESIZE)), used = (bytes + 15) / 16 * 16, whole = (used + page - 1) / page * page + page;
  void* const memory = mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  char* const end = static_cast<char*>(memory) + whole - page;
  if (mprotect(end, page, PROT_NONE) != 0) return nullptr;
  const std::lock_guard lock(mutex);
  mappings[end - used] = {memory, whole};
  return end - used;
}

void release(void* p) {
  if (!p) return;
  const std::lock_guard lock(mutex);
  const auto found = mappings.find(p);
  munmap(found->second.first, found->second.second);
  mappings.erase(found);
}

}  // namespace emulated

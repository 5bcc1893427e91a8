#include "kilter/memory.h"

#include <fmt/core.h>

#include <algorithm>
#include <fstream>
#include <vector>

namespace kilter::cli {
namespace {

// The number behind a name in a file of lines "NAME 123", or alone in a file (name ""); -1 if there is none, as in "max".
int64_t number_in(const std::string& path, const std::string& name) {
  std::ifstream file(path);
  int64_t value = 0;
  if (name.empty()) return file >> value ? value : -1;
  for (std::string word; file >> word;)
    if (word == name) return file >> value ? value : -1;
  return -1;
}

struct Version {
  bool second;
  const char *folder, *limit, *used;
  std::vector<const char*> cache;  // in memory.stat, the first that is there: with the groups below, if they are told apart
};

// The smaller of two, -1 being none.
int64_t tightest(int64_t a, int64_t b) { return a < 0 ? b : b < 0 ? a : std::min(a, b); }

int64_t available_in(const std::string& group, const Version& version) {
  const int64_t limit = number_in(group + version.limit, ""), used = number_in(group + version.used, "");
  if (limit < 0 || used < 0) return -1;
  int64_t cache = -1;
  for (const char* name : version.cache)
    if (cache < 0) cache = number_in(group + "/memory.stat", name);
  return std::max<int64_t>(limit - (used - std::clamp<int64_t>(cache, 0, used)), 0);
}

// This process's group: "/" + path in lines "NUMBER:CONTROLLERS:/path", version 2 with no controllers.
std::string group_of_process(const std::string& root, bool second) {
  std::ifstream file(root + "/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':'), last = line.find(':', first + 1);
    if (first == std::string::npos || last == std::string::npos) continue;
    const std::string controllers = fmt::format(",{},", line.substr(first + 1, last - first - 1));
    std::string path = line.substr(last + 1);
    const bool found = second ? controllers == ",," : controllers.find(",memory,") != std::string::npos;
    if (found && path.find("/..") == std::string::npos) return path;  // "..": outside of what this process sees
  }
  return "";
}

}  // namespace

int64_t available_memory(const std::string& root) {
  int64_t available = number_in(root + "/proc/meminfo", "MemAvailable:");
  if (available >= 0) available *= 1024;  // it counts in kB
  const Version versions[] = {
      {false, "/sys/fs/cgroup/memory", "/memory.limit_in_bytes", "/memory.usage_in_bytes", {"total_inactive_file", "inactive_file"}},
      {true, "/sys/fs/cgroup", "/memory.max", "/memory.current", {"inactive_file"}}};
  for (const Version& version : versions) {
    // Every group above limits this one.  A container may see its own group as the topmost, whatever the path says: what does
    // not exist limits nothing.
    std::string path = group_of_process(root, version.second);
    for (;;) {
      while (!path.empty() && path.back() == '/') path.pop_back();
      available = tightest(available, available_in(fmt::format("{}{}{}", root, version.folder, path), version));
      if (path.empty()) break;
      path.erase(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
    }
  }
  return available;
}

}  // namespace kilter::cli

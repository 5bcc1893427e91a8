// kilter info: version, build and machine.
#include <fmt/core.h>

#include <fstream>
#include <thread>

#include "kilter/command.h"
#include "kilter/machine.h"

namespace kilter::cli {
namespace {

#ifdef _OPENMP
constexpr bool kOpenMP = true;
#else
constexpr bool kOpenMP = false;
#endif

std::string joined(const std::vector<std::string>& words) {
  std::string s;
  for (const std::string& w : words) s += (s.empty() ? "" : ", ") + w;
  return s;
}

}  // namespace

std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line))
    if (line.rfind("model name", 0) == 0 && line.find(": ") != std::string::npos) return line.substr(line.find(": ") + 2);
  return "unknown";
}

int64_t last_level_cache() {
  int64_t largest = 0;
  for (int index = 0; index < 8; ++index) {
    std::ifstream file(fmt::format("/sys/devices/system/cpu/cpu0/cache/index{}/size", index));
    int64_t size = 0;
    char unit = ' ';
    if (!(file >> size)) continue;
    file >> unit;
    largest = std::max(largest, size * (unit == 'M' ? 1 << 20 : unit == 'K' ? 1 << 10 : 1));
  }
  return largest;
}

std::string version_text() {
  const int v = kilter_version();
  return fmt::format("{}.{}.{}", v / 10000, v / 100 % 100, v % 100);
}

std::vector<std::string> targets() {
  std::vector<std::string> names;
  for (int i = 0; kilter_cpu_target_at(i); ++i) names.push_back(kilter_cpu_target_at(i));
  return names;
}

void add_info(CLI::App& app, State* state) {
  CLI::App* command = add_command(app, state, "info", "Version, build and machine", "kilter info --json");
  command->final_callback([state] {
    const Json json{{"version", version_text()},
                    {"build_type", KILTER_BUILD_TYPE},
                    {"compiler", KILTER_COMPILER},
                    {"openmp", kOpenMP},
                    {"target", kilter_cpu_target()},
                    {"targets", targets()},
                    {"threads", kilter_get_num_threads()},
                    {"cpu", cpu_model()},
                    {"cpus", std::thread::hardware_concurrency()},
                    {"last_level_cache_bytes", last_level_cache()},
                    {"backends", {"cpu"}}};
    if (state->json) return print_json(json);
    fmt::print("kilter {}\nbuild: {}, {}, {}\nSIMD target: {} (of {})\nthreads: {}\nCPU: {}\n", version_text(), KILTER_BUILD_TYPE,
               KILTER_COMPILER, kOpenMP ? "OpenMP" : "no OpenMP", kilter_cpu_target(), joined(targets()), kilter_get_num_threads(),
               cpu_model());
  });
}

}  // namespace kilter::cli

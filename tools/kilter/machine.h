// What figures and reports say about where they were taken.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kilter::cli {

std::string cpu_model();
int64_t last_level_cache();  // bytes; 0 if unknown
std::string version_text();
std::vector<std::string> targets();

}  // namespace kilter::cli

#include <cstdio>
#include <kilter/kilter.hpp>
#include <vector>

#include "../check.h"

int main(int argc, char** argv) {
  const char* name = argc > 1 ? argv[1] : "find_package";
  const std::vector<float> x = {1, 3, -2, 2};
  std::vector<float> y(4);
  kilter::layer_norm_forward({.x = {x, {2, 2}}, .y = {y, {2, 2}}, .eps = 0});
  if (y != std::vector<float>{-1, 1, -1, 1}) {
    std::fprintf(stderr, "%s: wrong result\n", name);
    return 1;
  }
  try {
    kilter::layer_norm_forward({.x = {x, {2, 2}}, .y = {y, {4}}});
    std::fprintf(stderr, "%s: no error for a y of the wrong shape\n", name);
    return 1;
  } catch (const kilter::error& e) {
    if (e.status() != KILTER_INVALID_ARGUMENT) return 1;
  }
  return check_rms_norm(name);
}

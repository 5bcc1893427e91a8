#include "kilter/bench_case.h"

#include <fmt/core.h>

#include <algorithm>
#include <tuple>

namespace kilter::cli {

std::string BenchCase::shape() const {
  std::string text;
  for (int i = 0; i < schema().size_count; ++i) {
    const std::string name = schema().sizes[i].name;
    text += fmt::format("{}{}", text.empty() ? "" : name == "groups" || name == "segments" ? " " + name + " " : "x", sizes.at(name));
  }
  return text + (layout == kChannelsLast ? " nhwc" : "");
}

std::vector<BenchCase> suite(const BenchCase& base) {
  std::vector<BenchCase> cases;
  for (const bool backward : {false, true}) {
    const auto add = [&](DType x, std::initializer_list<std::pair<const std::string, int64_t>> sizes) {
      cases.push_back(base), cases.back().backward = backward, cases.back().x = x;
      for (const auto& [name, size] : sizes) cases.back().sizes[name] = size;
    };
    if (base.planes())
      for (const auto& [x, batch, channels, spatial] : {std::tuple{DType::f32, 32, 256, 56 * 56},
                                                        {DType::bf16, 32, 256, 56 * 56},
                                                        {DType::f32, 8, 64, 112 * 112},
                                                        {DType::f32, 2, 320, 64 * 64},
                                                        {DType::f32, 1, 512, 128 * 128}})
        add(x, {{"batch", batch}, {"channels", channels}, {"spatial", spatial}, {"groups", 32}});
    else
      for (const auto& [x, rows, n] : {std::tuple{DType::f32, 4096, 4096}, {DType::bf16, 4096, 4096}, {DType::f32, 65536, 384}})
        add(x, {{"rows", rows}, {"n", n}});
  }
  return cases;
}

void check_sizes(const SizeGiven& options, const BenchCase& c) {
  const Schema& s = c.schema();
  for (const auto& [name, option] : options) {
    const auto same = [&, size = name](const Size& of) { return size == of.name; };
    const bool has = name == "layout" ? c.planes() : std::any_of(s.sizes, s.sizes + s.size_count, same);
    if (option->count() && !has)
      usage(fmt::format("--{}: expected a size of {}, which has {}{}", name, c.op, check::sizes_text(s), c.planes() ? ", layout" : ""));
  }
}

}  // namespace kilter::cli

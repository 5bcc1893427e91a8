// What kilter bench times: an op at sizes.
#pragma once

#include <map>

#include "check/check.h"
#include "kilter/op.h"

namespace kilter::cli {

struct BenchCase {
  std::string op;
  bool backward = false;
  DType x = DType::f32;
  std::map<std::string, int64_t> sizes = {{"rows", 4096},    {"n", 4096},    {"batch", 32},  {"channels", 256},
                                          {"spatial", 3136}, {"groups", 32}, {"segments", 1}};  // of any op
  Layout layout = kChannelsFirst;

  const Schema& schema() const { return *check::function_of(op, backward)->schema; }
  bool planes() const { return check::has_planes(schema()); }
  std::string shape() const;  // "4096x4096"
};

// Its op's standard ones, both directions.
std::vector<BenchCase> suite(const BenchCase& base);

// Of all ops' options for sizes, and --layout, those that are not this op's must not be given.
using SizeGiven = std::map<std::string, CLI::Option*>;
void check_sizes(const SizeGiven& options, const BenchCase& c);

}  // namespace kilter::cli

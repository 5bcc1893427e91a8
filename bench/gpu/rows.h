// What is timed: ops, shapes and types, and the bytes that a call must move.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "kilter/kilter.h"

namespace kilter::bench {

struct Op {
  const char* name;
  int reads, writes;  // activations; a floor has the same mix
  bool centered;      // has mean, bias, dbias
  bool backward;
  bool added;    // a residual in forward, dresidual_out in backward
  bool chained;  // y of one call is x of the next
  bool dependent;
};

struct Type {
  const char* name;
  kilter_dtype code;
  int64_t size;
};

struct Row {
  const Op* op;
  int64_t rows, n;
  const Type* type;

  std::string name() const;
  int64_t activation() const { return rows * n * type->size; }
  // Activations once, weights and their gradients once, statistics once.
  size_t bytes() const;
};

// With `dependent`, the rows that launch with programmatic dependency as well.
std::vector<Row> all_rows(bool dependent);

}  // namespace kilter::bench

// What is timed: ops, shapes and types, as rows.txt has them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/dtype.h"

namespace kilter::bench {

struct Values {
  float mean = 0, deviation = 1;
};

struct Op {
  std::string name, op;  // "rms.fwd", "rms_norm"
  bool backward = false;
  bool per_sample = false;  // tensors that rows may share have one row for each sample
  std::vector<std::string> tensors;
  std::map<std::string, double> numbers;
  std::string chain_from, chain_to;  // an output and an input; empty: calls are independent

  bool chained() const { return !chain_from.empty(); }
  bool dependent() const { return numbers.count("launch_flags") > 0; }
  // By one of some names with commas between them: "rms.fwd" is of "rms" and of "rms_norm".  Of no names: always.
  bool is_of(const std::string& names) const;
};

struct Row {
  Op op;
  std::vector<int64_t> shape;
  DType type = DType::none;
  bool channels_last = false;

  std::string shape_text() const;  // "8192x4096", "2x320x64x64:nhwc"
  std::string name() const;        // "rms.fwd 8192x4096 bf16"
};

struct Rows {
  std::vector<Row> rows;
  std::map<std::string, Values> fills;  // by tensor
};

// Throws std::runtime_error, with the line, where it cannot be read.
Rows parsed_rows(const char* text);
const Rows& all_rows();

}  // namespace kilter::bench

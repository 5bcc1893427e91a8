#include "rows.h"

#include <algorithm>
#include <sstream>
#include <stdexcept>

#include "gpu_bench_stamp.h"

namespace kilter::bench {
namespace {

constexpr const char* kChannelsLastSuffix = ":nhwc";

DType type_of(const std::string& name) {
  for (const DType type : {DType::f64, DType::f32, DType::f16, DType::bf16})
    if (name == dtype_name(type)) return type;
  throw std::runtime_error("expected fill, op or a type, got " + name);
}

Op parsed_op(std::istream& words) {
  Op op;
  std::string direction;
  words >> op.name >> op.op >> direction;
  if (direction != "forward:" && direction != "backward:") throw std::runtime_error("expected forward: or backward:");
  op.backward = direction == "backward:";
  for (std::string word; words >> word;) {
    const size_t equals = word.find('='), arrow = word.find("->");
    if (arrow != word.npos)
      op.chain_from = word.substr(0, arrow), op.chain_to = word.substr(arrow + 2);
    else if (word == "per-sample")
      op.per_sample = true;
    else if (equals != word.npos)
      op.numbers[word.substr(0, equals)] = std::stod(word.substr(equals + 1));
    else
      op.tensors.push_back(word);
  }
  return op;
}

std::vector<int64_t> parsed_shape(const std::string& text) {
  std::vector<int64_t> shape;
  std::istringstream sizes(text);
  for (std::string size; std::getline(sizes, size, 'x');) shape.push_back(std::stoll(size));
  return shape;
}

}  // namespace

bool Op::is_of(const std::string& names) const {
  std::istringstream list(names);
  for (std::string one; std::getline(list, one, ',');)
    if (one == op || one == name.substr(0, name.find('.'))) return true;
  return names.empty();
}

std::string Row::shape_text() const {
  std::string text;
  for (const int64_t size : shape) {
    if (!text.empty()) text += 'x';
    text += std::to_string(size);
  }
  return text + (channels_last ? kChannelsLastSuffix : "");
}

std::string Row::name() const { return op.name + " " + shape_text() + " " + dtype_name(type); }

Rows parsed_rows(const char* text) {
  Rows all;
  Op op;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) try {
      std::istringstream words(line);
      std::string first;
      if (!(words >> first) || first[0] == '#') continue;
      if (first == "fill") {
        std::string tensor;
        Values values;
        if (!(words >> tensor >> values.mean >> values.deviation)) throw std::runtime_error("expected fill TENSOR MEAN DEVIATION");
        all.fills[tensor] = values;
      } else if (first == "op") {
        op = parsed_op(words);
      } else {
        const DType type = type_of(first);
        for (std::string shape; words >> shape;) {
          const size_t colon = std::min(shape.find(':'), shape.size());
          const bool last = shape.substr(colon) == kChannelsLastSuffix;
          if (colon < shape.size() && !last) throw std::runtime_error("expected a shape and perhaps :nhwc, got " + shape);
          all.rows.push_back({op, parsed_shape(shape.substr(0, colon)), type, last});
        }
      }
    } catch (const std::exception& e) {
      throw std::runtime_error("rows.txt: " + line + ": " + e.what());
    }
  return all;
}

const Rows& all_rows() {
  static const Rows rows = parsed_rows(kKilterBenchRows);
  return rows;
}

}  // namespace kilter::bench

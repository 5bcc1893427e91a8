#include "rows.h"

namespace kilter::bench {
namespace {

//                             name           r  w  centered backward added chained dependent
constexpr Op kRmsForward = {"rms.fwd", 1, 1, false, false, false, false, false};
constexpr Op kRmsBackward = {"rms.bwd", 2, 1, false, true, false, false, false};
constexpr Op kLnForward = {"ln.fwd", 1, 1, true, false, false, false, false};
constexpr Op kLnBackward = {"ln.bwd", 2, 1, true, true, false, false, false};
constexpr Op kAddForward = {"addrms.fwd", 2, 2, false, false, true, false, false};
constexpr Op kAddBackward = {"addrms.bwd", 3, 1, false, true, true, false, false};
constexpr Op kRmsChain = {"rms.chain", 1, 1, false, false, false, true, false};
constexpr Op kLnChain = {"ln.chain", 1, 1, true, false, false, true, false};
constexpr Op kRmsDependent = {"rms.dependent", 1, 1, false, false, false, true, true};
constexpr Op kLnDependent = {"ln.dependent", 1, 1, true, false, false, true, true};

constexpr Type kBf16 = {"bf16", {KILTER_BFLOAT, 16, 1}, 2};
constexpr Type kFp16 = {"fp16", {KILTER_FLOAT, 16, 1}, 2};
constexpr Type kFp32 = {"fp32", {KILTER_FLOAT, 32, 1}, 4};

struct Shape {
  int64_t rows, n;
};
constexpr Shape kAdded[] = {{1024, 768}, {2048, 4096}, {8192, 4096}, {16384, 8192}, {32768, 256}, {1, 4096}, {128, 7168}, {4096, 65536}};
constexpr Shape kFp32Shapes[] = {{1024, 768}, {2048, 4096}, {16384, 8192}};
constexpr Shape kLongest = {1024, 262144};
constexpr Shape kMoreForward[] = {{131072, 1024}, {524288, 128}, {262144, 256}, {32768, 512}, {4096, 32768}, {2048, 131072}};
constexpr Shape kMoreBackward[] = {{65536, 1024}, {524288, 128}, {262144, 256}, {4096, 32768}};

}  // namespace

std::string Row::name() const { return std::string(op->name) + " " + std::to_string(rows) + "x" + std::to_string(n) + " " + type->name; }

size_t Row::bytes() const {
  const int64_t weights = op->backward ? (op->centered ? 3 : 2) : (op->centered ? 2 : 1);
  const int64_t statistics = op->centered ? 2 : 1;
  return size_t((op->reads + op->writes) * activation() + weights * n * type->size + statistics * rows * int64_t(sizeof(float)));
}

std::vector<Row> all_rows(bool dependent) {
  std::vector<Row> rows;
  const auto add = [&](const Op& op, Shape s, const Type& type) { rows.push_back({&op, s.rows, s.n, &type}); };
  const Op* const plain[] = {&kRmsForward, &kRmsBackward, &kLnForward, &kLnBackward};
  for (const Op* op : plain) {
    for (const Shape s : kAdded) add(*op, s, kBf16);
    add(*op, kLongest, kBf16);
    for (const Shape s : kFp32Shapes) add(*op, s, kFp32);
    if (op->backward) {
      for (const Shape s : kMoreBackward) add(*op, s, kBf16);
      add(*op, {8192, 4096}, kFp16);
    } else {
      for (const Shape s : kMoreForward) add(*op, s, kBf16);
      add(*op, {8192, 4096}, kFp16);
      add(*op, {1024, 768}, kFp16);
    }
  }
  for (const Op* op : {&kAddForward, &kAddBackward})
    for (const Shape s : kAdded) add(*op, s, kBf16);
  for (const Op* op : {&kRmsChain, &kLnChain}) add(*op, {1, 4096}, kBf16);
  if (dependent)
    for (const Op* op : {&kRmsDependent, &kLnDependent}) add(*op, {1, 4096}, kBf16);
  return rows;
}

}  // namespace kilter::bench

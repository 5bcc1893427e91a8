// A few rows of every class of length, for tools under which a kernel runs many times slower.  Every kernel is launched.
// KILTER_LAUNCHED=FILE writes the names of those that were; KILTER_LAUNCHES_ONLY=1 runs and compares nothing.
#include <cstdio>
#include <cstdlib>
#include <set>

#include "device.h"

namespace kilter::test {
namespace {

using check::Case;

constexpr int64_t kLengths[] = {1, 7, 32, 64, 96, 128, 250, 256, 512, 768, 1000, 1024, 2048, 4096, 7168, 8192, 16384, 32768, 65536, 131072};
constexpr int64_t kRows[] = {1, 16, 3, 8, 2, 13, 5};

class Small : public Device {
 protected:
  bool is_row_norm() const { return !check::find_op(GetParam())->alone && has_rows(); }  // else fewer lengths will do
  static void TearDownTestSuite() {
    const char* const name = std::getenv("KILTER_LAUNCHED");
    std::FILE* const file = name ? std::fopen(name, "w") : nullptr;
    if (!file) return;
    for (const std::string& kernel : kernels()) std::fprintf(file, "%s\n", kernel.c_str());
    std::fclose(file);
  }
  void compare_and_list(const Case& c, const DeviceLayout& layout = {}) {
    if (!std::getenv("KILTER_LAUNCHES_ONLY")) compare(c, layout);
    if (!std::getenv("KILTER_LAUNCHED")) return;
    check::Tensors t = check::make_tensors(c);
    for (const Launch& launch : DeviceCase(c, layout, t).launches()) kernels().insert(launch.kernel);
  }
  // Another choice of features and layout with every call.
  void compare_variant(Case c) {
    DeviceLayout layout;
    if (has_planes()) {
      layout = {5 * (variant_ % 2), variant_ % 3, variant_ % 2 == 0};
      check::find_op(c.op)->vary(&c, variant_++ % check::kVariants);
      return compare_and_list(c, layout);
    }
    switch (variant_++ % 6) {
      case 0:
        layout = {5, 1, false};
        break;
      case 1:
        layout.in_place = true;
        break;
      case 2:
        c["residual"] = c["dresidual_out"] = c["dresidual"] = c.x;
        break;
      case 3:
        c["weight"] = c["bias"] = c["dweight"] = c["dbias"] = DType::none;
        break;
      case 4:
        c["weight"] = c["post_residual"] = c.x, c.numbers["weight_offset"] = 1, c.backward = false;
        if (c.has("bias")) c["bias"] = c.x;
        break;
      case 5:
        c["weight"] = c.x, c.numbers["rounding"] = KILTER_ROUND_THEN_MULTIPLY, c.backward = false, layout.in_place = true;
        if (c.has("bias")) c["bias"] = c.x;
        break;
    }
    compare_and_list(c, layout);
  }

 private:
  static std::set<std::string>& kernels() {
    static std::set<std::string> names;
    return names;
  }
  int variant_ = 0;
};

TEST_P(Small, EveryLength) {
  int i = 0;
  for (const int64_t n : kLengths)
    for (const DType x : kTypes) {
      if (!is_row_norm() && (n > 4096 || (n > 7 && n % 125 != 0 && n % 96 != 0 && n != 4096))) continue;
      const int64_t rows = kRows[i++ % 7];
      if (x == DType::f64 && n >= 32768) continue;  // whose kernels know no classes of length: LongestRowsInOnePass
      Case c = base(x, n < 16384 ? rows : std::min<int64_t>(rows, 3), n);
      if (GetParam() == "adaptive_layer_norm" && i % 3 == 0) c.numbers["norm"] = KILTER_NORM_RMS;
      compare_and_list(c);
      compare_variant(c);
      if (GetParam() != "adaptive_layer_norm" || n > 300) continue;
      c["weight"] = c["bias"] = c["dweight"] = c["dbias"] = c.x;  // which the general kernels take
      compare_and_list(c);
    }
}

TEST_P(Small, LongestRowsInOnePass) {
  for (const DType x : kTypes) compare_and_list(base(x, 2, is_row_norm() ? 262144 : 8200));
  if (is_row_norm()) compare_and_list(base(DType::bf16, 1, 262145));  // and one element more
}

TEST_P(Small, KeptDimensions) {
  if (!check::field_of(*check::function_of(GetParam(), false)->schema, "dim")) return;
  for (const DType x : kTypes)
    for (const int64_t dim : {int64_t(0), int64_t(-1), KILTER_DIM_NONE}) {
      Case c = base(x, 3, dim == 0 ? 40000 : 70);  // longer than what a block holds; columns; one slice
      c.numbers["dim"] = double(dim);
      compare_and_list(c);
    }
}

TEST_P(Small, NoElements) {
  Case c = base(DType::f32, 5, 0);
  c["weight"] = c["bias"] = DType::none, c.backward = false;
  compare_and_list(c);
  c.x = DType::f64;
  compare_and_list(c);
  compare_and_list(base(DType::f32, 0, 96));
  if (!check::find_op(GetParam())->alone) return;  // whose backward needs statistics
  compare_and_list(base(DType::f32, 5, 0));
  compare_and_list(base(DType::f64, 0, 0));
}

// Some rows are many for one multiprocessor: plans for many rows, blocks that take several.
TEST_P(Small, ManyRowsPerMultiprocessor) {
  const AssumedMultiprocessors assumed(1);
  for (const int64_t n : {32, 64, 96, 256, 512, 1024, 2048, 4096, 8192, 16384, 65536})
    for (const DType x : {DType::f32, DType::bf16, DType::f16}) {
      if (!is_row_norm() && n != 96 && n != 4096) continue;
      const Case c = base(x, n <= 256 ? 520 : n <= 1024 ? 70 : n <= 16384 ? 16 : 4, n);
      compare_and_list(c);
      compare_and_list(plain(c));
      Case shifted = c;
      shifted.numbers["weight_offset"] = 1, shifted.backward = false;
      compare_and_list(shifted);
    }
}

// Lengths, places, gaps and types of which most fit no vector, with every plane of sums.
TEST_P(Small, UnalignedRows) {
  if (!is_row_norm()) return;
  constexpr DType kShort[] = {DType::f32, DType::bf16, DType::f16};
  int i = 0;
  const auto compare_one = [&](const AssumedMultiprocessors&, int64_t rows, int64_t n) {
    const DType x = kShort[i % 3];
    Case c = base(x, rows, n);
    const DType second = i / 3 % 2 ? DType::f32 : x;
    c["weight"] = c["dweight"] = c["dbias"] = i % 5 < 2 ? DType::f32 : x;
    if (i % 5 == 4) c["weight"] = c["bias"] = c["dweight"] = DType::none, c["dbias"] = DType::f32;
    c["residual"] = c["dresidual_out"] = c["dresidual"] = second;
    if (i % 4 == 3) c["residual"] = DType::none;
    compare_and_list(c, DeviceLayout{i % 2 ? 0 : 3, i % 7 < 3, false});
    ++i;
  };
  const AssumedMultiprocessors one(1);
  for (int64_t n = 1; n <= 16; ++n) compare_one(one, 257, n);
  for (const int64_t n : {31, 33, 127, 129, 255, 256, 257, 511, 513, 1001}) compare_one(one, n < 300 ? 131 : 37, n);
  for (const int64_t n : {255, 256, 257, 1000, 1024}) compare_one(one, 7, n);
  for (const int64_t n : {1025, 2047, 2049, 4095, 4096, 4097, 8191, 16383, 32769}) compare_one(one, n < 8000 ? 9 : 5, n);
  const AssumedMultiprocessors many(132);
  for (const int64_t n : {5, 257, 1001, 4095, 4097, 8191}) compare_one(many, 14, n);
}

// Rows of one type that begin anywhere, beside weights that are aligned: by vectors, shifted into place.
TEST_P(Small, ShiftedRows) {
  if (!is_row_norm()) return;
  const AssumedMultiprocessors one(1);
  int i = 0;
  for (const int64_t n : {513, 776, 1001, 1024, 1025, 2047, 3001, 4095, 4097, 8193, 16383, 16385, 40001})
    for (const DType x : {DType::f32, DType::bf16, DType::f16}) {
      Case c = base(x, n < 8000 ? 11 : 3, n, i % 8 == 7 ? check::Fill::constant : check::Fill::normal);
      if (n < 1100) c.rows = 37;  // of several blocks
      c.backward = false;
      if (i % 2) c["weight"] = c["bias"] = x;
      if (i % 5 == 4) c["weight"] = c["bias"] = DType::none;
      if (i % 3) c["residual"] = x;
      if (i % 7 == 3) c.numbers["rounding"] = KILTER_ROUND_THEN_MULTIPLY;
      const DeviceLayout layout = {n % 8 ? i % 3 : 1 + i % 3, i % 8, i % 4 == 1, true};
      compare_and_list(c, layout);
      ++i;
    }
}

// Rows whose statistics need further exchanges.
TEST_P(Small, UnusualRows) {
  for (const check::Fill fill : {check::Fill::constant, check::Fill::denormal, check::Fill::special, check::Fill::offset})
    for (const int64_t n : {96, 99, 257, 1024, 4096, 5001, 16384, 65536})
      for (const DType x : {DType::f32, DType::bf16})
        for (const bool is_plain : {false, true}) {
          if (!is_row_norm() && n != 96 && n != 1024) continue;
          if (n >= 16384 && is_plain != (x == DType::bf16)) continue;  // which take longest
          const Case c = base(x, n < 16384 ? 6 : 2, n, fill);
          compare_and_list(is_plain ? plain(c) : c);
        }
}

INSTANTIATE_TEST_SUITE_P(Ops, Small, ::testing::ValuesIn(device_ops()), op_name);

}  // namespace
}  // namespace kilter::test

// Tensors of more than 2^31 and 2^32 elements, more than 2^23 rows, rows of more than 2^31 elements: sampled rows have the bits of
// the CPU's on the same rows, dweight and dbias of one case those of the CPU on all rows; where backends differ sampled rows are held
// against float64.
#include <algorithm>
#include <cstdlib>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "device.h"

namespace kilter::test {
namespace {

using check::Buffer;
using check::Case;
using check::Tensors;

// Elements of a period that divides no power of two and no row length here: a wrong 32-bit offset meets other numbers.
constexpr int64_t kPeriod = 4194319;

Buffer period(const char* name, double center, double spread) {
  Buffer b = Buffer::rows(DType::bf16, 1, kPeriod);
  check::fill_moderate(name, 7, 0, DType::bf16, kPeriod, center, spread, b.data());
  return b;
}

// A contiguous tensor in device memory, [rows, n], or of rank 1 without n.
class BigTensor {
 public:
  BigTensor(DType type, int64_t rows, int64_t n = 0) : type_(type), ndim_(n ? 2 : 1), shape_{rows, n} {
    EXPECT_EQ(cudaMalloc(reinterpret_cast<void**>(&data_), bytes()), cudaSuccess);
    EXPECT_EQ(cudaMemset(data_, 0xA5, bytes()), cudaSuccess);
  }
  ~BigTensor() { cudaFree(data_); }
  BigTensor(const BigTensor&) = delete;
  BigTensor& operator=(const BigTensor&) = delete;

  size_t bytes() const { return size_t(shape_[0]) * row_bytes(); }
  kilter_tensor tensor() { return {data_, {KILTER_DEVICE_CUDA, 0}, ndim_, dlpack_of(type_), shape_, nullptr, 0}; }
  // Repeats the period: what is filled is copied behind itself.
  void fill(const Buffer& b) {
    size_t filled = std::min(bytes(), b.row_bytes());
    EXPECT_EQ(cudaMemcpy(data_, b.row(0), filled, cudaMemcpyHostToDevice), cudaSuccess);
    while (filled < bytes()) {
      const size_t more = std::min(bytes() - filled, filled);
      EXPECT_EQ(cudaMemcpy(data_ + filled, data_, more, cudaMemcpyDeviceToDevice), cudaSuccess);
      filled += more;
    }
  }
  void fetch(char* to, int64_t row, int64_t rows) const {
    EXPECT_EQ(cudaMemcpy(to, data_ + size_t(row) * row_bytes(), size_t(rows) * row_bytes(), cudaMemcpyDeviceToHost), cudaSuccess);
  }
  Buffer fetch() const {
    Buffer b = buffer(shape_[0]);
    fetch(b.data(), 0, shape_[0]);
    return b;
  }
  Buffer fetch(const std::vector<int64_t>& rows) const { return fetch(rows, buffer(int64_t(rows.size()))); }
  // Rows of n elements, as if the tensor's were as long.
  Buffer fetch(const std::vector<int64_t>& rows, int64_t n) const { return fetch(rows, Buffer::rows(type_, int64_t(rows.size()), n)); }

 private:
  Buffer fetch(const std::vector<int64_t>& rows, Buffer b) const {
    for (size_t i = 0; i < rows.size(); ++i)
      EXPECT_EQ(cudaMemcpy(b.data() + i * b.row_bytes(), data_ + size_t(rows[i]) * b.row_bytes(), b.row_bytes(), cudaMemcpyDeviceToHost),
                cudaSuccess);
    return b;
  }
  Buffer buffer(int64_t rows) const { return ndim_ == 1 ? Buffer::per_row(type_, rows) : Buffer::rows(type_, rows, shape_[1]); }
  size_t row_bytes() const { return size_t(ndim_ == 1 ? 1 : shape_[1]) * size_t(item_size(type_)); }
  DType type_;
  int32_t ndim_;
  int64_t shape_[2];
  char* data_ = nullptr;
};

// The first and the last rows, those around every size that overflows a counter, one anywhere.
std::vector<int64_t> sampled(int64_t rows, int64_t n) {
  std::vector<int64_t> list = {0, 1, rows / 3, rows - 2, rows - 1};
  for (const int64_t elements : {int64_t(1) << 31, int64_t(1) << 32})
    for (const int64_t e : {elements / 2 - 1, elements / 2, elements - 1, elements}) list.push_back(e / n);
  for (const int64_t count : {int64_t(1) << 16, int64_t(1) << 23, int64_t(1) << 24, int64_t(1) << 31})
    for (const int64_t r : {count - 1, count}) list.push_back(r);
  list.erase(std::remove_if(list.begin(), list.end(), [&](int64_t r) { return r < 0 || r >= rows; }), list.end());
  std::sort(list.begin(), list.end());
  list.erase(std::unique(list.begin(), list.end()), list.end());
  return list;
}

class Large : public Device {
 protected:
  enum Parts { kForward, kDx, kAll, kAllWithSums };  // kAllWithSums: also compares dweight and dbias

  void run(int64_t rows, int64_t n, Parts parts) {
    Case c = base(DType::bf16, rows, n);
    c.backward = parts != kForward;
    if (parts >= kAll)
      c.types.erase("dbias");
    else
      c["weight"] = c["bias"] = c["dweight"] = c["dbias"] = DType::none;
    SCOPED_TRACE(check::command(c));
    size_t free = 0, total = 0;
    ASSERT_EQ(cudaMemGetInfo(&free, &total), cudaSuccess);

    Case vectors = base(DType::bf16, 0, n);
    vectors["weight"] = c["weight"], vectors["bias"] = c["bias"];
    Tensors affine = check::make_tensors(vectors);
    const std::vector<const char*> small_names = those(c, {"weight", "bias", "alpha", "shift"}), saved_names = those(c, {"mean", "rstd"});
    std::map<std::string, DeviceTensor> on_device;
    for (const char* name : small_names) on_device.try_emplace(name, affine[name], DeviceLayout{});
    BigTensor x(DType::bf16, rows, n), out(DType::bf16, rows, n);
    std::map<std::string, BigTensor> saved;
    for (const char* name : saved_names) saved.try_emplace(name, DType::f32, rows);
    x.fill(period("x", 0.25, 1.5));
    check::Arguments k(*check::function_of(c.op, false));
    k["x"] = x.tensor(), k["y"] = out.tensor();
    for (auto& [name, t] : on_device) k[name] = t.tensor();
    for (auto& [name, t] : saved) k[name] = t.tensor();
    kilter_plan plan;
    ASSERT_EQ(k.ask(&plan), KILTER_OK) << kilter_last_error();
    ASSERT_EQ(std::string(plan.impl).substr(0, 5), "cuda:");
    ASSERT_EQ(k.call(), KILTER_OK) << kilter_last_error();
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);

    // Where backends differ each element stands for itself: of a very long row, which float64 would take long for, parts are judged.
    const bool bits = check::find_op(c.op)->same_bits;
    const int64_t width = bits || rows > 1 ? n : 8;
    const std::vector<int64_t> rows_to_compare = sampled(rows * n / width, width);
    const int64_t count = int64_t(rows_to_compare.size());
    Case small = c;
    small.rows = count, small.n = width;
    small["dweight"] = small["dbias"] = DType::none;
    Tensors expected, got;
    for (const char* name : small_names) expected[name] = affine[name];
    expected["x"] = x.fetch(rows_to_compare, width), expected["y"] = Buffer::rows(DType::bf16, count, width);
    got["y"] = out.fetch(rows_to_compare, width);
    for (const char* name : saved_names)
      expected[name] = Buffer::per_row(DType::f32, count), got[name] = saved.at(name).fetch(rows_to_compare);

    const int64_t sums = parts >= kAll ? n : 1;
    BigTensor dy(DType::bf16, c.backward ? rows : 1, n), dweight(DType::f32, sums), dbias(DType::f32, sums);
    if (c.backward) {
      dy.fill(period("dy", 0, 1));
      check::Arguments b(*check::function_of(c.op, true));
      for (const char* name : those(c, {"weight", "alpha", "shift", "mean", "rstd"}, true)) b[name] = k[name];
      b["x"] = k["x"], b["dy"] = dy.tensor(), b["dx"] = out.tensor();  // y was fetched
      if (parts >= kAll) b["dweight"] = dweight.tensor(), b["dbias"] = dbias.tensor();
      ASSERT_EQ(b.ask(&plan), KILTER_OK) << kilter_last_error();
      void* workspace = nullptr;
      ASSERT_EQ(cudaMalloc(&workspace, plan.workspace_size), cudaSuccess) << plan.workspace_size << " of " << free << " bytes";
      ASSERT_EQ(cudaMemset(workspace, 0, plan.workspace_size), cudaSuccess);
      b.set_workspace(workspace, plan.workspace_size);
      const kilter_status status = b.call();
      EXPECT_EQ(status, KILTER_OK) << kilter_last_error();
      EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
      cudaFree(workspace);
      if (HasFailure()) return;
      got["dx"] = out.fetch(rows_to_compare, width);
      expected["dy"] = dy.fetch(rows_to_compare, width), expected["dx"] = Buffer::rows(DType::bf16, count, width);
    }
    ++compared;
    if (!bits) {
      for (const char* name : {"y", "dx"})
        if (got[name].present()) expected[name] = got[name];
      for (const bool backward : {false, true}) {
        if (backward && !c.backward) continue;
        small.backward = backward;
        EXPECT_TRUE(within(small, expected)) << sampled_text(rows_to_compare);
      }
      return;
    }
    ASSERT_EQ(check::call(small, expected), KILTER_OK) << kilter_last_error();
    EXPECT_TRUE(same_bits(small, expected, got)) << sampled_text(rows_to_compare);
    if (parts == kAllWithSums) compare_sums(c, x, dy, saved, affine, dweight, dbias);
  }

 private:
  // Those of the names that the op's function has.
  static std::vector<const char*> those(const Case& c, std::vector<const char*> names, bool backward = false) {
    const auto& schema = *check::function_of(c.op, backward)->schema;
    names.erase(std::remove_if(names.begin(), names.end(), [&](const char* name) { return !check::field_of(schema, name); }), names.end());
    return names;
  }

  void compare_sums(const Case& c, const BigTensor& x, const BigTensor& dy, const std::map<std::string, BigTensor>& saved,
                    const Tensors& small, const BigTensor& dweight, const BigTensor& dbias) {
    Tensors t = small, expected, got;
    t["x"] = x.fetch(), t["dy"] = dy.fetch();
    for (const auto& [name, big] : saved) t[name] = big.fetch();
    got["dweight"] = dweight.fetch(), got["dbias"] = dbias.fetch();
    expected["dweight"] = Buffer::per_row(DType::f32, c.n), expected["dbias"] = Buffer::per_row(DType::f32, c.n);
    check::Arguments b(*check::function_of(c.op, true));
    for (const char* name : those(c, {"x", "dy", "weight", "alpha", "shift", "mean", "rstd"}, true)) b[name] = t[name].tensor();
    b["dweight"] = expected["dweight"].tensor(), b["dbias"] = expected["dbias"].tensor();
    kilter_plan plan;
    ASSERT_EQ(b.ask(&plan), KILTER_OK) << kilter_last_error();
    std::vector<char> workspace(plan.workspace_size);
    b.set_workspace(workspace.data(), workspace.size());
    ASSERT_EQ(b.call(), KILTER_OK) << kilter_last_error();
    EXPECT_TRUE(same_bits(c, expected, got)) << "over all rows";
  }
  static std::string sampled_text(const std::vector<int64_t>& rows) {
    std::string s = "rows are those of the list";
    for (const int64_t r : rows) s += " " + std::to_string(r);
    return s;
  }
};

// KILTER_LARGE_SHIFT=k makes every size 2^k times smaller: for machines of less memory, where little is tested.
int64_t power(int exponent) {
  const char* const shift = std::getenv("KILTER_LARGE_SHIFT");
  return int64_t(1) << (exponent - (shift ? std::atoi(shift) : 0));
}

TEST_P(Large, ManyShortRows) { run(power(23) + 9, 256, kAllWithSums); }
TEST_P(Large, ManyRowsOfOddLength) { run(power(23) + 9, 257, kAll); }
TEST_P(Large, TwoToThe24Rows) { run(power(24) + 3, 256, kAll); }
TEST_P(Large, UsualRows) { run(power(20) + 3, 4096, kAll); }
TEST_P(Large, LongRows) { run(power(16) + 1, 65544, kAll); }
TEST_P(Large, VeryLongRows) { run(power(13) + 1, 262152, kAll); }
TEST_P(Large, OneRow) { run(1, power(31) + 8, kDx); }
TEST_P(Large, RowsOfOneElement) { run(power(31) + 9, 1, kForward); }

INSTANTIATE_TEST_SUITE_P(Ops, Large, ::testing::Values("layer_norm", "rms_norm", "dyt", "derf"), op_name);

}  // namespace
}  // namespace kilter::test

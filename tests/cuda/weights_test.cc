// weight_norm on a device against the float64 reference: every dimension kept, lengths, layouts, types, unusual norms.
#include <cmath>
#include <vector>

#include "device.h"

namespace kilter::test {
namespace {

using check::Case;
using check::Fill;

class Weights : public Device {
 protected:
  void judge(DType x, int64_t rows, int64_t n, int64_t dim, Fill fill = Fill::normal, const DeviceLayout& layout = {}) {
    Case c = base(x, rows, n, fill);
    c.numbers["dim"] = double(dim);
    if (n % 2) c["g"] = c["dg"] = DType::f32;
    compare(c, layout);
  }
};

INSTANTIATE_TEST_SUITE_P(Ops, Weights, ::testing::Values("weight_norm"), op_name);

// Parts of a warp, a warp, several, and slices that no block holds.
TEST_P(Weights, LengthsOfSlices) {
  int i = 0;
  for (const int64_t n : {1, 3, 8, 31, 64, 100, 250, 257, 1000, 1024, 3000, 4100, 16384, 16385, 33000})
    for (const DType x : kTypes) judge(x, n > 4000 ? 3 : 67, n, 0, Fill::normal, {i % 3 == 1 ? 3 : 0, i % 4 == 3 ? 1 : 0, false}), ++i;
}

TEST_P(Weights, Columns) {
  int i = 0;
  for (const auto& [rows, n] :
       std::vector<std::pair<int64_t, int64_t>>{{1, 40}, {5, 3}, {130, 33}, {300, 64}, {700, 264}, {37, 1030}, {129, 1024}})
    for (const DType x : kTypes) judge(x, rows, n, -1, Fill::normal, {i % 3 == 1 ? 3 : 0, i % 4 == 3 ? 1 : 0, false}), ++i;
}

TEST_P(Weights, TheWholeTensor) {
  for (const DType x : kTypes)
    for (const auto& [rows, n] : std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {7, 33}, {300, 400}}) judge(x, rows, n, KILTER_DIM_NONE);
  judge(DType::f32, 30, 401, KILTER_DIM_NONE, Fill::normal, {5, 1, false});
}

TEST_P(Weights, UnusualNorms) {
  for (const DType x : kTypes)
    for (const Fill fill : {Fill::constant, Fill::denormal, Fill::special, Fill::outlier})
      for (const int64_t dim : {int64_t(0), int64_t(-1), KILTER_DIM_NONE}) {
        judge(x, 30, 100, dim, fill);
        if (dim == 0) judge(x, 5, 17000, dim, fill);
      }
}

// A dimension in the middle, with runs that are columns and some that are not, against the CPU.
TEST_P(Weights, MiddleDimension) {
  for (const std::vector<int64_t>& shape :
       std::vector<std::vector<int64_t>>{{4, 6, 3, 3}, {5, 7, 256}, {3, 5, 300}, {2, 9, 4, 9}, {70, 2, 5}, {3, 2, 20000}}) {
    int64_t total = 1;
    for (const int64_t size : shape) total *= size;
    std::vector<float> numbers(static_cast<size_t>(total));
    for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = float(noise(3, 0, int64_t(i)));
    int64_t kept = shape[1];
    const size_t bytes = numbers.size() * 4;
    std::vector<float> g(static_cast<size_t>(kept), 1.5f), w[2], norm[2];
    for (const bool device : {false, true}) {
      w[device].resize(numbers.size()), norm[device].resize(g.size());
      float *const from[] = {numbers.data(), g.data()}, *const to[] = {w[device].data(), norm[device].data()};
      const size_t sizes[] = {bytes, g.size() * 4};
      void* memory[4] = {};
      for (int k = 0; k < 4 && device; ++k) EXPECT_EQ(cudaMalloc(&memory[k], sizes[k % 2]), cudaSuccess);
      for (int k = 0; k < 2 && device; ++k) EXPECT_EQ(cudaMemcpy(memory[k], from[k], sizes[k], cudaMemcpyHostToDevice), cudaSuccess);
      const auto tensor = [&](int k) {
        const bool all = k % 2 == 0;
        return kilter_tensor{device  ? memory[k]
                             : k < 2 ? from[k]
                                     : to[k - 2],
                             {device ? KILTER_DEVICE_CUDA : KILTER_DEVICE_CPU, 0},
                             all ? int32_t(shape.size()) : 1,
                             dlpack_of(DType::f32),
                             all ? const_cast<int64_t*>(shape.data()) : &kept,
                             nullptr,
                             0};
      };
      kilter_weight_norm_forward_args a = {};
      a.struct_size = sizeof a, a.v = tensor(0), a.g = tensor(1), a.w = tensor(2), a.norm = tensor(3), a.dim = 1;
      kilter_plan plan = {};
      plan.struct_size = sizeof plan;
      ASSERT_EQ(kilter_ask(KILTER_WEIGHT_NORM_FORWARD, &a, &plan), KILTER_OK) << kilter_last_error();
      std::vector<char> workspace(plan.workspace_size);
      a.workspace = workspace.data(), a.workspace_size = workspace.size();
      if (device) {
        EXPECT_EQ(cudaMalloc(&a.workspace, plan.workspace_size + 1), cudaSuccess);
      }
      ASSERT_EQ(kilter_weight_norm_forward(&a, nullptr), KILTER_OK) << kilter_last_error();
      for (int k = 0; k < 2 && device; ++k) EXPECT_EQ(cudaMemcpy(to[k], memory[k + 2], sizes[k], cudaMemcpyDeviceToHost), cudaSuccess);
      for (int k = 0; k < 4 && device; ++k) cudaFree(memory[k]);
      if (device) cudaFree(a.workspace);
    }
    for (size_t k = 0; k < g.size(); ++k) EXPECT_NEAR(norm[1][k], norm[0][k], 4e-7 * norm[0][k]) << shape.size() << " " << k;
    for (size_t i = 0; i < numbers.size(); ++i) ASSERT_NEAR(w[1][i], w[0][i], 8e-7 * std::fabs(w[0][i])) << shape.size() << " " << i;
  }
}

}  // namespace
}  // namespace kilter::test

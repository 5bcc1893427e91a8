// What tests of planes on a device share: numbers there and on the host, and how near they are.
#pragma once

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "core/element.h"
#include "kilter/kilter.h"

namespace kilter::test {

// Rows of numbers, in device memory as T and on the host as fp64 with the same values.
struct Values {
  int64_t rows = 0, n = 0, stride = 0, shift = 0;
  DType type = DType::none;
  std::vector<double> host;
  char* device = nullptr;
  int64_t shape[3] = {}, strides[3] = {}, wide_strides[3] = {};
  int ndim = 1;

  Values() = default;
  Values(const Values&) = delete;
  Values& operator=(const Values&) = delete;
  ~Values() { cudaFree(device); }
  double& at(int64_t r, int64_t i) { return host[size_t(r * n + i)]; }
  bool present() const { return type != DType::none; }

  static void put(DType type, char* p, double v) {
    View view;
    view.data = p, view.dtype = type;
    write(view, 0, 0, v);
  }
  static double get(DType type, const char* p) {
    View view;
    view.data = const_cast<char*>(p), view.dtype = type;
    return read<double>(view, 0, 0);
  }
  // Rounds the host's values to the type, and copies them.
  void place(DType of, int64_t gap = 0, int64_t off = 0) {
    type = of, stride = n + gap, shift = off;
    std::vector<char> bytes(size_t((shift + rows * stride) * item_size(type)), 0x5A);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = 0; i < n; ++i) {
        char* const p = bytes.data() + (shift + r * stride + i) * item_size(type);
        put(type, p, at(r, i));
        at(r, i) = get(type, p);
      }
    cudaFree(device);
    ASSERT_EQ(cudaMalloc(reinterpret_cast<void**>(&device), bytes.size() + 1), cudaSuccess);
    ASSERT_EQ(cudaMemcpy(device, bytes.data(), bytes.size(), cudaMemcpyHostToDevice), cudaSuccess);
  }
  std::vector<double> fetch() {
    std::vector<char> bytes(size_t((shift + rows * stride) * item_size(type)));
    EXPECT_EQ(cudaMemcpy(bytes.data(), device, bytes.size(), cudaMemcpyDeviceToHost), cudaSuccess);
    std::vector<double> out;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = 0; i < n; ++i) out.push_back(get(type, bytes.data() + (shift + r * stride + i) * item_size(type)));
    for (int64_t r = 0; r + 1 < rows; ++r)
      for (int64_t i = n * item_size(type); i < stride * item_size(type); ++i)
        EXPECT_EQ(bytes[size_t((shift + r * stride) * item_size(type) + i)], 0x5A) << "between rows";
    return out;
  }
  kilter_tensor on_device() {
    if (!present()) return {};
    return {device + shift * item_size(type), {KILTER_DEVICE_CUDA, 0}, ndim, dlpack_of(type), shape, strides, 0};
  }
  kilter_tensor on_host(std::vector<double>& memory) {
    if (!present()) return {};
    return {memory.data(), {KILTER_DEVICE_CPU, 0}, ndim, dlpack_of(DType::f64), shape, wide_strides, 0};
  }
  kilter_tensor on_host() { return on_host(host); }
};

inline double unit_of(DType t, double v) {
  if (!(v > 0)) return std::numeric_limits<double>::denorm_min();
  const int digits = t == DType::f64 ? 53 : t == DType::f32 ? 24 : t == DType::f16 ? 11 : 8;
  const int least = t == DType::f64 ? -1074 : t == DType::f32 ? -149 : t == DType::f16 ? -24 : -133;
  return std::ldexp(1.0, std::max(std::ilogb(v) - digits + 1, least));
}

template <class F>
void expect_near(const char* name, const std::vector<double>& got, const std::vector<double>& want, F bound, const std::string& text) {
  ASSERT_EQ(got.size(), want.size());
  size_t worst = 0, bad = 0;
  double most = -1;
  for (size_t i = 0; i < got.size(); ++i) {
    const double error = std::fabs(got[i] - want[i]), allowed = bound(i);
    const bool same = got[i] == want[i] || (std::isnan(got[i]) && std::isnan(want[i]));
    if (same || error <= allowed) continue;
    ++bad;
    const double ratio = std::isnan(error) ? INFINITY : error / allowed;
    if (ratio > most) most = ratio, worst = i;
  }
  EXPECT_EQ(bad, 0u) << name << "[" << worst << "]: " << got[worst] << ", expected " << want[worst] << ", bound " << bound(worst) << " ("
                     << most << " times)\n"
                     << text;
}

class PlanesOnDevice : public ::testing::Test {
 protected:
  void SetUp() override {
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) GTEST_SKIP() << "no CUDA device";
  }
};

constexpr DType kPlaneTypes[] = {DType::f32, DType::bf16, DType::f16, DType::f64};

}  // namespace kilter::test

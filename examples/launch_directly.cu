// The norms as plain kernels of your own, from kilter/device/rows.cuh, and one that puts a bias and GELU behind a LayerNorm; then
// each against the library, bit for bit, or against double precision.  What lies between the markers is shown in docs/cuda.md.
#include <cuda_runtime.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "kilter/kilter.h"

/* example-begin */
#include <kilter/device/rows.cuh>

namespace kd = kilter::device;

// layer_norm<<<any grid, any block up to 1024, kd::kRowSharedBytes>>>(...); T: float, kd::half, kd::bfloat16
template <class T>
__global__ void layer_norm(const T* input, T* output, const T* gamma, const T* beta, int batch, int hidden, float eps) {
  extern __shared__ float4 shared[];
  for (int row = blockIdx.x; row < batch; row += gridDim.x) {
    const T* const x = input + size_t(row) * hidden;
    T* const y = output + size_t(row) * hidden;
    const auto value = [=](long long i) { return float(x[i]); };
    const kd::LayerNormStatistics s = kd::layer_norm_statistics(value, hidden, eps, shared);
    for (int i = threadIdx.x; i < hidden; i += blockDim.x)
      y[i] = T(kd::affine(kd::normalize(value(i), s), float(gamma[i]), float(beta[i])));
  }
}

template <class T>
__global__ void rms_norm(const T* input, T* output, const T* weight, int batch, int hidden, float eps) {
  extern __shared__ float4 shared[];
  for (int row = blockIdx.x; row < batch; row += gridDim.x) {
    const T* const x = input + size_t(row) * hidden;
    T* const y = output + size_t(row) * hidden;
    const auto value = [=](long long i) { return float(x[i]); };
    const kd::RmsNormStatistics s = kd::rms_norm_statistics(value, hidden, eps, shared);
    for (int i = threadIdx.x; i < hidden; i += blockDim.x) y[i] = T(kd::affine(kd::normalize(value(i), s), float(weight[i])));
  }
}
/* example-end */

// gelu(layer_norm(x) + bias), each row read from memory once: it waits in shared memory, hidden floats behind kRowSharedBytes.
template <class T>
__global__ void layer_norm_gelu(const T* input, T* output, const T* gamma, const T* beta, const T* bias, int batch, int hidden, float eps) {
  extern __shared__ float4 shared[];
  float* const held = reinterpret_cast<float*>(reinterpret_cast<char*>(shared) + kd::kRowSharedBytes);
  for (int row = blockIdx.x; row < batch; row += gridDim.x) {
    const T* const x = input + size_t(row) * hidden;
    T* const y = output + size_t(row) * hidden;
    // Every thread stores, measures and normalizes the elements it owns: no barrier is needed.
    kd::for_own_elements(hidden, [=](long long i) { held[i] = float(x[i]); });
    const auto s = kd::layer_norm_statistics([=](long long i) { return held[i]; }, hidden, eps, shared);
    kd::for_own_elements(hidden, [=](long long i) {
      const float v = kd::affine(kd::normalize(held[i], s), float(gamma[i]), float(beta[i])) + float(bias[i]);
      y[i] = T(0.5f * v * (1.0f + erff(v * 0.70710678f)));
    });
  }
}

namespace {

void require(cudaError_t e, const char* what) {
  if (e == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(e));
  std::exit(1);
}

template <class T>
struct Memory {  // on the device, of so many elements
  T* p = nullptr;
  size_t n;

  explicit Memory(size_t count) : n(count) { require(cudaMalloc(&p, n * sizeof(T)), "cudaMalloc"); }
  explicit Memory(const std::vector<T>& from) : Memory(from.size()) {
    require(cudaMemcpy(p, from.data(), n * sizeof(T), cudaMemcpyHostToDevice), "cudaMemcpy");
  }
  ~Memory() { cudaFree(p); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  void scribble() { require(cudaMemset(p, 0x5A, n * sizeof(T)), "cudaMemset"); }
  std::vector<T> fetch() const {
    std::vector<T> to(n);
    require(cudaMemcpy(to.data(), p, n * sizeof(T), cudaMemcpyDeviceToHost), "cudaMemcpy");
    return to;
  }
};

struct Launch {
  int grid, block;
};
const Launch kLaunches[] = {{1, 1}, {7, 33}, {128, 256}, {3, 1000}, {2, 1024}, {5, 128}};
const float kEps = 1e-5f;

int failures = 0;

void report(bool passed, const std::string& what) {
  std::printf("%s  %s\n", passed ? "ok    " : "FAILED", what.c_str());
  failures += !passed;
}

template <class T>
kilter_tensor tensor(T* p, int ndim, int64_t* shape) {
  kilter_tensor t = {};
  t.data = p, t.device = {KILTER_DEVICE_CUDA, 0}, t.ndim = ndim, t.shape = shape;
  const bool brain = std::is_same_v<T, kd::bfloat16>;
  t.dtype = {uint8_t(brain ? KILTER_BFLOAT : KILTER_FLOAT), uint8_t(sizeof(T) * 8), 1};
  return t;
}

// Rows that differ in kind: ordinary, far from zero, constant, tiny, huge, with a NaN, and nearly constant.
template <class T>
std::vector<T> rows_of_all_kinds(int batch, int n) {
  std::mt19937 random(n);
  std::normal_distribution<float> normal;
  const float huge = sizeof(T) == 2 && !std::is_same_v<T, kd::bfloat16> ? 6e4f : 3e37f;
  std::vector<T> x;
  for (int r = 0; r < batch; ++r)
    for (int i = 0; i < n; ++i) {
      const float v = normal(random);
      const float kinds[] = {v, 1000 + v, 3.25f, 1e-30f * v, huge * v / 8, i == n / 2 ? NAN : v, i == 0 ? 1.0001f : 1.0f};
      x.push_back(T(kinds[r % 7]));
    }
  return x;
}

template <class T>
std::vector<T> weights(int n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.5f);
  std::vector<T> w;
  for (int i = 0; i < n; ++i) w.push_back(T(normal(random)));
  return w;
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  using Bits = std::conditional_t<sizeof(T) == 4, unsigned, unsigned short>;
  for (size_t i = 0; i < a.size(); ++i) {
    const float u = float(a[i]), v = float(b[i]);
    if (std::isnan(u) && std::isnan(v)) continue;
    if (__builtin_bit_cast(Bits, a[i]) != __builtin_bit_cast(Bits, b[i])) return false;
  }
  return true;
}

template <class T>
void check_bits(const char* type, int batch, int n) {
  const Memory<T> x(rows_of_all_kinds<T>(batch, n)), gamma(weights<T>(n, 1)), beta(weights<T>(n, 2));
  Memory<T> y(x.n);
  int64_t shape[] = {batch, n};
  for (const bool centered : {true, false}) {
    kilter_status status;
    if (centered) {
      kilter_layer_norm_forward_args args = {};
      args.struct_size = sizeof args, args.eps = kEps;
      args.x = tensor(x.p, 2, shape), args.weight = tensor(gamma.p, 1, shape + 1), args.bias = tensor(beta.p, 1, shape + 1);
      args.y = tensor(y.p, 2, shape);
      status = kilter_layer_norm_forward(&args, nullptr);
    } else {
      kilter_rms_norm_forward_args args = {};
      args.struct_size = sizeof args, args.eps = kEps;
      args.x = tensor(x.p, 2, shape), args.weight = tensor(gamma.p, 1, shape + 1), args.y = tensor(y.p, 2, shape);
      status = kilter_rms_norm_forward(&args, nullptr);
    }
    if (status != KILTER_OK) {
      std::fprintf(stderr, "%s\n", kilter_last_error());
      std::exit(1);
    }
    const std::vector<T> expected = y.fetch();
    for (const Launch l : kLaunches) {
      if (n > 100000 && l.block == 1) continue;  // a thread by itself would take seconds
      y.scribble();
      if (centered)
        layer_norm<<<l.grid, l.block, kd::kRowSharedBytes>>>(x.p, y.p, gamma.p, beta.p, batch, n, kEps);
      else
        rms_norm<<<l.grid, l.block, kd::kRowSharedBytes>>>(x.p, y.p, gamma.p, batch, n, kEps);
      require(cudaGetLastError(), "launch");
      report(same_bits(y.fetch(), expected), std::string(centered ? "layer_norm " : "rms_norm ") + type + " " + std::to_string(batch) +
                                                 "x" + std::to_string(n) + " by " + std::to_string(l.grid) + "x" + std::to_string(l.block));
    }
  }
}

// Per row, in units of 2^-23 * max(|xhat * gamma| + |beta| + |bias|): the norm is within 5 (docs/numerics.md), adding the bias 0.5, and
// GELU's slope is below 1.13: 6.3.  The factor 1 + erf: 0.5 from its argument, 1 from erff, 0.5 from the sum; by v / 2: 1.  The
// product: 0.5.  Together below 8; and half a unit of T's own.
template <class T>
void check_gelu(const char* type, int batch, int n) {
  const std::vector<T> x = rows_of_all_kinds<T>(batch, n), gamma = weights<T>(n, 1), beta = weights<T>(n, 2), bias = weights<T>(n, 3);
  const Memory<T> dx(x), dgamma(gamma), dbeta(beta), dbias(bias);
  const double half_unit = sizeof(T) == 4 ? 0 : std::is_same_v<T, kd::bfloat16> ? 0x1p-8 : 0x1p-11;
  Memory<T> dy(x.size());
  for (const Launch l : kLaunches) {
    dy.scribble();
    layer_norm_gelu<<<l.grid, l.block, kd::kRowSharedBytes + n * sizeof(float)>>>(dx.p, dy.p, dgamma.p, dbeta.p, dbias.p, batch, n, kEps);
    require(cudaGetLastError(), "launch");
    const std::vector<T> y = dy.fetch();
    double worst = 0;
    for (int r = 0; r < batch; ++r) {
      const size_t at = size_t(r) * n;
      double mean = 0, variance = 0, scale = 0;
      for (int i = 0; i < n; ++i) mean += double(float(x[at + i])) / n;
      for (int i = 0; i < n; ++i) variance += std::pow(float(x[at + i]) - mean, 2) / n;
      const double rstd = 1 / std::sqrt(variance + kEps);
      const auto product = [&](int i) { return (float(x[at + i]) - mean) * rstd * float(gamma[i]); };
      for (int i = 0; i < n; ++i) scale = std::fmax(scale, std::fabs(product(i)) + std::fabs(float(beta[i])) + std::fabs(float(bias[i])));
      for (int i = 0; i < n; ++i) {
        const double v = product(i) + float(beta[i]) + float(bias[i]), expected = v / 2 * std::erfc(-v / std::sqrt(2.0));
        const double bound = 8 * 0x1p-23 * scale + half_unit * (std::fabs(expected) + 8 * 0x1p-23 * scale) + 0x1p-25;
        const double error = std::fabs(float(y[at + i]) - expected) / bound;
        if (std::isnan(expected) ? !std::isnan(float(y[at + i])) : !(error <= 1)) worst = INFINITY;
        worst = std::fmax(worst, error);
      }
    }
    char line[160];
    std::snprintf(line, sizeof line, "layer_norm_gelu %s %dx%d by %dx%d: %.2f of the bound", type, batch, n, l.grid, l.block, worst);
    report(worst <= 1, line);
  }
}

template <class T>
void check_type(const char* type) {
  for (const int n : {1, 31, 768, 1000, 4096, 70000}) check_bits<T>(type, 14, n);
  check_bits<T>(type, 7, 600000);  // statistics in chunks
  for (const int n : {31, 768, 4096}) check_gelu<T>(type, 14, n);
}

}  // namespace

int main() {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::puts("no CUDA device: skipped");
    return 77;
  }
  check_type<float>("fp32");
  check_type<kd::half>("fp16");
  check_type<kd::bfloat16>("bf16");
  std::printf("%d failures\n", failures);
  return failures != 0;
}

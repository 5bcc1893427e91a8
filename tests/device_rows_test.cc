// The row passes of kilter/device/rows.cuh against the library on the CPU, bit for bit: the threads of a block are threads here.
#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <cmath>
#include <thread>
#include <vector>

#include "check/check.h"

// What of CUDA the header uses.
#define __device__
namespace {

struct Index {
  unsigned x;
};
thread_local Index threadIdx;
Index blockDim;
std::barrier<>* block_barrier;

void __syncthreads() { block_barrier->arrive_and_wait(); }
void atomicMax(unsigned* p, unsigned v) {
  std::atomic_ref<unsigned> word(*p);
  for (unsigned old = word.load(); old < v && !word.compare_exchange_weak(old, v);) {
  }
}

}  // namespace
#include "kilter/device/rows.cuh"

namespace kilter::test {
namespace {

using check::Case;
using check::Fill;
using check::Tensors;

template <class F>
void run_block(int threads, F f) {
  std::barrier<> barrier(threads);
  block_barrier = &barrier;
  blockDim.x = unsigned(threads);
  std::vector<std::thread> block;
  block.reserve(size_t(threads));
  for (int t = 0; t < threads; ++t) block.emplace_back([&f, t] { threadIdx.x = unsigned(t), f(); });
  for (std::thread& t : block) t.join();
}

bool same(float a, float b) {
  return (std::isnan(a) && std::isnan(b)) || __builtin_bit_cast(unsigned, a) == __builtin_bit_cast(unsigned, b);
}

// Every row of a case by one block; each element is asked of its owner only.
void compare(const Case& c, int threads) {
  Tensors t = check::make_tensors(c);
  ASSERT_EQ(check::call(c, t), KILTER_OK) << kilter_last_error();
  alignas(16) static char shared[device::kRowSharedBytes];
  std::vector<float> y(size_t(c.rows * c.n)), rstd(static_cast<size_t>(c.rows)), mean(static_cast<size_t>(c.rows));
  std::atomic<bool> owned = true;
  const bool centered = c.op == "layer_norm";
  run_block(threads, [&] {
    for (int64_t r = 0; r < c.rows; ++r) {
      const float* const x = reinterpret_cast<const float*>(t["x"].row(r));
      const auto value = [&](long long i) {
        if (device::element_owner(i) != int(threadIdx.x)) owned = false;
        return x[i];
      };
      const auto finish = [&](const auto& s) {
        device::for_own_elements(c.n, [&](long long i) {
          const float w = float(t["weight"].at(0, i)), xhat = device::normalize(value(i), s);
          y[size_t(r * c.n + i)] = c.has("bias") ? device::affine(xhat, w, float(t["bias"].at(0, i))) : device::affine(xhat, w);
        });
        if (threadIdx.x == 0) rstd[size_t(r)] = s.saved_rstd;
      };
      if (centered) {
        const device::LayerNormStatistics s = device::layer_norm_statistics(value, c.n, float(c.number("eps")), shared);
        finish(s);
        if (threadIdx.x == 0) mean[size_t(r)] = s.saved_mean;
      } else {
        finish(device::rms_norm_statistics(value, c.n, float(c.number("eps")), shared));
      }
    }
  });
  EXPECT_TRUE(owned);
  for (int64_t r = 0; r < c.rows; ++r) {
    ASSERT_TRUE(same(rstd[size_t(r)], float(t["rstd"].at(r, 0))))
        << c.op << ", n " << c.n << ", row " << r << ", " << threads << " threads";
    ASSERT_TRUE(!centered || same(mean[size_t(r)], float(t["mean"].at(r, 0)))) << "n " << c.n << ", row " << r;
    for (int64_t i = 0; i < c.n; ++i)
      ASSERT_TRUE(same(y[size_t(r * c.n + i)], float(t["y"].at(r, i))))
          << c.op << ", fill " << check::fill_name(c.fill) << ", n " << c.n << ", row " << r << ", element " << i << ", " << threads
          << " threads";
  }
}

Case base(const std::string& op, int64_t rows, int64_t n, Fill fill) {
  Case c;
  c.op = op, c.x = DType::f32, c.rows = rows, c.n = n, c.fill = fill, c.seed = 5;
  c["weight"] = c["bias"] = DType::f32, c.backward = false;
  return c;
}

class DeviceRows : public ::testing::TestWithParam<std::string> {};

TEST_P(DeviceRows, EveryFillAndLength) {
  for (const Fill fill : check::kFills)
    for (const int64_t n : {1, 7, 31, 256, 768, 1000, 1024, 1025, 3000, 4096, 4097, 9000, 70000}) {
      compare(base(GetParam(), 12, n, fill), 1);
      compare(base(GetParam(), 12, n, fill), 3);
    }
}

TEST_P(DeviceRows, BlockSizes) {
  for (const int threads : {2, 31, 33, 128, 255, 256, 300, 512, 1000, 1024})
    for (const Fill fill : {Fill::normal, Fill::constant, Fill::denormal}) compare(base(GetParam(), 3, 5000, fill), threads);
}

TEST_P(DeviceRows, RowsOfSeveralChunks) {
  for (const int64_t n : {262144, 262145, 600001})
    for (const Fill fill : {Fill::offset, Fill::constant, Fill::denormal}) compare(base(GetParam(), 3, n, fill), 2);
}

TEST_P(DeviceRows, EpsilonLimitsThePrescale) {
  for (const double eps : {0.0, 1e-38, 1e-45, 1e30, 1e38})
    for (const Fill fill : {Fill::constant, Fill::denormal}) {
      Case c = base(GetParam(), 12, 500, fill);
      c.numbers["eps"] = eps;
      compare(c, 3);
    }
}

INSTANTIATE_TEST_SUITE_P(Ops, DeviceRows, ::testing::Values("layer_norm", "rms_norm"), [](const auto& op) { return op.param; });

TEST(DeviceTypes, HalfConvertsAsTheLibrary) {
  for (unsigned bits = 0; bits < 0x10000; ++bits) {
    device::half h;
    h.bits = static_cast<unsigned short>(bits);
    ASSERT_TRUE(same(float(h), half_to_float(uint16_t(bits)))) << bits;
  }
  for (unsigned long long u = 0; u < 0x100000000ull; u += 0x3FF) {  // every exponent; low bits of every pattern
    const float v = __builtin_bit_cast(float, unsigned(u));
    ASSERT_TRUE(same(float(device::half(v)), half_to_float(float_to_half(v)))) << u;
    ASSERT_TRUE(same(float(device::bfloat16(v)), bf16_to_float(float_to_bf16(v)))) << u;
  }
  for (unsigned bits = 0; bits < 0x7C00; ++bits) {  // ties, and their neighbours
    const float a = half_to_float(uint16_t(bits)), middle = bits == 0x7BFF ? 65520.0f : (a + half_to_float(uint16_t(bits + 1))) * 0.5f;
    for (const float v : {middle, std::nextafterf(middle, 0), std::nextafterf(middle, INFINITY), -middle})
      ASSERT_EQ(device::half(v).bits, float_to_half(v)) << v;
  }
}

}  // namespace
}  // namespace kilter::test

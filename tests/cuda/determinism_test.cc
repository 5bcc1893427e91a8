// Equal bits from call to call: alone, beside work that fills the device, for any number of multiprocessors and of rows.
#include <atomic>
#include <set>
#include <thread>

#include "device.h"

namespace kilter::test {
namespace {

using check::Case;
using check::Tensors;

// Copies within device memory on a stream of its own, until destroyed.
class BusyDevice {
 public:
  BusyDevice() {
    EXPECT_EQ(cudaMalloc(reinterpret_cast<void**>(&memory_), 2 * kBytes), cudaSuccess);
    EXPECT_EQ(cudaMemset(memory_, 0, 2 * kBytes), cudaSuccess);
    thread_ = std::thread([this] {
      cudaStream_t stream = nullptr;
      bool good = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess;
      while (good && !stop_) {
        for (int i = 0; i < 8; ++i) (void)cudaMemcpyAsync(memory_ + kBytes, memory_, kBytes, cudaMemcpyDeviceToDevice, stream);
        good = cudaStreamSynchronize(stream) == cudaSuccess;
        if (good) ++rounds_;
      }
      if (!good) rounds_ = -1;
      cudaStreamDestroy(stream);
    });
    while (rounds_ == 0) std::this_thread::yield();
  }
  ~BusyDevice() {
    stop_ = true;
    thread_.join();
    cudaFree(memory_);
  }
  int rounds() const { return rounds_; }

 private:
  static constexpr size_t kBytes = size_t(256) << 20;
  char* memory_ = nullptr;
  std::atomic<bool> stop_ = false;
  std::atomic<int> rounds_ = 0;
  std::thread thread_;
};

class Determinism : public Device {
 protected:
  // `times` runs on the same memory, each after the outputs were overwritten, against the CPU's bits.
  void repeat(const Case& c, int times) {
    const Tensors expected = Device::expected(c);
    Tensors got = check::make_tensors(c);
    DeviceCase device(c, {}, got);
    cudaStream_t stream;
    ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
    for (int i = 0; i < times && !HasFailure(); ++i) {
      device.restore(stream);
      device.run(stream);
      EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
      device.fetch();
      EXPECT_TRUE(same_bits(c, expected, got)) << "in run " << i;
    }
    cudaStreamDestroy(stream);
  }
};

TEST_P(Determinism, ThousandRuns) {
  repeat(base(DType::bf16, 37, 1000), 1000);
  repeat(base(DType::f32, 300, 256), 1000);
}

TEST_P(Determinism, ThousandRunsBesideOtherWork) {
  const BusyDevice busy;
  repeat(base(DType::bf16, 37, 1000), 1000);
  repeat(base(DType::f32, 300, 256), 1000);
  const int before = busy.rounds();
  repeat(base(DType::bf16, 40, 16384), 100);
  repeat(base(DType::bf16, 5, 131072), 100);
  EXPECT_GT(busy.rounds(), before) << "nothing ran beside the calls";
}

TEST_P(Determinism, AnyNumberOfMultiprocessors) {
  for (const DType x : {DType::f32, DType::bf16})
    for (const auto& [rows, n] : {std::pair{5000, 256}, {7500, 512}, {300, 4096}, {33, 768}, {700, 1000}, {5, 65536}, {140, 16384}}) {
      const Case c = base(x, rows, n);
      const Tensors expected = Device::expected(c);
      for (const int count : {60, 108, 132}) {
        const AssumedMultiprocessors assumed(count);
        Tensors got = check::make_tensors(c);
        ASSERT_NO_FATAL_FAILURE(call_on_device(c, {}, got));
        EXPECT_TRUE(same_bits(c, expected, got)) << "as on " << count << " multiprocessors";
      }
    }
}

// Else the test above compares a plan with itself.
TEST_P(Determinism, PlansDependOnTheNumberOfMultiprocessors) {
  for (const auto& [rows, n] : {std::pair{40000, 256}, {5000, 512}}) {
    const Case c = base(DType::bf16, rows, n);
    Tensors t = check::make_tensors(c);
    DeviceCase device(c, {}, t);
    std::set<std::string> plans;
    for (const int count : {60, 108, 132}) {
      const AssumedMultiprocessors assumed(count);
      std::string plan;
      for (const Launch& l : device.launches()) plan += l.kernel + " " + std::to_string(l.grid.x) + "x" + std::to_string(l.grid.y) + "\n";
      plans.insert(plan);
    }
    if (!has_rows())  // whose plans follow from the shape alone
      EXPECT_EQ(plans.size(), 1u) << rows << " rows of " << n;
    else
      EXPECT_GT(plans.size(), 1u) << rows << " rows of " << n << ": always\n" << *plans.begin();
  }
}

TEST_P(Determinism, RowsDoNotDependOnTheirNumber) {
  if (GetParam().starts_with("batch_norm")) return;  // whose statistics are of all samples
  for (const DType x : kTypes)
    for (const int64_t n : {96, 768, 1000, 4096, 16384, 65536}) {
      if (n > 16384 && x != DType::bf16) continue;  // time
      const Case many = base(x, 300, n), one = base(x, 1, n);
      Tensors of_many = check::make_tensors(many), of_one = check::make_tensors(one);
      ASSERT_NO_FATAL_FAILURE(call_on_device(many, {}, of_many));
      ASSERT_NO_FATAL_FAILURE(call_on_device(one, {}, of_one));
      EXPECT_TRUE(same_rows(of_many["x"], 0, of_one["x"], 1, "x"));
      EXPECT_TRUE(same_rows(of_many["y"], 0, of_one["y"], 1, "y"));
      EXPECT_TRUE(same_rows(of_many["rstd"], 0, of_one["rstd"], 1, "rstd"));
      EXPECT_TRUE(same_rows(of_many["dx"], 0, of_one["dx"], 1, "dx"));
      EXPECT_TRUE(same_rows(of_many["mean"], 0, of_one["mean"], 1, "mean"));
    }
}

INSTANTIATE_TEST_SUITE_P(Ops, Determinism, ::testing::ValuesIn(device_ops()), op_name);

}  // namespace
}  // namespace kilter::test

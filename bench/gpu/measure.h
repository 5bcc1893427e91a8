// Times one row: kilter and the floor of the same bytes take turns, each a CUDA graph over rotating sets of inputs.
#pragma once

#include <cuda_runtime_api.h>

#include <string>
#include <vector>

#include "calls.h"

namespace kilter::bench {

struct Settings {
  int replays = 15;
  double graph_us = 3000;  // a graph repeats its sets until it takes about as long
};

struct Result {
  std::string error;  // empty: measured
  size_t sets = 0, calls = 0, workspace = 0;
  std::vector<float> us, floor_us;  // per call, one for each replay
  int floor_shape = 0;
};

// One allocation: sets in one half, the floors' streams in the other.
class Bench {
 public:
  explicit Bench(const Settings& settings);
  ~Bench();
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  Result measure(Call& call);  // throws std::runtime_error when the device is lost
  float empty_us();
  void warm_up();  // until the clocks have risen
  const cudaDeviceProp& device() const { return device_; }
  size_t pool_bytes() const { return 2 * half_; }

 private:
  size_t rotation(const Call& call, size_t footprint, size_t room) const;

  Settings settings_;
  cudaDeviceProp device_{};
  cudaStream_t stream_ = nullptr;
  char* pool_ = nullptr;
  size_t half_ = 0;
};

double percentile(std::vector<float> values, double fraction);
inline double median(const std::vector<float>& values) { return percentile(values, 0.5); }

}  // namespace kilter::bench

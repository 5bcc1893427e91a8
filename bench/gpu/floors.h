// The limit: kernels that only read R streams and write W streams, and the filling of memory with random numbers.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"

namespace kilter::bench {

constexpr int kFloorShapes = 3;  // launch shapes to choose from

// `bytes` in all, split evenly over reads + writes streams that lie one after another at `base`.
size_t floor_footprint(int reads, int writes, size_t bytes);
cudaError_t launch_floor(int shape, int reads, int writes, size_t bytes, char* base, cudaStream_t stream);

cudaError_t launch_empty(cudaStream_t stream);

// Normal numbers, the same ones for a seed.
cudaError_t fill_normal(void* data, size_t count, DType type, float mean, float deviation, uint64_t seed, cudaStream_t stream);

}  // namespace kilter::bench

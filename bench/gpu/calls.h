// kilter's ops through the C ABI, on tensors that lie in one piece of device memory.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

#include "rows.h"

namespace kilter::bench {

// The tensors of one call.  in: x (forward: residual; backward: dy, dresidual_out).  out: y, residual_out; dx.
struct Set {
  char *in[3] = {}, *out[2] = {};
  char *weight = nullptr, *bias = nullptr, *mean = nullptr, *rstd = nullptr, *dweight = nullptr, *dbias = nullptr;
};

size_t set_footprint(const Row& row);
Set set_at(const Row& row, char* base);

kilter_status workspace_bytes(const Row& row, size_t* bytes);
kilter_status call(const Row& row, const Set& set, void* workspace, size_t workspace_size, cudaStream_t stream);

// Normal inputs, weights around 1; backward: the statistics of x.
kilter_status fill(const Row& row, const Set& set, unsigned seed, cudaStream_t stream);

}  // namespace kilter::bench

#include "families/elementwise/cuda/run.h"

#include "cuda/runtime.h"
#include "families/elementwise/cuda/parameters.h"

namespace kilter {

size_t elementwise_cuda_workspace(const ElementwiseBackward& p) {
  if (!p.has_sums()) return 0;
  if (p.n > int64_t(1) << 40 || p.rows > int64_t(1) << 48) return SIZE_MAX;  // beyond any memory, and short of an overflow below
  constexpr int kNarrowest = 4;                                              // elements of an access: the most tiles
  const int64_t chunks = row_partition(p.rows, p.n).chunks, tiles = cuda::elementwise_tile(p.n, kNarrowest, 1).tiles;
  return size_t(2 * chunks * (p.n + tiles)) * (p.dy.dtype == DType::f64 ? sizeof(double) : sizeof(float)) + 15;
}

const char* cuda_refuses(const ElementwiseForward& p) { return cuda::cuda_refuses_device(p.device); }
const char* cuda_refuses(const ElementwiseBackward& p) { return cuda::cuda_refuses_device(p.device); }

}  // namespace kilter

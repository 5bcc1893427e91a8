// layer_norm on CUDA devices.
#include "families/rowwise/cuda/launch.cuh"

namespace kilter {

kilter_status layer_norm_cuda_forward(const RowNormForward& p, kilter_stream stream) {
  return cuda::row_norm_forward</*kCentered=*/true>(p, stream);
}

kilter_status layer_norm_cuda_backward(const RowNormBackward& p, kilter_stream stream) {
  return cuda::row_norm_backward</*kCentered=*/true>(p, stream);
}

}  // namespace kilter

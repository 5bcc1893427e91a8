// rms_norm on CUDA devices.
#include "families/rowwise/cuda/launch.cuh"

namespace kilter {

kilter_status rms_norm_cuda_forward(const RowNormForward& p, kilter_stream stream) {
  return cuda::row_norm_forward</*kCentered=*/false>(p, stream);
}

kilter_status rms_norm_cuda_backward(const RowNormBackward& p, kilter_stream stream) {
  return cuda::row_norm_backward</*kCentered=*/false>(p, stream);
}

}  // namespace kilter

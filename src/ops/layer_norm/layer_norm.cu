// layer_norm on CUDA devices.
#include "families/rowwise/cuda/launch.cuh"

namespace kilter {

const char* layer_norm_cuda_refuses(const RowNormForward& p) {
  return cuda::fast_kernels_refuse</*kCentered=*/true>(p, cuda::RowAccess::vectors);
}
const char* layer_norm_cuda_singles_refuse(const RowNormForward& p) {
  return cuda::fast_kernels_refuse</*kCentered=*/true>(p, cuda::RowAccess::singles);
}
const char* layer_norm_cuda_refuses(const RowNormBackward& p) {
  return cuda::fast_kernels_refuse</*kCentered=*/true>(p, cuda::RowAccess::vectors);
}
const char* layer_norm_cuda_singles_refuse(const RowNormBackward& p) {
  return cuda::fast_kernels_refuse</*kCentered=*/true>(p, cuda::RowAccess::singles);
}

kilter_status layer_norm_cuda_forward(const RowNormForward& p, kilter_stream stream) {
  return cuda::row_norm_forward</*kCentered=*/true>(p, stream, cuda::RowAccess::vectors);
}
kilter_status layer_norm_cuda_singles_forward(const RowNormForward& p, kilter_stream stream) {
  return cuda::row_norm_forward</*kCentered=*/true>(p, stream, cuda::RowAccess::singles);
}
kilter_status layer_norm_cuda_general_forward(const RowNormForward& p, kilter_stream stream) {
  return cuda::general_forward</*kCentered=*/true>(p, stream);
}

kilter_status layer_norm_cuda_backward(const RowNormBackward& p, kilter_stream stream) {
  return cuda::row_norm_backward</*kCentered=*/true>(p, stream, cuda::RowAccess::vectors);
}
kilter_status layer_norm_cuda_singles_backward(const RowNormBackward& p, kilter_stream stream) {
  return cuda::row_norm_backward</*kCentered=*/true>(p, stream, cuda::RowAccess::singles);
}
kilter_status layer_norm_cuda_general_backward(const RowNormBackward& p, kilter_stream stream) {
  return cuda::general_backward</*kCentered=*/true>(p, stream);
}

}  // namespace kilter

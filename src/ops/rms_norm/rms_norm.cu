// rms_norm on CUDA devices.
#include "families/rowwise/cuda/launch.cuh"

namespace kilter {

const char* rms_norm_cuda_refuses(const RowNormForward& p) {
  return cuda::fast_kernels_refuse</*kCentered=*/false>(p, cuda::RowAccess::vectors);
}
const char* rms_norm_cuda_singles_refuse(const RowNormForward& p) {
  return cuda::fast_kernels_refuse</*kCentered=*/false>(p, cuda::RowAccess::singles);
}
const char* rms_norm_cuda_refuses(const RowNormBackward& p) {
  return cuda::fast_kernels_refuse</*kCentered=*/false>(p, cuda::RowAccess::vectors);
}
const char* rms_norm_cuda_singles_refuse(const RowNormBackward& p) {
  return cuda::fast_kernels_refuse</*kCentered=*/false>(p, cuda::RowAccess::singles);
}

kilter_status rms_norm_cuda_forward(const RowNormForward& p, kilter_stream stream) {
  return cuda::row_norm_forward</*kCentered=*/false>(p, stream, cuda::RowAccess::vectors);
}
kilter_status rms_norm_cuda_singles_forward(const RowNormForward& p, kilter_stream stream) {
  return cuda::row_norm_forward</*kCentered=*/false>(p, stream, cuda::RowAccess::singles);
}
kilter_status rms_norm_cuda_general_forward(const RowNormForward& p, kilter_stream stream) {
  return cuda::general_forward</*kCentered=*/false>(p, stream);
}

kilter_status rms_norm_cuda_backward(const RowNormBackward& p, kilter_stream stream) {
  return cuda::row_norm_backward</*kCentered=*/false>(p, stream, cuda::RowAccess::vectors);
}
kilter_status rms_norm_cuda_singles_backward(const RowNormBackward& p, kilter_stream stream) {
  return cuda::row_norm_backward</*kCentered=*/false>(p, stream, cuda::RowAccess::singles);
}
kilter_status rms_norm_cuda_general_backward(const RowNormBackward& p, kilter_stream stream) {
  return cuda::general_backward</*kCentered=*/false>(p, stream);
}

}  // namespace kilter

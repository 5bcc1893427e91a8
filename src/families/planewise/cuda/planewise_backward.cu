#include "families/planewise/cuda/launch.cuh"
namespace kilter {
kilter_status planewise_cuda_backward(const PlaneBackward& p, kilter_stream) { return cuda::no_kernel(p.op); }
}

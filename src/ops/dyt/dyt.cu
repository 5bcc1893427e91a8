// dyt on CUDA devices.
#include "families/elementwise/cuda/launch.cuh"

namespace kilter {

KILTER_ELEMENTWISE_FUNCTIONS(dyt, Tanh)

}  // namespace kilter

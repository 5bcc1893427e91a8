// derf on CUDA devices.
#include "families/elementwise/cuda/launch.cuh"

namespace kilter {

KILTER_ELEMENTWISE_ON_CUDA(derf, Erf)

}  // namespace kilter

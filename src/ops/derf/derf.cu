// derf on CUDA devices.
#include "families/elementwise/cuda/launch.cuh"

namespace kilter {

KILTER_ELEMENTWISE_FUNCTIONS(derf, Erf)

}  // namespace kilter

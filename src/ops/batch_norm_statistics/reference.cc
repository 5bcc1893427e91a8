// A step of BatchNorm in float64 (fp64 x: __float128): the definition that everything else is tested against.
#include "families/planewise/reference.h"

namespace kilter {

kilter_status batch_norm_statistics_reference_forward(const PlaneForward& p, kilter_stream) { return plane_reference(p); }
kilter_status batch_norm_statistics_reference_backward(const PlaneBackward& p, kilter_stream) { return plane_reference(p); }

}  // namespace kilter

// Adaptive LayerNorm in float64 (fp64 rows in __float128): the references of the norms, which modulate where a call has a scale.
#include "families/rowwise/reference.h"

namespace kilter {

kilter_status adaptive_layer_norm_reference_forward(const RowNormForward& p, kilter_stream stream) {
  KILTER_RETURN_IF_ERROR(check_segments(p));
  return p.norm == KILTER_NORM_RMS ? rms_norm_reference_forward(p, stream) : layer_norm_reference_forward(p, stream);
}

kilter_status adaptive_layer_norm_reference_backward(const RowNormBackward& p, kilter_stream stream) {
  KILTER_RETURN_IF_ERROR(check_segments(p));
  return p.norm == KILTER_NORM_RMS ? rms_norm_reference_backward(p, stream) : layer_norm_reference_backward(p, stream);
}

}  // namespace kilter

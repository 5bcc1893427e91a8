// Derf in float64 (fp64 rows: long double), the obvious way: the definition that everything else is tested against.
#include "families/elementwise/reference.h"

namespace kilter {
namespace {

struct Derf {
  template <class R>
  static R f(R u) {
    return std::erf(u);
  }
  template <class R>
  static R slope(R u) {
    return R(1.12837916709551257389615890312154517L) * std::exp(-u * u);  // 2 / sqrt(pi)
  }
};

}  // namespace

kilter_status derf_reference_forward(const ElementwiseForward& p, kilter_stream) { return elementwise_reference<Derf>(p); }
kilter_status derf_reference_backward(const ElementwiseBackward& p, kilter_stream) { return elementwise_reference<Derf>(p); }

}  // namespace kilter

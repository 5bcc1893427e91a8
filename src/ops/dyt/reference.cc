// DyT in float64 (fp64 rows: long double), the obvious way: the definition that everything else is tested against.
#include "families/elementwise/reference.h"

namespace kilter {
namespace {

struct Dyt {
  template <class R>
  static R f(R u) {
    return std::tanh(u);
  }
  template <class R>
  static R slope(R u) {  // 1 - tanh(u)^2, where that does not cancel
    const R c = std::cosh(u);
    return 1 / c / c;
  }
};

}  // namespace

kilter_status dyt_reference_forward(const ElementwiseForward& p, kilter_stream) { return elementwise_reference<Dyt>(p); }
kilter_status dyt_reference_backward(const ElementwiseBackward& p, kilter_stream) { return elementwise_reference<Dyt>(p); }

}  // namespace kilter

#include "families/planewise/cpu/run.h"

#include "families/planewise/cpu/backward.h"
#include "families/planewise/cpu/forward.h"

namespace kilter {

kilter_status run_on_cpu(const PlaneForward& p, const PlaneKernels& kernels) {
  return p.x.dtype == DType::f64 ? PlaneForwardRun<double>(p, kernels.f64).run() : PlaneForwardRun<float>(p, kernels.f32).run();
}

kilter_status run_on_cpu(const PlaneBackward& p, const PlaneKernels& kernels) {
  return p.dy.dtype == DType::f64 ? PlaneBackwardRun<double>(p, kernels.f64).run() : PlaneBackwardRun<float>(p, kernels.f32).run();
}

size_t plane_cpu_workspace(const PlaneForward& p) {
  return p.x.dtype == DType::f64 ? PlaneForwardRun<double>::workspace(p) : PlaneForwardRun<float>::workspace(p);
}

size_t plane_cpu_workspace(const PlaneBackward& p) {
  return p.dy.dtype == DType::f64 ? PlaneBackwardRun<double>::workspace(p) : PlaneBackwardRun<float>::workspace(p);
}

}  // namespace kilter

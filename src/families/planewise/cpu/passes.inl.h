// The norms of planes: the passes of one SIMD target.
#pragma once

#include "families/planewise/cpu/backward.inl.h"
#include "families/planewise/cpu/forward.inl.h"

namespace kilter::KILTER_TARGET_NAMESPACE {

constexpr PlaneKernels plane_kernels() {
  return {{largest<float>, statistics<float>, normalize<float>, sums<float>, gradient<float>},
          {largest<double>, statistics<double>, normalize<double>, sums<double>, gradient<double>}};
}

}  // namespace kilter::KILTER_TARGET_NAMESPACE

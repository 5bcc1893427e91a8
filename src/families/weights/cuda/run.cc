#include "families/weights/cuda/run.h"

#include <initializer_list>

#include "cuda/runtime.h"
#include "families/weights/cuda/parameters.h"

namespace kilter {
namespace {

constexpr const char* kStrides = "v.strides: expected rows of one stride, got a tensor without";

bool have_one_stride(std::initializer_list<const View*> tensors) {
  return std::all_of(tensors.begin(), tensors.end(), [](const View* v) { return !v->present() || v->map.ndim <= 1; });
}

template <class C>
size_t bytes_of(const Slices& s, DType t) {
  if (s.n > int64_t(1) << 44 || s.kept > int64_t(1) << 44) return SIZE_MAX;  // beyond any memory, and short of an overflow
  if (s.empty() || (!s.columns && cuda::slice_team(s, t))) return 0;
  if (!s.columns) return size_t(s.kept * cuda::PartPlan(s, t).parts) * sizeof(cuda::Squares<C>) + 15;
  return size_t(cuda::ColumnPlan(s, t).chunks * s.n) * sizeof(cuda::Squares<C>) + size_t(s.kept) * sizeof(cuda::SliceFactors<C>) + 15;
}

}  // namespace

size_t weights_cuda_workspace(const WeightsForward& p) {
  const DType t = p.v.dtype;
  return t == DType::f64 ? bytes_of<double>(p.slices, t) : bytes_of<float>(p.slices, t);
}
size_t weights_cuda_workspace(const WeightsBackward& p) {
  const DType t = p.dw.dtype;
  return t == DType::f64 ? bytes_of<double>(p.slices, t) : bytes_of<float>(p.slices, t);
}

const char* weights_cuda_refuses(const WeightsForward& p) {
  if (const char* const reason = cuda::cuda_refuses_device(p.device)) return reason;
  return have_one_stride({&p.v, &p.w}) ? nullptr : kStrides;
}
const char* weights_cuda_refuses(const WeightsBackward& p) {
  if (const char* const reason = cuda::cuda_refuses_device(p.device)) return reason;
  return have_one_stride({&p.v, &p.dw, &p.dv}) ? nullptr : kStrides;
}

}  // namespace kilter

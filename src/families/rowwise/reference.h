// The float64 references of the row norms (fp64 rows: __float128), one per op in ops/<op>/reference.cc, and what they share: the affine
// part with its rounding order, and column sums.
#pragma once

#include <cstring>
#include <new>

#include "core/element.h"
#include "core/status.h"
#include "families/rowwise/problem.h"

namespace kilter {

// Output views may have any type: an fp64 y receives the unrounded result, which is what `kilter check` compares with.
[[nodiscard]] kilter_status layer_norm_reference_forward(const RowNormForward& problem, kilter_stream);
[[nodiscard]] kilter_status layer_norm_reference_backward(const RowNormBackward& problem, kilter_stream);
[[nodiscard]] kilter_status rms_norm_reference_forward(const RowNormForward& problem, kilter_stream);
[[nodiscard]] kilter_status rms_norm_reference_backward(const RowNormBackward& problem, kilter_stream);

// Column sums in the workspace: two rows of n of the reference's type.
inline size_t reference_backward_workspace(const RowNormBackward& p) {
  if (p.dweight.dtype == DType::none && p.dbias.dtype == DType::none) return 0;
  if (p.n > int64_t(1) << 48) return SIZE_MAX;  // beyond any memory, and short of an overflow
  return sizeof(Quad) * size_t(2 * p.n);
}

template <class R, class Problem>
R weight_at(const Problem& p, int64_t i) {
  return p.weight.present() ? R(p.weight_offset) + read<R>(p.weight, 0, i) : R(1);
}

// y(r, i) from xhat.  The weight offset is added exactly here; kernels round that sum to fp32.
template <class R>
void finish_element(const RowNormForward& p, int64_t r, int64_t i, R xhat) {
  const auto round = [&](R v) { return p.round_then_multiply ? rounded(p.x.dtype, v) : v; };
  R y = round(xhat);
  if (p.weight.present()) y = round(y * weight_at<R>(p, i));
  if (p.bias.present()) y = round(y + read<R>(p.bias, 0, i));
  if (p.post_residual.present()) y += read<R>(p.post_residual, r, i);
  write(p.y, r, i, y);
}

template <class R>
class ReferenceSums {
 public:
  [[nodiscard]] kilter_status start(const RowNormBackward& p) {
    if (!p.dweight.present() && !p.dbias.present()) return KILTER_OK;
    const size_t need = reference_backward_workspace(p);
    if (!p.workspace || p.workspace_size < need)
      return fail(KILTER_WORKSPACE_TOO_SMALL, p.op, "workspace: expected %zu bytes, got %zu", need, p.workspace ? p.workspace_size : 0);
    n_ = p.n;
    data_ = p.workspace;
    std::memset(data_, 0, sizeof(R) * size_t(2 * n_));
    return KILTER_OK;
  }

  void add(int64_t i, R dweight, R dbias) {
    if (!data_) return;
    set(i, get(i) + dweight);
    set(n_ + i, get(n_ + i) + dbias);
  }

  void finish(const RowNormBackward& p) const {
    for (int64_t i = 0; i < n_; ++i) {
      write(p.dweight, 0, i, get(i));
      write(p.dbias, 0, i, get(n_ + i));
    }
  }

 private:
  // The workspace has any alignment.
  R get(int64_t i) const {
    R v;
    std::memcpy(&v, data_ + i * int64_t(sizeof(R)), sizeof v);
    return v;
  }
  void set(int64_t i, R v) { std::memcpy(data_ + i * int64_t(sizeof(R)), &v, sizeof v); }

  char* data_ = nullptr;
  int64_t n_ = 0;
};

}  // namespace kilter

// The float64 references of the row norms (fp64 rows: __float128), one per op in ops/<op>/reference.cc, and what they share: the affine
// part with its rounding order, modulation, and column sums.
#pragma once

#include <cstring>
#include <initializer_list>
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

[[nodiscard]] kilter_status adaptive_layer_norm_reference_forward(const RowNormForward& problem, kilter_stream);
[[nodiscard]] kilter_status adaptive_layer_norm_reference_backward(const RowNormBackward& problem, kilter_stream);

// Column sums in the workspace: rows of n of the reference's type.
enum ReferenceSum { kDweight, kDbias, kDscale, kDshift, kDgate, kReferenceSums };
inline size_t reference_backward_workspace(const RowNormBackward& p) {
  bool any = false;
  for (const View* v : {&p.dweight, &p.dbias, &p.dscale, &p.dshift, &p.dgate}) any |= v->dtype != DType::none;
  if (!any) return 0;
  if (p.n > int64_t(1) << 48) return SIZE_MAX;  // beyond any memory, and short of an overflow
  return sizeof(Quad) * size_t((p.scale.dtype == DType::none ? kDscale : kReferenceSums) * p.n);  // those of modulations come last
}

template <class R, class Problem>
R weight_at(const Problem& p, int64_t i) {
  return p.weight.present() ? R(p.weight_offset) + read<R>(p.weight, 0, i) : R(1);
}

// What a modulated row is scaled with.  Offsets are added exactly here; kernels round that sum to fp32.
template <class R, class Problem>
R factor_at(const Problem& p, int64_t m, int64_t i) {
  return p.scale.present() ? R(p.scale_offset) + read<R>(p.scale, m, i) : R(1);
}

// What the norm reads: x, or its sum with the residual, as the contract defines it.
template <class R>
R sum_at(const RowNormForward& p, int64_t r, int64_t m, int64_t i) {
  if (!p.gate.present()) return read_sum<R>(p.x, p.residual, r, i);
  const auto sum = [&](auto x) {
    using F = decltype(x);
    const F branch = read<F>(p.gate, m, i) * x;
    return rounded<R>(p.residual.dtype, R(read<F>(p.residual, r, i) + branch));
  };
  return p.x.dtype == DType::f64 ? sum(read<double>(p.x, r, i)) : sum(read<float>(p.x, r, i));
}

template <class R>
void write_residual_out(const RowNormForward& p, int64_t r, int64_t m) {
  for (int64_t i = 0; i < p.n && p.residual_out.present(); ++i) write(p.residual_out, r, i, sum_at<R>(p, r, m, i));
}

// Once residual_out was written: y may lie where x does.
template <class R>
R source_at(const RowNormForward& p, int64_t r, int64_t m, int64_t i) {
  return p.residual_out.present() ? read<R>(p.residual_out, r, i) : sum_at<R>(p, r, m, i);
}

// y(r, i) from xhat.
template <class R>
void finish_element(const RowNormForward& p, int64_t r, int64_t m, int64_t i, R xhat) {
  const auto round = [&](R v) { return p.round_then_multiply ? rounded(p.x.dtype, v) : v; };
  R y = round(xhat);
  if (p.weight.present()) y = round(y * weight_at<R>(p, i));
  if (p.bias.present()) y = round(y + read<R>(p.bias, 0, i));
  if (p.scale.present()) y *= factor_at<R>(p, m, i);
  if (p.shift.present()) y += read<R>(p.shift, m, i);
  if (p.post_residual.present()) y += read<R>(p.post_residual, r, i);
  write(p.y, r, i, y);
}

// dx and dresidual from the gradient d of what the norm read.
template <class R>
void write_gradients(const RowNormBackward& p, int64_t r, int64_t m, int64_t i, R d) {
  write(p.dresidual, r, i, d);
  write(p.dx, r, i, p.gate.present() ? read<R>(p.gate, m, i) * d : d);
}

// Sums over all rows, and over those of a modulation, which follow one another.
template <class R>
class ReferenceSums {
 public:
  explicit ReferenceSums(const RowNormBackward& p) : p_(p) {}

  [[nodiscard]] kilter_status start() {
    const size_t need = reference_backward_workspace(p_);
    if (need == 0) return KILTER_OK;
    if (!p_.workspace || p_.workspace_size < need)
      return fail(KILTER_WORKSPACE_TOO_SMALL, p_.op, "workspace: expected %zu bytes, got %zu", need, p_.workspace ? p_.workspace_size : 0);
    data_ = p_.workspace;
    std::memset(data_, 0, need);
    return KILTER_OK;
  }

  // Before a row's terms.
  void enter(int64_t modulation) {
    while (modulation_ < modulation) leave();
  }

  // dy and xhat of an element, and the gradient of what the norm read.
  void add(int64_t r, int64_t i, R dy, R xhat, R d) {
    if (!data_) return;
    const R u = dy * factor_at<R>(p_, modulation_, i);
    add_to(kDweight, i, u * xhat);
    add_to(kDbias, i, u);
    if (!p_.scale.present()) return;
    add_to(kDscale, i, dy * (xhat * weight_at<R>(p_, i) + (p_.bias.present() ? read<R>(p_.bias, 0, i) : R(0))));
    add_to(kDshift, i, dy);
    if (p_.branch.present()) add_to(kDgate, i, d * read<R>(p_.branch, r, i));
  }

  void finish() {
    if (!data_) return;
    enter(p_.modulation.count);
    for (int64_t i = 0; i < p_.n; ++i) {
      write(p_.dweight, 0, i, get(kDweight, i));
      write(p_.dbias, 0, i, get(kDbias, i));
    }
  }

 private:
  void leave() {
    for (int64_t i = 0; i < p_.n && data_; ++i) {
      write(p_.dscale, modulation_, i, get(kDscale, i));
      write(p_.dshift, modulation_, i, get(kDshift, i));
      write(p_.dgate, modulation_, i, get(kDgate, i));
      for (const ReferenceSum sum : {kDscale, kDshift, kDgate}) set(sum, i, 0);
    }
    ++modulation_;
  }

  // The workspace has any alignment.
  R get(ReferenceSum sum, int64_t i) const {
    R v;
    std::memcpy(&v, data_ + (sum * p_.n + i) * int64_t(sizeof(R)), sizeof v);
    return v;
  }
  void set(ReferenceSum sum, int64_t i, R v) { std::memcpy(data_ + (sum * p_.n + i) * int64_t(sizeof(R)), &v, sizeof v); }
  void add_to(ReferenceSum sum, int64_t i, R v) { set(sum, i, get(sum, i) + v); }

  const RowNormBackward& p_;
  char* data_ = nullptr;
  int64_t modulation_ = 0;
};

}  // namespace kilter

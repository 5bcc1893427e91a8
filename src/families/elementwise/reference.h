// The float64 reference of the elementwise ops (fp64 rows: long double), the obvious way: ops/<op>/reference.cc gives f and f'.
#pragma once

#include <cfenv>
#include <cmath>

#include "core/element.h"
#include "core/status.h"
#include "families/elementwise/problem.h"

namespace kilter {

[[nodiscard]] kilter_status dyt_reference_forward(const ElementwiseForward& problem, kilter_stream);
[[nodiscard]] kilter_status dyt_reference_backward(const ElementwiseBackward& problem, kilter_stream);
[[nodiscard]] kilter_status derf_reference_forward(const ElementwiseForward& problem, kilter_stream);
[[nodiscard]] kilter_status derf_reference_backward(const ElementwiseBackward& problem, kilter_stream);

// Sums in the workspace: dweight, dbias, then dalpha and dshift.
inline size_t reference_backward_workspace(const ElementwiseBackward& p) {
  if (!p.has_sums()) return 0;
  if (p.n > int64_t(1) << 48) return SIZE_MAX;  // beyond any memory, and short of an overflow
  return sizeof(long double) * size_t(2 * p.n + 3);
}

// F: R f(R u) and R slope(R u).  Output views may have any type: an fp64 y receives the unrounded result, which is what `kilter check`
// compares with.
template <class F, class R>
struct ElementwiseReference {
  R alpha, shift = 0;

  template <class Problem>
  explicit ElementwiseReference(const Problem& p) : alpha(read<R>(p.alpha, 0, 0)) {
    if (p.shift.present()) shift = read<R>(p.shift, 0, 0);
  }

  kilter_status run(const ElementwiseForward& p) const {
    for (int64_t r = 0; r < p.rows; ++r)
      for (int64_t i = 0; i < p.n; ++i) {
        const R x = read_sum<R>(p.x, p.residual, r, i);
        write(p.residual_out, r, i, x);
        if (!p.y.present()) continue;
        R y = F::f(alpha * x + shift);
        if (p.weight.present()) y *= read<R>(p.weight, 0, i);
        if (p.bias.present()) y += read<R>(p.bias, 0, i);
        write(p.y, r, i, y);
      }
    return KILTER_OK;
  }

  kilter_status run(const ElementwiseBackward& p) const {
    const size_t need = reference_backward_workspace(p);
    if (need && (!p.workspace || p.workspace_size < need))
      return fail(KILTER_WORKSPACE_TOO_SMALL, p.op, "workspace: expected %zu bytes, got %zu", need, p.workspace ? p.workspace_size : 0);
    R* const sums = reinterpret_cast<R*>((reinterpret_cast<uintptr_t>(p.workspace) + 15) & ~uintptr_t(15));
    for (int64_t i = 0; need && i < 2 * p.n + 2; ++i) sums[i] = 0;
    for (int64_t r = 0; r < p.rows; ++r)
      for (int64_t i = 0; i < p.n; ++i) {
        const R x = read<R>(p.x, r, i), dy = read<R>(p.dy, r, i), u = alpha * x + shift;
        const R slope = (p.weight.present() ? dy * read<R>(p.weight, 0, i) : dy) * F::slope(u);
        R dx = slope * alpha;
        if (p.dresidual_out.present()) dx += read<R>(p.dresidual_out, r, i);
        if (need) {
          sums[i] += dy * F::f(u), sums[p.n + i] += dy;
          sums[2 * p.n] += slope * x, sums[2 * p.n + 1] += slope;
        }
        write(p.dx, r, i, dx);
        write(p.dresidual, r, i, dx);
      }
    for (int64_t i = 0; need && i < p.n; ++i) write(p.dweight, 0, i, sums[i]), write(p.dbias, 0, i, sums[p.n + i]);
    if (need) write(p.dalpha, 0, 0, sums[2 * p.n]), write(p.dshift, 0, 0, sums[2 * p.n + 1]);
    return KILTER_OK;
  }
};

// FloatEnvironment for long double, whose unit has an environment of its own on x86.
class LongDoubleEnvironment {
 public:
  LongDoubleEnvironment() {
    std::fegetenv(&found_);
    std::fesetenv(FE_DFL_ENV);
    asm volatile("" : : : "memory");
  }
  ~LongDoubleEnvironment() {
    asm volatile("" : : : "memory");
    std::fesetenv(&found_);
  }
  LongDoubleEnvironment(const LongDoubleEnvironment&) = delete;
  LongDoubleEnvironment& operator=(const LongDoubleEnvironment&) = delete;

 private:
  std::fenv_t found_;
};

template <class F>
kilter_status elementwise_reference(const ElementwiseForward& p) {
  const LongDoubleEnvironment environment;
  return p.x.dtype == DType::f64 ? ElementwiseReference<F, long double>(p).run(p) : ElementwiseReference<F, double>(p).run(p);
}
template <class F>
kilter_status elementwise_reference(const ElementwiseBackward& p) {
  const LongDoubleEnvironment environment;
  return p.dy.dtype == DType::f64 ? ElementwiseReference<F, long double>(p).run(p) : ElementwiseReference<F, double>(p).run(p);
}

}  // namespace kilter

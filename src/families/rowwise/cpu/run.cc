#include "families/rowwise/cpu/run.h"

#include <algorithm>
#include <initializer_list>
#include <limits>
#include <type_traits>

#include "core/element.h"
#include "cpu/parallel.h"
#include "families/rowwise/cpu/modulated.h"
#include "families/rowwise/cpu/plan.h"

namespace kilter {
namespace {

SumPlan plan_of(const RowNormBackward& p, int threads) {
  const int planes = (p.dweight.dtype != DType::none) + (p.dbias.dtype != DType::none);
  return sum_plan(p.rows, p.n, planes, p.dy.dtype == DType::f64 ? 8 : 4, threads);
}

template <class C>
const RowBackwardKernels<C>& backward_kernels(const RowNormKernels& kernels) {
  if constexpr (sizeof(C) == 8)
    return kernels.backward_f64;
  else
    return kernels.backward_f32;
}

// One block: its chunks in order, partial trees in scratch, the block's sum to `out` (planes rows of stride).
template <class C>
void sum_block(const RowNormBackward& p, const SumPlan& plan, int64_t block, char* scratch, Wide<C>* out, const RowNormKernels& kernels,
               bool past_caches) {
  const int64_t first = block << plan.level, last = std::min(plan.partition.chunks, (block + 1) << plan.level), stride = plan.stride;
  const int64_t used = std::min<int64_t>(plan.set(), (last - first + kJoined - 1) / kJoined * kJoined);  // of a set's rows
  const int64_t wide_plane = plan.wide_rows() * stride, narrow_plane = plan.narrow_rows() * stride;
  Wide<C>* const wide = reinterpret_cast<Wide<C>*>(scratch);
  C* const narrow = reinterpret_cast<C*>(wide + plan.planes * wide_plane);
  ColumnSums<C> sums;
  sums.pairs = in_pairs(p), sums.stride = stride, sums.set = plan.set();
  ColumnSum<C>* const asked_for[] = {p.dweight.present() ? &sums.weight : &sums.bias, &sums.bias};
  for (int k = 0; k < plan.planes; ++k) {
    C* const columns = narrow + k * narrow_plane;
    Wide<C>* const levels = wide + k * wide_plane;
    std::fill_n(columns, (2 + used) * stride, C(0));
    if (plan.many_blocks()) std::fill_n(levels, used * stride, Wide<C>{});
    *asked_for[k] = {.blocks = plan.many_blocks() ? levels : nullptr,
                     .block = columns + 2 * stride,
                     .half = {columns, columns + stride},
                     .levels = levels + plan.block_rows() * stride,
                     .out = out + k * stride};
  }
  backward_kernels<C>(kernels).rows(p, RowWalk(plan.partition, p.rows, first, last, plan.set()), sums, past_caches);
}

// Columns [begin, end), begin a multiple of the segment's length, rounded to the terms' type and from there to the output's.
template <class W>
void write_columns(const W* sum, int64_t begin, int64_t end, bool pairs, const View& out) {
  using C = std::conditional_t<std::is_same_v<W, double>, float, double>;
  for (int64_t i = begin; i < end; ++i) write(out, 0, i, C(value_of(sum[pairs ? pairs_index(i, end) : i])));
}

template <class C>
kilter_status backward_with_sums(const RowNormBackward& p, const RowNormKernels& kernels, int threads, bool past_caches) {
  SumPlan plan = plan_of(p, threads);
  while (plan.threads > 1 && plan.bytes() > p.workspace_size) plan = plan_of(p, plan.threads - 1);
  if (!p.workspace || plan.bytes() > p.workspace_size)
    return fail(KILTER_WORKSPACE_TOO_SMALL, p.op, "workspace: expected %zu bytes, got %zu", plan.bytes(),
                p.workspace ? p.workspace_size : 0);
  char* const aligned = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(p.workspace) + 63) & ~uintptr_t(63));
  Wide<C>* const blocks = reinterpret_cast<Wide<C>*>(aligned);
  char* const scratch = reinterpret_cast<char*>(blocks + plan.blocks * plan.planes * plan.stride);
  if (p.rows == 0) {
    std::fill_n(blocks, plan.planes * plan.stride, Wide<C>{});
  } else {
    parallel_for(plan.blocks, plan.threads, [&](int64_t b, int thread) {
      sum_block<C>(p, plan, b, scratch + size_t(thread) * plan.scratch_bytes(), blocks + b * plan.planes * plan.stride, kernels,
                   past_caches);
    });
  }
  const auto finish = [&](int64_t begin, int64_t end) {
    for (int k = 0; k < plan.planes; ++k) {
      Wide<C>* const sum = blocks + k * plan.stride;
      backward_kernels<C>(kernels).add_tree(sum, plan.planes * plan.stride, plan.blocks, begin, end == p.n ? plan.stride : end);
      write_columns(sum, begin, end, in_pairs(p), k == 0 && p.dweight.present() ? p.dweight : p.dbias);
    }
  };
  constexpr int64_t kColumns = 4096;
  parallel_for((p.n + kColumns - 1) / kColumns, plan.blocks * p.n > kElementsPerThread ? threads : 1,
               [&](int64_t b, int) { finish(b * kColumns, std::min(p.n, (b + 1) * kColumns)); });
  return KILTER_OK;
}

// Rows without elements: their statistics are those of an empty sum, 0 / 0.
void write_empty_statistics(const RowNormForward& p) {
  for (int64_t r = 0; r < p.rows; ++r) {
    write(p.mean, r, 0, std::numeric_limits<double>::quiet_NaN());
    write(p.rstd, r, 0, std::numeric_limits<double>::quiet_NaN());
  }
}

}  // namespace

kilter_status run_on_cpu(const RowNormForward& p, const RowNormKernels& kernels) {
  if (p.rows == 0) return KILTER_OK;
  if (p.n == 0) {
    write_empty_statistics(p);
    return KILTER_OK;
  }
  const auto kernel = p.x.dtype == DType::f64 ? kernels.forward_f64 : kernels.forward_f32;
  const bool past_caches = should_stream(p.y, p.rows, p.n, {&p.x, &p.residual, &p.post_residual});
  const int threads = threads_for(p.rows, p.n, available_threads());
  parallel_for(threads, threads, [&](int64_t b, int) { kernel(p, p.rows * b / threads, p.rows * (b + 1) / threads, past_caches); });
  return KILTER_OK;
}

kilter_status run_on_cpu(const RowNormBackward& p, const RowNormKernels& kernels) {
  if (p.n == 0) return KILTER_OK;
  const int threads = threads_for(p.rows, p.n, available_threads());
  const auto streams = [&](const View& out) { return should_stream(out, p.rows, p.n, {&p.x, &p.dy, &p.dresidual_out}); };
  const bool past_caches = streams(p.dx) && (!p.dresidual.present() || streams(p.dresidual));
  const bool wide = p.dy.dtype == DType::f64;
  if (p.scale.dtype != DType::none && has_sums(p))
    return wide ? modulated_backward<double>(p, kernels.backward_f64, threads, past_caches)
                : modulated_backward<float>(p, kernels.backward_f32, threads, past_caches);
  if (p.dweight.present() || p.dbias.present())
    return wide ? backward_with_sums<double>(p, kernels, threads, past_caches)
                : backward_with_sums<float>(p, kernels, threads, past_caches);
  if (p.rows == 0) return KILTER_OK;
  ColumnSums<float> none;
  none.pairs = in_pairs(p);
  parallel_for(threads, threads, [&](int64_t b, int) {
    const RowWalk walk(p.rows * b / threads, p.rows * (b + 1) / threads, p.modulation);
    if (wide)
      kernels.backward_f64.rows(p, walk, {}, past_caches);
    else
      kernels.backward_f32.rows(p, walk, none, past_caches);
  });
  return KILTER_OK;
}

size_t row_norm_cpu_workspace(const RowNormBackward& p, int threads) {
  if (!has_sums(p)) return 0;
  if (p.n > int64_t(1) << 48) return SIZE_MAX;  // beyond any memory, and short of an overflow below
  return p.scale.dtype != DType::none ? modulation_plan_of(p, threads).bytes() : plan_of(p, threads).bytes();
}

int64_t pairs_index(int64_t i, int64_t n) {
  const int64_t segment = i / 1024 * 1024, m = std::min<int64_t>(1024, n - segment), j = i - segment;
  return segment + (j & 1 ? ((m + 1) / 2 + 15) / 16 * 16 : 0) + j / 2;
}

}  // namespace kilter

#include "families/rowwise/cpu/modulated.h"

#include <algorithm>

#include "core/element.h"
#include "cpu/parallel.h"

namespace kilter {
namespace {

// Views of the workspace: what each block leaves, then each thread's scratch.
template <class C>
class Workspace {
 public:
  Workspace(const ModulationPlan& plan, char* memory)
      : plan_(plan),
        sums_(reinterpret_cast<Wide<C>*>((reinterpret_cast<uintptr_t>(memory) + 63) & ~uintptr_t(63))),
        scratch_(reinterpret_cast<char*>(sums_ + plan.blocks * plan.block_sums() * plan.stride)) {}

  ModulationSums<C> of_block(int64_t block, int64_t rows) const {
    ModulationSums<C> sums;
    sums.begin = block * plan_.block_rows, sums.end = std::min(rows, sums.begin + plan_.block_rows);
    sums.many_blocks = plan_.many_blocks();
    Wide<C>* next = sums_ + block * plan_.block_sums() * plan_.stride;
    const auto take = [&](bool wanted) {
      Wide<C>* const row = next;
      if (wanted) next += plan_.stride;
      return wanted ? row : nullptr;
    };
    for (int k = 0; k < 3; ++k) sums.head[k] = take(plan_.planes[k]), sums.tail[k] = take(plan_.planes[k]);
    sums.dweight = take(plan_.dweight), sums.dbias = take(plan_.dbias);
    return sums;
  }

  // Columns of a thread, all zero, and its row of weights.
  ColumnSums<C> of_thread(int thread, C** weight) const {
    ColumnSums<C> sums;
    sums.stride = plan_.stride;
    char* const scratch = scratch_ + size_t(thread) * plan_.scratch_bytes();
    std::fill_n(scratch, plan_.scratch_bytes(), char(0));
    *weight = reinterpret_cast<C*>(scratch + plan_.scratch_bytes()) - plan_.stride;
    Wide<C>* wide = reinterpret_cast<Wide<C>*>(scratch);
    C* narrow = reinterpret_cast<C*>(wide + (plan_.many_blocks() ? plan_.plane_count() * plan_.stride : 0));
    ColumnSum<C>* const planes[3] = {&sums.weight, &sums.bias, &sums.gate};
    for (int k = 0; k < 3; ++k) {
      if (!plan_.planes[k]) continue;
      ColumnSum<C>& sum = *planes[k];
      sum.half[0] = narrow, sum.half[1] = narrow + plan_.stride, sum.block = narrow + 2 * plan_.stride;
      narrow += 3 * plan_.stride;
      if (plan_.many_blocks()) sum.blocks = wide, wide += plan_.stride;
    }
    return sums;
  }

 private:
  const ModulationPlan& plan_;
  Wide<C>* const sums_;
  char* const scratch_;
};

// Columns [begin, end) of what no block has alone.
template <class C>
class Columns {
 public:
  Columns(const RowNormBackward& p, const ModulationPlan& plan, const Workspace<C>& workspace, int64_t begin, int64_t end)
      : p_(p), plan_(plan), workspace_(workspace), begin_(begin), end_(end) {}

  void finish() const {
    const Modulation& m = p_.modulation;
    for (int64_t i = 0; i < m.count; ++i)
      if (m.start_of(i) == m.start_of(i + 1)) write_modulation(i, [](int, int64_t) { return Wide<C>{}; });
    ModulationCursor modulation(m);
    for (int64_t block = 0; block + 1 < plan_.blocks; ++block) {
      const ModulationSums<C> sums = workspace_.of_block(block, p_.rows);
      modulation.seek(sums.end - 1);
      if (modulation.end() > sums.end && m.start_of(modulation.index()) >= sums.begin) join(block, modulation.index(), modulation.end());
    }
    write_total(p_.dweight, [](const ModulationSums<C>& sums) { return sums.dweight; });
    write_total(p_.dbias, [](const ModulationSums<C>& sums) { return sums.dbias; });
  }

 private:
  int64_t place(int64_t i) const { return in_pairs(p_) ? pairs_index(i, p_.n) : i; }

  // The modulation that begins in this block and ends in a later one: its shares in the order of the blocks.
  void join(int64_t block, int64_t m, int64_t end) const {
    write_modulation(m, [&](int plane, int64_t column) {
      Wide<C> sum = workspace_.of_block(block, p_.rows).tail[plane][column];
      for (int64_t b = block + 1; b * plan_.block_rows < end; ++b) add_to(sum, workspace_.of_block(b, p_.rows).head[plane][column]);
      return sum;
    });
  }

  template <class F>
  void write_modulation(int64_t m, F&& sum) const {
    for (int64_t i = begin_; i < end_; ++i) {
      const int64_t at = place(i);
      const C w = p_.weight.present() ? read<C>(p_.weight, 0, i) : C(1), b = p_.bias.present() ? read<C>(p_.bias, 0, i) : C(0);
      if (p_.dscale.present())
        write(p_.dscale, m, i, C(value_of(scale_gradient(sum(0, at), w, p_.bias.present() ? sum(1, at) : Wide<C>{}, b))));
      if (p_.dshift.present()) write(p_.dshift, m, i, C(value_of(sum(1, at))));
      if (p_.dgate.present()) write(p_.dgate, m, i, C(value_of(sum(2, at))));
    }
  }

  template <class F>
  void write_total(const View& out, F&& row) const {
    for (int64_t i = begin_; i < end_ && out.present(); ++i) {
      Wide<C> sum{};
      for (int64_t block = 0; block < plan_.blocks; ++block) add_to(sum, row(workspace_.of_block(block, p_.rows))[place(i)]);
      write(out, 0, i, C(value_of(sum)));
    }
  }

  const RowNormBackward& p_;
  const ModulationPlan& plan_;
  const Workspace<C>& workspace_;
  const int64_t begin_, end_;
};

}  // namespace

bool has_sums(const RowNormBackward& p) {
  for (const View* v : {&p.dweight, &p.dbias, &p.dscale, &p.dshift, &p.dgate})
    if (v->dtype != DType::none) return true;
  return false;
}

ModulationPlan modulation_plan_of(const RowNormBackward& p, int threads) {
  const auto has = [](const View& v) { return v.dtype != DType::none; };
  ModulationPlan plan = modulation_plan(p.modulation, p.rows, p.n, p.dy.dtype == DType::f64 ? 8 : 4, threads);
  plan.dweight = has(p.dweight), plan.dbias = has(p.dbias);
  plan.planes[0] = has(p.dscale) || has(p.dweight);
  plan.planes[1] = has(p.dshift) || has(p.dbias) || (has(p.dscale) && has(p.bias));
  plan.planes[2] = has(p.dgate);
  return plan;
}

template <class C>
kilter_status modulated_backward(const RowNormBackward& p, const RowBackwardKernels<C>& kernels, int threads, bool past_caches) {
  ModulationPlan plan = modulation_plan_of(p, threads);
  while (plan.threads > 1 && plan.bytes() > p.workspace_size) --plan.threads;
  if (!p.workspace || plan.bytes() > p.workspace_size)
    return fail(KILTER_WORKSPACE_TOO_SMALL, p.op, "workspace: expected %zu bytes, got %zu", plan.bytes(),
                p.workspace ? p.workspace_size : 0);
  const Workspace<C> workspace(plan, p.workspace);
  parallel_for(plan.blocks, plan.threads, [&](int64_t block, int thread) {
    ModulationSums<C> modulation = workspace.of_block(block, p.rows);
    if (modulation.dweight) std::fill_n(modulation.dweight, plan.stride, Wide<C>{});
    if (modulation.dbias) std::fill_n(modulation.dbias, plan.stride, Wide<C>{});
    ColumnSums<C> sums = workspace.of_thread(thread, &modulation.weight);
    sums.pairs = in_pairs(p), sums.modulation = &modulation;
    kernels.rows(p, RowWalk(modulation.begin, modulation.end, p.modulation), sums, past_caches);
  });
  constexpr int64_t kColumns = 1024;
  parallel_for((p.n + kColumns - 1) / kColumns, (plan.blocks + p.modulation.count) * p.n > kElementsPerThread ? threads : 1,
               [&](int64_t b, int) { Columns<C>(p, plan, workspace, b * kColumns, std::min(p.n, (b + 1) * kColumns)).finish(); });
  return KILTER_OK;
}

template kilter_status modulated_backward<float>(const RowNormBackward&, const RowBackwardKernels<float>&, int, bool);
template kilter_status modulated_backward<double>(const RowNormBackward&, const RowBackwardKernels<double>&, int, bool);

}  // namespace kilter

// The norms of planes on the CPU: which pieces there are, who takes them, where what is between passes lies.  Bits depend on the pieces
// alone, never on who works on them.
#pragma once

#include <algorithm>

#include "core/element.h"
#include "cpu/parallel.h"
#include "cpu/share.h"
#include "families/planewise/cpu/run.h"

namespace kilter {

// A slab is what is finished by itself, forward's statistics and y or backward's sums and dx.  Channels first it is a group of a sample;
// channels last some whole groups of one, so that the columns that are worked on together are several lines of cache wide.
struct PlanePlan {
  int64_t batch, channels, spatial, groups, width;  // width: channels of a group
  bool last;
  int64_t slab_groups = 1;

  template <class Problem>
  explicit PlanePlan(const Problem& p)
      : batch(p.batch),
        channels(p.channels),
        spatial(p.spatial),
        groups(p.groups),
        width(p.channels / p.groups),
        last(!(p.x.layout & kChannelsFirst)) {
    if (last && !p.empty()) slab_groups = std::min(groups, std::max<int64_t>(1, kTileColumns / width));
  }
  int64_t slabs_of_sample() const { return (groups + slab_groups - 1) / slab_groups; }
  int64_t slabs() const { return batch * slabs_of_sample(); }
  int64_t elements() const { return width * spatial; }  // of a group
};

struct Slab {
  int64_t sample, first_group, groups, first_channel, channels;
  Slab(const PlanePlan& plan, int64_t number)
      : sample(number / plan.slabs_of_sample()),
        first_group(number % plan.slabs_of_sample() * plan.slab_groups),
        groups(std::min(plan.slab_groups, plan.groups - first_group)),
        first_channel(first_group * plan.width),
        channels(groups * plan.width) {}
};

// Work on slabs: prepare(slab), pieces(slab, chunk), finish(slab), results(slab, first chunk, past the last).  A thread takes a share of
// the slabs and has each in its caches for the last step; where they are few, threads share the chunks of all.
template <class Run>
void run_slabs(const PlanePlan& plan, int64_t chunks, Run& run) {
  const int64_t slabs = plan.slabs(), tasks = slabs * chunks;
  const int64_t useful = std::max<int64_t>(1, slabs * plan.slab_groups * plan.elements() / kElementsPerThread);
  const int threads = int(std::min<int64_t>({available_threads(), useful, tasks}));
  if (threads == 1 || slabs % threads == 0 || slabs >= 8 * threads) {
    parallel_for(threads, threads, [&](int64_t t, int) {
      for (int64_t s = slabs * t / threads; s < slabs * (t + 1) / threads; ++s) {
        const Slab slab(plan, s);
        run.prepare(slab);
        for (int64_t k = 0; k < chunks; ++k) run.pieces(slab, k);
        run.finish(slab);
        run.results(slab, 0, chunks);
      }
    });
    return;
  }
  const auto share = [&](auto body) {
    parallel_for(threads, threads, [&](int64_t t, int) {
      for (int64_t task = tasks * t / threads; task < tasks * (t + 1) / threads; ++task) body(Slab(plan, task / chunks), task % chunks);
    });
  };
  const int most = int(std::min<int64_t>(threads, slabs));
  parallel_for(slabs, most, [&](int64_t s, int) { run.prepare(Slab(plan, s)); });
  share([&](const Slab& slab, int64_t k) { run.pieces(slab, k); });
  parallel_for(slabs, most, [&](int64_t s, int) { run.finish(Slab(plan, s)); });
  share([&](const Slab& slab, int64_t k) { run.results(slab, k, k + 1); });
}

// The caller's memory, piece by piece; with none, only the sum of the pieces.
class Scratch {
 public:
  explicit Scratch(char* workspace) : begin_((reinterpret_cast<uintptr_t>(workspace) + 63) & ~uintptr_t(63)), at_(begin_) {}
  template <class T>
  T* take(int64_t a, int64_t b, int64_t c = 1) {
    const uintptr_t here = at_;
    int64_t bytes = sizeof(T);
    for (const int64_t factor : {a, b, c}) fits_ = fits_ && !__builtin_mul_overflow(bytes, factor, &bytes);
    fits_ = fits_ && bytes < int64_t(1) << 61 && at_ < uintptr_t(1) << 62;
    if (fits_) at_ += (uintptr_t(bytes) + 63) & ~uintptr_t(63);
    return reinterpret_cast<T*>(here);
  }
  // Whatever the alignment of what will be had.
  size_t bytes() const { return fits_ ? at_ - begin_ + 63 : SIZE_MAX; }

 private:
  uintptr_t begin_, at_;
  bool fits_ = true;
};

template <class Problem>
kilter_status check_workspace(const Problem& p, size_t need) {
  if (p.workspace && need <= p.workspace_size) return KILTER_OK;
  return fail(KILTER_WORKSPACE_TOO_SMALL, p.op, "workspace: expected %zu bytes, got %zu", need, p.workspace ? p.workspace_size : 0);
}

// Whether lines are written whole: streaming stores of parts of one would be slower than none.
template <class Problem>
bool streams(const Problem& p, const PlanePlan& plan, const View& out, std::initializer_list<const View*> inputs) {
  const int64_t item = item_size(out.dtype);
  if (plan.last && (plan.channels * item % 64 || plan.slab_groups * plan.width * item % 64)) return false;
  return should_stream(out, p.batch, p.channels * p.spatial, inputs);
}

// What scale, weight and the like make of a channel, in the compute type.
template <class C, class Problem>
struct ChannelNumbers {
  C weight, factor, offset;  // v = xhat * weight * factor + offset
  double bias;
  ChannelNumbers(const Problem& p, int64_t sample, int64_t channel) {
    const auto one = [](const View& v, int64_t row, int64_t i, double absent) { return v.present() ? read<double>(v, row, i) : absent; };
    weight = C(one(p.weight, 0, channel, 1)), bias = one(p.bias, 0, channel, 0);
    factor = p.scale.present() ? C(C(read<double>(p.scale, sample, channel)) + C(p.scale_offset)) : C(1);
    offset = C(C(bias) * double(factor) + one(p.shift, sample, channel, 0));
  }
};

}  // namespace kilter

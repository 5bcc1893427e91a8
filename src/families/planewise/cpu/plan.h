// The norms of planes on the CPU: which pieces there are, who takes them, where what is between passes lies.  Bits depend on the pieces
// alone, never on who works on them.
#pragma once

#include <algorithm>

#include "core/element.h"
#include "cpu/parallel.h"
#include "cpu/share.h"
#include "families/planewise/cpu/run.h"

namespace kilter {

// A slab is what is finished by itself, forward's statistics and y or backward's sums and dx: groups of a set of samples.  Of a sample,
// channels first, it is one group; channels last everything, or, where there are few chunks, some whole groups, whose columns are several
// lines of cache wide.  Of all samples, channels first, it is as many channels as a cache holds; channels last it is everything.
struct PlanePlan {
  int64_t sets, samples, channels, spatial, groups, width;  // samples: of a set; width: channels of a group
  bool last;
  int64_t slab_groups = 1;
  bool by_sample = false;  // results are shared by samples, not by chunks

  // lines: channels first, what is summed at once is a channel's run, not a group's.
  template <class Problem>
  PlanePlan(const Problem& p, bool lines, int64_t chunk)
      : sets(sets_of(p)),
        samples(samples_of_set(p)),
        channels(p.channels),
        spatial(p.spatial),
        groups(p.groups),
        width(p.channels / p.groups),
        last(!(p.x.layout & kChannelsFirst) || (p.over_batch && p.spatial == 1 && p.x.layout & kChannelsLast)) {
    if (p.empty()) return;
    run = last ? samples * spatial : lines ? spatial : width * spatial;
    samples_at_once = last || run >= chunk ? 1 : std::min(samples, chunk / run);
    pieces = (run + chunk - 1) / chunk;
    chunks = last ? pieces : (samples + samples_at_once - 1) / samples_at_once * pieces;
    length = chunk;
    const int64_t in_cache = kSlabBytes / (samples * spatial * item_size(p.x.dtype));
    if (last && p.over_batch)
      slab_groups = groups;
    else if (last)
      slab_groups = std::clamp<int64_t>(groups / std::max<int64_t>(1, kLeastSlabs / (sets * chunks)),
                                        std::min(groups, std::max<int64_t>(1, kTileColumns<float> / width)), groups);
    else if (p.over_batch)
      slab_groups = std::clamp<int64_t>(in_cache, 1, std::max<int64_t>(1, groups / kLeastSlabs));
  }

  // Of all samples' bytes of a slab: half of a second-level cache.
  static constexpr int64_t kSlabBytes = 512 << 10, kLeastSlabs = 16;

  // A run (channels first: of a sample; channels last: a column) in pieces; a chunk is a piece, or whole runs of several samples.
  int64_t run = 0, length = 1, pieces = 0, samples_at_once = 1, chunks = 0;

  // For results that are bits: no two threads have some of one byte.
  void keep_bytes_whole() {
    if (last || spatial % 8 == 0) return;
    slab_groups = std::min(groups, (slab_groups + 7) / 8 * 8), by_sample = true;
  }
  int64_t shares() const { return by_sample ? samples : chunks; }  // of a slab's results

  int64_t slabs_of_set() const { return (groups + slab_groups - 1) / slab_groups; }
  int64_t slabs() const { return sets * slabs_of_set(); }
  int64_t elements() const { return samples * width * spatial; }  // of a plane
  int64_t count(int64_t chunk) const {                            // of a run's, or a column's, elements
    const PlanePart p = part(0, chunk, 0);
    return p.samples * (p.end - p.begin);
  }
  // Chunk `chunk` of the run that begins at element `base` of each sample.
  PlanePart part(int64_t set, int64_t chunk, int64_t base) const {
    const int64_t first = chunk / pieces * samples_at_once, begin = chunk % pieces * length;
    if (last) return {0, 1, set * run + begin, set * run + std::min(run, begin + length)};
    return {set * samples + first, std::min(samples_at_once, samples - first), base + begin, base + std::min(run, begin + length)};
  }
};

struct Slab {
  int64_t set, first_group, groups, first_channel, channels;
  Slab(const PlanePlan& plan, int64_t number)
      : set(number / plan.slabs_of_set()),
        first_group(number % plan.slabs_of_set() * plan.slab_groups),
        groups(std::min(plan.slab_groups, plan.groups - first_group)),
        first_channel(first_group * plan.width),
        channels(groups * plan.width) {}
  Slab(const PlanePlan& plan, int64_t set_number, int64_t group, int64_t group_count)
      : set(set_number), first_group(group), groups(group_count), first_channel(group * plan.width), channels(group_count * plan.width) {}
};

// Chunk `chunk` of a slab's columns, channels last.
inline PlanePart columns_of(const PlanePlan& plan, const Slab& slab, int64_t chunk) {
  PlanePart part = plan.part(slab.set, chunk, 0);
  part.first_column = slab.first_channel, part.columns = int(slab.channels);
  return part;
}

// What a pass that goes element by element takes of chunks (by_sample: of samples) [begin, end) of a slab: f(part).
template <class F>
void each_part(const PlanePlan& plan, const Slab& slab, int64_t begin, int64_t end, F f) {
  if (plan.last) {
    PlanePart all = columns_of(plan, slab, begin);
    all.end = plan.part(slab.set, end - 1, 0).end;
    return f(all);
  }
  const int64_t base = slab.first_channel * plan.spatial, length = slab.channels * plan.spatial;
  if (plan.by_sample || (begin == 0 && end == plan.chunks)) {  // sample by sample, all channels of each
    const int64_t past = plan.by_sample ? end : plan.samples;
    for (int64_t n = begin; n < past; ++n) f(PlanePart{slab.set * plan.samples + n, 1, base, base + length});
    return;
  }
  for (int64_t at = base; at < base + length; at += plan.run)
    for (int64_t k = begin; k < end; ++k) f(plan.part(slab.set, k, at));
}

// Work on slabs: prepare(slab), pieces(slab, chunk), finish(slab), results(slab, first chunk, past the last).  A thread takes a share of
// the slabs and has each in its caches for the last step; where they are few, threads share the chunks of all.  What was read last is
// read again first, where a slab may be larger than a cache.
template <class Run>
void run_slabs(const PlanePlan& plan, Run& run) {
  const int64_t slabs = plan.slabs(), tasks = slabs * plan.chunks;
  const int64_t useful = std::max<int64_t>(1, plan.sets * plan.groups * plan.elements() / kElementsPerThread);
  const int threads = int(std::min<int64_t>({available_threads(), useful, tasks}));
  if (threads == 1 || slabs % threads == 0 || slabs >= 8 * threads) {
    parallel_for(threads, threads, [&](int64_t t, int) {
      for (int64_t s = slabs * t / threads; s < slabs * (t + 1) / threads; ++s) {
        const Slab slab(plan, s);
        run.prepare(slab);
        for (int64_t k = 0; k < plan.chunks; ++k) run.pieces(slab, k);
        run.finish(slab);
        if (!plan.last) run.results(slab, 0, plan.shares());
        for (int64_t k = plan.last ? plan.chunks : 0; k-- > 0;) run.results(slab, k, k + 1);
      }
    });
    return;
  }
  const auto share_chunks = [&](int64_t of_slab, bool backwards, auto body) {
    parallel_for(threads, threads, [&](int64_t t, int) {
      const int64_t begin = slabs * of_slab * t / threads, end = slabs * of_slab * (t + 1) / threads;
      for (int64_t i = begin; i < end; ++i) {
        const int64_t task = backwards ? end - 1 - (i - begin) : i;
        body(Slab(plan, task / of_slab), task % of_slab);
      }
    });
  };
  const auto share_groups = [&](auto body) {  // groups are finished by themselves
    const int64_t all = plan.sets * plan.groups;
    parallel_for(threads, threads, [&](int64_t t, int) {
      for (int64_t g = all * t / threads; g < all * (t + 1) / threads; ++g) body(Slab(plan, g / plan.groups, g % plan.groups, 1));
    });
  };
  share_groups([&](const Slab& slab) { run.prepare(slab); });
  share_chunks(plan.chunks, false, [&](const Slab& slab, int64_t k) { run.pieces(slab, k); });
  share_groups([&](const Slab& slab) { run.finish(slab); });
  share_chunks(plan.shares(), true, [&](const Slab& slab, int64_t k) { run.results(slab, k, k + 1); });
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

// A run whose first and last lines, written in part, are a small part of it.
constexpr int64_t kLeastStreamedRun = 1024;

// Whether lines are written whole: streaming stores of parts of one would be slower than none.
template <class Problem>
bool streams(const Problem& p, const PlanePlan& plan, const View& out, std::initializer_list<const View*> inputs) {
  const int64_t item = item_size(out.dtype);
  if (plan.last && (plan.channels * item % 64 || plan.slab_groups * plan.width * item % 64)) return false;
  if (!plan.last && plan.samples > 1 && plan.slab_groups * plan.run * item < kLeastStreamedRun) return false;
  return should_stream(out, p.batch, p.channels * p.spatial, inputs);
}

// What scale, weight and the like make of a channel, in the compute type.
template <class C, class Problem>
struct ChannelNumbers {
  C weight, factor, offset;  // v = xhat * weight * factor + offset
  double bias;
  ChannelNumbers(const Problem& p, int64_t set, int64_t channel) {
    const auto one = [](const View& v, int64_t row, int64_t i, double absent) { return v.present() ? read<double>(v, row, i) : absent; };
    weight = C(one(p.weight, 0, channel, 1)), bias = one(p.bias, 0, channel, 0);
    factor = p.scale.present() ? C(C(read<double>(p.scale, set, channel)) + C(p.scale_offset)) : C(1);
    offset = C(C(bias) * double(factor) + one(p.shift, set, channel, 0));
  }
};

}  // namespace kilter

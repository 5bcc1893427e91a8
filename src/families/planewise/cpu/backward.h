// Backward of the norms of planes on the CPU: sums by channel of each sample, what follows from them; then dx.
#pragma once

#include <cmath>

#include "families/planewise/cpu/plan.h"

namespace kilter {

template <class C>
class PlaneBackwardRun {
  using N = Differentiating<C>;

 public:
  PlaneBackwardRun(const PlaneBackward& p, const PlanePasses<C>& passes) : PlaneBackwardRun(p, &passes, p.workspace) {}
  static size_t workspace(const PlaneBackward& p) { return p.empty() ? 0 : PlaneBackwardRun(p, nullptr, nullptr).bytes_; }

  kilter_status run() {
    if (p_.empty()) return write_empty();
    KILTER_RETURN_IF_ERROR(check_workspace(p_, bytes_));
    const auto past = [&](const View& out) { return !out.present() || streams(p_, plan_, out, {&p_.x, &p_.dy, &p_.dresidual_out}); };
    past_caches_ = past(p_.dx) && past(p_.dresidual);
    run_slabs(plan_, *this);
    if (p_.dweight.present() || p_.dbias.present()) add_samples();
    return KILTER_OK;
  }

  // What is known before the sums.
  void prepare(const Slab& slab) {
    for (int64_t c = slab.first_channel; c < slab.first_channel + slab.channels; ++c) {
      const ChannelNumbers<C, PlaneBackward> of(p_, slab.set, c);
      const double rstd = rstd_of(slab.set, c / plan_.width);
      const C scale = scale_for(rstd);
      numbers_of(N::kScale, slab.set)[c] = scale;
      numbers_of(N::kMean, slab.set)[c] = C(mean_of(slab.set, c / plan_.width)) * scale;
      numbers_of(N::kRstd, slab.set)[c] = C(rstd / double(scale));
      numbers_of(N::kFactor, slab.set)[c] = C(double(of.weight) * double(of.factor));
      numbers_of(N::kOffset, slab.set)[c] = of.offset;
    }
  }

  void pieces(const Slab& slab, int64_t chunk) {
    if (p_.step == PlaneStep::apply) return;
    const Differentiating<C> of = numbers(slab);
    if (plan_.last) {
      passes_->sums(p_, columns_of(plan_, slab, chunk), of, cells(slab.set, chunk, slab.first_channel));
      return;
    }
    for (int64_t c = slab.first_channel; c < slab.first_channel + slab.channels; ++c)
      passes_->sums(p_, plan_.part(slab.set, chunk, c * plan_.run), of, cells(slab.set, chunk, c));
  }

  void finish(const Slab& slab) {
    for (int64_t g = slab.first_group; g < slab.first_group + slab.groups; ++g) finish_group(slab.set, g);
  }

  void results(const Slab& slab, int64_t begin, int64_t end) {
    if (!p_.dx.present() && !p_.dresidual.present()) return;
    const Differentiating<C> of = numbers(slab);
    each_part(plan_, slab, begin, end, [&](const PlanePart& part) { passes_->gradient(p_, part, of, past_caches_); });
  }

 private:
  PlaneBackwardRun(const PlaneBackward& p, const PlanePasses<C>* passes, char* workspace)
      : p_(p), passes_(passes), plan_(p, true, PlanePlan(p, true, 1).last ? kChunkPlaces : kChunk<C>) {
    if (p.empty()) return;
    Scratch scratch(workspace);
    cells_ = scratch.take<SumCell<C>>(plan_.sets, p.step == PlaneStep::apply ? 0 : plan_.chunks, p.channels);
    numbers_ = scratch.take<C>(N::kNumbers, plan_.sets, p.channels);
    bytes_ = scratch.bytes();
  }

  kilter_status write_empty() const {
    if (p_.step == PlaneStep::statistics)
      for (int64_t c = 0; c < p_.channels; ++c) write(p_.sum_u, 0, c, 0.0), write(p_.sum_u_xhat, 0, c, 0.0);
    for (int64_t c = 0; c < p_.channels; ++c) write(p_.dweight, 0, c, 0.0), write(p_.dbias, 0, c, 0.0);
    for (int64_t n = 0; n < plan_.sets && (p_.dscale.present() || p_.dshift.present()); ++n)
      for (int64_t c = 0; c < p_.channels; ++c) write(p_.dscale, n, c, 0.0), write(p_.dshift, n, c, 0.0);
    return KILTER_OK;
  }

  C* numbers_of(int which, int64_t set) const { return numbers_ + (which * plan_.sets + set) * p_.channels; }
  double mean_of(int64_t set, int64_t group) const {
    return p_.training ? read<double>(p_.mean, set, group) : read<double>(p_.running_mean, 0, group);
  }
  double rstd_of(int64_t set, int64_t group) const {
    if (p_.training) return read<double>(p_.rstd, set, group);
    return 1 / std::sqrt(read<double>(p_.running_var, 0, group) + double(C(p_.eps)));
  }
  Differentiating<C> numbers(const Slab& slab) const {
    Differentiating<C> all;
    for (int q = 0; q < N::kNumbers; ++q) all.of[q] = numbers_of(q, slab.set);
    const C* const scale = all.of[N::kScale] + slab.first_channel;
    if (std::all_of(scale, scale + slab.channels, [](C v) { return v == 1; })) all.of[N::kScale] = nullptr;
    return all;
  }
  // A power of two with which differences of numbers as large as this deviation do not overflow.
  static C scale_for(double rstd) {
    constexpr bool kNarrow = sizeof(C) == 4;
    return rstd > (kNarrow ? 0x1p-100 : 0x1p-900) ? C(1) : C(kNarrow ? 0x1p-64 : 0x1p-512);
  }
  SumCell<C>* cells(int64_t set, int64_t chunk, int64_t channel) const {
    return cells_ +
           (plan_.last ? (set * plan_.chunks + chunk) * p_.channels + channel : (set * p_.channels + channel) * plan_.chunks + chunk);
  }
  // A channel's sums, in its first chunk's place.
  SumCell<C>& total(int64_t set, int64_t channel) const { return *cells(set, 0, channel); }

  // What the mean lost when it was rounded, in units of the deviation: that of h, or, of a mean that is as wide as sums, its rest.
  double lost(int64_t n, int64_t group, double sum_h) const {
    if (p_.step == PlaneStep::whole) return p_.training ? sum_h / double(plan_.elements()) : 0;
    return (mean_of(n, group) - double(C(mean_of(n, group)))) * rstd_of(n, group);
  }
  // Over chunks, into the first one's place; the group's of h.
  double add_chunks(int64_t n, int64_t begin, int64_t end) const {
    Wide<C> sum_h = {};
    for (int64_t c = begin; c < end; ++c) {
      SumCell<C>& sums = total(n, c);
      for (int64_t k = 1; k < plan_.chunks; ++k) {
        const SumCell<C>& more = *cells(n, k, c);
        add_to(sums.u, more.u), add_to(sums.uh, more.uh), add_to(sums.h, more.h);
      }
      add_to(sum_h, sums.h);
    }
    return value_of(sum_h);
  }
  struct Pair {
    double g, gh;
  };
  // The group's, with what they say of its channels written.
  Pair sums_of(int64_t n, int64_t begin, int64_t end, double low) const {
    Wide<C> sum_g = {}, sum_gh = {};
    for (int64_t c = begin; c < end; ++c) {
      SumCell<C>& sums = total(n, c);
      const ChannelNumbers<C, PlaneBackward> of(p_, n, c);
      add_number(sums.uh, -(low * value_of(sums.u)));
      // The xhat of a plane of one element is 0, unless that is not finite.
      if (p_.training && plan_.elements() == 1 && std::isfinite(value_of(sums.uh))) sums.uh = {};
      const double u = value_of(sums.u), uh = value_of(sums.uh), factor = double(of.weight) * double(of.factor);
      add_number(sum_g, factor * u), add_number(sum_gh, factor * uh);
      write(p_.dscale, n, c, C(double(of.weight) * uh + of.bias * u));
      write(p_.dshift, n, c, C(u));
      write(p_.sum_u, n, c, u), write(p_.sum_u_xhat, n, c, uh);
    }
    return {value_of(sum_g), value_of(sum_gh)};
  }
  Pair given_sums(int64_t channel) const {
    const double weight = ChannelNumbers<C, PlaneBackward>(p_, 0, channel).weight;
    return {weight * read<double>(p_.sum_u, 0, channel), weight * read<double>(p_.sum_u_xhat, 0, channel)};
  }

  void finish_group(int64_t n, int64_t group) const {
    const bool apply = p_.step == PlaneStep::apply;
    const int64_t begin = group * plan_.width, end = begin + plan_.width;
    const double elements = apply ? read<double>(p_.count, 0, 0) : double(plan_.elements()), rstd = rstd_of(n, group);
    const double low = lost(n, group, apply ? 0 : add_chunks(n, begin, end));
    const Pair sum = apply ? given_sums(begin) : sums_of(n, begin, end, low);
    // Neither with running statistics nor in a plane of one element does x move its statistics.
    const bool moves = p_.training && elements != 1;
    const C constant = moves ? C(rstd * (sum.g / elements)) : C(0);
    const C of_h = moves ? C(rstd * (sum.gh / elements)) : C(0);
    for (int64_t c = begin; c < end; ++c) {
      const ChannelNumbers<C, PlaneBackward> of(p_, n, c);
      // The y of a plane of one element does not depend on it.
      numbers_of(N::kOfU, n)[c] = p_.training && elements == 1 ? C(0) : C(rstd * (double(of.weight) * double(of.factor)));
      numbers_of(N::kConstant, n)[c] = constant;
      numbers_of(N::kLow, n)[c] = C(low);
      numbers_of(N::kOfH, n)[c] = of_h;
    }
  }

  // In the order of the sets.
  void add_samples() const {
    constexpr int64_t kChannels = 64;
    const int threads = plan_.sets * p_.channels > kElementsPerThread ? available_threads() : 1;
    parallel_for((p_.channels + kChannels - 1) / kChannels, threads, [&](int64_t block, int) {
      for (int64_t c = block * kChannels; c < std::min(p_.channels, (block + 1) * kChannels); ++c) {
        Wide<C> of_weight = {}, of_bias = {};
        for (int64_t n = 0; n < plan_.sets; ++n) {
          const double factor = p_.scale.present() ? C(C(read<double>(p_.scale, n, c)) + C(p_.scale_offset)) : C(1);
          add_number(of_weight, factor * value_of(total(n, c).uh)), add_number(of_bias, factor * value_of(total(n, c).u));
        }
        write(p_.dweight, 0, c, C(value_of(of_weight)));
        write(p_.dbias, 0, c, C(value_of(of_bias)));
      }
    });
  }

  const PlaneBackward& p_;
  const PlanePasses<C>* passes_;
  PlanePlan plan_;
  SumCell<C>* cells_ = nullptr;
  C* numbers_ = nullptr;
  size_t bytes_ = 0;
  bool past_caches_ = false;
};

}  // namespace kilter

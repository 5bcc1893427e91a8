// Backward of the norms of planes on the CPU: sums by channel of each sample, what follows from them; then dx.
#pragma once

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
    run_slabs(plan_, chunks_, *this);
    if (p_.dweight.present() || p_.dbias.present()) add_samples();
    return KILTER_OK;
  }

  // What is known before the sums.
  void prepare(const Slab& slab) {
    const int64_t n = slab.sample;
    for (int64_t c = slab.first_channel; c < slab.first_channel + slab.channels; ++c) {
      const ChannelNumbers<C, PlaneBackward> of(p_, n, c);
      const C rstd = C(read<double>(p_.rstd, n, c / plan_.width)), scale = scale_for(rstd);
      numbers_of(N::kScale, n)[c] = scale;
      numbers_of(N::kMean, n)[c] = C(read<double>(p_.mean, n, c / plan_.width)) * scale;
      numbers_of(N::kRstd, n)[c] = rstd / scale;
      numbers_of(N::kFactor, n)[c] = C(double(of.weight) * double(of.factor));
      numbers_of(N::kOffset, n)[c] = of.offset;
    }
  }

  void pieces(const Slab& slab, int64_t chunk) {
    PlanePart piece = part(slab, chunk);
    SumCell<C>* const to = cells(slab.sample, chunk, slab.first_channel);
    const Differentiating<C> of = numbers(slab);
    if (!plan_.last) return passes_->sums(p_, piece, of, to);
    for (int64_t done = 0; done < slab.channels; done += kTileColumns) {
      piece.first_column = slab.first_channel + done, piece.columns = int(std::min<int64_t>(slab.channels - done, kTileColumns));
      passes_->sums(p_, piece, of, to + done);
    }
  }

  void finish(const Slab& slab) {
    for (int64_t g = slab.first_group; g < slab.first_group + slab.groups; ++g) finish_group(slab.sample, g);
  }

  void results(const Slab& slab, int64_t begin, int64_t end) {
    if (!p_.dx.present() && !p_.dresidual.present()) return;
    const PlanePart first = part(slab, begin), last = part(slab, end - 1);
    passes_->gradient(p_, {slab.sample, first.begin, last.end, slab.first_channel, plan_.last ? int(slab.channels) : 0}, numbers(slab),
                      past_caches_);
  }

 private:
  PlaneBackwardRun(const PlaneBackward& p, const PlanePasses<C>* passes, char* workspace) : p_(p), passes_(passes), plan_(p) {
    if (p.empty()) return;
    chunks_ = plan_.last ? (plan_.spatial + kChunkPlaces - 1) / kChunkPlaces : plan_.width;
    Scratch scratch(workspace);
    cells_ = scratch.take<SumCell<C>>(p.batch, plan_.last ? chunks_ : 1, p.channels);
    numbers_ = scratch.take<C>(N::kNumbers, p.batch, p.channels);
    bytes_ = scratch.bytes();
  }

  kilter_status write_empty() const {
    for (int64_t c = 0; c < p_.channels; ++c) write(p_.dweight, 0, c, 0.0), write(p_.dbias, 0, c, 0.0);
    for (int64_t n = 0; n < p_.batch && (p_.dscale.present() || p_.dshift.present()); ++n)
      for (int64_t c = 0; c < p_.channels; ++c) write(p_.dscale, n, c, 0.0), write(p_.dshift, n, c, 0.0);
    return KILTER_OK;
  }

  C* numbers_of(int which, int64_t sample) const { return numbers_ + (which * p_.batch + sample) * p_.channels; }
  Differentiating<C> numbers(const Slab& slab) const {
    Differentiating<C> all;
    for (int q = 0; q < N::kNumbers; ++q) all.of[q] = numbers_of(q, slab.sample);
    const C* const scale = all.of[N::kScale] + slab.first_channel;
    if (std::all_of(scale, scale + slab.channels, [](C v) { return v == 1; })) all.of[N::kScale] = nullptr;
    return all;
  }
  // A power of two with which differences of numbers as large as this deviation do not overflow.
  static C scale_for(C rstd) {
    constexpr bool kNarrow = sizeof(C) == 4;
    return rstd > C(kNarrow ? 0x1p-100 : 0x1p-900) ? C(1) : C(kNarrow ? 0x1p-64 : 0x1p-512);
  }
  // Channels first a chunk is a channel.
  PlanePart part(const Slab& slab, int64_t chunk) const {
    if (plan_.last) return {slab.sample, chunk * kChunkPlaces, std::min(plan_.spatial, (chunk + 1) * kChunkPlaces)};
    const int64_t channel = slab.first_channel + chunk;
    return {slab.sample, channel * plan_.spatial, (channel + 1) * plan_.spatial};
  }
  SumCell<C>* cells(int64_t sample, int64_t chunk, int64_t channel) const {
    return plan_.last ? cells_ + (sample * chunks_ + chunk) * p_.channels + channel : cells_ + sample * p_.channels + channel + chunk;
  }
  // A channel's sums, in its first chunk's place.
  SumCell<C>& total(int64_t sample, int64_t channel) const { return *cells(sample, 0, channel); }

  void finish_group(int64_t n, int64_t group) const {
    const int64_t begin = group * plan_.width, end = begin + plan_.width;
    const double elements = double(plan_.elements()), rstd = read<double>(p_.rstd, n, group);
    Wide<C> sum_h = {}, sum_g = {}, sum_gh = {};
    for (int64_t c = begin; c < end; ++c) {
      SumCell<C>& sums = total(n, c);
      for (int64_t k = 1; plan_.last && k < chunks_; ++k) {
        const SumCell<C>& more = *cells(n, k, c);
        add_to(sums.u, more.u), add_to(sums.uh, more.uh), add_to(sums.h, more.h);
      }
      add_to(sum_h, sums.h);
    }
    const double low = value_of(sum_h) / elements;  // what the saved mean lost when it was rounded, in units of the deviation
    for (int64_t c = begin; c < end; ++c) {
      SumCell<C>& sums = total(n, c);
      const ChannelNumbers<C, PlaneBackward> of(p_, n, c);
      add_number(sums.uh, -(low * value_of(sums.u)));
      const double u = value_of(sums.u), uh = value_of(sums.uh), factor = double(of.weight) * double(of.factor);
      add_number(sum_g, factor * u), add_number(sum_gh, factor * uh);
      write(p_.dscale, n, c, C(double(of.weight) * uh + of.bias * u));
      write(p_.dshift, n, c, C(u));
    }
    const C constant = plan_.elements() == 1 ? C(0) : C(rstd * (value_of(sum_g) / elements));
    const C of_h = C(rstd * (value_of(sum_gh) / elements));
    for (int64_t c = begin; c < end; ++c) {
      const ChannelNumbers<C, PlaneBackward> of(p_, n, c);
      // A plane of one element does not depend on it.
      numbers_of(N::kOfU, n)[c] = plan_.elements() == 1 ? C(0) : C(rstd * (double(of.weight) * double(of.factor)));
      numbers_of(N::kConstant, n)[c] = constant;
      numbers_of(N::kLow, n)[c] = C(low);
      numbers_of(N::kOfH, n)[c] = of_h;
    }
  }

  // In the order of the samples.
  void add_samples() const {
    constexpr int64_t kChannels = 64;
    const int threads = p_.batch * p_.channels > kElementsPerThread ? available_threads() : 1;
    parallel_for((p_.channels + kChannels - 1) / kChannels, threads, [&](int64_t block, int) {
      for (int64_t c = block * kChannels; c < std::min(p_.channels, (block + 1) * kChannels); ++c) {
        Wide<C> of_weight = {}, of_bias = {};
        for (int64_t n = 0; n < p_.batch; ++n) {
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
  int64_t chunks_ = 0;
  SumCell<C>* cells_ = nullptr;
  C* numbers_ = nullptr;
  size_t bytes_ = 0;
  bool past_caches_ = false;
};

}  // namespace kilter

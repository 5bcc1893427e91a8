// Forward of the norms of planes on the CPU: statistics of chunks, merged; then y.
#pragma once

#include <cmath>
#include <limits>

#include "families/planewise/cpu/plan.h"

namespace kilter {

template <class C>
class PlaneForwardRun {
  using N = Normalizing<C>;

 public:
  PlaneForwardRun(const PlaneForward& p, const PlanePasses<C>& passes) : PlaneForwardRun(p, &passes, p.workspace) {}
  static size_t workspace(const PlaneForward& p) { return p.empty() ? 0 : PlaneForwardRun(p, nullptr, nullptr).bytes_; }

  kilter_status run() {
    if (p_.empty()) return write_empty();
    KILTER_RETURN_IF_ERROR(check_workspace(p_, bytes_));
    past_caches_ = streams(p_, plan_, p_.y, {&p_.x, &p_.residual});
    run_slabs(plan_, chunks_, *this);
    return KILTER_OK;
  }

  void prepare(const Slab&) {}
  void pieces(const Slab& slab, int64_t chunk) { statistics(slab, chunk, 1); }

  void finish(const Slab& slab) {
    for (int64_t g = slab.first_group; g < slab.first_group + slab.groups; ++g) finish_group(slab.sample, g);
  }

  void results(const Slab& slab, int64_t begin, int64_t end) {
    Normalizing<C> numbers;
    for (int q = 0; q < N::kNumbers; ++q) numbers.of[q] = numbers_of(q, slab.sample);
    const C* const scale = numbers.of[N::kScale] + slab.first_channel;
    if (std::all_of(scale, scale + slab.channels, [](C v) { return v == 1; })) numbers.of[N::kScale] = nullptr;
    const PlanePart first = part(slab, begin), last = part(slab, end - 1);
    passes_->normalize(p_, {slab.sample, first.begin, last.end, slab.first_channel, plan_.last ? int(slab.channels) : 0}, numbers,
                       past_caches_);
  }

 private:
  PlaneForwardRun(const PlaneForward& p, const PlanePasses<C>* passes, char* workspace) : p_(p), passes_(passes), plan_(p) {
    if (p.empty()) return;
    length_ = plan_.last ? plan_.spatial : plan_.elements(), chunk_ = plan_.last ? kChunkPlaces : kChunk<C>;
    chunks_ = (length_ + chunk_ - 1) / chunk_;
    Scratch scratch(workspace);
    cells_ = scratch.take<Cell<C>>(p.batch, chunks_, plan_.last ? p.channels : p.groups);
    numbers_ = scratch.take<C>(N::kNumbers, p.batch, p.channels);
    bytes_ = scratch.bytes();
  }

  kilter_status write_empty() const {
    for (int64_t n = 0; n < p_.batch; ++n)
      for (int64_t g = 0; g < p_.groups && (p_.mean.present() || p_.rstd.present()); ++g) {
        write(p_.mean, n, g, std::numeric_limits<double>::quiet_NaN());
        write(p_.rstd, n, g, std::numeric_limits<double>::quiet_NaN());
      }
    return KILTER_OK;
  }

  C* numbers_of(int which, int64_t sample) const { return numbers_ + (which * p_.batch + sample) * p_.channels; }
  int64_t count(int64_t chunk) const { return std::min(length_ - chunk * chunk_, chunk_); }
  PlanePart part(const Slab& slab, int64_t chunk) const {
    const int64_t base = plan_.last ? 0 : slab.first_group * length_;
    return {slab.sample, base + chunk * chunk_, base + std::min(length_, (chunk + 1) * chunk_)};
  }
  Cell<C>* cells(int64_t sample, int64_t chunk, int64_t first_group) const {
    return plan_.last ? cells_ + (sample * chunks_ + chunk) * p_.channels + first_group * plan_.width
                      : cells_ + (sample * p_.groups + first_group) * chunks_ + chunk;
  }

  void statistics(const Slab& slab, int64_t chunk, C scale) const {
    PlanePart piece = part(slab, chunk);
    Cell<C>* const to = cells(slab.sample, chunk, slab.first_group);
    if (!plan_.last) return passes_->statistics(p_, piece, scale, to);
    for (int64_t done = 0; done < slab.channels; done += kTileColumns) {
      piece.first_column = slab.first_channel + done, piece.columns = int(std::min<int64_t>(slab.channels - done, kTileColumns));
      passes_->statistics(p_, piece, scale, to + done);
    }
  }

  struct Moments {
    Wide<C> mean;
    double variance;
  };
  // Of a group: around a mean that may be off by a rounding, then by how much it is.
  Moments merged(int64_t sample, int64_t group) const {
    const int64_t columns = plan_.last ? plan_.width : 1;
    const double all = double(plan_.elements());
    const auto each = [&](auto f) {
      for (int64_t k = 0; k < chunks_; ++k)
        for (int64_t c = 0; c < columns; ++c) f(cells(sample, k, group)[c], double(count(k)));
    };
    double sum = 0;
    each([&](const Cell<C>& cell, double n) { sum += value_of(cell.mean) * (n / all); });
    Wide<C> mean = {}, off = {}, square = {};
    add_number(mean, sum);
    each([&](const Cell<C>& cell, double n) {
      const double apart = difference(cell.mean, mean);
      add_number(off, apart * n);
      add_to(square, cell.square);
      add_number(square, apart * apart * n);
    });
    const double lost = value_of(off) / all;
    add_number(mean, lost);
    add_number(square, -(value_of(off) * lost));
    return {mean, value_of(square) / all};
  }

  // Log2 of the scale with which the group's squares neither overflow nor vanish.
  int scale_of(int64_t sample, int64_t group) const {
    Slab slab(plan_, 0);
    slab.sample = sample, slab.first_group = group, slab.groups = 1;
    PlanePart all = {sample, part(slab, 0).begin, part(slab, chunks_ - 1).end, group * plan_.width, plan_.last ? int(plan_.width) : 0};
    const double most = passes_->largest(p_, all);
    if (!(most > 0 && most < HUGE_VAL)) return 0;
    constexpr int kMost = sizeof(C) == 4 ? 126 : 1022;
    int power = std::clamp(-std::ilogb(most), -kMost, kMost);
    if (p_.eps != 0) power = std::min(power, (900 - std::ilogb(p_.eps)) / 2);
    return power;
  }

  void finish_group(int64_t sample, int64_t group) const {
    const double eps = C(p_.eps);
    Moments m = merged(sample, group);
    int power = 0;
    if (!(m.variance >= 0x1p-96 && m.variance <= 0x1p96) && (power = scale_of(sample, group)) != 0) {
      Slab slab(plan_, 0);
      slab.sample = sample, slab.first_group = group, slab.groups = 1;
      slab.first_channel = group * plan_.width, slab.channels = plan_.width;
      for (int64_t k = 0; k < chunks_; ++k) statistics(slab, k, C(std::ldexp(1.0, power)));
      const Moments scaled = merged(sample, group);
      if (scaled.variance != 0 || power > 0)
        m = scaled;
      else
        power = 0, m.variance = 0;  // a large constant: eps counts
    }
    const double rstd = 1 / std::sqrt(m.variance + std::ldexp(eps, 2 * power)), mean = value_of(m.mean);
    write(p_.mean, sample, group, std::ldexp(mean, -power));
    write(p_.rstd, sample, group, std::ldexp(rstd, power));
    const C high = C(mean);
    Wide<C> rest = m.mean;
    add_number(rest, -double(high));
    for (int64_t c = group * plan_.width; c < (group + 1) * plan_.width; ++c) {
      const ChannelNumbers<C, PlaneForward> of(p_, sample, c);
      numbers_of(N::kMean, sample)[c] = high;
      numbers_of(N::kLow, sample)[c] = C(value_of(rest));
      numbers_of(N::kFactor, sample)[c] = C(rstd * (double(of.weight) * double(of.factor)));
      numbers_of(N::kOffset, sample)[c] = of.offset;
      numbers_of(N::kScale, sample)[c] = C(std::ldexp(1.0, power));
    }
  }

  const PlaneForward& p_;
  const PlanePasses<C>* passes_;
  PlanePlan plan_;
  int64_t length_ = 0, chunk_ = 1, chunks_ = 0;  // of a run or a column
  Cell<C>* cells_ = nullptr;
  C* numbers_ = nullptr;
  size_t bytes_ = 0;
  bool past_caches_ = false;
};

}  // namespace kilter

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
    past_caches_ = p_.y.present() && streams(p_, plan_, p_.y, {&p_.x, &p_.residual});
    run_slabs(plan_, *this);
    if (moments_) update_running();
    write(p_.count, 0, 0, double(plan_.elements()));
    return KILTER_OK;
  }

  void prepare(const Slab&) {}

  void pieces(const Slab& slab, int64_t chunk) {
    if (takes_statistics(p_)) statistics(slab, chunk, 1);
  }

  void finish(const Slab& slab) {
    for (int64_t g = slab.first_group; g < slab.first_group + slab.groups; ++g) finish_group(slab.set, g);
  }

  void results(const Slab& slab, int64_t begin, int64_t end) {
    if (p_.step == PlaneStep::statistics) return;
    Normalizing<C> numbers;
    for (int q = 0; q < N::kNumbers; ++q) numbers.of[q] = numbers_of(q, slab.set);
    const C* const scale = numbers.of[N::kScale] + slab.first_channel;
    if (std::all_of(scale, scale + slab.channels, [](C v) { return v == 1; })) numbers.of[N::kScale] = nullptr;
    each_part(plan_, slab, begin, end, [&](const PlanePart& part) { passes_->normalize(p_, part, numbers, past_caches_); });
  }

 private:
  PlaneForwardRun(const PlaneForward& p, const PlanePasses<C>* passes, char* workspace)
      : p_(p), passes_(passes), plan_(p, false, last(p) ? kChunkPlaces : kChunk<C>) {
    if (p.empty()) return;
    if (asked(p.mask)) plan_.keep_bytes_whole();
    Scratch scratch(workspace);
    cells_ = scratch.take<Cell<C>>(plan_.sets, takes_statistics(p) ? plan_.chunks : 0, plan_.last ? p.channels : p.groups);
    numbers_ = scratch.take<C>(N::kNumbers, plan_.sets, p.channels);
    if (asked(p.running_mean_out) || asked(p.running_var_out)) moments_ = scratch.take<Moments>(plan_.sets, p.groups);
    bytes_ = scratch.bytes();
  }
  static bool takes_statistics(const PlaneForward& p) { return p.training && p.step != PlaneStep::apply; }
  static bool asked(const View& v) { return v.dtype != DType::none; }
  static bool last(const PlaneForward& p) { return PlanePlan(p, false, 1).last; }

  kilter_status write_empty() const {
    if (p_.step == PlaneStep::apply) return KILTER_OK;
    if (!p_.training) return write_given();
    const double none = p_.step == PlaneStep::statistics ? 0 : std::numeric_limits<double>::quiet_NaN();
    for (int64_t n = 0; n < plan_.sets; ++n)
      for (int64_t g = 0; g < planes_of_set(p_) && (p_.mean.present() || p_.rstd.present()); ++g)
        write(p_.mean, n, g, none), write(p_.rstd, n, g, none), write(p_.m2, n, g, none);
    write(p_.count, 0, 0, 0.0);
    for (int64_t c = 0; c < p_.channels; ++c) {
      if (p_.running_mean_out.present()) write(p_.running_mean_out, 0, c, read<double>(p_.running_mean, 0, c));
      if (p_.running_var_out.present()) write(p_.running_var_out, 0, c, read<double>(p_.running_var, 0, c));
    }
    return KILTER_OK;
  }

  kilter_status write_given() const {
    for (int64_t n = 0; n < plan_.sets; ++n)
      for (int64_t g = 0; g < planes_of_set(p_); ++g) {
        const Standard s = given(n, g);
        write(p_.mean, n, g, std::ldexp(value_of(s.mean), -s.power)), write(p_.rstd, n, g, std::ldexp(s.rstd, s.power));
      }
    return KILTER_OK;
  }

  C* numbers_of(int which, int64_t set) const { return numbers_ + (which * plan_.sets + set) * p_.channels; }
  Cell<C>* cells(int64_t set, int64_t chunk, int64_t group) const {
    return plan_.last ? cells_ + (set * plan_.chunks + chunk) * p_.channels + group * plan_.width
                      : cells_ + (set * p_.groups + group) * plan_.chunks + chunk;
  }

  void statistics(const Slab& slab, int64_t chunk, C scale) const {
    if (plan_.last) {
      passes_->statistics(p_, columns_of(plan_, slab, chunk), scale, cells(slab.set, chunk, slab.first_group));
      return;
    }
    for (int64_t g = slab.first_group; g < slab.first_group + slab.groups; ++g)
      passes_->statistics(p_, plan_.part(slab.set, chunk, g * plan_.run), scale, cells(slab.set, chunk, g));
  }

  struct Plane {
    Wide<C> mean = {};
    double variance = 0;
  };
  // Of a plane: around a mean that may be off by a rounding, then by how much it is.
  Plane merged(int64_t set, int64_t group) const {
    const int64_t columns = plan_.last ? plan_.width : 1;
    const double all = double(plan_.elements());
    const auto each = [&](auto f) {
      for (int64_t k = 0; k < plan_.chunks; ++k) {
        const Cell<C>* const cell = cells(set, k, group);
        const double count = double(plan_.count(k));
        for (int64_t c = 0; c < columns; ++c) f(cell[c], count);
      }
    };
    double sum = 0;
    each([&](const Cell<C>& cell, double n) { sum += value_of(cell.mean) * (n / all); });
    Wide<C> mean = {}, off, square;
    add_number(mean, sum);
    const auto around = [&] {
      off = square = {};
      each([&](const Cell<C>& cell, double n) {
        const double apart = difference(cell.mean, mean);
        add_number(off, apart * n);
        add_to(square, cell.square);
        add_number(square, apart * apart * n);
      });
      return value_of(off) / all;
    };
    double lost = around();
    // The mean's rounding makes up most of a nearly constant plane of fp64: then once more.
    if (lost * lost * all * 4 > value_of(square)) add_number(mean, lost), lost = around();
    add_number(mean, lost);
    add_number(square, -(value_of(off) * lost));
    return {mean, value_of(square) / all};
  }

  // Log2 of the scale with which the plane's squares neither overflow nor vanish.
  int scale_of(const Slab& plane) const {
    double most = 0;
    each_part(plan_, plane, 0, plan_.shares(), [&](const PlanePart& part) { most = std::max<double>(most, passes_->largest(p_, part)); });
    if (!(most > 0 && most < HUGE_VAL)) return 0;
    constexpr int kMost = sizeof(C) == 4 ? 126 : 1022;
    int power = std::clamp(-std::ilogb(most), -kMost, kMost);
    if (p_.eps != 0) power = std::min(power, (900 - std::ilogb(p_.eps)) / 2);
    return power;
  }

  // Of s * 2^*power.
  Plane moments(int64_t set, int64_t group, int* power) const {
    const Plane m = merged(set, group);
    if (m.variance >= 0x1p-96 && m.variance <= 0x1p96) return m;
    const Slab plane(plan_, set, group, 1);
    *power = scale_of(plane);
    if (*power == 0) return m;
    for (int64_t k = 0; k < plan_.chunks; ++k) statistics(plane, k, C(std::ldexp(1.0, *power)));
    const Plane scaled = merged(set, group);
    if (scaled.variance != 0 || *power > 0) return scaled;
    *power = 0;  // a large constant: eps counts
    return {m.mean, 0};
  }

  // Of s * 2^power, which is neither too large nor too small for C.
  struct Standard {
    Wide<C> mean = {};
    double rstd;
    int power = 0;
  };
  Standard given(int64_t set, int64_t group) const {
    const bool apply = p_.step == PlaneStep::apply;
    Standard s;
    add_number(s.mean, apply ? read<double>(p_.mean, set, group) : read<double>(p_.running_mean, 0, group));
    s.rstd = apply ? read<double>(p_.rstd, set, group) : 1 / std::sqrt(read<double>(p_.running_var, 0, group) + double(C(p_.eps)));
    if ((s.rstd >= 0x1p-96 && s.rstd <= 0x1p96) || !(s.rstd > 0 && s.rstd < HUGE_VAL)) return s;
    s.power = std::clamp(std::ilogb(s.rstd), -126, 126);
    return {scaled(s.mean, std::ldexp(1.0, s.power)), std::ldexp(s.rstd, -s.power), s.power};
  }
  Standard of_elements(int64_t set, int64_t group) const {
    Standard s;
    const Plane m = moments(set, group, &s.power);
    s.mean = m.mean, s.rstd = 1 / std::sqrt(m.variance + std::ldexp(double(C(p_.eps)), 2 * s.power));
    const double mean = std::ldexp(value_of(m.mean), -s.power), variance = std::ldexp(m.variance, -2 * s.power);
    write(p_.m2, set, group, std::ldexp(m.variance * double(plan_.elements()), -2 * s.power));
    if (moments_) moments_[set * p_.groups + group] = {mean, variance};
    return s;
  }

  void finish_group(int64_t set, int64_t group) const {
    const Standard s = takes_statistics(p_) ? of_elements(set, group) : given(set, group);
    const double mean = value_of(s.mean);
    if (p_.step != PlaneStep::apply)
      write(p_.mean, set, group, std::ldexp(mean, -s.power)), write(p_.rstd, set, group, std::ldexp(s.rstd, s.power));
    const C high = C(mean);
    Wide<C> rest = s.mean;
    add_number(rest, -double(high));
    for (int64_t c = group * plan_.width; c < (group + 1) * plan_.width; ++c) {
      const ChannelNumbers<C, PlaneForward> of(p_, set, c);
      numbers_of(N::kMean, set)[c] = high;
      numbers_of(N::kLow, set)[c] = C(value_of(rest));
      numbers_of(N::kFactor, set)[c] = C(s.rstd * (double(of.weight) * double(of.factor)));
      numbers_of(N::kOffset, set)[c] = of.offset;
      numbers_of(N::kScale, set)[c] = C(std::ldexp(1.0, s.power));
    }
  }

  // By the mean over sets of their means and unbiased variances; momentum is the weight of the new value.
  void update_running() const {
    const double momentum = p_.averaging == KILTER_AVERAGING_CUMULATIVE ? 1 / (double(p_.batches_tracked) + 1) : p_.momentum;
    const double unbiased = double(plan_.elements()) / double(plan_.elements() - 1);
    const auto update = [&](const View& old, const View& out, int64_t c, double value) {
      if (out.present()) write(out, 0, c, (1 - momentum) * read<double>(old, 0, c) + momentum * value);
    };
    for (int64_t c = 0; c < p_.channels; ++c) {
      double mean = 0, variance = 0;
      for (int64_t set = 0; set < plan_.sets; ++set)
        mean += moments_[set * p_.groups + c].mean, variance += moments_[set * p_.groups + c].variance;
      update(p_.running_mean, p_.running_mean_out, c, mean / double(plan_.sets));
      update(p_.running_var, p_.running_var_out, c, variance / double(plan_.sets) * unbiased);
    }
  }

  const PlaneForward& p_;
  const PlanePasses<C>* passes_;
  PlanePlan plan_;
  Cell<C>* cells_ = nullptr;
  C* numbers_ = nullptr;
  struct Moments {
    double mean, variance;
  };
  Moments* moments_ = nullptr;  // of each plane, for running statistics
  size_t bytes_ = 0;
  bool past_caches_ = false;
};

}  // namespace kilter

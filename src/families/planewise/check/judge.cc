// The comparison with the reference, in its units.
#include "check/meter.h"
#include "families/planewise/check/reference.h"

namespace kilter::check {
namespace {

using Unit = PlaneJudged::Unit;

// What is judged in got's place where any value within `slack` of the wanted one is right.
double within(double got, double want, long double slack) {
  if (!(slack > 0)) return got;
  if (std::fabs((long double)(got)-want) <= slack) return want;
  return double(got < want ? got + slack : got - slack);
}

// Sums over places, of each channel or each sample's.
class Sums {
 public:
  // in: whose last place counts; none: got's.
  Sums(const char* name, const Buffer& got, const Buffer& want, DType in = DType::none)
      : name_(name),
        got_(got),
        want_(want),
        in_(in == DType::none ? got.dtype() : in),
        n_(want.row_length()),
        sizes_(want.row_count() * n_),
        slack_(size_t(want.row_count() * n_)) {}
  void add(int64_t sample, int64_t channel, long double term, long double slack) {
    if (!judged()) return;
    const int64_t k = (want_.row_count() > 1 ? sample * n_ : 0) + channel;
    const long double least = in_ == DType::f64 ? 0x1p-1022L : 0x1p-126L;
    sizes_.add(k, std::max(term, least)), slack_[size_t(k)] += slack;
  }
  void judge(const char* when, bool over_samples, Report* r) const {
    if (!judged()) return;
    Meter meter(name_, got_.dtype(), tolerance(planewise_bounds, name_, in_, {when}), true);
    for (int64_t row = 0; row < want_.row_count(); ++row)
      for (int64_t i = 0; i < n_; ++i) {
        const double got = got_.at(row, i), want = want_.at(row, i);
        meter.add(within(got, want, slack_[size_t(row * n_ + i)]), want, ulp(in_, sizes_.size(row * n_ + i, want)), row, i);
      }
    meter.report(r, over_samples);
  }

 private:
  bool judged() const { return got_.present() && want_.present(); }  // a step's inputs are not

  const char* name_;
  const Buffer &got_, &want_;
  const DType in_;
  int64_t n_;
  ColumnSizes sizes_;
  std::vector<long double> slack_;
};

struct Judge {
  const PlaneJudged& ref;
  const Case& c = ref.c;
  const Tensors& t = ref.t;
  const Sharing& sharing = ref.sharing;
  const DType stats = c.x == DType::f64 ? DType::f64 : DType::f32;
  const char* const when = c.number("activation") != 0 ? kWithActivation : "";

  int64_t index(int64_t channel, int64_t place) const { return channel * sharing.places + place; }

  void forward(Report* r) const {
    const Buffer &got_y = t["y"], &got_mean = t["mean"], &got_rstd = t["rstd"], &got_sum = t["residual_out"];
    if (ref.step == PlaneStep::statistics) return c.backward ? void() : moments(r);
    Meter y("y", c.x, tolerance(planewise_bounds, "y", c.x, {when}));
    Meter mean("mean", stats, tolerance(planewise_bounds, "mean", stats, {}), true);
    Meter rstd("rstd", stats, tolerance(planewise_bounds, "rstd", stats, {}));
    Meter sum("residual_out", got_sum.dtype(), tolerance(planewise_bounds, "residual_out", got_sum.present() ? got_sum.dtype() : c.x, {}));
    Meter mask("mask", DType::u8, tolerance(planewise_bounds, "mask", DType::u8, {}));
    int64_t set = 0;
    for (int64_t u = 0; u < sharing.count(); ++u) {
      const Unit z = ref.unit(u);
      const auto statistic = [&](Meter& m, const Buffer& got, const Buffer& want, long double size) {
        if (got.present()) m.add(got.at(z.row, z.index), want.at(z.row, z.index), ulp(stats, size), z.row, z.index);
      };
      if (ref.training && ref.step == PlaneStep::whole)
        statistic(mean, got_mean, ref.mean, std::max(std::fabs(z.mean), z.std));
      else if (got_mean.present() && ref.step == PlaneStep::whole)
        mean.add_exact(got_mean.at(z.row, z.index), ref.mean.at(z.row, z.index), z.row, z.index);
      if (ref.step == PlaneStep::whole) statistic(rstd, got_rstd, ref.rstd, z.rstd);
      if (got_sum.present())
        ref.each(
            u, [&](int64_t s, int64_t k, int64_t i) { sum.add_exact(got_sum.at(s, k, i), ref.residual_out.at(s, k, i), s, index(k, i)); });
      if (c.backward) continue;
      const long double most = largest(u, z);
      const double unit = ulp(c.x, most);
      if (t["mask"].present()) bits(u, z, 5 * ulp(stats, most), &mask, &set);
      ref.each(u, [&](int64_t s, int64_t k, int64_t i) { y.add(got_y.at(s, k, i), ref.y.at(s, k, i), unit, s, index(k, i)); });
    }
    for (const Meter* m : {&y, &mask, &mean, &rstd, &sum}) m->report(r);
    if (t["mask"].present() && !c.backward && set != set_bits(t["mask"]))
      r->problems.push_back("mask: bits that are no element's are not zero");
    running(r);
  }

  // Either will do where what the activation is of is within y's bound of 0.
  void bits(int64_t u, const Unit& z, long double around, Meter* mask, int64_t* set) const {
    sharing.channels_of(u, [&](int64_t s, int64_t k) {
      const PlaneJudged::Channel of = ref.channel(s, k);
      for (int64_t i = 0; i < sharing.places; ++i) {
        const long double v = ref.before_activation(of, (ref.x().at(s, k, i) - z.mean) * z.rstd, ref.behind(s, k, i));
        const bool got = bit_at(c, t["mask"], s, k, i), want = bit_at(c, ref.mask, s, k, i);
        mask->add_exact(got, std::fabs(v) <= around ? got : want, s, index(k, i)), *set += got;
      }
    });
  }
  static int64_t set_bits(const Buffer& b) {
    int64_t count = 0;
    for (int64_t r = 0; r < b.row_count(); ++r)
      for (int64_t i = 0; i < b.row_length(); ++i) count += __builtin_popcount(unsigned(b.at(r, i)));
    return count;
  }

  // What later steps get, in fp64 whatever was computed in.
  void moments(Report* r) const {
    Meter count("count", DType::f64, tolerance(planewise_bounds, "count", DType::f64, {}));
    Meter mean("mean", DType::f64, tolerance(planewise_bounds, "mean in fp64", stats, {}), true);
    Meter m2("m2", DType::f64, tolerance(planewise_bounds, "m2", stats, {}), true);
    const double n = ref.count.at(0, 0), epsilon = std::ldexp(1.0, 1 - format_of(stats).precision);
    count.add_exact(t["count"].at(0, 0), n, 0, 0);
    for (int64_t u = 0; u < sharing.count(); ++u) {
      const double around = ref.mean.at(0, u), squares = ref.m2.at(0, u), own = ulp(DType::f64, around);
      mean.add(t["mean"].at(0, u), around, std::max(double(ref.unit(u).std) * epsilon, own), 0, u);
      m2.add(t["m2"].at(0, u), squares, std::max(squares * epsilon, n * own * own), 0, u);
    }
    count.report(r), mean.report(r), m2.report(r);
  }

  void running(Report* r) const {
    const bool cumulative = int(c.number("averaging")) == KILTER_AVERAGING_CUMULATIVE;
    const bool mostly_new = (cumulative ? 1 / (c.number("batches_tracked") + 1) : c.number("momentum")) > 0.5;
    std::vector<long double> means(size_t(sharing.channels)), variances(size_t(sharing.channels));  // what a batch brings, as it counts
    const long double m = sharing.length(), sets = sharing.all_samples ? 1 : sharing.samples;
    for (int64_t u = 0; u < sharing.count() && (ref.running_mean.present() || ref.running_var.present()); ++u) {
      const Unit z = ref.unit(u);
      means[size_t(z.index)] += std::max(std::fabs(z.mean), z.std) / sets, variances[size_t(z.index)] += z.std * z.std * m / (m - 1) / sets;
    }
    const auto judge = [&](const char* name, const Buffer& got, const Buffer& want, const Buffer& old,
                           const std::vector<long double>& sizes) {
      if (!got.present()) return;
      Meter meter(name, got.dtype(), tolerance(planewise_bounds, name, got.dtype(), {mostly_new ? kMostlyNew : ""}), true);
      for (int64_t k = 0; k < sharing.channels; ++k)
        meter.add(
            got.at(0, k), want.at(0, k),
            ulp(got.dtype(), std::max({std::fabs((long double)(want.at(0, k))), std::fabs((long double)(old.at(0, k))), sizes[size_t(k)]})),
            0, k);
      meter.report(r, true);
    };
    judge("running_mean_out", t["running_mean_out"], ref.running_mean, t["running_mean"], means);
    judge("running_var_out", t["running_var_out"], ref.running_var, t["running_var"], variances);
  }

  // Of the sizes of v's terms.
  long double largest(int64_t u, const Unit& z) const {
    long double most = 0;
    sharing.channels_of(u, [&](int64_t s, int64_t k) {
      const PlaneJudged::Channel h = ref.channel(s, k);
      const long double rest = std::fabs(h.b * h.f) + std::fabs(h.shift);
      for (int64_t i = 0; i < sharing.places; ++i)
        most = std::max(most, std::fabs((ref.x().at(s, k, i) - z.mean) * z.rstd * h.w * h.f) + rest + std::fabs(ref.behind(s, k, i)));
    });
    return most;
  }

  // What of finite x is beyond the range computed in: an rstd (backward starts from the saved one, and this cannot be); by running
  // statistics an xhat, what an activation is of, the terms of a channel's sums together.
  struct Beyond {
    bool elements = false, sums = false;
  };
  Beyond beyond_range(int64_t u, const Unit& z) const {
    const long double range = max_of(c.x == DType::f64 ? DType::f64 : DType::f32);
    Beyond over;
    over.elements = z.rstd > range;
    if (ref.training && ref.step == PlaneStep::whole) return over;
    long double sum = 0;
    ref.each(u, [&](int64_t s, int64_t k, int64_t i) {
      const long double h = (ref.x().at(s, k, i) - z.mean) * z.rstd, term = h * t["dy"].at(s, k, i);
      if (std::isinf(h) || term != term) return;
      const long double terms = ref.slope(z, ref.channel(s, k), h, s, k, i).terms;
      over.elements = over.elements || std::fabs(h) > range || terms > range;
      sum += std::fabs(term);
    });
    over.sums = sum > range;
    return over;
  }

  // What an element brings to the gradients: xhat, g as it is, u as it counts, and what of u may be or not.
  struct Element {
    long double h, g, u, either;
  };

  void backward(Report* r) const {
    const Buffer &got_dx = t["dx"], &got_dresidual = t["dresidual"], &dy = t["dy"], &upstream = t["dresidual_out"];
    const DType narrow = got_dresidual.present() ? got_dresidual.dtype() : c.x;
    Meter dx("dx", c.x, tolerance(planewise_bounds, "dx", c.x, {when}), true);
    const bool of_u = ref.dresidual.present();  // else it is dx
    Meter dresidual("dresidual", narrow, tolerance(planewise_bounds, of_u ? "u" : "dresidual", narrow, {when}), !of_u);
    Sums weights("dweight", t["dweight"], ref.dweight), biases("dbias", t["dbias"], ref.dbias);
    Sums sums("sum_u", t["sum_u"], ref.sum_u, stats), sums_h("sum_u_xhat", t["sum_u_xhat"], ref.sum_u_xhat, stats);
    Sums scales("dscale", t["dscale"], ref.dscale), shifts("dshift", t["dshift"], ref.dshift);
    int64_t beyond = 0;
    bool sums_beyond = false;
    std::vector<Element> elements;
    for (int64_t u = 0; u < sharing.count(); ++u) {
      const Unit z = ref.unit(u);
      const Beyond over = beyond_range(u, z);
      sums_beyond = sums_beyond || over.sums;
      if (over.elements) {
        ++beyond;
        continue;
      }
      elements.clear();
      const long double m = sharing.length(), least = z.std * z.rstd;
      long double c1 = 0, c2 = 0;            // the means of g * h and g
      long double either = 0, either_h = 0;  // what the slopes that may be either can move them by
      sharing.channels_of(u, [&](int64_t s, int64_t k) {
        const PlaneJudged::Channel of = ref.channel(s, k);
        const long double w = std::fabs(of.w), f = std::fabs(of.f), b = std::fabs(of.b);
        for (int64_t i = 0; i < sharing.places; ++i) {
          const long double h = (ref.x().at(s, k, i) - z.mean) * z.rstd, d = dy.at(s, k, i);
          const PlaneJudged::Slope slope = ref.slope(z, of, h, s, k, i);
          const long double size = std::fabs(d) * (slope.either ? std::max(slope.size, 1.0L) : slope.size);
          const Element e{h, d * slope.value * of.f * of.w, size, slope.either ? std::fabs(d) : 0};
          const long double a = std::fabs(h), rms = std::max(a, least);
          c1 += e.g * h / m, c2 += e.g / m;
          either += e.either * w * f / m, either_h += e.either * w * f * a / m;
          weights.add(s, k, e.u * f * rms, e.either * f * a), biases.add(s, k, e.u * f, e.either * f);
          sums.add(s, k, e.u, e.either), sums_h.add(s, k, e.u * rms, e.either * a);
          scales.add(s, k, e.u * (rms * w + b), e.either * (a * w + b)), shifts.add(s, k, e.u, e.either);
          elements.push_back({h, e.g, e.u * w * f, e.either * w * f});
          if (of_u && got_dresidual.present()) {
            const double want = ref.dresidual.at(s, k, i);
            dresidual.add(within(got_dresidual.at(s, k, i), want, e.either), want, ulp(narrow, e.u), s, index(k, i));
          }
        }
      });
      if (ref.step == PlaneStep::statistics) continue;
      if (ref.step == PlaneStep::apply) {
        const long double w = ref.channel(0, u).w / (long double)(t["count"].at(0, 0));
        c1 = w * t["sum_u_xhat"].at(0, u), c2 = w * t["sum_u"].at(0, u), either = either_h = 0;
      }
      if (!ref.training) c1 = c2 = either = either_h = 0;  // x moves neither
      long double most = 0, most_upstream = 0;
      for (const Element& e : elements) most = std::max(most, e.u + std::fabs(c2) + std::fabs(e.h * c1));
      if (upstream.present())
        ref.each(u, [&](int64_t s, int64_t k, int64_t i) {
          most_upstream = std::max<long double>(most_upstream, std::fabs(upstream.at(s, k, i)));
        });
      const long double size = most * z.rstd + most_upstream;  // |dx| is no larger
      const Element* e = elements.data();
      ref.each(u, [&](int64_t s, int64_t k, int64_t i) {
        const double want = ref.dx.at(s, k, i);
        const long double slack = z.rstd * (e->either + either + std::fabs(e->h) * either_h);
        for (const auto& [meter, got] : {std::pair{&dx, &got_dx}, {&dresidual, &got_dresidual}})
          if (got->present() && !(of_u && meter == &dresidual))
            meter->add(within(got->at(s, k, i), want, slack), want, ulp(got->dtype(), size), s, index(k, i));
        ++e;
      });
    }
    dx.report(r), dresidual.report(r);
    if (beyond) {
      r->notes.push_back(
          std::to_string(beyond) +
          " group(s) with an rstd, an xhat or a V beyond the range computed in: their gradients, and all sums, were not judged");
      return;
    }
    if (sums_beyond) {
      r->notes.push_back("terms add up to more than the range computed in: no sums were judged");
      return;
    }
    sums.judge(when, true, r), sums_h.judge(when, true, r);
    weights.judge(when, true, r), biases.judge(when, true, r), scales.judge(when, false, r), shifts.judge(when, false, r);
  }
};

}  // namespace

void judge_planewise(const PlaneNorm& op, const Case& c, const Tensors& t, Report* r) {
  const PlaneJudged ref(op, c, t);
  if (ref.status != KILTER_OK) {
    r->problems.push_back(std::string("the reference failed: ") + kilter_last_error());
    return;
  }
  const Judge judge{ref};
  judge.forward(r);
  if (c.backward) judge.backward(r);
}

}  // namespace kilter::check

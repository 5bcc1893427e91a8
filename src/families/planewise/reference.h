// The float64 reference of the norms of planes (fp64 x: __float128), the obvious way.
#pragma once

#include <cmath>
#include <cstring>
#include <limits>

#include "core/element.h"
#include "core/status.h"
#include "families/planewise/problem.h"

namespace kilter {

[[nodiscard]] kilter_status group_norm_reference_forward(const PlaneForward& problem, kilter_stream);
[[nodiscard]] kilter_status group_norm_reference_backward(const PlaneBackward& problem, kilter_stream);
[[nodiscard]] kilter_status instance_norm_reference_forward(const PlaneForward& problem, kilter_stream);
[[nodiscard]] kilter_status instance_norm_reference_backward(const PlaneBackward& problem, kilter_stream);
[[nodiscard]] kilter_status batch_norm_reference_forward(const PlaneForward& problem, kilter_stream);
[[nodiscard]] kilter_status batch_norm_reference_backward(const PlaneBackward& problem, kilter_stream);
[[nodiscard]] kilter_status batch_norm_statistics_reference_forward(const PlaneForward& problem, kilter_stream);
[[nodiscard]] kilter_status batch_norm_statistics_reference_backward(const PlaneBackward& problem, kilter_stream);
[[nodiscard]] kilter_status batch_norm_apply_reference_forward(const PlaneForward& problem, kilter_stream);
[[nodiscard]] kilter_status batch_norm_apply_reference_backward(const PlaneBackward& problem, kilter_stream);

// An activation of v and its derivative.
template <class R>
void reference_activation(int32_t activation, R v, R* value, R* slope) {
  using F = long double;  // what the mathematical functions are had in
  const F x = F(v), half_root = 0.70710678118654752440L, root_2_over_pi = 0.79788456080286535588L;
  *value = v, *slope = 1;
  if (activation == KILTER_ACTIVATION_RELU && !(v > 0)) *value = v == v ? R(0) : v, *slope = v == v ? R(0) : v;
  if (activation == KILTER_ACTIVATION_SILU) {
    const F e = std::exp(-std::fabs(x)), s = x < 0 ? e / (1 + e) : 1 / (1 + e);
    *value = x == -std::numeric_limits<F>::infinity() ? R(0) : v * R(s), *slope = R(s) + *value * R(x < 0 ? 1 / (1 + e) : e / (1 + e));
  }
  if (activation == KILTER_ACTIVATION_GELU) {
    const F phi = std::erfc(-x * half_root) / 2, density = std::exp(-x * x / 2) * root_2_over_pi / 2;
    *value = x == -std::numeric_limits<F>::infinity() ? R(0) : v * R(phi), *slope = R(phi) + (density == 0 ? R(0) : v * R(density));
  }
  if (activation == KILTER_ACTIVATION_GELU_TANH) {  // x (1 + tanh(u)) / 2 = x sigmoid(2 u)
    const F c = 0.044715L, u = 2 * root_2_over_pi * (x + c * x * x * x), e = std::exp(-std::fabs(u));
    const F s = u < 0 ? e / (1 + e) : 1 / (1 + e), t = e / ((1 + e) * (1 + e));
    *value = x == -std::numeric_limits<F>::infinity() ? R(0) : v * R(s);
    *slope = R(s) + (t == 0 ? R(0) : v * R(t * 2 * root_2_over_pi * (1 + 3 * c * x * x)));
  }
}

template <class R, class Problem>
class PlaneReference {
 public:
  explicit PlaneReference(const Problem& p) : p_(p), width_(p.groups ? p.channels / p.groups : 0) {}

 protected:
  // Of element `place` of a channel of a sample; its row is the sample.
  int64_t at(const View& v, int64_t channel, int64_t place) const {
    return v.layout & kChannelsFirst ? channel * p_.spatial + place : place * p_.channels + channel;
  }
  R get(const View& v, int64_t sample, int64_t channel, int64_t place) const { return read<R>(v, sample, at(v, channel, place)); }
  R of_channel(const View& v, int64_t channel, R absent) const { return v.present() ? read<R>(v, 0, channel) : absent; }
  R of_sample(const View& v, int64_t sample, int64_t channel, R absent) const { return v.present() ? read<R>(v, sample, channel) : absent; }
  R factor(int64_t set, int64_t channel) const {
    return p_.scale.present() ? of_sample(p_.scale, set, channel, 0) + R(p_.scale_offset) : 1;
  }
  uint8_t& mask_byte(int64_t n, int64_t c, int64_t i) const {
    return reinterpret_cast<uint8_t*>(p_.mask.row(n))[bits_of(p_).byte(at(p_.x, c, i))];
  }
  R elements() const { return R(samples_of_set(p_) * width_ * p_.spatial); }
  // f(sample, channel, place) of a plane.
  template <class F>
  void each(int64_t set, int64_t group, F f) const {
    for (int64_t n = set * samples_of_set(p_); n < (set + 1) * samples_of_set(p_); ++n)
      for (int64_t c = group * width_; c < (group + 1) * width_; ++c)
        for (int64_t i = 0; i < p_.spatial; ++i) f(n, c, i);
  }
  // What the activation is of, from a normalized element.
  R affine(int64_t set, int64_t n, int64_t c, int64_t i, R h) const {
    const R z = h * of_channel(p_.weight, c, 1) + of_channel(p_.bias, c, 0);
    const R v = z * factor(set, c) + of_sample(p_.shift, set, c, 0);
    return p_.residual_behind && p_.residual.present() ? v + get(p_.residual, n, c, i) : v;
  }

  const Problem& p_;
  int64_t width_;
};

template <class R>
struct PlaneReferenceForward : PlaneReference<R, PlaneForward> {
  using PlaneReference<R, PlaneForward>::PlaneReference, PlaneReference<R, PlaneForward>::p_;

  kilter_status run() const {
    const bool any = p_.channels > 0 || p_.mean.present() || p_.rstd.present();  // else there may be any number of groups
    const R sets = R(sets_of(p_));
    for (int64_t n = 0; p_.mask.present() && n < p_.batch; ++n)
      std::memset(p_.mask.row(n), 0, size_t(bytes_of_bits(p_.channels, p_.spatial, p_.x.layout)));
    for (int64_t g = 0; g < planes_of_set(p_) && any; ++g) {
      R mean = 0, var = 0;  // the sets' means of theirs
      for (int64_t n = 0; n < sets_of(p_); ++n) {
        const Moments m = plane(n, g);
        mean += m.mean / sets, var += m.square / (this->elements() - 1) / sets;
      }
      running(g, mean, var);
    }
    if (p_.count.present()) write(p_.count, 0, 0, R(samples_of_set(p_) * p_.spatial));
    return KILTER_OK;
  }

 private:
  struct Moments {
    R mean = 0, square = 0;  // the sum of squares around it
  };

  Moments plane(int64_t set, int64_t g) const {
    const bool summed = p_.residual_out.present();
    const View& s = summed ? p_.residual_out : p_.x;
    const View residual = summed || p_.residual_behind ? View{} : p_.residual;
    const auto at = [&](int64_t c, int64_t i) { return this->at(p_.x, c, i); };
    if (summed)
      this->each(set, g, [&](int64_t n, int64_t c, int64_t i) { write(s, n, at(c, i), read_sum<R>(p_.x, p_.residual, n, at(c, i))); });
    const auto value = [&](int64_t n, int64_t c, int64_t i) { return read_sum<R>(s, residual, n, at(c, i)); };
    const R m = this->elements();
    Moments of;
    R rstd;
    if (p_.step == PlaneStep::apply) {
      of.mean = read<R>(p_.mean, 0, g), rstd = read<R>(p_.rstd, 0, g);
    } else if (p_.training) {
      this->each(set, g, [&](int64_t n, int64_t c, int64_t i) { of.mean += value(n, c, i); });
      if (m > 0 || p_.step == PlaneStep::whole) of.mean /= m;
      this->each(set, g, [&](int64_t n, int64_t c, int64_t i) { of.square += (value(n, c, i) - of.mean) * (value(n, c, i) - of.mean); });
      rstd = 1 / square_root(of.square / m + R(p_.eps));
    } else {
      of.mean = read<R>(p_.running_mean, 0, g), rstd = 1 / square_root(read<R>(p_.running_var, 0, g) + R(p_.eps));
    }
    if (p_.y.present())
      this->each(set, g, [&](int64_t n, int64_t c, int64_t i) {
        R y, slope;
        reference_activation(p_.activation, this->affine(set, n, c, i, (value(n, c, i) - of.mean) * rstd), &y, &slope);
        write(p_.y, n, at(c, i), y);
        if (p_.mask.present()) this->mask_byte(n, c, i) |= uint8_t((slope != 0) << bits_of(p_).bit(at(c, i)));
      });
    if (p_.step == PlaneStep::apply) return of;
    write(p_.mean, set, g, of.mean);
    if (p_.step == PlaneStep::statistics) return write(p_.m2, set, g, of.square), of;
    write(p_.rstd, set, g, rstd);
    return of;
  }

  void running(int64_t c, R mean, R var) const {
    const bool none = sets_of(p_) == 0 || this->elements() == 0;  // leaves them as they are
    const R momentum = p_.averaging == KILTER_AVERAGING_CUMULATIVE ? 1 / (R(p_.batches_tracked) + 1) : R(p_.momentum);
    const auto update = [&](const View& old, const View& out, R value) {
      if (!out.present()) return;
      const R before = read<R>(old, 0, c);
      write(out, 0, c, none ? before : (1 - momentum) * before + momentum * value);
    };
    update(p_.running_mean, p_.running_mean_out, mean);
    update(p_.running_var, p_.running_var_out, var);
  }
};

// dweight and dbias in the workspace.
inline size_t plane_reference_workspace(const PlaneBackward& p) {
  if (p.dweight.dtype == DType::none && p.dbias.dtype == DType::none) return 0;
  if (p.channels > int64_t(1) << 48) return SIZE_MAX;  // beyond any memory, and short of an overflow
  return sizeof(Quad) * size_t(2 * p.channels + 1);
}

template <class R>
struct PlaneReferenceBackward : PlaneReference<R, PlaneBackward> {
  using PlaneReference<R, PlaneBackward>::PlaneReference, PlaneReference<R, PlaneBackward>::p_;

  kilter_status run() const {
    const size_t need = plane_reference_workspace(p_);
    if (need && (!p_.workspace || p_.workspace_size < need))
      return fail(KILTER_WORKSPACE_TOO_SMALL, p_.op, "workspace: expected %zu bytes, got %zu", need, p_.workspace ? p_.workspace_size : 0);
    R* const sums = need ? reinterpret_cast<R*>((reinterpret_cast<uintptr_t>(p_.workspace) + 15) & ~uintptr_t(15)) : nullptr;
    for (int64_t i = 0; sums && i < 2 * p_.channels; ++i) sums[i] = 0;
    for (int64_t n = 0; n < sets_of(p_); ++n)
      for (int64_t g = 0; g < p_.groups && p_.channels > 0; ++g) plane(n, g, sums);
    for (int64_t c = 0; sums && c < p_.channels; ++c) write(p_.dweight, 0, c, sums[c]), write(p_.dbias, 0, c, sums[p_.channels + c]);
    return KILTER_OK;
  }

  void plane(int64_t set, int64_t g, R* sums) const {
    const R m = p_.step == PlaneStep::apply ? read<R>(p_.count, 0, 0) : this->elements();
    R mean = 0, rstd;
    if (p_.step != PlaneStep::whole) {
      mean = read<R>(p_.mean, 0, g), rstd = read<R>(p_.rstd, 0, g);
    } else if (p_.training) {
      this->each(set, g, [&](int64_t n, int64_t c, int64_t i) { mean += this->get(p_.x, n, c, i); });
      mean /= m, rstd = read<R>(p_.rstd, set, g);  // the saved mean was rounded
    } else {
      mean = read<R>(p_.running_mean, 0, g), rstd = 1 / square_root(read<R>(p_.running_var, 0, g) + R(p_.eps));
    }
    struct Element {
      R h, u;
    };
    const auto element = [&](int64_t n, int64_t c, int64_t i) {
      const R h = (this->get(p_.x, n, c, i) - mean) * rstd;
      R value, slope;
      if (p_.mask.present())
        slope = this->mask_byte(n, c, i) >> bits_of(p_).bit(this->at(p_.x, c, i)) & 1;
      else
        reference_activation(p_.activation, this->affine(set, n, c, i, h), &value, &slope);
      return Element{h, this->get(p_.dy, n, c, i) * slope};
    };
    R sum_g = 0, sum_gh = 0;
    for (int64_t c = g * this->width_; c < (g + 1) * this->width_; ++c) {
      R sum_u = 0, sum_uh = 0;
      for (int64_t n = set * samples_of_set(p_); n < (set + 1) * samples_of_set(p_); ++n)
        for (int64_t i = 0; i < p_.spatial; ++i) {
          const Element e = element(n, c, i);
          sum_u += e.u, sum_uh += e.u * e.h;
        }
      const R f = this->factor(set, c), w = this->of_channel(p_.weight, c, 1);
      sum_g += sum_u * f * w, sum_gh += sum_uh * f * w;
      if (sums) sums[c] += sum_uh * f, sums[p_.channels + c] += sum_u * f;
      if (p_.sum_u.present() && p_.step == PlaneStep::statistics) write(p_.sum_u, 0, c, sum_u), write(p_.sum_u_xhat, 0, c, sum_uh);
      if (p_.step == PlaneStep::apply) sum_g = read<R>(p_.sum_u, 0, c) * w, sum_gh = read<R>(p_.sum_u_xhat, 0, c) * w;
      write(p_.dscale, set, c, sum_uh * w + sum_u * this->of_channel(p_.bias, c, 0));
      write(p_.dshift, set, c, sum_u);
    }
    if (p_.step == PlaneStep::statistics) return;
    this->each(set, g, [&](int64_t n, int64_t c, int64_t i) {
      const Element e = element(n, c, i);
      const R g = e.u * this->factor(set, c) * this->of_channel(p_.weight, c, 1);
      R dx = rstd * (p_.training ? g - sum_g / m - e.h * (sum_gh / m) : g);
      if (p_.dresidual_out.present()) dx += this->get(p_.dresidual_out, n, c, i);
      write(p_.dx, n, this->at(p_.x, c, i), dx);
      write(p_.dresidual, n, this->at(p_.x, c, i), p_.residual_behind ? e.u : dx);
    });
  }
};

inline kilter_status plane_reference(const PlaneForward& p) {
  return p.x.dtype == DType::f64 ? PlaneReferenceForward<Quad>(p).run() : PlaneReferenceForward<double>(p).run();
}
inline kilter_status plane_reference(const PlaneBackward& p) {
  return p.dy.dtype == DType::f64 ? PlaneReferenceBackward<Quad>(p).run() : PlaneReferenceBackward<double>(p).run();
}

}  // namespace kilter

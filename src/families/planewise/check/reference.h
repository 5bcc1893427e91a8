// A call's outputs by the reference, and what the units need beside them.
#pragma once

#include "families/planewise/check/check.h"

namespace kilter::check {

class PlaneJudged {
 public:
  PlaneJudged(const PlaneNorm& op, const Case& case_of, const Tensors& tensors);

  const Buffer& x() const { return residual_out.present() ? residual_out : t["x"]; }  // what is normalized

  // What shares statistics; row, index: where these are.  In a type that overflows for none.
  struct Unit {
    int64_t row, index;
    long double mean, rstd, std = 0;
  };
  Unit unit(int64_t u) const;
  // f(sample, channel, place)
  template <class F>
  void each(int64_t u, F&& f) const {
    sharing.channels_of(u, [&](int64_t sample, int64_t channel) {
      for (int64_t i = 0; i < sharing.places; ++i) f(sample, channel, i);
    });
  }

  struct Channel {
    long double w, b, f, shift;
  };
  Channel channel(int64_t sample, int64_t channel) const;
  // What the activation is of.
  long double before_activation(const Channel& k, long double h, long double behind) const {
    return (h * k.w + k.b) * k.f + k.shift + behind;
  }
  // A residual's part in what the activation is of.
  long double behind(int64_t sample, int64_t channel, int64_t place) const { return behind_ ? behind_->at(sample, channel, place) : 0; }

  // An activation's at an element's xhat = h: as it is (a mask says what relu's is), as it counts, whether another one will do, and of how
  // large terms.
  struct Slope {
    long double value, size;
    bool either;
    long double terms;
  };
  Slope slope(const Unit& z, const Channel& k, long double h, int64_t sample, int64_t channel, int64_t place) const;

  const Case& c;
  const Tensors& t;
  const Sharing sharing;
  const bool training;
  kilter_status status;
  PlaneStep step = PlaneStep::whole;
  Buffer count, m2, sum_u, sum_u_xhat;  // of a step's
  Buffer y, mask, mean, rstd, residual_out, running_mean, running_var, dx, dresidual, dweight, dbias, dscale, dshift;

 private:
  Buffer make(bool backward, const char* name, DType type = DType::f64) const;
  void backward(const PlaneNorm& op);

  const int32_t activation_;
  const bool wide_;
  const Buffer* behind_ = nullptr;
};

}  // namespace kilter::check

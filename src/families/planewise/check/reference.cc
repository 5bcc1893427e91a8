#include "families/planewise/check/reference.h"

#include "check/meter.h"

namespace kilter::check {

ActivationSizes activation_sizes(int32_t activation, long double v, long double around) {
  ActivationSizes s;
  long double value;
  reference_activation(activation, v, &value, &s.slope);
  s.slope = std::fabs(s.slope);
  if (std::isinf(v)) return s;
  const long double a = std::max(std::fabs(v) - around, 0.0L);  // both envelopes fall with it
  if (activation == KILTER_ACTIVATION_SILU) {
    const long double e = std::exp(-a);
    s.bend = e / ((1 + e) * (1 + e)) * std::max(2.0L, a);
  }
  if (activation == KILTER_ACTIVATION_GELU || activation == KILTER_ACTIVATION_GELU_TANH)
    s.bend = std::exp(-a * a / 2) * 0.39894228040143267794L * std::max(2.0L, a * a);
  s.jumps = activation == KILTER_ACTIVATION_RELU && std::fabs(v) <= around;
  return s;
}

PlaneJudged::PlaneJudged(const PlaneNorm& op, const Case& case_of, const Tensors& tensors)
    : c(case_of),
      t(tensors),
      sharing(sharing_of(case_of)),
      training(trains(case_of)),
      activation_(int32_t(c.number("activation"))),
      wide_(c.x == DType::f64) {
  PlaneForward p;
  set_problem(c, false, t, &p);
  p.op = c.op.c_str();
  y = make(false, "y", c.backward ? DType::none : DType::f64);
  mean = make(false, "mean"), rstd = make(false, "rstd");
  residual_out = make(false, "residual_out", t["residual"].dtype());
  count = make(false, "count"), m2 = make(false, "m2");
  p.count = count.view(), p.m2 = m2.view();
  if (t["mask"].present()) mask = make(false, "mask", DType::u8), p.mask = mask.view();
  p.y = y.view(), p.mean = mean.view(), p.rstd = rstd.view(), p.residual_out = residual_out.view();
  if (t["running_mean_out"].present()) running_mean = make(false, "running_mean_out"), p.running_mean_out = running_mean.view();
  if (t["running_var_out"].present()) running_var = make(false, "running_var_out"), p.running_var_out = running_var.view();
  status = op.finish_forward(&p);
  if (p.residual_behind && t["residual"].present()) behind_ = &t["residual"];
  step = p.step;
  if (step == PlaneStep::apply) mean = t["mean"], rstd = t["rstd"], p.mean = mean.view(), p.rstd = rstd.view();
  if (status == KILTER_OK) status = op.forward(p, nullptr);
  if (status == KILTER_OK && c.backward) backward(op);
}

void PlaneJudged::backward(const PlaneNorm& op) {
  PlaneBackward p;
  set_problem(c, true, t, &p);
  p.op = c.op.c_str();
  dx = make(true, "dx"), dweight = make(true, "dweight"), dbias = make(true, "dbias");
  dscale = make(true, "dscale"), dshift = make(true, "dshift");
  if (step != PlaneStep::whole) mean = t["mean"], rstd = t["rstd"];
  if (step == PlaneStep::statistics) sum_u = make(true, "sum_u"), sum_u_xhat = make(true, "sum_u_xhat");
  if (step == PlaneStep::statistics) p.sum_u = sum_u.view(), p.sum_u_xhat = sum_u_xhat.view();
  p.x = x().view(), p.mean = mean.view(), p.rstd = rstd.view();
  p.dx = dx.view(), p.dweight = dweight.view(), p.dbias = dbias.view(), p.dscale = dscale.view(), p.dshift = dshift.view();
  std::vector<char> sums(plane_reference_workspace(p));
  p.workspace = sums.data(), p.workspace_size = sums.size();
  status = op.finish_backward(&p);
  if (p.residual_behind) dresidual = make(true, "dresidual"), p.dresidual = dresidual.view();
  if (status == KILTER_OK) status = op.backward(p, nullptr);
}

// A tensor of the op's, in fp64; absent where it has none.
Buffer PlaneJudged::make(bool backward, const char* name, DType type) const {
  const Schema& s = *function_of(c.op, backward)->schema;
  const Field* const f = field_of(s, name);
  return f ? Buffer::of(*f, type, sizes_of(c, s).shape_of(*f), c.layout) : Buffer();
}

PlaneJudged::Unit PlaneJudged::unit(int64_t u) const {
  Unit z;
  z.row = u / mean.row_length(), z.index = u % mean.row_length();
  z.mean = mean.at(z.row, z.index), z.rstd = rstd.present() ? rstd.at(z.row, z.index) : 0;
  each(u, [&](int64_t sample, int64_t channel, int64_t i) {
    const long double d = x().at(sample, channel, i) - z.mean;
    z.std += d * d;
  });
  z.std = std::sqrt(z.std / sharing.length());
  return z;
}

PlaneJudged::Channel PlaneJudged::channel(int64_t sample, int64_t channel) const {
  const auto value = [](const Buffer& b, int64_t row, int64_t i, double absent) { return b.present() ? b.at(row, i) : absent; };
  Channel k;
  k.w = value(t["weight"], 0, channel, 1), k.b = value(t["bias"], 0, channel, 0);
  const Buffer& scale = t["scale"];
  k.f = scale.present() ? scale.at(sample, channel) + (long double)(as_computed(c.x, c.number("scale_offset"))) : 1;
  k.shift = value(t["shift"], sample, channel, 0);
  return k;
}

PlaneJudged::Slope PlaneJudged::slope(const Unit& z, const Channel& k, long double h, int64_t sample, int64_t channel,
                                      int64_t place) const {
  if (!activation_) return {1, 1, false, 0};
  if (mask.present()) return {(long double)(bit_at(c, t["mask"], sample, channel, place)), 1, false, 0};
  const long double behind = this->behind(sample, channel, place), v = before_activation(k, h, behind);
  const long double lost = training ? std::fabs(z.mean) * z.rstd : 0;
  const long double terms = (std::fabs(h) + lost) * std::fabs(k.w * k.f) + std::fabs(k.b * k.f) + std::fabs(k.shift) + std::fabs(behind);
  const ActivationSizes s = activation_sizes(activation_, v, terms > 0 ? 8 * ulp(wide_ ? DType::f64 : DType::f32, terms) : 0);
  const bool either = s.jumps && terms > 0;
  // An exponential that underflows takes up to 88 * 2^-126 from a slope.
  const long double least = either ? 1 : wide_ ? 0x1p-900L : 0x1p-99L;
  return {s.slope, std::max(s.slope + (s.bend > 0 ? s.bend * terms : 0), least), either, terms};
}

}  // namespace kilter::check

// The reference, the units, the comparison.
#include "check/meter.h"
#include "families/elementwise/check/check.h"

namespace kilter::check {
namespace {

class Reference {
 public:
  Reference(const Elementwise& op, const Case& c, const Tensors& t) : op_(op), t_(t) {
    const Buffer& residual = t["residual"];
    y = Buffer::rows(c.backward ? DType::none : DType::f64, c.rows, c.n);
    residual_out = Buffer::rows(residual.dtype(), c.rows, c.n);
    x_ = residual.present() ? &residual_out : &t["x"], weight_ = &t["weight"];
    const bool wide = c.x == DType::f64;
    least_f_ = wide ? 0x1p-1022 : 0x1p-126, least_slope_ = wide ? 0x1p-900 : 0x1p-100;
    alpha_ = t["alpha"].at(0, 0), shift_ = t["shift"].present() ? t["shift"].at(0, 0) : 0;
    ElementwiseForward p;
    p.rows = c.rows, p.n = c.n;
    p.x = t["x"].view(), p.alpha = t["alpha"].view(), p.shift = t["shift"].view(), p.weight = t["weight"].view();
    p.bias = t["bias"].view(), p.residual = residual.view();
    p.y = y.view(), p.residual_out = residual_out.view();
    status = op.forward(p, nullptr);
    if (status == KILTER_OK && c.backward) backward(c);
  }

  const Buffer& x() const { return *x_; }
  double weight(int64_t i) const { return weight_->present() ? weight_->at(0, i) : 1; }

  // Of u's formula at an element: what it is, and the sizes of f and f' as the bounds count them.
  struct Element {
    double f, slope;
  };
  Element sizes(int64_t r, int64_t i) const {
    const double scaled = alpha_ * x_->at(r, i), shift = shift_, u = scaled + shift;
    const FunctionSizes s = op_.sizes(u);
    const double around = s.slope > 0 ? s.bend * s.slope * (std::fabs(scaled) + std::fabs(shift)) : 0;
    return {std::max(s.f + 2 * s.slope * std::fabs(shift), least_f_), std::max(s.slope + around, least_slope_)};
  }

  kilter_status status;
  Buffer y, residual_out, dx, dalpha, dshift, dweight, dbias;

 private:
  void backward(const Case& c) {
    dx = Buffer::rows(DType::f64, c.rows, c.n);
    for (Buffer* sum : {&dalpha, &dshift}) *sum = Buffer::vector(DType::f64, 1);
    for (Buffer* sum : {&dweight, &dbias}) *sum = Buffer::vector(DType::f64, c.n);
    ElementwiseBackward p;
    p.rows = c.rows, p.n = c.n, p.op = c.op.c_str();
    p.x = x().view(), p.alpha = t_["alpha"].view(), p.shift = t_["shift"].view(), p.weight = t_["weight"].view();
    p.dy = t_["dy"].view(), p.dresidual_out = t_["dresidual_out"].view();
    p.dx = dx.view(), p.dalpha = dalpha.view(), p.dshift = dshift.view(), p.dweight = dweight.view(), p.dbias = dbias.view();
    std::vector<char> sums(reference_backward_workspace(p));
    p.workspace = sums.data(), p.workspace_size = sums.size();
    status = op_.backward(p, nullptr);
  }

  const Elementwise& op_;
  const Tensors& t_;
  const Buffer *x_, *weight_;
  double alpha_, shift_, least_f_, least_slope_;
};

void judge_forward(const Case& c, const Tensors& t, const Reference& ref, Report* r) {
  if (c.backward && !t["residual_out"].present()) return;
  const Buffer &got = t["y"], &got_sum = t["residual_out"], &bias = t["bias"];
  Meter y("y", c.x, tolerance(elementwise_bounds, "y", c.x, {}));
  Meter sum("residual_out", got_sum.dtype(), tolerance(elementwise_bounds, "residual_out", got_sum.present() ? got_sum.dtype() : c.x, {}));
  for (int64_t row = 0; row < c.rows; ++row)
    for (int64_t i = 0; i < c.n; ++i) {
      if (got_sum.present()) sum.add_exact(got_sum.at(row, i), ref.residual_out.at(row, i), row, i);
      if (c.backward) continue;
      const double size = std::fabs(ref.weight(i)) * ref.sizes(row, i).f + (bias.present() ? std::fabs(bias.at(0, i)) : 0);
      y.add(got.at(row, i), ref.y.at(row, i), ulp(c.x, size), row, i);
    }
  y.report(r), sum.report(r);
}

void judge_backward(const Case& c, const Tensors& t, const Reference& ref, Report* r) {
  const Buffer &got_dx = t["dx"], &got_dresidual = t["dresidual"], &dy = t["dy"], &upstream = t["dresidual_out"];
  const DType narrow = got_dresidual.present() ? got_dresidual.dtype() : c.x;
  const double alpha = std::fabs(t["alpha"].at(0, 0));
  Meter dx("dx", c.x, tolerance(elementwise_bounds, "dx", c.x, {}), true);
  Meter dresidual("dresidual", narrow, tolerance(elementwise_bounds, "dresidual", narrow, {}), true);
  const double least = c.x == DType::f64 ? 0x1p-1022 : 0x1p-126;
  ColumnSizes weights(c.n), biases(c.n), alphas(1), shifts(1);
  for (int64_t row = 0; row < c.rows; ++row)
    for (int64_t i = 0; i < c.n; ++i) {
      const Reference::Element e = ref.sizes(row, i);
      const double want = ref.dx.at(row, i), g = std::fabs(dy.at(row, i) * ref.weight(i)) * e.slope;
      const double size = g * alpha + (upstream.present() ? std::fabs(upstream.at(row, i)) : 0);
      if (got_dx.present()) dx.add(got_dx.at(row, i), want, ulp(c.x, size), row, i);
      if (got_dresidual.present()) dresidual.add(got_dresidual.at(row, i), want, ulp(narrow, size), row, i);
      const auto term = [&](double v) { return std::max(std::fabs(v), least); };
      weights.add(i, term(dy.at(row, i) * e.f)), biases.add(i, term(dy.at(row, i)));
      alphas.add(0, term(g * ref.x().at(row, i))), shifts.add(0, term(g));
    }
  dx.report(r), dresidual.report(r);
  judge_sums(elementwise_bounds, "dweight", t["dweight"], ref.dweight, weights, r, true);
  judge_sums(elementwise_bounds, "dbias", t["dbias"], ref.dbias, biases, r, true);
  judge_sums(elementwise_bounds, "dalpha", t["dalpha"], ref.dalpha, alphas, r, true);
  judge_sums(elementwise_bounds, "dshift", t["dshift"], ref.dshift, shifts, r, true);
}

}  // namespace

void judge_elementwise(const Elementwise& op, const Case& c, const Tensors& t, Report* r) {
  const Reference ref(op, c, t);
  if (ref.status != KILTER_OK) {
    r->problems.push_back(std::string("the reference failed: ") + kilter_last_error());
    return;
  }
  judge_forward(c, t, ref, r);
  if (c.backward) judge_backward(c, t, ref, r);
}

void vary_elementwise(Case* c, int variant) {
  const DType x = c->x;
  Case& v = *c;
  const bool shifted = field_of(*function_of(v.op, false)->schema, "shift");
  if (variant != 0 && shifted) v["shift"] = variant == 2 && x != DType::f64 ? DType::f32 : x;
  if (variant == 1) v["weight"] = v["bias"] = x;
  if (variant == 2) v["alpha"] = v["weight"] = v["bias"] = v["residual"] = v["dresidual"] = DType::f32, v["dresidual_out"] = x;
  if (variant == 3) v["weight"] = v["dweight"] = v["dbias"] = v["dalpha"] = x;
  if (variant == 4) v["residual"] = v["bias"] = x, v["dalpha"] = v["dweight"] = DType::none;
}

}  // namespace kilter::check

// The reference, the units, the comparison.
#include "check/meter.h"
#include "families/rowwise/check/check.h"

namespace kilter::check {
namespace {

// What the units need of one row, in a type that overflows for no row.
struct RowSize {
  long double mean = 0, rstd = 0, std = 0;
  bool constant = true;
};

class Reference {
 public:
  Reference(const RowNorm& op, const Case& c, const Tensors& t)
      : c_(c),
        t_(t),
        op_(op),
        weight_(t["weight"]),
        residual_(t["residual"].present()),
        weight_offset_(as_computed(c.x, c.number("weight_offset"))),
        modulation_(p_.modulation) {
    y = Buffer::rows(c.backward ? DType::none : DType::f64, c.rows, c.n);
    mean = Buffer::per_row(DType::f64, c.rows);
    rstd = Buffer::per_row(DType::f64, c.rows);
    residual_out = Buffer::rows(t["residual"].dtype(), c.rows, c.n);
    RowNormForward& p = p_;
    p.rows = c.rows, p.n = c.n, p.op = c.op.c_str();
    modulate(&p);
    p.gate = t["gate"].view(), p.shift = t["shift"].view();
    p.x = t["x"].view(), p.residual = t["residual"].view(), p.weight = weight_.view(), p.bias = t["bias"].view();
    p.post_residual = t["post_residual"].view();
    p.y = y.view(), p.mean = mean.view(), p.rstd = rstd.view(), p.residual_out = residual_out.view();
    p.eps = as_computed(c.x, c.number("eps")), p.weight_offset = weight_offset_;
    // round_then_multiply stays false: bounds are against the unrounded value
    status_ = op_.forward(p, nullptr);
    if (status_ == KILTER_OK && c.backward) backward();
  }

  kilter_status status() const { return status_; }
  const Buffer& s() const { return residual_ ? residual_out : t_["x"]; }
  long double weight(int64_t i) const { return weight_.present() ? weight_.at(0, i) + weight_offset_ : 1; }

  // Of a row, whose modulation is sought before: what its elements are multiplied with, and their terms without x.
  void seek(int64_t row) { modulation_.seek(row); }
  int64_t modulation() const { return modulation_.index(); }
  long double factor(int64_t i) const { return p_.scale.present() ? t_["scale"].at(modulation(), i) + p_.scale_offset : 1; }
  long double gate(int64_t i) const { return p_.gate.present() ? t_["gate"].at(modulation(), i) : 1; }
  long double bias(int64_t i) const { return t_["bias"].present() ? std::fabs(t_["bias"].at(0, i)) : 0; }
  long double shift(int64_t i) const { return p_.shift.present() ? std::fabs(t_["shift"].at(modulation(), i)) : 0; }

  RowSize size(int64_t r) const {
    RowSize z;
    const Buffer& x = s();
    z.mean = op_.centered ? mean.at(r, 0) : 0;
    z.rstd = rstd.at(r, 0);
    for (int64_t i = 0; i < c_.n; ++i) {
      const long double d = x.at(r, i) - z.mean;
      z.std += d * d;
      z.constant = z.constant && x.at(r, i) == x.at(r, 0);
    }
    z.std = std::sqrt(z.std / c_.n);
    return z;
  }

  Buffer y, mean, rstd, residual_out, dx, dresidual, dweight, dbias, dscale, dshift, dgate;

 private:
  template <class Problem>
  void modulate(Problem* p) {
    p->scale = t_["scale"].view(), p->segments = t_["segments"].view();
    p->scale_offset = as_computed(c_.x, c_.number("scale_offset"));
    p->modulation.count = p->scale.present() ? c_.size("segments") : 0;
    status_ = finish_modulation(p);
  }

  void backward() {
    dx = Buffer::rows(DType::f64, c_.rows, c_.n);
    dweight = Buffer::vector(DType::f64, c_.n);
    dbias = Buffer::vector(DType::f64, c_.n);
    dresidual = Buffer::rows(DType::f64, c_.rows, c_.n);
    std::vector<char> sums(sizeof(Quad) * kReferenceSums * size_t(c_.n) + 1);
    RowNormBackward p;
    p.rows = c_.rows, p.n = c_.n, p.op = c_.op.c_str();
    modulate(&p);
    for (Buffer* b : {&dscale, &dshift, &dgate})
      if (p.scale.present()) *b = Buffer::rows(DType::f64, p.modulation.count, c_.n);
    p.dscale = dscale.view(), p.dshift = dshift.view(), p.dgate = dgate.view(), p.dresidual = dresidual.view();
    p.bias = t_["bias"].view(), p.gate = t_["gate"].view(), p.branch = t_["branch"].view();
    p.x = s().view(), p.weight = weight_.view(), p.mean = mean.view(), p.rstd = rstd.view(), p.dy = t_["dy"].view();
    p.dresidual_out = t_["dresidual_out"].view();
    p.dx = dx.view(), p.dweight = dweight.view(), p.dbias = dbias.view();
    p.weight_offset = weight_offset_;
    p.workspace = sums.data(), p.workspace_size = sums.size();
    status_ = op_.backward(p, nullptr);
  }

  const Case& c_;
  const Tensors& t_;
  const RowNorm& op_;
  const Buffer& weight_;
  bool residual_;
  double weight_offset_;
  RowNormForward p_;
  ModulationCursor modulation_;
  kilter_status status_;
};

bool is_harder(const Case& c) {
  return c.has("weight") || c.has("bias") || c.has("residual") || c.has("post_residual") || c.fill == Fill::offset ||
         c.fill == Fill::outlier || c.fill == Fill::constant || c.fill == Fill::special || c.fill == Fill::denormal;
}

When when_rounding(const Case& c) {
  const bool bias = c.has("bias"), after = c.has("post_residual");
  return bias && after ? When::then_multiply_add_twice : bias || after ? When::then_multiply_add : When::then_multiply;
}

When when_modulated(const Tensors& t) { return t["scale"].present() ? When::modulated : When::always; }

void judge_forward(bool centered, const Case& c, const Tensors& t, Reference& ref, Report* r) {
  const Buffer &got_y = t["y"], &got_mean = t["mean"], &got_rstd = t["rstd"], &post_residual = t["post_residual"];
  const Buffer &got_sum = t["residual_out"], &s = ref.s();
  const DType stats = got_rstd.dtype();
  const When rounding = c.number("rounding") != 0 ? when_rounding(c) : When::always;
  Meter y("y", c.x, tolerance("y", c.x, {rounding, when_modulated(t), is_harder(c) ? When::harder : When::plain}));
  Meter y_constant("y of constant rows", c.x, tolerance("y", c.x, {When::constant_row}));
  const bool exact_mean = c.fill == Fill::exact && !c.has("residual") && c.n <= 1 << 20;
  Meter mean("mean", stats, tolerance("mean", stats, {exact_mean ? When::exact_row : When::always}), true);
  Meter rstd("rstd", stats, tolerance("rstd", stats, {}));
  Meter sum("residual_out", got_sum.dtype(), tolerance("residual_out", got_sum.present() ? got_sum.dtype() : c.x, {}));
  // Two roundings by definition: bias + post_residual in fp32, then T; or bias times f.
  const bool twice = (post_residual.present() && item_size(c.x) == 2) || (t["scale"].present() && t["bias"].present());
  const bool constant_is_exact = centered && as_computed(c.x, c.number("eps")) > 0 && !twice;
  for (int64_t row = 0; row < c.rows; ++row) {
    const RowSize z = ref.size(row);
    if (got_mean.present()) mean.add(got_mean.at(row, 0), ref.mean.at(row, 0), ulp(stats, std::max(std::fabs(z.mean), z.std)), row, 0);
    rstd.add(got_rstd.at(row, 0), ref.rstd.at(row, 0), ulp(stats, z.rstd), row, 0);
    for (int64_t i = 0; i < c.n && got_sum.present(); ++i) sum.add_exact(got_sum.at(row, i), ref.residual_out.at(row, i), row, i);
    if (c.backward) continue;
    const bool constant = z.constant && constant_is_exact;
    ref.seek(row);
    long double largest = 0;
    for (int64_t i = 0; i < c.n && !constant; ++i) {
      const long double f = ref.factor(i);
      long double v = std::fabs((s.at(row, i) - z.mean) * z.rstd * ref.weight(i) * f) + ref.bias(i) * std::fabs(f) + ref.shift(i);
      if (post_residual.present()) v += std::fabs(post_residual.at(row, i));
      largest = std::max(largest, v);
    }
    const double unit = ulp(c.x, largest);
    for (int64_t i = 0; i < c.n; ++i) {
      const double got = got_y.at(row, i), want = ref.y.at(row, i);
      if (constant)
        y_constant.add_exact(got, rounded(c.x, want), row, i);
      else
        y.add(got, want, unit, row, i);
    }
  }
  for (const Meter* m : {&y, &y_constant, &mean, &rstd, &sum}) m->report(r);
}

// Sums over the rows that share a row of scale.
void judge_modulation(const char* name, const Buffer& got, const Buffer& want, const ColumnSizes& sizes, Report* r) {
  if (!got.present()) return;
  Meter meter(name, got.dtype(), tolerance(row_norm_bounds, name, got.dtype(), {}), true);
  const int64_t n = got.row_length();
  for (int64_t m = 0; m < got.row_count(); ++m)
    for (int64_t i = 0; i < n; ++i) meter.add(got.at(m, i), want.at(m, i), ulp(got.dtype(), sizes.size(m * n + i, want.at(m, i))), m, i);
  meter.report(r);
}

void judge_backward(bool centered, const Case& c, const Tensors& t, Reference& ref, Report* r) {
  const Buffer &got_dx = t["dx"], &got_dresidual = t["dresidual"], &got_dy = t["dy"], &dresidual_out = t["dresidual_out"], &s = ref.s();
  const DType stats = t["rstd"].dtype();
  const DType narrow = got_dresidual.present() ? got_dresidual.dtype() : c.x;
  const When modulated = when_modulated(t);
  Meter dx("dx", c.x, tolerance("dx", c.x, {modulated}), true);
  Meter dresidual("dresidual", narrow, tolerance("dresidual", narrow, {modulated}), true);
  ColumnSizes weight_sizes(c.n), bias_sizes(c.n);
  const int64_t shared = modulated == When::modulated ? c.size("segments") * c.n : 0;
  ColumnSizes scale_sizes(shared), shift_sizes(shared), gate_sizes(shared);
  int64_t beyond = 0;
  for (int64_t row = 0; row < c.rows; ++row) {
    const RowSize z = ref.size(row);
    ref.seek(row);
    if (z.rstd > max_of(stats)) {  // backward starts from the saved rstd, and this one cannot be saved
      ++beyond;
      continue;
    }
    long double c1 = 0, c2 = 0;  // the means of g * h and, centered, of g = dy * w
    for (int64_t i = 0; i < c.n; ++i) {
      const long double g = got_dy.at(row, i) * ref.weight(i) * ref.factor(i);
      c1 += g * ((s.at(row, i) - z.mean) * z.rstd) / c.n;
      if (centered) c2 += g / c.n;
    }
    long double largest = 0, upstream = 0;
    for (int64_t i = 0; i < c.n; ++i) {
      const long double dy = got_dy.at(row, i), xhat = (s.at(row, i) - z.mean) * z.rstd;
      const long double u = dy * ref.factor(i);
      largest = std::max(largest, std::fabs(u * ref.weight(i)) + std::fabs(c2) + std::fabs(xhat * c1));
      if (dresidual_out.present()) upstream = std::max<long double>(upstream, std::fabs(dresidual_out.at(row, i)));
      const long double least = centered ? z.std * z.rstd : 0;
      weight_sizes.add(i, u * std::max(std::fabs(xhat), least));
      bias_sizes.add(i, u);
      if (!shared) continue;
      scale_sizes.add(ref.modulation() * c.n + i, dy * (std::max(std::fabs(xhat), least) * std::fabs(ref.weight(i)) + ref.bias(i)));
      shift_sizes.add(ref.modulation() * c.n + i, dy);
    }
    const long double size = largest * z.rstd + upstream;  // |dx| is no larger
    for (int64_t i = 0; i < c.n; ++i) {
      const long double gate = std::fabs(ref.gate(i));
      const double unit = std::max(ulp(c.x, size * gate), double(ulp(c.x, size) * gate));
      if (got_dx.present()) dx.add(got_dx.at(row, i), ref.dx.at(row, i), unit, row, i);
      if (got_dresidual.present()) dresidual.add(got_dresidual.at(row, i), ref.dresidual.at(row, i), ulp(narrow, size), row, i);
      if (shared && t["branch"].present()) gate_sizes.add(ref.modulation() * c.n + i, size * t["branch"].at(row, i));
    }
  }
  dx.report(r), dresidual.report(r);
  if (beyond)
    r->notes.push_back(std::to_string(beyond) +
                       " row(s) with an rstd beyond the saved type's range: their gradients, and dweight, were not judged");
  if (!beyond) judge_sums(row_norm_bounds, "dweight", t["dweight"], ref.dweight, weight_sizes, r, shared != 0);
  if (!beyond) judge_sums(row_norm_bounds, "dbias", t["dbias"], ref.dbias, bias_sizes, r, shared != 0);
  if (beyond) return;
  judge_modulation("dscale", t["dscale"], ref.dscale, scale_sizes, r);
  judge_modulation("dshift", t["dshift"], ref.dshift, shift_sizes, r);
  judge_modulation("dgate", t["dgate"], ref.dgate, gate_sizes, r);
}

}  // namespace

void judge_row_norm(const RowNorm& op, const Case& c, const Tensors& t, Report* r) {
  Reference ref(op, c, t);
  if (ref.status() != KILTER_OK) {
    r->problems.push_back(std::string("the reference failed: ") + kilter_last_error());
    return;
  }
  judge_forward(op.centered, c, t, ref, r);
  if (c.backward) judge_backward(op.centered, c, t, ref, r);
}

void vary_row_norm(Case* c, int variant) {
  const DType x = c->x;
  Case& v = *c;
  if (variant == 1) v["weight"] = v["bias"] = x;
  if (variant == 2) v["weight"] = v["bias"] = v["residual"] = v["dresidual"] = DType::f32, v["dresidual_out"] = x;
  if (variant == 3) v["weight"] = v["post_residual"] = v["dweight"] = v["dbias"] = x;
  if (variant == 3) v.numbers["weight_offset"] = v.numbers["rounding"] = 1;
  if (variant == 4) v.numbers["eps"] = x == DType::f64 ? 1e-300 : 1e-12;
}

}  // namespace kilter::check

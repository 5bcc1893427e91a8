// How batch_norm_combine is judged.
#include <functional>

#include "check/meter.h"
#include "ops/batch_norm_combine/combine.h"

namespace kilter::check {
namespace {

const std::vector<Tolerance>& rows() {
  constexpr DType f64 = DType::f64, f32 = DType::f32, f16 = DType::f16, bf16 = DType::bf16;
  constexpr const char *kUlp = "ulp", *kSum = "a sum of pairs of fp64: 1; the result: 0.5", *kOnce = "one rounding: 0.5; fp64 before it";
  static const std::vector<Tolerance> table = {
      {"count", f64, nullptr, 0, "bits", "integers"},
      {"mean", f64, nullptr, 3, "ulp(max(\\|mean\\|, \\|means\\|))", "a product and a quotient: 1; the rest as its correction: 1.5"},
      {"rstd", f64, nullptr, 4, kUlp, "half of m2's 3, count and eps: 2; root and division: 1"},
      {"running_mean_out", f64, nullptr, 4, "ulp(\\|old\\| + \\|new\\|), shares of them", "mean: 3; three operations"},
      {"running_mean_out", f32, nullptr, 0.51, "ulp(\\|old\\| + \\|new\\|), shares of them", kOnce},
      {"running_mean_out", f16, nullptr, 0.51, "ulp(\\|old\\| + \\|new\\|), shares of them", kOnce},
      {"running_mean_out", bf16, nullptr, 0.51, "ulp(\\|old\\| + \\|new\\|), shares of them", kOnce},
      {"sum_u", f64, nullptr, 1.5, "ulp(sum \\|sums\\|)", kSum},
  };
  return table;
}

const Bounds combine_bounds = {"Statistics of ranks", rows(), "running_var_out as running_mean_out, sum_u_xhat as sum_u",
                               "- Counts are integers; ranks whose count is 0 do not matter.\n"};

struct Judge {
  const Case& c;
  const Tensors& t;
  Report* r;

  void judge(const char* name, const Buffer& want, const std::function<double(int64_t)>& size) const {
    const Buffer& got = t[name];
    if (!got.present()) return;
    Meter meter(name, got.dtype(), tolerance(combine_bounds, name, got.dtype(), {}), true);
    for (int64_t i = 0; i < want.row_length(); ++i) meter.add(got.at(0, i), want.at(0, i), ulp(got.dtype(), size(i)), 0, i);
    meter.report(r);
  }

  void forward() const {
    CombineForward p;
    set_problem(c, false, t, &p);
    const int64_t n = p.channels;
    Buffer count = Buffer::vector(DType::f64, 1), mean = Buffer::vector(DType::f64, n), rstd = mean, running_mean = mean,
           running_var = mean;
    p.count = count.view(), p.mean = mean.view(), p.rstd = rstd.view();
    if (t["running_mean_out"].present()) p.running_mean_out = running_mean.view();
    if (t["running_var_out"].present()) p.running_var_out = running_var.view();
    if (batch_norm_combine_reference_forward(p, nullptr) != KILTER_OK) return r->problems.push_back("the reference failed");
    judge("count", count, [&](int64_t) { return count.at(0, 0); });
    const auto mean_size = [&](int64_t i) {
      double most = std::fabs(mean.at(0, i));
      for (int64_t k = 0; k < p.ranks; ++k) most = std::max(most, std::fabs(t["means"].at(k, i)));
      return most;
    };
    judge("mean", mean, mean_size);
    judge("rstd", rstd, [&](int64_t i) { return rstd.at(0, i); });
    const double share = std::fabs(share_of(p)), kept = std::fabs(1 - share_of(p));
    judge("running_mean_out", running_mean, [&](int64_t i) { return kept * std::fabs(t["running_mean"].at(0, i)) + share * mean_size(i); });
    judge("running_var_out", running_var, [&](int64_t i) { return kept * t["running_var"].at(0, i) + std::fabs(running_var.at(0, i)); });
  }

  void backward() const {
    CombineBackward p;
    set_problem(c, true, t, &p);
    Buffer u = Buffer::vector(DType::f64, p.channels), uh = Buffer::vector(DType::f64, p.channels);
    p.sum_u = u.view(), p.sum_u_xhat = uh.view();
    if (batch_norm_combine_reference_backward(p, nullptr) != KILTER_OK) return r->problems.push_back("the reference failed");
    const auto size = [&](const char* name) {
      return [&, name](int64_t i) {
        double sum = 0;
        for (int64_t k = 0; k < p.ranks; ++k) sum += std::fabs(t[name].at(k, i));
        return sum;
      };
    };
    judge("sum_u", u, size("sums_u")), judge("sum_u_xhat", uh, size("sums_u_xhat"));
  }
};

void judge_combine(const Case& c, const Tensors& t, Report* r) {
  const Judge judge{c, t, r};
  judge.forward();
  if (c.backward) judge.backward();
}

void vary_combine(Case* c, int variant) {
  (*c)["running_mean"] = (*c)["running_var"] = DType::f32;
  if (variant == 1) (*c)["running_mean"] = (*c)["running_var"] = DType::none;
  if (variant == 2)
    (*c)["running_mean"] = (*c)["running_var"] = DType::bf16, c->numbers["averaging"] = 1, c->numbers["batches_tracked"] = 7;
  if (variant == 3) (*c)["running_mean"] = DType::f64, c->numbers["momentum"] = 1;
}

}  // namespace

extern const Op batch_norm_combine_check;
const Op batch_norm_combine_check = {"batch_norm_combine",
                                     &combine_bounds,
                                     "running_mean running_var",
                                     true,
                                     true,
                                     judge_combine,
                                     vary_combine,
                                     [](const Case&, Sharing* s) { s->all_samples = true; }};

}  // namespace kilter::check

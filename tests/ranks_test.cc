// Synchronized batch norm on simulated ranks: the steps of batch_norm, with nothing between them but memory, equal batch_norm of all
// samples on one rank, forward and backward, also where a rank has no samples.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "kilter/kilter.hpp"

namespace kilter::test {
namespace {

using Doubles = std::vector<double>;

constexpr int64_t kChannels = 5, kPlaces = 37;

struct Sharing {
  const char* name;
  std::vector<int64_t> samples;  // of each rank
};

template <class T>
class RanksTest {
 public:
  RanksTest(const Sharing& sharing, activation_kind act, bool last, double center)
      : samples_(sharing.samples), activation_(act), last_(last), batch_(std::accumulate(samples_.begin(), samples_.end(), int64_t(0))) {
    std::mt19937 random(7);
    std::normal_distribution<double> normal;
    const size_t all = size_t(batch_ * kChannels * kPlaces);
    for (std::vector<T>* v : {&x_, &dy_, &residual_, &y_, &dx_, &dresidual_, &want_y_, &want_dx_, &want_dresidual_}) v->resize(all);
    for (size_t i = 0; i < all; ++i) x_[i] = T(center + normal(random)), dy_[i] = T(normal(random)), residual_[i] = T(normal(random));
    for (int64_t c = 0; c < kChannels; ++c) weight_.push_back(T(1 + 0.25 * normal(random))), bias_.push_back(T(normal(random)));
  }

  void run() {
    whole();
    forward();
    backward();
    compare("y", y_, want_y_);
    compare("dx", dx_, want_dx_);
    compare("dresidual", dresidual_, want_dresidual_);
    compare("running_mean", running_mean_, want_running_mean_);
    compare("running_var", running_var_, want_running_var_);
    compare("dweight", dweight_, want_dweight_);
    compare("dbias", dbias_, want_dbias_);
  }

 private:
  size_t ranks() const { return samples_.size(); }
  size_t first(size_t rank) const {
    return size_t(std::accumulate(samples_.begin(), samples_.begin() + int64_t(rank), int64_t(0)) * kChannels * kPlaces);
  }
  kilter::tensor planes(std::vector<T>& v, size_t rank) { return planes(v.data() + first(rank), samples_[rank]); }
  kilter::tensor planes(T* data, int64_t samples) {
    if (!last_) return {data, {samples, kChannels, kPlaces}};
    return {data, {samples, kChannels, kPlaces}, {kChannels * kPlaces, 1, kChannels}};
  }

  template <class Args, class Run, class Ask>
  void call(Args& args, Run run, Ask ask) {
    workspace_.resize(ask(args));
    args.workspace = workspace_;
    run(args, nullptr);
  }

  // All samples on one rank.
  void whole() {
    using Stat = std::vector<std::conditional_t<sizeof(T) == 8, double, float>>;
    Stat mean(kChannels), rstd(kChannels);
    batch_norm_forward_args f = {.x = planes(x_.data(), batch_), .weight = weight_, .bias = bias_};
    f.residual = planes(residual_.data(), batch_), f.running_mean = want_running_mean_, f.running_var = want_running_var_;
    f.y = planes(want_y_.data(), batch_), f.mean = mean, f.rstd = rstd;
    f.running_mean_out = want_running_mean_, f.running_var_out = want_running_var_;
    f.momentum = 0.3, f.training = true, f.activation = activation_;
    call(f, batch_norm_forward, batch_norm_forward_workspace);
    batch_norm_backward_args b = {.x = planes(x_.data(), batch_), .weight = weight_, .bias = bias_};
    b.residual = planes(residual_.data(), batch_), b.mean = mean, b.rstd = rstd, b.dy = planes(dy_.data(), batch_);
    b.dx = planes(want_dx_.data(), batch_), b.dresidual = planes(want_dresidual_.data(), batch_);
    b.dweight = want_dweight_, b.dbias = want_dbias_, b.training = true, b.activation = activation_;
    call(b, batch_norm_backward, batch_norm_backward_workspace);
  }

  void forward() {
    const int64_t n = int64_t(ranks());
    Doubles counts(ranks()), means(ranks() * kChannels, NAN), m2s = means;
    for (size_t r = 0; r < ranks(); ++r) {
      batch_norm_statistics_forward_args s = {.x = planes(x_, r)};
      s.count = std::span(&counts[r], 1);
      s.mean = std::span(&means[r * kChannels], kChannels), s.m2 = std::span(&m2s[r * kChannels], kChannels);
      call(s, batch_norm_statistics_forward, batch_norm_statistics_forward_workspace);
    }
    batch_norm_combine_forward_args c = {.means = {means, {n, kChannels}}, .m2s = {m2s, {n, kChannels}}, .counts = counts};
    c.running_mean = running_mean_, c.running_var = running_var_, c.count = count_, c.mean = mean_, c.rstd = rstd_;
    c.running_mean_out = running_mean_, c.running_var_out = running_var_, c.momentum = 0.3;
    batch_norm_combine_forward(c);
    EXPECT_EQ(count_[0], double(batch_ * kPlaces));
    for (size_t r = 0; r < ranks(); ++r) {
      batch_norm_apply_forward_args a = {.x = planes(x_, r), .weight = weight_, .bias = bias_, .residual = planes(residual_, r)};
      a.mean = mean_, a.rstd = rstd_, a.y = planes(y_, r), a.activation = activation_;
      call(a, batch_norm_apply_forward, batch_norm_apply_forward_workspace);
    }
  }

  void backward() {
    const int64_t n = int64_t(ranks());
    Doubles sums_u(ranks() * kChannels, NAN), sums_u_xhat = sums_u, sum_u(kChannels), sum_u_xhat(kChannels);
    for (size_t r = 0; r < ranks(); ++r) {
      std::vector<float> dweight(kChannels), dbias(kChannels);
      batch_norm_statistics_backward_args s = {.x = planes(x_, r), .weight = weight_, .bias = bias_, .residual = planes(residual_, r)};
      s.mean = mean_, s.rstd = rstd_, s.dy = planes(dy_, r);
      s.sum_u = std::span(&sums_u[r * kChannels], kChannels), s.sum_u_xhat = std::span(&sums_u_xhat[r * kChannels], kChannels);
      s.dweight = dweight, s.dbias = dbias, s.activation = activation_;
      call(s, batch_norm_statistics_backward, batch_norm_statistics_backward_workspace);
      for (size_t i = 0; i < kChannels; ++i) dweight_[i] += dweight[i], dbias_[i] += dbias[i];
    }
    batch_norm_combine_backward_args c = {.sums_u = {sums_u, {n, kChannels}}, .sums_u_xhat = {sums_u_xhat, {n, kChannels}}};
    c.sum_u = sum_u, c.sum_u_xhat = sum_u_xhat;
    batch_norm_combine_backward(c);
    for (size_t r = 0; r < ranks(); ++r) {
      batch_norm_apply_backward_args a = {.x = planes(x_, r), .weight = weight_, .bias = bias_, .residual = planes(residual_, r)};
      a.mean = mean_, a.rstd = rstd_, a.count = count_, a.sum_u = sum_u, a.sum_u_xhat = sum_u_xhat, a.dy = planes(dy_, r);
      a.dx = planes(dx_, r), a.dresidual = planes(dresidual_, r), a.activation = activation_;
      call(a, batch_norm_apply_backward, batch_norm_apply_backward_workspace);
    }
  }

  // Both are within the bounds of docs/numerics.md: twice those of dx and sums, 8 units of the largest value and a little.
  template <class V, class W>
  void compare(const char* name, const V& got, const W& want) {
    double largest = 0;
    for (const auto v : want) largest = std::max(largest, std::fabs(double(v)));
    const bool wide = sizeof(T) == 8 && sizeof(want[0]) == 8;
    const double least = wide ? 32 * 0x1p-52 : 32 * 0x1p-23;
    for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], least * largest) << name << " " << i;
  }

  const std::vector<int64_t> samples_;
  const activation_kind activation_;
  const bool last_;
  const int64_t batch_;
  std::vector<T> x_, dy_, residual_, y_, dx_, dresidual_, want_y_, want_dx_, want_dresidual_, weight_, bias_;
  std::vector<float> want_dweight_ = std::vector<float>(kChannels), want_dbias_ = want_dweight_;
  Doubles dweight_ = Doubles(kChannels), dbias_ = dweight_, count_ = Doubles(1), mean_ = dweight_, rstd_ = dweight_;
  std::vector<float> running_mean_ = {1, 2, 3, 4, 5}, running_var_ = running_mean_, want_running_mean_ = running_mean_,
                     want_running_var_ = running_mean_;
  std::vector<std::byte> workspace_;
};

const Sharing kSharings[] = {
    {"one", {7}}, {"two", {3, 4}}, {"three_one_empty", {2, 0, 5}}, {"first_empty", {0, 6}}, {"seven", {1, 2, 1, 0, 3, 1, 2}}};

class Ranks : public ::testing::TestWithParam<Sharing> {};

TEST_P(Ranks, EqualOneRank) {
  for (const bool last : {false, true})
    for (const activation_kind act : {activation_kind::none, activation_kind::silu})
      for (const double center : {0.0, 1000.0}) {
        SCOPED_TRACE(::testing::Message() << (last ? "channels last" : "channels first") << ", around " << center);
        RanksTest<float>(GetParam(), act, last, center).run();
      }
  RanksTest<double>(GetParam(), activation_kind::none, false, 3.0).run();
  RanksTest<double>(GetParam(), activation_kind::silu, true, 3.0).run();
}

INSTANTIATE_TEST_SUITE_P(All, Ranks, ::testing::ValuesIn(kSharings), [](const auto& info) { return info.param.name; });

TEST(Combine, WithoutAnyValueRunningStatisticsStay) {
  Doubles none(4), counts(2), count(1, 7), mean(2), rstd(2), running_mean = {1, 2}, running_var = {3, 4};
  batch_norm_combine_forward_args c = {.means = {none, {2, 2}}, .m2s = {none, {2, 2}}, .counts = counts};
  c.running_mean = running_mean, c.running_var = running_var, c.running_mean_out = running_mean, c.running_var_out = running_var;
  c.count = count, c.mean = mean, c.rstd = rstd;
  batch_norm_combine_forward(c);
  EXPECT_EQ(count[0], 0);
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(std::isnan(mean[size_t(i)]) && std::isnan(rstd[size_t(i)]));
  EXPECT_EQ(running_mean, (Doubles{1, 2}));
  EXPECT_EQ(running_var, (Doubles{3, 4}));
}

}  // namespace
}  // namespace kilter::test

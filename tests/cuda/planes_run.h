// A group_norm on a device, against the float64 reference.
#pragma once

#include "planes.h"

namespace kilter::test {

struct PlaneCase {
  int64_t batch = 2, channels = 32, spatial = 49, groups = 4;
  DType t = DType::f32, vectors = DType::f32;  // of weight, bias, scale, shift; none: absent
  DType residual = DType::none;                // forward's, and backward's dresidual_out and dresidual
  bool last = false, modulated = false, residual_out = false, in_place = false, wide_x = false;
  int32_t activation = 0;
  int64_t gap = 0, shift = 0;  // elements between samples, and off the alignment
  double offset = 0, spread = 1;
  double special = 0;  // at one element of plane 1
  double eps = 1e-5;

  std::string text() const {
    std::string s = std::to_string(batch) + "x" + std::to_string(channels) + "x" + std::to_string(spatial) + ", " + std::to_string(groups) +
                    " groups, " + dtype_name(t) + ", vectors " + dtype_name(vectors) + ", residual " + dtype_name(residual);
    for (const auto& [is, name] :
         {std::pair(last, "last"), {modulated, "modulated"}, {residual_out, "residual_out"}, {in_place, "in place"}, {wide_x, "fp32 x"}})
      if (is) s += std::string(", ") + name;
    return s + ", activation " + std::to_string(activation) + ", gap " + std::to_string(gap) + ", shift " + std::to_string(shift) +
           ", offset " + std::to_string(offset) + ", spread " + std::to_string(spread);
  }
};

class PlaneRun {
 public:
  explicit PlaneRun(const PlaneCase& c) : c_(c), width_(c.groups ? c.channels / c.groups : 0), random_(7) {
    for (const char* name : {"x", "residual", "y", "residual_out", "dy", "dresidual_out", "dx", "dresidual"}) shape_planes(v_[name]);
    for (const char* name : {"weight", "bias", "dweight", "dbias"}) shape(v_[name], 1, c.channels);
    for (const char* name : {"scale", "shift", "dscale", "dshift"}) shape(v_[name], c.batch, c.channels), v_[name].ndim = 2;
    for (const char* name : {"mean", "rstd"}) shape(v_[name], c.batch, c.groups), v_[name].ndim = 2;
    const DType stat = c.t == DType::f64 ? DType::f64 : DType::f32;
    fill("x", c.wide_x ? stat : c.t, c.offset, c.spread);
    if (c.special != 0 && v_["x"].host.size() > 5) {
      v_["x"].at(0, index(width_ * (c.groups > 1), c.spatial / 2)) = c.special;
      v_["x"].place(v_["x"].type, c.gap, c.shift);
    }
    fill("dy", c.t, 0, 1);
    if (c.vectors != DType::none)
      for (const char* name : {"weight", "bias"}) fill(name, c.vectors, *name == 'w', 0.3);
    if (c.modulated)
      for (const char* name : {"scale", "shift"}) fill(name, c.vectors == DType::none ? c.t : c.vectors, 0, 0.3);
    if (c.residual != DType::none)
      for (const char* name : {"residual", "dresidual_out"}) fill(name, c.residual, 0, c.spread);
    for (const char* name : {"mean", "rstd"}) fill(name, stat, 5, 0);
  }

  void forward() {
    Values &x = v_["x"], &residual = v_["residual"], &y = v_["y"], &out = v_["residual_out"];
    fill("y", c_.t, 5, 0);
    std::vector<double> s = x.host;
    if (residual.present())
      for (size_t i = 0; i < s.size(); ++i)
        s[i] = rounded<double>(residual.type, c_.t == DType::f64 ? s[i] + residual.host[i] : double(float(s[i]) + float(residual.host[i])));
    if (residual.present() && c_.residual_out) fill("residual_out", c_.residual, 5, 0);
    kilter_group_norm_forward_args a = {};
    a.struct_size = sizeof a, a.groups = c_.groups, a.eps = c_.eps, a.activation = c_.activation, a.scale_offset = c_.modulated ? 1 : 0;
    auto b = a;
    a.x = x.on_device(), a.weight = v_["weight"].on_device(), a.bias = v_["bias"].on_device(), a.residual = residual.on_device();
    a.scale = v_["scale"].on_device(), a.shift = v_["shift"].on_device(), a.y = c_.in_place ? a.x : y.on_device();
    a.residual_out = out.on_device(), a.mean = v_["mean"].on_device(), a.rstd = v_["rstd"].on_device();
    call(a, &kilter_group_norm_forward, KILTER_GROUP_NORM_FORWARD);
    auto &want_y = want_["y"], &mean = want_["mean"], &rstd = want_["rstd"];
    want_y = s, mean = v_["mean"].host, rstd = v_["rstd"].host;
    b.impl = "reference:f64";
    b.x = x.on_host(s), b.weight = v_["weight"].on_host(), b.bias = v_["bias"].on_host(), b.scale = v_["scale"].on_host();
    b.shift = v_["shift"].on_host(), b.y = y.on_host(want_y), b.mean = v_["mean"].on_host(mean), b.rstd = v_["rstd"].on_host(rstd);
    ASSERT_EQ(kilter_group_norm_forward(&b, nullptr), KILTER_OK) << kilter_last_error();
    std::vector<double> got = (c_.in_place ? x : y).fetch();
    if (out.present()) expect_near("residual_out", out.fetch(), s, [](size_t) { return 0.0; });
    std::vector<double> most(size_t(c_.batch * c_.groups));
    each([&](int64_t n, int64_t c, size_t i, size_t plane) {
      const double hat = (s[i] - mean[plane]) * rstd[plane], f = factor(n, c);
      const double size =
          std::fabs(hat * get("weight", 0, c, 1) * f) + std::fabs(get("bias", 0, c, 0) * f) + std::fabs(get("shift", n, c, 0));
      most[plane] = std::max(most[plane], size);
    });
    const double times = item_size(c_.t) == 2 ? 0.51 : 5;
    expect_near("y", got, want_y, [&](size_t i) { return times * unit_of(c_.t, most[plane_of(i)]); });
    const DType stat = v_["mean"].type;
    expect_near("mean", v_["mean"].fetch(), mean,
                [&](size_t i) { return 0.6 * unit_of(stat, std::fabs(mean[i])) + unit_of(stat, 1 / rstd[i]); });
    expect_near("rstd", v_["rstd"].fetch(), rstd, [&](size_t i) { return 4 * unit_of(stat, rstd[i]); });
  }

  void backward() {
    const DType stat = c_.t == DType::f64 ? DType::f64 : DType::f32;
    Values& x = v_["x"];
    // Statistics as forward rounds them.
    kilter_group_norm_forward_args f = {};
    f.struct_size = sizeof f, f.groups = c_.groups, f.eps = c_.eps, f.impl = "reference:f64";
    std::vector<double> unused = x.host;
    f.x = x.on_host(), f.y = x.on_host(unused), f.mean = v_["mean"].on_host(), f.rstd = v_["rstd"].on_host();
    ASSERT_EQ(kilter_group_norm_forward(&f, nullptr), KILTER_OK) << kilter_last_error();
    for (const char* name : {"mean", "rstd"}) v_[name].place(stat);
    for (const char* name : {"dx"}) fill(name, c_.t, 5, 0);
    if (c_.residual != DType::none) fill("dresidual", c_.residual, 5, 0);
    for (const char* name : {"dweight", "dbias", "dscale", "dshift"}) fill(name, c_.vectors == c_.t ? c_.t : DType::f32, 5, 0);
    kilter_group_norm_backward_args a = {};
    a.struct_size = sizeof a, a.groups = c_.groups, a.activation = c_.activation, a.scale_offset = c_.modulated ? 1 : 0;
    auto b = a;
    b.impl = "reference:f64";
    const auto tensors = [&](auto& to, auto of) {
      to.x = of("x"), to.weight = of("weight"), to.bias = of("bias"), to.scale = of("scale"), to.shift = of("shift");
      to.mean = of("mean"), to.rstd = of("rstd"), to.dy = of("dy"), to.dresidual_out = of("dresidual_out");
      to.dx = of("dx"), to.dresidual = of("dresidual"), to.dweight = of("dweight"), to.dbias = of("dbias");
      to.dscale = of("dscale"), to.dshift = of("dshift");
    };
    tensors(a, [&](const char* name) { return v_[name].on_device(); });
    if (c_.in_place) a.dx = a.dy;
    for (const char* name : {"dx", "dresidual", "dweight", "dbias", "dscale", "dshift"}) want_[name] = v_[name].host;
    tensors(b, [&](const char* name) { return want_.count(name) && *name == 'd' ? v_[name].on_host(want_[name]) : v_[name].on_host(); });
    std::vector<char> scratch(size_t(2 * c_.channels + 2) * 16);
    b.workspace = scratch.data(), b.workspace_size = scratch.size();
    ASSERT_EQ(kilter_group_norm_backward(&b, nullptr), KILTER_OK) << kilter_last_error();
    call(a, &kilter_group_norm_backward, KILTER_GROUP_NORM_BACKWARD);
    // Sizes of terms, from the reference's statistics.
    std::vector<double> most(size_t(c_.batch * c_.groups)), weights(size_t(c_.channels)), biases = weights;
    std::vector<double> scales(size_t(c_.batch * c_.channels)), shifts = scales;
    std::vector<double> exact_mean(most.size());
    each([&](int64_t, int64_t, size_t i, size_t plane) {
      exact_mean[plane] += (x.host[i] - v_["mean"].host[plane]) / double(width_ * c_.spatial);
    });
    each([&](int64_t n, int64_t c, size_t i, size_t plane) {
      const double h = ((x.host[i] - v_["mean"].host[plane]) - exact_mean[plane]) * v_["rstd"].host[plane];
      const double u = std::fabs(v_["dy"].host[i]) * (c_.activation ? 1.1 : 1), f = std::fabs(factor(n, c));
      const double w = get("weight", 0, c, 1), bias = get("bias", 0, c, 0);
      most[plane] = std::max(most[plane], u * f * std::fabs(w) * v_["rstd"].host[plane]);
      const size_t channel = size_t(n * c_.channels + c);
      weights[size_t(c)] += u * f * std::fabs(h), biases[size_t(c)] += u * f;
      scales[channel] += u * (std::fabs(h * w) + std::fabs(bias)), shifts[channel] += u;
    });
    const bool narrow = item_size(c_.t) == 2;
    std::vector<double> upstream = c_.residual != DType::none ? v_["dresidual_out"].host : std::vector<double>();
    const auto of_dx = [&](DType t) {
      return [&, t](size_t i) {
        const double size = std::max(most[plane_of(i)], std::fabs(want_["dx"][i])) + (upstream.empty() ? 0 : std::fabs(upstream[i]));
        return item_size(t) == 2 ? 0.6 * unit_of(t, size) : 8 * unit_of(t, size);
      };
    };
    expect_near("dx", (c_.in_place ? v_["dy"] : v_["dx"]).fetch(), want_["dx"], of_dx(c_.t));
    if (v_["dresidual"].present()) expect_near("dresidual", v_["dresidual"].fetch(), want_["dresidual"], of_dx(c_.residual));
    const auto sums = [&](const char* name, const std::vector<double>& sizes, double count) {
      const DType t = v_[name].type;
      expect_near(name, v_[name].fetch(), want_[name], [&](size_t i) {
        const double size = std::max(std::fabs(want_[name][i]), sizes[i] / std::sqrt(count));
        return narrow && item_size(t) == 2 ? 0.6 * unit_of(t, size) : 8 * unit_of(t, size);
      });
    };
    if (c_.spatial == 0) return;
    sums("dweight", weights, double(c_.batch * c_.spatial)), sums("dbias", biases, double(c_.batch * c_.spatial));
    sums("dscale", scales, double(c_.spatial)), sums("dshift", shifts, double(c_.spatial));
  }

  std::map<std::string, Values> v_;

 private:
  int64_t index(int64_t channel, int64_t place) const { return c_.last ? place * c_.channels + channel : channel * c_.spatial + place; }
  size_t plane_of(size_t i) const {
    const int64_t size = c_.channels * c_.spatial, n = int64_t(i) / size, rest = int64_t(i) % size;
    return size_t(n * c_.groups + (c_.last ? rest % c_.channels : rest / c_.spatial) / width_);
  }
  template <class F>
  void each(F f) {
    for (int64_t n = 0; n < c_.batch; ++n)
      for (int64_t c = 0; c < c_.channels; ++c)
        for (int64_t i = 0; i < c_.spatial; ++i)
          f(n, c, size_t(n * c_.channels * c_.spatial + index(c, i)), size_t(n * c_.groups + c / width_));
  }
  double get(const char* name, int64_t n, int64_t c, double absent) { return v_[name].present() ? v_[name].at(n, c) : absent; }
  double factor(int64_t n, int64_t c) { return v_["scale"].present() ? v_["scale"].at(n, c) + 1 : 1; }

  static void shape(Values& v, int64_t rows, int64_t n) {
    v.rows = rows, v.n = n;
    v.shape[0] = rows == 1 && v.ndim == 1 ? n : rows, v.shape[1] = n;
  }
  void shape_planes(Values& v) { v.rows = c_.batch, v.n = c_.channels * c_.spatial, v.ndim = 3; }
  void fill(const char* name, DType type, double offset, double spread) {
    Values& v = v_[name];
    v.host.resize(size_t(v.rows * v.n));
    std::normal_distribution<double> normal;
    for (double& d : v.host) d = offset + spread * normal(random_);
    v.place(type, v.ndim == 3 ? c_.gap : 0, v.ndim == 3 ? c_.shift : 0);
    if (v.ndim == 3) {
      const int64_t of_channel = c_.last ? 1 : c_.spatial, of_place = c_.last ? c_.channels : 1;
      const int64_t sizes[] = {c_.batch, c_.channels, c_.spatial}, strides[] = {v.stride, of_channel, of_place};
      std::copy_n(sizes, 3, v.shape), std::copy_n(strides, 3, v.strides), std::copy_n(strides, 3, v.wide_strides);
      v.wide_strides[0] = v.n;
    } else if (v.ndim == 2) {
      v.shape[0] = v.rows, v.shape[1] = v.n, v.strides[0] = v.wide_strides[0] = v.n, v.strides[1] = v.wide_strides[1] = 1;
    } else {
      v.shape[0] = v.n, v.strides[0] = v.wide_strides[0] = 1;
    }
  }
  template <class Args, class F>
  void call(Args a, F function, kilter_function number) {
    kilter_plan plan = {};
    plan.struct_size = sizeof plan;
    ASSERT_EQ(kilter_ask(number, &a, &plan), KILTER_OK) << kilter_last_error();
    EXPECT_STREQ(plan.impl, "cuda:planewise");
    a.workspace_size = plan.workspace_size;
    ASSERT_EQ(cudaMalloc(&a.workspace, plan.workspace_size), cudaSuccess);
    ASSERT_EQ(cudaMemset(a.workspace, 0xFF, plan.workspace_size), cudaSuccess);
    EXPECT_EQ(function(&a, nullptr), KILTER_OK) << kilter_last_error();
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    cudaFree(a.workspace);
  }
  template <class F>
  void expect_near(const char* name, const std::vector<double>& got, const std::vector<double>& want, F bound) {
    test::expect_near(name, got, want, bound, c_.text());
  }

  PlaneCase c_;
  std::map<std::string, std::vector<double>> want_;
  int64_t width_;
  std::mt19937 random_;
};

}  // namespace kilter::test

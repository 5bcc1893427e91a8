// instance_norm, batch_norm and its steps on a device, against the float64 reference: as problems, no step has to have an op.
#pragma once

#include "families/planewise/cuda/run.h"
#include "families/planewise/reference.h"
#include "planes.h"

namespace kilter::test {

enum class Norm { instance, batch };

struct BatchCase {
  Norm norm = Norm::batch;
  int64_t batch = 3, channels = 8, spatial = 49;
  DType t = DType::f32;
  bool last = false, training = true;
  DType residual = DType::none;
  int32_t activation = 0;
  bool mask = false;  // of relu
  bool running = false, cumulative = false, in_place = false, residual_out = false, wide_x = false, saved = true;
  int64_t gap = 0, shift = 0, mask_gap = 0;
  double offset = 0.5;

  std::string text() const {
    return std::string(norm == Norm::batch ? "batch_norm " : "instance_norm ") + std::to_string(batch) + "x" + std::to_string(channels) +
           "x" + std::to_string(spatial) + " " + dtype_name(t) + (last ? ", last" : "") + (training ? "" : ", inference") + ", residual " +
           dtype_name(residual) + ", activation " + std::to_string(activation) + (running ? ", running" : "") + (mask ? ", mask" : "") +
           (in_place ? ", in place" : "") + ", gap " + std::to_string(gap) + ", shift " + std::to_string(shift);
  }
};

class BatchRun {
 public:
  explicit BatchRun(const BatchCase& c) : c_(c), stat_(c.t == DType::f64 ? DType::f64 : DType::f32), random_(5) {
    for (const char* name : {"x", "residual", "residual_out", "y", "dy", "dx", "dresidual"})
      v_[name].rows = c.batch, v_[name].n = c.channels * c.spatial;
    for (const char* name : {"weight", "bias", "running_mean", "running_var", "running_mean_out", "running_var_out", "dweight", "dbias",
                             "step_mean", "step_rstd", "m2", "sum_u", "sum_u_xhat"})
      v_[name].rows = 1, v_[name].n = c.channels;
    v_["count"].rows = v_["count"].n = 1;
    v_["mask"].rows = c.batch, v_["mask"].n = bytes_of_bits(c.channels, c.spatial, layout());
    for (const char* name : {"mean", "rstd"}) v_[name].rows = c.norm == Norm::batch ? 1 : c.batch, v_[name].n = c.channels;
    fill("x", c.wide_x ? stat_ : c.t, c.offset, 1), fill("dy", c.t, 0.2, 1);
    fill("weight", stat_, 1, 0.3), fill("bias", c.t, 0, 0.3);
    if (c.residual != DType::none) fill("residual", c.residual, 0, 1);
    if (c.running || !c.training) fill("running_mean", stat_, 0, 0.3), fill("running_var", stat_, 1.5, 0.2);
  }

  void forward() {
    fill("y", c_.t, 5, 0);
    fill("mean", stat_, 5, 0), fill("rstd", stat_, 5, 0);
    if (c_.mask) fill("mask", DType::u8, 165, 0);
    if (c_.running && c_.training) fill("running_mean_out", stat_, 5, 0), fill("running_var_out", stat_, 5, 0);
    Values& x = v_["x"];
    const std::vector<double> given = x.host;
    const bool summed = c_.norm == Norm::instance && v_["residual"].present();  // which fp64 does not round
    for (size_t i = 0; summed && i < given.size(); ++i) x.host[i] = rounded<double>(c_.residual, given[i] + residual(i));
    if (summed && c_.residual_out) fill("residual_out", c_.residual, 5, 0);
    run<PlaneForward>([&](PlaneForward& p, bool device) {
      p.x = view("x", device), p.weight = view("weight", device), p.bias = view("bias", device);
      if (device) p.residual_out = view("residual_out", true);
      p.residual = summed && !device ? View{} : view("residual", device), p.running_mean = view("running_mean", device),
      p.running_var = view("running_var", device);
      p.y = out("y", device), p.mean = out("mean", device), p.rstd = out("rstd", device);
      p.running_mean_out = out("running_mean_out", device), p.running_var_out = out("running_var_out", device);
      if (!c_.saved && device) p.mean = p.rstd = {};
      if (c_.in_place && device) p.y = p.x, p.running_mean_out = p.running_mean, p.running_var_out = p.running_var;
      if (device) p.mask = view("mask", true);
    });
    if (c_.mask) expect_bits(v_[c_.in_place ? "x" : "y"].fetch());
    expect_y(c_.in_place ? "x" : "y");
    if (v_["residual_out"].present()) want_["residual_out"] = x.host, near("residual_out", "residual_out", [](size_t) { return 0.0; });
    if (c_.saved) expect_statistics();
    if (!v_["running_mean_out"].present()) return;
    for (const char* name : {"running_mean_out", "running_var_out"})
      near(name, c_.in_place ? (name[8] == 'm' ? "running_mean" : "running_var") : name,
           [&](size_t i) { return 4 * unit_of(stat_, std::fabs(want_[name][i]) + 1); });
  }

  // As without a mask, after forward(): to the bit, and from neither bias nor residual.
  void backward_with_mask() {
    backward();
    std::map<std::string, std::vector<double>> without;
    const auto outputs = {"dx", "dresidual", "dweight", "dbias"};
    for (const char* name : outputs) without[name] = v_[name].fetch();
    backward(true);
    for (const char* name : outputs) EXPECT_EQ(v_[name].fetch(), without[name]) << name << ", " << c_.text();
  }
  void backward(bool masked = false) {
    if (c_.training) {
      PlaneForward p;
      set(p);
      fill("mean", stat_, 5, 0), fill("rstd", stat_, 5, 0);
      p.x = view("x", false), p.mean = host(v_["mean"].host, v_["mean"]), p.rstd = host(v_["rstd"].host, v_["rstd"]);
      ASSERT_EQ(plane_reference(p), KILTER_OK);
      v_["mean"].place(stat_), v_["rstd"].place(stat_);
    }
    fill_gradients();
    run<PlaneBackward>([&](PlaneBackward& p, bool device) {
      inputs(p, device);
      p.mean = view("mean", device), p.rstd = view("rstd", device);
      p.running_mean = view("running_mean", device), p.running_var = view("running_var", device);
      p.dx = out("dx", device), p.dresidual = out("dresidual", device), p.dweight = out("dweight", device), p.dbias = out("dbias", device);
      if (c_.in_place && device) p.dx = p.dy;
      if (masked && device) p.mask = view("mask", true), p.bias = p.residual = {};
    });
    expect_gradients(c_.in_place ? "dy" : "dx");
  }

  void steps() {
    for (const char* name : {"count", "step_mean", "m2"}) fill(name, DType::f64, 5, 0);
    run<PlaneForward>([&](PlaneForward& p, bool device) {
      p.step = PlaneStep::statistics, p.x = view("x", device);
      p.count = out("count", device), p.mean = out("step_mean", device), p.m2 = out("m2", device);
    });
    const double m = double(c_.batch * c_.spatial);
    EXPECT_EQ(v_["count"].fetch()[0], m);
    near("step_mean", "step_mean", [&](size_t) { return 4 * unit_of(stat_, 1); });
    near("m2", "m2", [&](size_t i) { return 8 * unit_of(stat_, want_["m2"][i]); });
    for (int64_t c = 0; c < c_.channels; ++c)  // all ranks': another's mean differs
      v_["step_mean"].at(0, c) = want_["step_mean"][size_t(c)] + 0.01, v_["step_rstd"].host.push_back(0.9 + 0.01 * double(c));
    v_["step_mean"].place(DType::f64), v_["step_rstd"].place(DType::f64);
    fill("y", c_.t, 5, 0);
    run<PlaneForward>([&](PlaneForward& p, bool device) {
      p.step = PlaneStep::apply, p.x = view("x", device), p.weight = view("weight", device), p.bias = view("bias", device);
      p.residual = view("residual", device), p.mean = view("step_mean", device), p.rstd = view("step_rstd", device);
      p.y = out("y", device);
    });
    want_["mean"] = v_["step_mean"].host, want_["rstd"] = v_["step_rstd"].host;
    expect_y("y");
    fill_gradients();
    for (const char* name : {"sum_u", "sum_u_xhat"}) fill(name, DType::f64, 5, 0);
    const auto given = [&](PlaneBackward& p, bool device) {
      inputs(p, device), p.mean = view("step_mean", device), p.rstd = view("step_rstd", device);
    };
    run<PlaneBackward>([&](PlaneBackward& p, bool device) {
      given(p, device), p.step = PlaneStep::statistics, p.sum_u = out("sum_u", device), p.sum_u_xhat = out("sum_u_xhat", device);
      p.dweight = out("dweight", device), p.dbias = out("dbias", device);
    });
    sizes();
    for (const auto& [name, of] : {std::pair("sum_u", &biases_), {"sum_u_xhat", &weights_}, {"dweight", &weights_}, {"dbias", &biases_}})
      sums(name, *of, stat_);
    for (const char* name : {"sum_u", "sum_u_xhat"}) v_[name].host = want_[name], v_[name].place(DType::f64);
    v_["count"].host = {2 * m}, v_["count"].place(DType::f64);
    run<PlaneBackward>([&](PlaneBackward& p, bool device) {
      given(p, device), p.step = PlaneStep::apply, p.sum_u = view("sum_u", device), p.sum_u_xhat = view("sum_u_xhat", device);
      p.count = view("count", device), p.dx = out("dx", device), p.dresidual = out("dresidual", device);
    });
    expect_elements("dx");
  }

  std::map<std::string, Values> v_;
  std::map<std::string, std::vector<double>> want_;

 private:
  bool is_sample(const Values& v) const { return v.rows == c_.batch && v.n == c_.channels * c_.spatial; }
  void fill(const char* name, DType type, double offset, double spread) {
    Values& v = v_[name];
    v.host.resize(size_t(v.rows * v.n));
    std::normal_distribution<double> normal;
    for (double& d : v.host) d = offset + spread * normal(random_);
    if (type == DType::u8) return v.place(type, c_.mask_gap, c_.shift);
    const bool laid_out = name == std::string("x") || strchr("dy", name[0]) || strncmp(name, "residual", 8) == 0;
    v.place(type, laid_out && is_sample(v) ? c_.gap : 0, laid_out && is_sample(v) ? c_.shift : 0);
  }
  void fill_gradients() {
    fill("dx", c_.t, 5, 0), fill("dweight", stat_, 5, 0), fill("dbias", stat_, 5, 0);
    if (c_.residual != DType::none && c_.norm == Norm::batch) fill("dresidual", c_.residual, 5, 0);
  }
  uint8_t layout() const {
    const bool both = c_.spatial == 1 || c_.channels == 1;
    return both ? kChannelsFirst | kChannelsLast : c_.last ? kChannelsLast : kChannelsFirst;
  }
  View viewed(char* data, DType type, const Values& v, int64_t stride) const {
    View view = {};
    view.data = data, view.dtype = type, view.layout = layout();
    view.map.ndim = v.rows > 1 ? 1 : 0, view.map.size[0] = v.rows, view.map.stride[0] = stride;
    return view;
  }
  View host(std::vector<double>& memory, const Values& v) const {
    return viewed(reinterpret_cast<char*>(memory.data()), DType::f64, v, v.n);
  }
  View view(const char* name, bool device) {
    Values& v = v_[name];
    if (!v.present()) return {};
    return device ? viewed(v.device + v.shift * item_size(v.type), v.type, v, v.stride) : host(v.host, v);
  }
  View out(const char* name, bool device) {
    if (!v_[name].present() || device) return view(name, device);
    want_[name].assign(v_[name].host.size() + 1, 5);  // never empty
    want_[name].pop_back();
    return host(want_[name], v_[name]);
  }
  template <class Problem>
  void set(Problem& p) const {
    p.batch = c_.batch, p.channels = p.groups = c_.channels, p.spatial = c_.spatial, p.eps = 1e-5, p.activation = c_.activation;
    p.training = c_.training, p.inference = !c_.training, p.over_batch = p.residual_behind = c_.norm == Norm::batch;
    if constexpr (std::is_same_v<Problem, PlaneForward>)
      p.momentum = 0.2, p.batches_tracked = 3, p.averaging = c_.cumulative ? KILTER_AVERAGING_CUMULATIVE : 0;
  }
  void inputs(PlaneBackward& p, bool device) {
    p.x = view("x", device), p.weight = view("weight", device), p.bias = view("bias", device), p.dy = view("dy", device);
    if (c_.norm == Norm::batch) p.residual = view("residual", device);
  }
  template <class Problem, class F>
  void run(F fields) {
    Problem on_host, p;
    set(on_host), set(p);
    fields(on_host, false), fields(p, true);
    std::vector<char> scratch(size_t(2 * c_.channels + 2) * 16);
    on_host.workspace = scratch.data(), on_host.workspace_size = scratch.size();
    ASSERT_EQ(plane_reference(on_host), KILTER_OK);
    p.device = {KILTER_DEVICE_CUDA, 0}, p.workspace_size = planewise_cuda_workspace(p), p.op = "planes";
    void* workspace = nullptr;
    ASSERT_EQ(cudaMalloc(&workspace, p.workspace_size), cudaSuccess);
    ASSERT_EQ(cudaMemset(workspace, 0xFF, p.workspace_size), cudaSuccess);
    p.workspace = static_cast<char*>(workspace);
    if constexpr (std::is_same_v<Problem, PlaneForward>)
      EXPECT_EQ(planewise_cuda_forward(p, nullptr), KILTER_OK) << kilter_last_error();
    else
      EXPECT_EQ(planewise_cuda_backward(p, nullptr), KILTER_OK) << kilter_last_error();
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    cudaFree(workspace);
  }

  // f(channel, element, plane)
  template <class F>
  void each(F f) const {
    for (int64_t n = 0; n < c_.batch; ++n)
      for (int64_t c = 0; c < c_.channels; ++c)
        for (int64_t i = 0; i < c_.spatial; ++i) {
          const int64_t at = layout() == kChannelsLast || c_.spatial == 1 ? i * c_.channels + c : c * c_.spatial + i;
          f(size_t(c), size_t(n * c_.channels * c_.spatial + at), size_t((c_.norm == Norm::batch ? 0 : n * c_.channels) + c));
        }
  }
  template <class F>
  void near(const char* name, const char* where, F bound) {
    expect_near(name, v_[where].fetch(), want_[name], bound, c_.text());
  }
  double residual(size_t i) { return v_["residual"].present() ? v_["residual"].host[i] : 0; }
  double hat(size_t c, size_t i, size_t plane) {
    const double s = v_["x"].host[i];
    if (want_.count("mean") && !want_["mean"].empty()) return (s - want_["mean"][plane]) * want_["rstd"][plane];
    return (s - v_["running_mean"].host[c]) / std::sqrt(v_["running_var"].host[c] + 1e-5);
  }
  void expect_y(const char* where) {
    std::vector<double> most(v_["mean"].rows * v_["mean"].n), of(v_["y"].host.size());
    each([&](size_t c, size_t i, size_t plane) {
      most[plane] = std::max(most[plane], std::fabs(hat(c, i, plane) * v_["weight"].host[c]) + std::fabs(v_["bias"].host[c]) +
                                              (c_.norm == Norm::batch ? std::fabs(residual(i)) : 0));
    });
    each([&](size_t, size_t i, size_t plane) {
      of[i] = (item_size(c_.t) == 2 ? 0.51 : c_.activation ? 9 : 5) * unit_of(c_.t, most[plane]);
    });
    near("y", where, [&](size_t i) { return of[i]; });
  }
  // Of y: as it is above 0.
  void expect_bits(const std::vector<double>& y) {
    const bool last = c_.last && c_.channels > 1;  // by what the header says
    const int64_t row = last ? c_.channels : c_.channels * c_.spatial, rows = c_.batch * c_.channels * c_.spatial / row;
    std::vector<double> want;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t first = 0; first < row; first += 8) {
        int byte = 0;
        for (int64_t i = first; i < std::min(row, first + 8); ++i) byte |= (y[size_t(r * row + i)] > 0) << (i - first);
        want.push_back(byte);
      }
    EXPECT_EQ(v_["mask"].fetch(), want) << c_.text();
  }
  void expect_statistics() {
    near("mean", "mean", [&](size_t i) { return 4 * unit_of(stat_, std::max(std::fabs(want_["mean"][i]), 1 / want_["rstd"][i])); });
    near("rstd", "rstd", [&](size_t i) { return 4 * unit_of(stat_, want_["rstd"][i]); });
  }
  // Of terms, from the reference's statistics.
  void sizes() {
    want_["mean"] = v_[want_.count("step_mean") ? "step_mean" : "mean"].host;
    want_["rstd"] = v_[want_.count("step_mean") ? "step_rstd" : "rstd"].host;
    if (!c_.training) want_["mean"].clear();
    most_.assign(size_t(v_["mean"].rows * v_["mean"].n), 0), weights_.assign(size_t(c_.channels), 0), biases_ = weights_;
    element_.assign(v_["x"].host.size(), 0), term_ = element_;
    const auto rstd = [&](size_t c, size_t plane) {
      return want_["mean"].empty() ? 1 / std::sqrt(v_["running_var"].host[c]) : want_["rstd"][plane];
    };
    each([&](size_t c, size_t i, size_t plane) {
      const double u = std::fabs(v_["dy"].host[i]) * (c_.activation ? 1.1 : 1);
      weights_[c] += u * std::max(1.0, std::fabs(hat(c, i, plane))), biases_[c] += u, term_[i] = u;
      most_[plane] = std::max(most_[plane], u * std::fabs(v_["weight"].host[c]) * rstd(c, plane));
    });
    each([&](size_t, size_t i, size_t plane) { element_[i] = most_[plane]; });
  }
  void sums(const char* name, const std::vector<double>& of, DType t) {
    near(name, name,
         [&](size_t i) { return 12 * unit_of(t, std::max(std::fabs(want_[name][i]), of[i] / std::sqrt(double(c_.batch * c_.spatial)))); });
  }
  void expect_elements(const char* where) {
    near("dx", where, [&](size_t i) {
      const double size = std::max(element_[i], std::fabs(want_["dx"][i]));
      return (item_size(c_.t) == 2 ? 0.6 : 12) * unit_of(c_.t, size);
    });
    if (v_["dresidual"].present())
      near("dresidual", "dresidual", [&](size_t i) {
        return (item_size(c_.residual) == 2 ? 0.6 * unit_of(c_.residual, term_[i]) : 12 * unit_of(c_.residual, 4 * term_[i]));
      });
  }
  void expect_gradients(const char* where) {
    sizes(), expect_elements(where);
    if (c_.spatial == 0 || c_.batch == 0) return;
    sums("dweight", weights_, stat_), sums("dbias", biases_, stat_);
  }

  BatchCase c_;
  DType stat_;
  std::mt19937 random_;
  std::vector<double> most_, weights_, biases_, element_, term_;
};

}  // namespace kilter::test

// A small ConvNet, trained on the CPU with batch_norm and with group_norm: convolution, norm with ReLU, mean over places, linear layer.
// Images are noisy copies of four patterns; the loss falls to less than a tenth, and batch_norm's running statistics serve new images.
#include <cmath>
#include <cstdio>
#include <kilter/kilter.hpp>
#include <random>
#include <vector>

namespace {

using Floats = std::vector<float>;

constexpr int kBatch = 32, kIn = 3, kOut = 16, kSide = 8, kPlaces = kSide * kSide, kClasses = 4, kSteps = 200;

// f(output element, input element, weight) of a convolution by 3 x 3 with a border of zeros.
template <class F>
void convolve(F f) {
  for (int n = 0; n < kBatch; ++n)
    for (int o = 0; o < kOut; ++o)
      for (int i = 0; i < kIn; ++i)
        for (int dy = -1; dy <= 1; ++dy)
          for (int dx = -1; dx <= 1; ++dx)
            for (int y = std::max(0, -dy); y < std::min(kSide, kSide - dy); ++y)
              for (int x = std::max(0, -dx); x < std::min(kSide, kSide - dx); ++x)
                f((n * kOut + o) * kPlaces + y * kSide + x, (n * kIn + i) * kPlaces + (y + dy) * kSide + x + dx,
                  ((o * kIn + i) * 3 + dy + 1) * 3 + dx + 1);
}

Floats random_floats(size_t count, float size, std::mt19937& random) {
  std::normal_distribution<float> normal(0, size);
  Floats v(count);
  for (float& x : v) x = normal(random);
  return v;
}

// A batch of images, image n of class n % kClasses.
Floats images(const Floats& patterns, std::mt19937& random) {
  Floats x = random_floats(kBatch * kIn * kPlaces, 1, random);
  for (size_t k = 0; k < x.size(); ++k) x[k] += patterns[k % patterns.size()];
  return x;
}

// Plain gradient descent, at a rate of 1.
void descend(Floats& weights, const Floats& gradient) {
  for (size_t k = 0; k < weights.size(); ++k) weights[k] -= gradient[k];
}

struct Norm {
  bool over_batch;
  Floats weight = Floats(kOut, 1.0f), bias = Floats(kOut), mean, rstd, dweight = Floats(kOut), dbias = Floats(kOut);
  Floats running_mean = Floats(kOut), running_var = Floats(kOut, 1.0f);
  std::vector<std::byte> workspace = {};

  static constexpr int kGroups = 4;
  explicit Norm(bool by_batch) : over_batch(by_batch), mean(by_batch ? kOut : kBatch * kGroups), rstd(mean.size()) {}

  void forward(Floats& x, Floats& y, bool training) {
    if (over_batch) {
      kilter::batch_norm_forward_args a = {.x = {x, {kBatch, kOut, kSide, kSide}}, .weight = weight, .bias = bias};
      a.running_mean = running_mean, a.running_var = running_var;
      a.y = {y, {kBatch, kOut, kSide, kSide}};
      if (training) a.mean = mean, a.rstd = rstd, a.running_mean_out = running_mean, a.running_var_out = running_var;
      a.training = training, a.activation = kilter::activation_kind::relu;
      workspace.resize(kilter::batch_norm_forward_workspace(a));
      a.workspace = workspace;
      kilter::batch_norm_forward(a);
    } else {
      kilter::group_norm_forward_args a = {.x = {x, {kBatch, kOut, kSide, kSide}}, .weight = weight, .bias = bias};
      a.y = {y, {kBatch, kOut, kSide, kSide}}, a.mean = {mean, {kBatch, kGroups}}, a.rstd = {rstd, {kBatch, kGroups}};
      a.groups = kGroups, a.activation = kilter::activation_kind::relu;
      workspace.resize(kilter::group_norm_forward_workspace(a));
      a.workspace = workspace;
      kilter::group_norm_forward(a);
    }
  }

  void backward(Floats& x, Floats& dy, Floats& dx) {
    if (over_batch) {
      kilter::batch_norm_backward_args a = {.x = {x, {kBatch, kOut, kSide, kSide}}, .weight = weight, .bias = bias};
      a.mean = mean, a.rstd = rstd, a.dy = {dy, {kBatch, kOut, kSide, kSide}}, a.dx = {dx, {kBatch, kOut, kSide, kSide}};
      a.dweight = dweight, a.dbias = dbias, a.training = true, a.activation = kilter::activation_kind::relu;
      workspace.resize(kilter::batch_norm_backward_workspace(a));
      a.workspace = workspace;
      kilter::batch_norm_backward(a);
    } else {
      kilter::group_norm_backward_args a = {.x = {x, {kBatch, kOut, kSide, kSide}}, .weight = weight, .bias = bias};
      a.mean = {mean, {kBatch, kGroups}}, a.rstd = {rstd, {kBatch, kGroups}};
      a.dy = {dy, {kBatch, kOut, kSide, kSide}}, a.dx = {dx, {kBatch, kOut, kSide, kSide}};
      a.dweight = dweight, a.dbias = dbias, a.groups = kGroups, a.activation = kilter::activation_kind::relu;
      workspace.resize(kilter::group_norm_backward_workspace(a));
      a.workspace = workspace;
      kilter::group_norm_backward(a);
    }
    descend(weight, dweight), descend(bias, dbias);
  }
};

struct Net {
  Norm norm;
  Floats kernels, linear, hidden = Floats(kBatch * kOut * kPlaces), active = hidden;
  Net(bool over_batch, std::mt19937& random)
      : norm(over_batch), kernels(random_floats(kOut * kIn * 9, 0.2f, random)), linear(random_floats(kClasses * kOut, 0.2f, random)) {}

  // The mean loss; with training, a step of gradient descent.
  double run(Floats& x, bool training) {
    std::fill(hidden.begin(), hidden.end(), 0.0f);
    convolve([&](int out, int in, int w) { hidden[size_t(out)] += x[size_t(in)] * kernels[size_t(w)]; });
    norm.forward(hidden, active, training);

    double loss = 0;
    Floats dlinear(linear.size()), dactive(active.size());
    for (int n = 0; n < kBatch; ++n) {
      float pooled[kOut] = {}, score[kClasses] = {}, sum = 0;
      for (int k = 0; k < kOut * kPlaces; ++k) pooled[k / kPlaces] += active[size_t(n) * kOut * kPlaces + size_t(k)] / kPlaces;
      for (int k = 0; k < kClasses * kOut; ++k) score[k / kOut] += linear[size_t(k)] * pooled[k % kOut];
      for (const float s : score) sum += std::exp(s);
      loss += (std::log(sum) - score[n % kClasses]) / kBatch;
      for (int k = 0; k < kClasses * kOut; ++k) {
        const float dscore = (std::exp(score[k / kOut]) / sum - (k / kOut == n % kClasses)) / kBatch;
        dlinear[size_t(k)] += dscore * pooled[k % kOut];
        for (int i = 0; i < kPlaces; ++i)
          dactive[(size_t(n) * kOut + size_t(k % kOut)) * kPlaces + size_t(i)] += dscore * linear[size_t(k)] / kPlaces;
      }
    }
    if (!training) return loss;
    norm.backward(hidden, dactive, dactive);
    Floats dkernels(kernels.size());
    convolve([&](int out, int in, int w) { dkernels[size_t(w)] += dactive[size_t(out)] * x[size_t(in)]; });
    descend(kernels, dkernels), descend(linear, dlinear);
    return loss;
  }
};

// Whether training made the loss a tenth of what it was.
bool learns(bool over_batch) {
  std::mt19937 random(1);
  const Floats patterns = random_floats(kClasses * kIn * kPlaces, 1, random);
  Net net(over_batch, random);
  Floats x = images(patterns, random);
  const double first = net.run(x, true);
  for (int step = 1; step < kSteps; ++step) x = images(patterns, random), (void)net.run(x, true);
  x = images(patterns, random);
  const double last = net.run(x, false);
  std::printf("%s: loss %.3f, after %d steps, on new images %.3f\n", over_batch ? "batch_norm" : "group_norm", first, kSteps, last);
  return last < first / 10;
}

}  // namespace

int main() {
  const bool batch = learns(true), group = learns(false);
  return batch && group ? 0 : 1;
}

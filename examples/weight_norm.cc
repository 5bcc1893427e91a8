// A linear layer with a normalized weight, trained until it fits a known function, beside a plain one.  The function's inputs have very
// different sizes, and so have the plain layer's steps; the normalized one keeps direction and length apart, and begins with the same w.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <kilter/kilter.hpp>
#include <vector>

namespace {

constexpr int kIn = 8, kOut = 4, kSamples = 64;

// Numbers in [-1, 1), the same everywhere.
struct Numbers {
  uint32_t state;
  float next() {
    state = state * 1664525u + 1013904223u;
    return float(int32_t(state)) * 0x1p-31f;
  }
};

using Floats = std::vector<float>;

// y = x w^T; the mean squared error, and its gradient by w.
double loss(const Floats& w, const Floats& x, const Floats& wanted, Floats* dw) {
  double sum = 0;
  dw->assign(w.size(), 0);
  for (int s = 0; s < kSamples; ++s)
    for (int o = 0; o < kOut; ++o) {
      float y = 0;
      for (int i = 0; i < kIn; ++i) y += x[s * kIn + i] * w[o * kIn + i];
      const float apart = y - wanted[s * kOut + o];
      sum += double(apart) * apart / (kSamples * kOut);
      for (int i = 0; i < kIn; ++i) (*dw)[o * kIn + i] += 2 * apart * x[s * kIn + i] / (kSamples * kOut);
    }
  return sum;
}

void step(Floats& parameter, const Floats& gradient, float rate) {
  for (size_t i = 0; i < parameter.size(); ++i) parameter[i] -= rate * gradient[i];
}

// example-begin
struct Layer {
  Floats v, g = Floats(kOut), w = Floats(kOut * kIn), norm = Floats(kOut), dv = Floats(kOut * kIn), dg = Floats(kOut);

  explicit Layer(const Floats& begin) : v(begin) {
    kilter::weight_norm_forward({.v = {v, {kOut, kIn}}, .norm = g});  // g = |v|, so that w = v
  }
  const Floats& weight() {
    kilter::weight_norm_forward({.v = {v, {kOut, kIn}}, .g = g, .w = {w, {kOut, kIn}}, .norm = norm, .dim = 0});
    return w;
  }
  void learn(const Floats& dw, float rate) {
    kilter::weight_norm_backward({.v = {v, {kOut, kIn}}, .g = g, .norm = norm, .dw = {dw, {kOut, kIn}}, .dv = {dv, {kOut, kIn}}, .dg = dg});
    step(v, dv, rate), step(g, dg, rate);
  }
};
// example-end

}  // namespace

int main() {
  Numbers numbers{1};
  Floats x(kSamples * kIn), truth(kOut * kIn), begin(kOut * kIn), wanted(kSamples * kOut), dw;
  for (float& value : x) value = numbers.next();
  for (float& value : truth) value = 2 * numbers.next();
  for (float& value : begin) value = 0.02f * numbers.next();  // a poor beginning: far too short
  for (int s = 0; s < kSamples; ++s)
    for (int o = 0; o < kOut; ++o)
      for (int i = 0; i < kIn; ++i) wanted[s * kOut + o] += x[s * kIn + i] * truth[o * kIn + i];

  Layer normalized(begin), unscaled(begin);
  Floats plain = begin;
  for (float& length : unscaled.g) length = 1;  // instead of |v|
  double apart = 0;
  for (size_t i = 0; i < begin.size(); ++i) apart = std::fmax(apart, std::fabs(normalized.weight()[i] - begin[i]));
  std::printf("begins %.1e from v; with g = 1 its length is %.2f, not %.2f\n", apart,
              std::sqrt(loss(unscaled.weight(), x, Floats(wanted.size()), &dw)), std::sqrt(loss(begin, x, Floats(wanted.size()), &dw)));
  double errors[2] = {};
  for (int k = 0; k < 2000; ++k) {
    errors[0] = loss(plain, x, wanted, &dw);
    step(plain, dw, 0.5f);
    errors[1] = loss(normalized.weight(), x, wanted, &dw);
    normalized.learn(dw, 0.05f);
  }
  std::printf("plain %.1e, normalized %.1e\n", errors[0], errors[1]);
  return apart < 1e-8 && errors[0] < 1e-6 && errors[1] < 1e-6 ? EXIT_SUCCESS : EXIT_FAILURE;
}

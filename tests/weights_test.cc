// weight_norm: small cases by hand, every kept dimension against the formula, gradients against differences, unusual norms, layouts.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "harness/call.h"
#include "harness/matrix.h"
#include "harness/threads.h"

namespace kilter::test {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr DType kTypes[] = {DType::f64, DType::f32, DType::f16, DType::bf16};

using Shape = std::vector<int64_t>;

// A call of both directions on tensors of one type (norm: statistics'), filled by functions of the element's number.
struct WeightNorm {
  DType t;
  Shape shape;
  int64_t dim;
  Matrix v, g, w, norm, dw, dv, dg;
  std::vector<char> workspace;

  using Fill = std::function<double(int64_t)>;
  WeightNorm(DType type, const Shape& of, int64_t kept_dim, const Fill& v_of, const Fill& g_of, const Fill& dw_of,
             const Placed& placed = {})
      : t(type), shape(of), dim(kept_dim) {
    const DType stat = t == DType::f64 ? DType::f64 : DType::f32;
    for (Matrix* m : {&v, &w, &dw, &dv}) *m = Matrix(t, shape, placed);
    for (Matrix* m : {&g, &dg}) *m = Matrix(t, {kept()});
    norm = Matrix(stat, {kept()});
    fill(v, v_of), fill(dw, dw_of), fill(g, g_of);
  }
  int64_t kept() const { return dim == KILTER_DIM_NONE ? 1 : shape[size_t(dim < 0 ? dim + int64_t(shape.size()) : dim)]; }
  static void fill(Matrix& m, const Fill& f) {
    m.fill([&](int64_t r, int64_t i) { return f(r * m.n() + i); });
  }
  static double at(const Matrix& m, int64_t i) { return m.get(i / m.n(), i % m.n()); }
  int64_t size() const { return std::accumulate(shape.begin(), shape.end(), int64_t(1), std::multiplies<>()); }
  // The slice of an element.
  int64_t slice(int64_t i) const {
    if (dim == KILTER_DIM_NONE) return 0;
    int64_t inner = 1;
    for (size_t d = size_t(dim < 0 ? dim + int64_t(shape.size()) : dim) + 1; d < shape.size(); ++d) inner *= shape[d];
    return i / inner % kept();
  }

  kilter_weight_norm_forward_args forward_args() {
    kilter_weight_norm_forward_args a = {};
    a.struct_size = sizeof a, a.dim = dim;
    a.v = v.tensor(), a.g = g.tensor(), a.w = w.tensor(), a.norm = norm.tensor();
    return a;
  }
  kilter_weight_norm_backward_args backward_args() {
    kilter_weight_norm_backward_args a = {};
    a.struct_size = sizeof a, a.dim = dim;
    a.v = v.tensor(), a.g = g.tensor(), a.norm = norm.tensor(), a.dw = dw.tensor(), a.dv = dv.tensor(), a.dg = dg.tensor();
    return a;
  }
  template <class Args>
  void call(kilter_function function, Args a) {
    kilter_plan plan = {};
    plan.struct_size = sizeof plan;
    ASSERT_EQ(kilter_ask(function, &a, &plan), KILTER_OK) << kilter_last_error();
    workspace.assign(plan.workspace_size + 1, char(0xA5));
    a.workspace = workspace.data(), a.workspace_size = plan.workspace_size;
    ASSERT_EQ(kilter_call(function, &a, nullptr), KILTER_OK) << kilter_last_error();
  }
  void forward() { call(KILTER_WEIGHT_NORM_FORWARD, forward_args()); }
  void backward() { call(KILTER_WEIGHT_NORM_BACKWARD, backward_args()); }
};

WeightNorm::Fill list(const std::vector<double>& values) {
  return [values](int64_t i) { return values[size_t(i)]; };
}
WeightNorm::Fill noisy(uint64_t seed, double center = 0) {
  return [=](int64_t i) { return center + noise(seed, 0, i); };
}

void expect(const Matrix& m, const std::vector<double>& values, double within) {
  for (size_t i = 0; i < values.size(); ++i) {
    const double got = WeightNorm::at(m, int64_t(i));
    EXPECT_TRUE(std::isnan(values[i]) ? std::isnan(got) : std::fabs(got - values[i]) <= within * std::fabs(values[i])) << i << ": " << got;
  }
}

// Three slices, one of zeros, whose NaN is its own.
TEST(WeightNorm, SlicesByHand) {
  for (const DType t : kTypes) {
    SCOPED_TRACE(dtype_name(t));
    WeightNorm all(t, {3, 2}, 0, list({3, 4, 0, 0, -5, 12}), list({10, 2, 26}), list({1, 0, 1, 1, 0, 1}));
    all.forward(), all.backward();
    expect(all.norm, {5, 0, 13}, 0), expect(all.w, {6, 8, kNaN, kNaN, -10, 24}, 0);
    const double eps = t == DType::f64 ? 4e-15 : t == DType::f32 ? 1.2e-6 : t == DType::f16 ? 1e-3 : 8e-3;
    expect(all.dg, {0.6, kNaN, 12.0 / 13}, eps);
    expect(all.dv, {1.28, -0.96, kNaN, kNaN, 120.0 / 169, 50.0 / 169}, eps);
    WeightNorm two(t, {2, 2}, 0, list({3, 4, -5, 12}), list({10, 26}), list({1, 0, 0, 1}));
    two.forward(), two.backward();
    for (const auto& [a, b] : {std::pair(&all.w, &two.w), {&all.dv, &two.dv}}) {
      EXPECT_TRUE(same_row(*a, 0, *b, 0, "first"));
      EXPECT_TRUE(same_row(*a, 2, *b, 1, "last"));
    }
    for (const auto& [a, b] : {std::pair(&all.norm, &two.norm), {&all.dg, &two.dg}}) {
      EXPECT_EQ(a->get(0, 0), b->get(0, 0));
      EXPECT_EQ(a->get(0, 2), b->get(0, 1));
    }
  }
}

// The same as columns: the last dimension is kept.
TEST(WeightNorm, ColumnsByHand) {
  for (const DType t : kTypes)
    for (const int64_t dim : {1, -1}) {
      WeightNorm c(t, {2, 3}, dim, list({3, 0, -5, 4, 0, 12}), list({10, 2, 26}), list({1, 1, 0, 0, 1, 1}));
      c.forward(), c.backward();
      expect(c.norm, {5, 0, 13}, 0), expect(c.w, {6, kNaN, -10, 8, kNaN, 24}, 0);
      expect(c.dg, {0.6, kNaN, 12.0 / 13}, t == DType::bf16 ? 8e-3 : 1e-3);
    }
}

TEST(WeightNorm, TheLastDimensionAndNoneAreTwoThings) {
  const auto v = list({3, 0, 4, 2});
  WeightNorm last(DType::f32, {2, 2}, -1, v, list({1, 1}), noisy(1)), none(DType::f32, {2, 2}, KILTER_DIM_NONE, v, list({1}), noisy(1));
  last.forward(), none.forward();
  expect(last.norm, {5, 2}, 0), expect(none.norm, {std::sqrt(29.0)}, 1e-7);
}

// Against the formula in fp64, for every dimension of shapes that take every way through the elements.
TEST(WeightNorm, EveryDimensionKept) {
  for (const Shape& shape :
       {Shape{7}, {5, 9}, {3, 4, 5}, {2, 3, 4, 5}, {6, 1, 7}, {3, 300, 2}, {2, 3, 300}, {40, 3, 9}, {1, 5}, {70000, 2}, {2, 70001}})
    for (int64_t dim = -1; dim < int64_t(shape.size()); ++dim) {
      const int64_t kept = dim < 0 ? KILTER_DIM_NONE : dim;
      SCOPED_TRACE(std::to_string(shape.size()) + " dimensions from " + std::to_string(shape[0]) + ", kept " + std::to_string(dim));
      WeightNorm c(DType::f32, shape, kept, noisy(1), noisy(2, 1), noisy(3));
      c.forward(), c.backward();
      std::vector<double> squares(size_t(c.kept())), d(size_t(c.kept()));
      for (int64_t i = 0; i < c.size(); ++i) squares[size_t(c.slice(i))] += std::pow(WeightNorm::at(c.v, i), 2);
      for (int64_t i = 0; i < c.size(); ++i)
        d[size_t(c.slice(i))] += WeightNorm::at(c.dw, i) * WeightNorm::at(c.v, i) / std::sqrt(squares[size_t(c.slice(i))]);
      for (int64_t i = 0; i < c.size(); ++i) {
        const int64_t k = c.slice(i);
        const double norm = std::sqrt(squares[size_t(k)]), g = WeightNorm::at(c.g, k), v = WeightNorm::at(c.v, i);
        ASSERT_NEAR(WeightNorm::at(c.w, i), g * v / norm, 6e-7 * std::fabs(g)) << i;
        const double dv = g / norm * (WeightNorm::at(c.dw, i) - v / norm * d[size_t(k)]);
        ASSERT_NEAR(WeightNorm::at(c.dv, i), dv, 2e-6 * std::fabs(g) / norm * (3 + std::fabs(d[size_t(k)]))) << i;
      }
      for (int64_t k = 0; k < c.kept(); ++k) ASSERT_NEAR(WeightNorm::at(c.dg, k), d[size_t(k)], 1e-6 * (3 + std::fabs(d[size_t(k)])));
    }
}

// g = norm makes w = v: nearly, as norm is rounded.
TEST(WeightNorm, InitializationWithoutW) {
  for (const int64_t dim : {int64_t(0), int64_t(-1), KILTER_DIM_NONE}) {
    WeightNorm c(DType::f32, {30, 41}, dim, noisy(1), noisy(2), noisy(3));
    kilter_weight_norm_forward_args a = c.forward_args();
    a.g = a.w = {};
    c.call(KILTER_WEIGHT_NORM_FORWARD, a);
    c.g.copy_from(c.norm);
    c.forward();
    for (int64_t i = 0; i < c.size(); ++i)
      EXPECT_NEAR(WeightNorm::at(c.w, i), WeightNorm::at(c.v, i), 4e-7 * std::fabs(WeightNorm::at(c.v, i)));
  }
}

TEST(WeightNorm, HugeAndTinyNumbers) {
  for (const int64_t dim : {int64_t(0), int64_t(-1), KILTER_DIM_NONE})
    for (const double scale : {1e30, 1e38, 1e-30, 1e-40}) {
      WeightNorm plain(DType::f32, {4, 50}, dim, noisy(1), noisy(2, 1), noisy(3)),
          scaled(
              DType::f32, {4, 50}, dim, [&](int64_t i) { return scale * noise(1, 0, i); }, noisy(2, 1), noisy(3));
      plain.forward(), scaled.forward();
      const double within = scale < 1e-38 ? 1e-3 : 1e-6;  // subnormals have few digits
      for (int64_t i = 0; i < plain.size(); ++i) {
        const double want = WeightNorm::at(plain.w, i), got = WeightNorm::at(scaled.w, i);
        EXPECT_NEAR(got, want, within * std::max(std::fabs(want), 0.1)) << scale;
      }
      scaled.backward(), plain.backward();
      for (int64_t k = 0; k < plain.kept() && scale < 1e38; ++k)
        EXPECT_NEAR(WeightNorm::at(scaled.dg, k), WeightNorm::at(plain.dg, k), 10 * within * (1 + std::fabs(WeightNorm::at(plain.dg, k))));
    }
}

TEST(WeightNorm, AFactorOfZeroOrHuge) {
  for (const double g : {0.0, 1e30, 1e-30, -2.0}) {
    WeightNorm c(DType::f32, {1, 2}, 0, list({3e20, 4e20}), list({g}), list({1, 0}));
    c.forward(), c.backward();
    expect(c.w, {0.6 * double(float(g)), 0.8 * double(float(g))}, 3e-7);
    expect(c.dg, {0.6}, 3e-7);
  }
}

TEST(WeightNorm, NanAndInfinityStayInTheirSlice) {
  for (const int64_t dim : {0, 1})
    for (const double bad : {kNaN, std::numeric_limits<double>::infinity()}) {
      const auto v = [&](int64_t i) { return i == 7 ? bad : noise(1, 0, i); };
      WeightNorm c(DType::f32, {3, 5}, dim, v, noisy(2, 1), noisy(3)), plain(DType::f32, {3, 5}, dim, noisy(1), noisy(2, 1), noisy(3));
      c.forward(), plain.forward(), c.backward(), plain.backward();
      EXPECT_TRUE(std::isnan(WeightNorm::at(c.w, 7)));
      for (int64_t i = 0; i < c.size(); ++i)
        if (c.slice(i) != c.slice(7)) {
          EXPECT_EQ(WeightNorm::at(c.w, i), WeightNorm::at(plain.w, i));
          EXPECT_EQ(WeightNorm::at(c.dv, i), WeightNorm::at(plain.dv, i));
        }
    }
}

TEST(WeightNorm, WithoutElements) {
  for (const auto& [shape, dim] :
       std::vector<std::pair<Shape, int64_t>>{{{1, 0}, 0}, {{0, 4}, 0}, {{0, 4}, 1}, {{0, 4}, KILTER_DIM_NONE}, {{3, 0, 2}, 1}}) {
    WeightNorm c(DType::f32, shape, dim, noisy(1), noisy(2, 1), noisy(3));
    c.forward(), c.backward();
    for (int64_t k = 0; k < c.kept(); ++k) {
      EXPECT_EQ(WeightNorm::at(c.norm, k), 0);
      EXPECT_EQ(WeightNorm::at(c.dg, k), 0);
    }
  }
}

TEST(WeightNorm, GradientsAreDifferences) {
  for (const int64_t dim : {int64_t(0), int64_t(1), int64_t(2), KILTER_DIM_NONE}) {
    const Shape shape = {3, 4, 2};
    const auto loss = [&](int64_t moved, double by, bool of_g) {
      WeightNorm c(
          DType::f64, shape, dim, [&](int64_t i) { return noise(1, 0, i) + (!of_g && i == moved ? by : 0); },
          [&](int64_t i) { return 1 + noise(2, 0, i) + (of_g && i == moved ? by : 0); }, noisy(3));
      c.forward();
      double sum = 0;
      for (int64_t i = 0; i < c.size(); ++i) sum += WeightNorm::at(c.w, i) * WeightNorm::at(c.dw, i);
      return sum;
    };
    WeightNorm c(DType::f64, shape, dim, noisy(1), noisy(2, 1), noisy(3));
    c.forward(), c.backward();
    const double h = 1e-5;
    for (const bool of_g : {false, true})
      for (int64_t i = 0; i < (of_g ? c.kept() : c.size()); ++i)
        EXPECT_NEAR((loss(i, h, of_g) - loss(i, -h, of_g)) / (2 * h), WeightNorm::at(of_g ? c.dg : c.dv, i), 1e-8)
            << (of_g ? "g " : "v ") << i;
  }
}

// Outputs in the place of inputs, rows that lie apart, threads: the same bits.
TEST(WeightNorm, BitsOfEveryLayoutAndThreadCount) {
  for (const Shape& shape : {Shape{5, 6, 7}, {3, 300, 500}, {700, 3, 65}})
    for (const int64_t dim : {int64_t(0), int64_t(1), int64_t(2), KILTER_DIM_NONE})
      for (const DType t : {DType::f32, DType::bf16}) {
        WeightNorm c(t, shape, dim, noisy(1), noisy(2, 1), noisy(3));
        const auto compare = [&](WeightNorm& other) {
          for (const auto& [a, b] : {std::pair(&c.w, &other.w), {&c.norm, &other.norm}, {&c.dv, &other.dv}, {&c.dg, &other.dg}})
            EXPECT_TRUE(same(*a, *b, "output")) << shape[0] << ", kept " << dim;
        };
        {
          const WithThreads one(1);
          c.forward(), c.backward();
        }
        const WithThreads three(3);
        WeightNorm apart(t, shape, dim, noisy(1), noisy(2, 1), noisy(3), {.pad = 3, .shift = 1});
        apart.forward(), apart.backward();
        compare(apart);
        WeightNorm in_place(t, shape, dim, noisy(1), noisy(2, 1), noisy(3));
        kilter_weight_norm_forward_args f = in_place.forward_args();
        f.w = f.v;
        in_place.call(KILTER_WEIGHT_NORM_FORWARD, f);
        in_place.w.copy_from(in_place.v);
        in_place.v.copy_from(c.v);
        kilter_weight_norm_backward_args b = in_place.backward_args();
        b.dv = b.dw;
        in_place.call(KILTER_WEIGHT_NORM_BACKWARD, b);
        in_place.dv.copy_from(in_place.dw);
        compare(in_place);
      }
}

TEST(WeightNorm, RefusesDimensionsThatVLacks) {
  for (const int64_t dim : {int64_t(2), int64_t(-3), INT64_MAX, INT64_MIN + 1}) {
    WeightNorm c(DType::f32, {3, 4}, 0, noisy(1), noisy(2), noisy(3));
    kilter_weight_norm_forward_args a = c.forward_args();
    a.dim = dim;
    EXPECT_EQ(kilter_weight_norm_forward(&a, nullptr), KILTER_INVALID_ARGUMENT);
    EXPECT_NE(std::string(kilter_last_error()).find("dim: expected -2 to 1, or KILTER_DIM_NONE (v has 2 dimensions)"), std::string::npos)
        << kilter_last_error();
    a.dim = 1;
    EXPECT_EQ(kilter_weight_norm_forward(&a, nullptr), KILTER_INVALID_ARGUMENT);
    EXPECT_NE(std::string(kilter_last_error()).find("g.shape: expected [4] (v.shape[1]), got [3]"), std::string::npos)
        << kilter_last_error();
  }
}

}  // namespace
}  // namespace kilter::test

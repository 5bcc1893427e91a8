#include "check/fills.h"

#include <cmath>
#include <limits>
#include <utility>

#include "check/units.h"
#include "core/element.h"

namespace kilter::check {
namespace {

constexpr const char* kNames[] = {"exact", "normal", "lognormal", "offset", "outlier", "constant", "special", "denormal"};

uint64_t mix(uint64_t z) {  // splitmix64
  z += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

// e^v by 2^k times a Taylor polynomial: libm's last bit differs between versions.
double exponential(double v) {
  const double k = std::floor(v * 1.4426950408889634 + 0.5);
  const double f = v - k * 0.6931471805599453;
  double sum = 1;
  for (int i = 14; i >= 1; --i) sum = 1 + sum * f / i;
  return std::ldexp(sum, int(k));
}

class RowWriter {
 public:
  RowWriter(DType type, char* out) {
    view_.data = out;
    view_.dtype = type;
  }
  void set(int64_t i, double v) { write(view_, 0, i, v); }

 private:
  View view_;
};

struct Shape {
  double mean, std;
};

Shape offset_shape(DType type, uint64_t choice, uint64_t sign) {
  static constexpr Shape kWide[] = {{1e4, 1}, {1e6, 1}, {100, 0.01}, {16777216, 1}, {1e12, 1}};
  Shape s = item_size(type) == 2 ? Shape{256, 1} : kWide[choice % (type == DType::f64 ? 5 : 4)];
  if (sign & 1) s.mean = -s.mean;
  return s;
}

double constant_value(DType type, uint64_t choice) {
  const double huge = type == DType::f16 ? 65504 : type == DType::f64 ? 1e300 : 1e30;
  const double values[] = {0, 1, 0.1, 1e4 / 3, -1e4 / 3, huge};
  return rounded(type, values[choice % 6]);
}

// The scale of a row of N(0, 1) or, for the largest, of U(-1, 1).
double extreme_scale(DType type, uint64_t choice, bool* uniform) {
  *uniform = false;
  switch (choice % 5) {
    case 0:
      return type == DType::f16 ? 2e-6 : type == DType::f64 ? 1e-310 : 1e-40;
    case 1:
      return type == DType::f16 ? 1e-4 : type == DType::f64 ? 1e-290 : 1e-30;
    case 2:
      return type == DType::f16 ? 1e3 : 1e18;
    case 3:
      return type == DType::f16 ? 1e4 : type == DType::f64 ? 1e290 : 1e30;
    default:
      *uniform = true;
      return max_of(type);
  }
}

}  // namespace

const char* fill_name(Fill fill) { return kNames[int(fill)]; }

std::optional<Fill> fill_named(std::string_view name) {
  for (Fill fill : kFills)
    if (name == fill_name(fill)) return fill;
  return std::nullopt;
}

Random::Random(uint64_t seed, std::string_view name, int64_t row) {
  uint64_t h = 0xCBF29CE484222325u;  // FNV-1a of the name
  for (char c : name) h = (h ^ uint8_t(c)) * 0x100000001B3u;
  key_ = mix(mix(mix(seed) ^ h) + uint64_t(row));
}

uint64_t Random::bits(uint64_t i) const { return mix(key_ + i * 0xD1342543DE82EF95u); }

double Random::normal(uint64_t i) const {
  uint64_t sum = 0;
  for (uint64_t k = 0; k < 4; ++k) {
    const uint64_t b = bits(4 * i + k);
    sum += (b >> 32) + (b & 0xFFFFFFFF);
  }
  return (double(sum) * 0x1p-32 - 4) * 1.2247448713915890;
}

void fill_x(Fill fill, uint64_t seed, int64_t row, DType type, int64_t n, char* out) {
  const Random random(seed, "x", row), choice(seed, "x.row", row);
  RowWriter w(type, out);
  switch (fill) {
    case Fill::exact: {
      const double mean = std::ldexp(1.0, int(choice.bits(0) % 6) - 2), spread = std::ldexp(mean, -int(choice.bits(1) % 5));
      for (int64_t i = 0; i + 1 < n; i += 2) {
        const double d = random.bits(uint64_t(i)) & 1 ? spread : -spread;
        w.set(i, mean + d);
        w.set(i + 1, mean - d);
      }
      if (n % 2) w.set(n - 1, mean);
      break;
    }
    case Fill::normal:
    case Fill::special: {
      const double mean = 2 * choice.uniform(0) - 1, std = 0.5 + 1.5 * choice.uniform(1);
      for (int64_t i = 0; i < n; ++i) w.set(i, mean + std * random.normal(uint64_t(i)));
      break;
    }
    case Fill::lognormal:
      for (int64_t i = 0; i < n; ++i) w.set(i, exponential(random.normal(uint64_t(i))));
      break;
    case Fill::offset: {
      const Shape s = offset_shape(type, choice.bits(0), choice.bits(1));
      for (int64_t i = 0; i < n; ++i) w.set(i, s.mean + s.std * random.normal(uint64_t(i)));
      break;
    }
    case Fill::outlier: {
      static constexpr double kHuge[] = {1e3, 1e6, 1e20};
      for (int64_t i = 0; i < n; ++i) w.set(i, random.normal(uint64_t(i)));
      if (n > 0) w.set(int64_t(choice.bits(1) % uint64_t(n)), type == DType::f16 ? 3e4 : kHuge[choice.bits(0) % 3]);
      break;
    }
    case Fill::constant: {
      const double value = constant_value(type, choice.bits(0));
      for (int64_t i = 0; i < n; ++i) w.set(i, value);
      if (n > 0 && choice.bits(1) % 3 == 0) w.set(int64_t(choice.bits(2) % uint64_t(n)), value - ulp(type, value));
      break;
    }
    case Fill::denormal: {
      bool uniform = false;
      const double scale = extreme_scale(type, choice.bits(0), &uniform);
      for (int64_t i = 0; i < n; ++i) w.set(i, scale * (uniform ? 2 * random.uniform(uint64_t(i)) - 1 : random.normal(uint64_t(i))));
      break;
    }
  }
}

Moderate moderate(std::string_view name) {
  constexpr std::pair<std::string_view, Moderate> kOthers[] = {{"weight", {1, 0.25}}, {"bias", {0, 0.5}},     {"alpha", {0.75, 0.25}},
                                                               {"scale", {1, 0.25}},  {"shift", {0, 0.5}},    {"running_var", {1.5, 0.25}},
                                                               {"rstd", {1, 0.125}},  {"count", {2000, 200}}, {"counts", {50, 5}},
                                                               {"m2s", {50, 5}},      {"g", {1, 0.25}}};
  for (const auto& [other, m] : kOthers)
    if (name == other) return m;
  return {};
}

void fill_moderate(std::string_view name, uint64_t seed, int64_t row, DType type, int64_t n, double center, double spread, char* out) {
  const Random random(seed, name, row);
  RowWriter w(type, out);
  const bool whole = name.substr(0, 5) == "count";
  for (int64_t i = 0; i < n; ++i) {
    const double v = center + spread * random.normal(uint64_t(i));
    w.set(i, whole ? std::nearbyint(v) : v);
  }
}

bool is_poisoned(std::string_view name, uint64_t seed, int64_t row, int64_t n) {
  const uint64_t sixteenths = name == "x" ? 6 : 3;
  return n > 0 && Random(seed, name, row).bits(~uint64_t(0)) % 16 < sixteenths;
}

void poison(std::string_view name, uint64_t seed, int64_t row, DType type, int64_t n, char* out) {
  if (!is_poisoned(name, seed, row, n)) return;
  const double inf = std::numeric_limits<double>::infinity();
  const Random random(seed, name, row);
  const auto place = [&](uint64_t k) { return int64_t(random.bits(~uint64_t(k)) % uint64_t(n)); };
  RowWriter w(type, out);
  switch (random.bits(~uint64_t(1)) % 4) {
    case 0:
      w.set(place(2), std::numeric_limits<double>::quiet_NaN());
      break;
    case 1:
      w.set(place(2), inf);
      break;
    case 2:
      w.set(place(2), -inf);
      break;
    default:
      w.set(place(2), inf);
      w.set(place(3), -inf);
  }
}

}  // namespace kilter::check

// Inputs of the checks.  Row r of tensor `name` in a case with seed s is a function of (s, name, r, n, type, fill) alone, by
// integer arithmetic and +, -, *, sqrt-free polynomials: the same numbers on every machine, and any row can be had by itself.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "core/dtype.h"

namespace kilter::check {

enum class Fill {
  exact,      // symmetric pairs around a power of two: mean, and variance for even n, are exactly representable
  normal,     // N(mean, std), mean within 1, std 0.5 to 2
  lognormal,  // heavy tail on one side
  offset,     // |mean| much larger than std: 1e4/1, 1e6/1, 100/0.01, 2^24/1 (fp16, bf16: 256/1; fp64 also 1e12/1)
  outlier,    // N(0, 1) with one huge element
  constant,   // all elements equal (0, 1, 0.1, 1e4/3, 1e30 or the type's nearest), or all but one that is one ulp off
  special,    // fill `normal` with NaN and infinities in some rows of x and dy
  denormal    // rows far from 1: subnormals, 1e-30, 1e18, 1e30, up to the type's largest number
};
inline constexpr Fill kFills[] = {Fill::exact,   Fill::normal,   Fill::lognormal, Fill::offset,
                                  Fill::outlier, Fill::constant, Fill::special,   Fill::denormal};

const char* fill_name(Fill fill);
std::optional<Fill> fill_named(std::string_view name);

// Counter-based random numbers: value i of a key is a hash of both.
class Random {
 public:
  Random(uint64_t seed, std::string_view name, int64_t row);
  uint64_t bits(uint64_t i) const;
  double uniform(uint64_t i) const { return double(bits(i) >> 11) * 0x1p-53; }  // [0, 1)
  double normal(uint64_t i) const;  // the sum of eight uniforms, scaled: mean 0, std 1, |v| < 4.9

 private:
  uint64_t key_;
};

// Writes one row of n elements of `type` to out.  `fill` shapes x; the other tensors get moderate numbers (fill_moderate).
void fill_x(Fill fill, uint64_t seed, int64_t row, DType type, int64_t n, char* out);

// What tensors other than x hold: center + spread * N(0, 1); a variance's are above 0.
struct Moderate {
  double center = 0, spread = 1;
};
Moderate moderate(std::string_view name);

void fill_moderate(std::string_view name, uint64_t seed, int64_t row, DType type, int64_t n, double center, double spread, char* out);

// Fill::special: puts NaN or infinities into this row of x or dy, if the row is one of those that get some.
bool is_poisoned(std::string_view name, uint64_t seed, int64_t row, int64_t n);
void poison(std::string_view name, uint64_t seed, int64_t row, DType type, int64_t n, char* out);

}  // namespace kilter::check

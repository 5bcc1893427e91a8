// Rows whose statistics need more than one exchange (nearly constant ones, very large or very small ones), and their output.
//
// The same team, from the elements that it holds, now in local memory: small code that is called by no ordinary row, and
// leaves the registers of the kernel alone.
#pragma once

#include "families/rowwise/cuda/parameters.h"
#include "families/rowwise/cuda/row_access.cuh"
#include "families/rowwise/cuda/team.cuh"
#include "kilter/device/row_formulas.h"

namespace kilter::cuda {

// Elements of the vectors of stripe k in which a row of `left` elements ends.
template <class T, class E>
__device__ __forceinline__ void read_ends(const char* at, int k, int left, float (&w)[8]) {
#pragma unroll
  for (int q = 0; q < Packed<T>::kParts; ++q) {
    const int place = k * kStripeLength + part_place<T>(q);
    if (place >= left || place + Packed<T>::kWidth <= left) continue;
#pragma unroll
    for (int j = 0; j < Packed<T>::kWidth; ++j)
      if (place + j < left) w[q * Packed<T>::kWidth + j] = load_single<E>(at + (place + j) * kElementSize<E>);
  }
}

// Weights (or biases) of stripe k from memory; `column`: this thread's first.
// kAhead: the compiler may move the loads in front of stores of what came before.  is_shifted: the row may end inside a vector.
template <class T, bool kAhead = false>
__device__ __forceinline__ void late_weights(const char* vector, bool is_float, int column, int k, int left, bool is_shifted,
                                             float (&w)[8]) {
  const int whole = left - (is_shifted ? Packed<T>::kWidth - 1 : 0);
  if (is_float) {
    const char* const at = vector + int64_t(column) * 4;
    read_floats<T>(at, k, whole, w);
    if (is_shifted) read_ends<T, float>(at, k, left, w);
    return;
  }
  const char* const at = vector + int64_t(column) * Packed<T>::kItem;
  const Packed<T> v = kAhead ? constant_stripe<T>(at, k, whole) : read_stripe<T>(at, k, whole);
#pragma unroll
  for (int j = 0; j < 8; ++j) w[j] = v[j];
  if (is_shifted) read_ends<T, T>(at, k, left, w);
}

// The same for rows of every T; of singles in the vector's own type.
template <class T, bool kAhead = false>
__device__ __forceinline__ void row_weights(const char* vector, DType type, bool is_float, int column, int k, int left, bool whole,
                                            bool is_shifted, float (&w)[8]) {
  if constexpr (kIsSingles<T>)
    with_type(type, [&](auto element) {
      using E = decltype(element);
      const Packed<T> v = read_elements<T, E>(element_at<E>(vector, column), k, left, whole);
#pragma unroll
      for (int j = 0; j < 8; ++j) w[j] = v[j];
    });
  else
    late_weights<T, kAhead>(vector, is_float, column, k, left, is_shifted, w);
}

// v as y's type holds it.
template <class T, int N>
__device__ __forceinline__ void round_to_type(DType type, float (&v)[N]) {
  if constexpr (kIsSingles<T>)
    with_type(type, [&](auto element) {
#pragma unroll
      for (int j = 0; j < N; ++j) v[j] = single_rounded<decltype(element)>(v[j]);
    });
  else
    round_to<T>(v);
}

// xhat to y: weight, bias, rounding order and the residual after the norm.  weight(w), bias(w), after(w) give as many elements.
template <class T, bool kPlain, bool kCentered, int N, class W, class B, class A>
__device__ __forceinline__ void affine(const RowForwardParameters& p, uint32_t flags, float (&v)[N], W weight, B bias, A after) {
  float w[N];
  const bool rounds = !kPlain && (flags & kRoundThenMultiply);
  if (rounds) round_to_type<T>(p.types.y, v);
  if (kPlain || (flags & kHasWeight)) {
    weight(w);
    if (!kPlain && (flags & kHasOffset))
#pragma unroll
      for (int j = 0; j < N; ++j) w[j] = w[j] + p.weight_offset;
#pragma unroll
    for (int j = 0; j < N; ++j) v[j] = v[j] * w[j];
    if (rounds) round_to_type<T>(p.types.y, v);
  }
  if (kPlain ? kCentered : bool(flags & kHasBias)) {
    bias(w);
#pragma unroll
    for (int j = 0; j < N; ++j) v[j] = v[j] + w[j];
    if (rounds) round_to_type<T>(p.types.y, v);
  }
  if (!kPlain && (flags & kHasPostResidual)) {
    after(w);
#pragma unroll
    for (int j = 0; j < N; ++j) v[j] = v[j] + w[j];
  }
}

template <class T, bool kCentered, class S, bool kPlain>
struct RareRow {
  using One = RowShape<S::kThreads, S::kWarps, S::kSegments, S::kStripes, 1, S::kCluster>;  // a row at a time
  RowTeam<T, One> team;
  const Packed<T>* held;
  int left;  // elements of the row from this thread's first on
  float eps;
  Prescale<float> scale;
  Moments<float> m;

  // f(stripe, values, whether element j lies in the row) for the stripes of segment s
  template <class F>
  __device__ __forceinline__ void each(int s, F f) const {
#pragma unroll 1
    for (int k = s * S::kStripes; k < (s + 1) * S::kStripes; ++k) {
      const int place = s * kSegmentStripes + k - s * S::kStripes;
      float v[8];
#pragma unroll
      for (int j = 0; j < 8; ++j) v[j] = (held[k][j] * scale.up1) * scale.up2;
      f(place, v, [&](int j) {
        return place * 256 + part_place<T>(j / Packed<T>::kWidth) + (kCanShift<T, S, kPlain> ? j % Packed<T>::kWidth : 0) < left;
      });
    }
  }
  // Of a row that begins anywhere, an element at a time.
  __device__ __forceinline__ void write_elements(const RowForwardParameters& p, uint32_t flags, const RowWeights& own, float rstd, char* y,
                                                 int column) const {
    constexpr int kItem = Packed<T>::kItem, kWidth = Packed<T>::kWidth;
#pragma unroll 1
    for (int i = 0; i < S::kHeld * 8; ++i) {
      const int k = i / 8, j = i % 8, stripe = k / S::kStripes * kSegmentStripes + k % S::kStripes;
      const int place = stripe * kStripeLength + part_place<T>(j / kWidth) + j % kWidth, c = column + place;
      if (place >= left) continue;
      float v[1] = {(load_single<T>(reinterpret_cast<const char*>(held) + i * kItem) * scale.up1) * scale.up2};
      if (kCentered) v[0] = ((v[0] - m.mean) - m.lo) - m.lo2;
      v[0] = v[0] * rstd;
      const auto element = [c](const char* vector, bool is_float) {
        return is_float ? load_single<float>(vector + int64_t(c) * 4) : load_single<T>(vector + int64_t(c) * kItem);
      };
      affine<T, false, kCentered>(
          p, flags, v, [&](float(&w)[1]) { w[0] = element(own.weight, flags & kFloatWeight); },
          [&](float(&w)[1]) { w[0] = element(own.bias, flags & kFloatBias); }, [](float(&)[1]) {});
      store_single<T>(y + int64_t(c) * kItem, v[0]);
    }
  }
  template <class Op, class F>
  __device__ __forceinline__ void sums(float (&out)[2], F terms) {
    team.template combine<Op>(
        out,
        [&](int, int s, float(&a)[2][8]) {
#pragma unroll
          for (int j = 0; j < 8; ++j) a[0][j] = a[1][j] = 0;
          each(s, [&](int, const float(&v)[8], auto inside) {
#pragma unroll
            for (int j = 0; j < 8; ++j)
              if (inside(j)) terms(v[j], a[0][j], a[1][j]);
          });
        },
        [](int, float) {});
  }
  __device__ __forceinline__ void measure(float count) {
    float out[2];
    if constexpr (!kCentered) {
      sums<Add>(out, [](float v, float& a, float&) { a = a + v * v; });
      m.set_rms(count, out[0]);
    } else {
      sums<Add>(out, [](float v, float& a, float&) { a = a + v; });
      const float mean = out[0] / count;
      float lo = 0;
      const auto deviations = [&] {
        sums<Add>(out, [&](float v, float& a, float& b) {
          const float d = (v - mean) - lo;
          a = a + d;
          b = b + d * d;
        });
      };
      deviations();
      m.set(count, mean, out[0], out[1]);
      if (!RowTeam<T, S>::any(m.cancels())) return;  // rows that share a warp exchange together
      lo = m.lo;
      deviations();
      if (m.cancels()) m.refine(count, out[0], out[1]);
    }
  }
  __device__ __forceinline__ int find_prescale() {
    float out[2];
    sums<Larger>(out, [&](float v, float& largest, float& deviates) {
      const float magnitude = v < 0 ? -v : v;
      largest = Larger::of(magnitude - magnitude == 0 ? magnitude : __builtin_inff(), largest);
      if (v - m.mean != 0) deviates = 1;
    });
    const float largest = out[0];
    if (largest - largest != 0 || largest == 0 || (m.moment == 0 && out[1] == 0)) return 0;
    return prescale_exponent<float>(ilogbf(largest), eps != 0, eps != 0 ? ilogbf(eps) : 0);
  }
};

// All rows of the teams of a warp or block, of which one is rare.  held: kRows rows of stripes.
template <class T, bool kCentered, class S, bool kPlain>
__device__ __noinline__ void rare_rows(const RowForwardParameters& p, RowTeam<T, S> team, const Packed<T>* held, int64_t first) {
  using Row = RareRow<T, kCentered, S, kPlain>;
  const uint32_t flags = p.flags;
  const int left = p.n - team.column;
  Row row{team.template as<typename Row::One>(), nullptr, left, p.eps, {}, {}};
#pragma unroll 1
  for (int i = 0; i < S::kRows; ++i) {
    const int64_t r = first + i * S::kTeamsPerWarp;
    row.held = held + i * S::kHeld;
    row.scale = Prescale<float>();
#pragma unroll 1
    for (int pass = 0;; ++pass) {
      row.measure(float(p.n));
      // Every row of a warp takes the turns of the one that takes most.
      if (pass > 0 || !RowTeam<T, S>::any(row.m.extreme())) break;
      const int k = row.find_prescale();
      if (row.m.extreme()) row.scale = prescale_by<float>(k);
    }
    RowStatistics<float> statistics;
    statistics.m = row.m;
    statistics.complete(p.eps, row.scale);
    if (r >= p.rows) continue;
    if (team.column == 0) {
      if (kCentered && p.mean.data) *reinterpret_cast<float*>(row_at(p.mean, p.mean_runs, flags, r)) = statistics.saved_mean;
      if (p.rstd.data) *reinterpret_cast<float*>(row_at(p.rstd, p.rstd_runs, flags, r)) = statistics.saved_rstd;
    }
    char* const y = row_at(p.y, p.y_runs, flags, r);
    const RowWeights own(p, flags, r);
    if constexpr (kCanShift<T, S, kPlain>)
      if (flags & kShifted) {
        row.write_elements(p, flags, own, statistics.rstd, y, team.column);
        continue;
      }
    const char* const after = row_at(p.post_residual, p.post_residual_runs, flags, r);
#pragma unroll 1
    for (int s = 0; s < S::kSegments; ++s)
      row.each(s, [&](int k, float(&v)[8], auto) {
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          if (kCentered) v[j] = ((v[j] - row.m.mean) - row.m.lo) - row.m.lo2;
          v[j] = v[j] * statistics.rstd;
        }
        affine<T, false, kCentered>(
            p, flags, v,
            [&](float(&w)[8]) { row_weights<T>(own.weight, p.types.weight, flags & kFloatWeight, team.column, k, left, false, false, w); },
            [&](float(&w)[8]) { row_weights<T>(own.bias, p.types.bias, flags & kFloatBias, team.column, k, left, false, false, w); },
            [&](float(&w)[8]) { row_weights<T>(after, p.types.post_residual, false, team.column, k, left, false, false, w); });
        with_element<T>(p.types.y, [&](auto type) {
          using E = decltype(type);
          write_elements<T, E>(element_at<E>(y, team.column), k, left, false, v);
        });
      });
  }
}

}  // namespace kilter::cuda

// layer_norm and rms_norm inside your own kernel: a 1-D block of 1 to 1024 threads takes the statistics of one row, from whatever
// holds it, and then normalizes elements wherever it likes.  All threads of the block call the statistics functions, which pass
// over the row two or three times (rms_norm: once; a row of extreme magnitude: twice that and once more), with three barriers per
// 4096 elements and pass; all threads receive the result.
//
// value(i), i < n < 2^44, returns element i in fp32 and the same at every call.  It is called for element i by the thread
// element_owner(i) only, so the row may lie in memory of each thread's own.  The row must be visible to its readers when a
// statistics function is called; when that has returned, no thread reads it any more.  `shared` is kRowSharedBytes of shared
// memory, aligned to 16, the functions' own during a call; a barrier is needed before other uses of it, none between calls.
//
// Accumulation is in fp32.  Formulas and their order: docs/numerics.md; results have the bits of kilter_layer_norm_forward and
// kilter_rms_norm_forward, whatever the block's size and the compiler's options, in every run.
#pragma once

#include "kilter/device/float.cuh"
#include "kilter/device/row_formulas.h"
#include "kilter/device/types.cuh"

namespace kilter::device {

struct LayerNormStatistics {
  float mean, lo, lo2, rstd;     // of the row times up1 times up2
  float up1, up2;                // 1, but for rows of extreme magnitude
  float saved_mean, saved_rstd;  // of the row itself: what forward returns and backward takes
};
struct RmsNormStatistics {
  float rstd, up1, up2, saved_rstd;
};

namespace detail {

constexpr int kSegment = 1024, kLanes = 256, kSegmentsAtOnce = 4;
constexpr int kSlots = kLanes * kSegmentsAtOnce;  // lanes of the segments whose sums lie in shared memory together
constexpr int kAtOnce = kSegment * kSegmentsAtOnce;

struct RowMemory {
  Float lane[2][kSlots / 8 * 9];  // every eighth slot is followed by a gap, so that neighbours use different banks
  Float part[2][8];
  unsigned largest, deviates;
};

}  // namespace detail

constexpr int kRowSharedBytes = sizeof(detail::RowMemory);

// The thread of the block that is asked for element i.
__device__ inline int element_owner(long long i) {
  return static_cast<int>((i / detail::kSegment % detail::kSegmentsAtOnce * detail::kLanes + i % detail::kLanes) % blockDim.x);
}

// f(i) for every element of a row of n that the calling thread owns, in the order in which value(i) is called.
template <class F>
__device__ void for_own_elements(long long n, F f) {
  for (long long start = 0; start < n; start += detail::kAtOnce)
    for (int slot = threadIdx.x; slot < detail::kSlots; slot += blockDim.x)
      for (int e = slot % detail::kLanes; e < detail::kSegment; e += detail::kLanes)
        if (const long long i = start + slot / detail::kLanes * detail::kSegment + e; i < n) f(i);
}

namespace detail {

KILTER_INLINE Float sum_of_eight(const Float* v, int step) {
  return ((v[0] + v[step]) + (v[2 * step] + v[3 * step])) + ((v[4 * step] + v[5 * step]) + (v[6 * step] + v[7 * step]));
}

// out[q]: the row tree over term q of elements [begin, end); begin is a multiple of kAtOnce.  terms(i, t) writes the terms to t.
template <int N, class Terms>
__device__ void block_sums(long long begin, long long end, RowMemory& memory, Float (&out)[N], Terms terms) {
  Float level[N][33];  // a binary counter of subtrees
  unsigned long long count = 0;
  for (int q = 0; q < N; ++q) out[q] = 0;
  for (long long start = begin; start < end; start += kAtOnce, ++count) {
    const long long left = end - start;
    const int segments = left < kAtOnce ? static_cast<int>((left + kSegment - 1) / kSegment) : kSegmentsAtOnce;
    for (int slot = threadIdx.x; slot < segments * kLanes; slot += blockDim.x) {
      const long long first = start + slot / kLanes * kSegment + slot % kLanes;
      Float sum[N];
      for (int q = 0; q < N; ++q) sum[q] = 0;
      for (int e = 0; e < kSegment; e += kLanes) {
        if (first + e >= end) continue;
        Float term[N];
        terms(first + e, term);
        for (int q = 0; q < N; ++q) sum[q] = sum[q] + term[q];
      }
      for (int q = 0; q < N; ++q) memory.lane[q][slot + slot / 8] = sum[q];
    }
    __syncthreads();
    for (int group = threadIdx.x; group < segments * (kLanes / 8); group += blockDim.x)
      for (int q = 0; q < N; ++q) {
        Float* const v = memory.lane[q] + group * 9;
        v[0] = sum_of_eight(v, 1);
      }
    __syncthreads();
    for (int part = threadIdx.x; part < 8; part += blockDim.x)  // half a segment each
      for (int q = 0; q < N; ++q) {
        const Float* const v = memory.lane[q] + part * (16 * 9);
        memory.part[q][part] = part < segments * 2 ? sum_of_eight(v, 9) + sum_of_eight(v + 8 * 9, 9) : Float(0);
      }
    __syncthreads();
    for (int q = 0; q < N; ++q) out[q] = sum_of_eight(memory.part[q], 1);
    if (end - begin <= kAtOnce) return;
    int b = 0;
    for (unsigned long long c = count; c & 1; c >>= 1, ++b)
      for (int q = 0; q < N; ++q) out[q] = level[q][b] + out[q];
    for (int q = 0; q < N; ++q) level[q][b] = out[q];
  }
  bool empty = true;
  for (int b = 0; count >> b; ++b) {
    if (!(count >> b & 1)) continue;
    for (int q = 0; q < N; ++q) out[q] = empty ? level[q][b] : level[q][b] + out[q];
    empty = false;
  }
}

template <class Value>
struct Row {
  Value& value;
  Float up1 = 1, up2 = 1;

  __device__ Float at(long long i) const { return (Float(value(i)) * up1) * up2; }
};

template <class Value>
__device__ void measure_chunk(const Row<Value>& row, long long begin, long long end, RowMemory& memory, Moments<Float>* s) {
  const Float n = Float(end - begin);
  Float sum[1], sums[2];
  block_sums<1>(begin, end, memory, sum, [&](long long i, Float* t) { t[0] = row.at(i); });
  const Float mean = sum[0] / n;
  block_sums<2>(begin, end, memory, sums, [&](long long i, Float* t) {
    t[0] = row.at(i) - mean;
    t[1] = t[0] * t[0];
  });
  s->set(n, mean, sums[0], sums[1]);
  if (!s->cancels()) return;
  const Float lo = s->lo;
  block_sums<2>(begin, end, memory, sums, [&](long long i, Float* t) {
    t[0] = (row.at(i) - mean) - lo;
    t[1] = t[0] * t[0];
  });
  s->refine(n, sums[0], sums[1]);
}

template <bool kCentered, class Value>
__device__ void measure(const Row<Value>& row, long long n, RowMemory& memory, Moments<Float>* s) {
  if constexpr (!kCentered) {
    Float sum[1];
    block_sums<1>(0, n, memory, sum, [&](long long i, Float* t) {
      const Float v = row.at(i);
      t[0] = v * v;
    });
    s->set_rms(Float(n), sum[0]);
  } else {
    Chunk<Float> level[27], whole;  // a binary counter of subtrees
    unsigned long long count = 0;
    long long begin = 0;
    do {
      const long long end = n - begin < kStatisticsChunk ? n : begin + kStatisticsChunk;
      measure_chunk(row, begin, end, memory, s);
      if (n <= kStatisticsChunk) return;
      Chunk<Float> node = chunk_of(*s, end - begin);
      int b = 0;
      for (unsigned long long c = count; c & 1; c >>= 1, ++b) node = merge_chunks(level[b], node);
      level[b] = node;
      begin = end, ++count;
    } while (begin < n);
    for (int b = 0; count >> b; ++b)
      if (count >> b & 1) whole = whole.n == 0 ? level[b] : merge_chunks(level[b], whole);
    set_from(s, whole);
  }
}

// The exponent of v > 0 from its bits, subnormals included.
__device__ inline int exponent_of(unsigned bits) {
  if (bits >= 0x00800000u) return static_cast<int>(bits >> 23) - 127;
  return static_cast<int>(__builtin_bit_cast(unsigned, static_cast<float>(bits)) >> 23) - 127 - 149;
}

// k of the pre-scale, 0 for none.
template <bool kCentered, class Value>
__device__ int row_prescale_exponent(const Row<Value>& row, const Moments<Float>& s, long long n, float eps, RowMemory& memory) {
  if (threadIdx.x == 0) memory.largest = memory.deviates = 0;
  __syncthreads();
  unsigned largest = 0, deviates = 0;  // magnitudes are in the order of their bits, NaN last
  for_own_elements(n, [&](long long i) {
    const Float v = row.at(i);
    const unsigned magnitude = __builtin_bit_cast(unsigned, v.value) & 0x7FFFFFFFu;
    largest = magnitude > largest ? magnitude : largest;
    if (kCentered ? v - s.mean != 0 : v != 0) deviates = 1;
  });
  atomicMax(&memory.largest, largest);
  atomicMax(&memory.deviates, deviates);
  __syncthreads();
  largest = memory.largest;
  if (largest >= 0x7F800000u || largest == 0 || (s.moment == 0 && memory.deviates == 0)) return 0;
  const unsigned eps_bits = __builtin_bit_cast(unsigned, eps) & 0x7FFFFFFFu;
  return prescale_exponent<Float>(exponent_of(largest), eps_bits != 0, eps_bits != 0 ? exponent_of(eps_bits) : 0);
}

template <bool kCentered, class Value>
__device__ Prescale<Float> row_statistics(Value& value, long long n, float eps, void* shared, RowStatistics<Float>* s) {
  RowMemory& memory = *static_cast<RowMemory*>(shared);
  Row<Value> row{value};
  Prescale<Float> scale;
  for (bool scaled = false;; scaled = true) {
    measure<kCentered>(row, n, memory, &s->m);
    if (scaled || n == 0 || !s->m.extreme()) break;
    const int k = row_prescale_exponent<kCentered>(row, s->m, n, eps, memory);
    if (k == 0) break;
    scale = prescale_by<Float>(k);
    row.up1 = scale.up1, row.up2 = scale.up2;
  }
  s->complete(eps, scale);
  return scale;
}

}  // namespace detail

// Biased variance; eps as in kilter_layer_norm_forward, rounded to fp32.  n = 0: NaN.
template <class Value>
__device__ LayerNormStatistics layer_norm_statistics(Value value, long long n, float eps, void* shared) {
  RowStatistics<Float> s;
  const Prescale<Float> scale = detail::row_statistics<true>(value, n, eps, shared, &s);
  return {float(s.m.mean),  float(s.m.lo),    float(s.m.lo2),      float(s.rstd),
          float(scale.up1), float(scale.up2), float(s.saved_mean), float(s.saved_rstd)};
}

template <class Value>
__device__ RmsNormStatistics rms_norm_statistics(Value value, long long n, float eps, void* shared) {
  RowStatistics<Float> s;
  const Prescale<Float> scale = detail::row_statistics<false>(value, n, eps, shared, &s);
  return {float(s.rstd), float(scale.up1), float(scale.up2), float(s.saved_rstd)};
}

// xhat of one element.
KILTER_INLINE float normalize(float v, const LayerNormStatistics& s) {
  return float((((((Float(v) * s.up1) * s.up2) - s.mean) - s.lo) - s.lo2) * s.rstd);
}
KILTER_INLINE float normalize(float v, const RmsNormStatistics& s) { return float(((Float(v) * s.up1) * s.up2) * s.rstd); }

// xhat * weight (+ bias), each rounded to fp32: y, once it is rounded to its type.
KILTER_INLINE float affine(float xhat, float weight) { return float(Float(xhat) * weight); }
KILTER_INLINE float affine(float xhat, float weight, float bias) { return float((Float(xhat) * weight) + bias); }

}  // namespace kilter::device

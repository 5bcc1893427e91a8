// The norms of planes on the CPU: what the passes work on, and who calls them.  The passes themselves are passes.inl.h.
#pragma once

#include "core/inline.h"
#include "core/wide_sum.h"
#include "families/planewise/problem.h"

namespace kilter {

// Channels first, a plane has a run of elements in each of its samples, and chunks of at most so many elements: of one run, or whole runs
// of several samples; channels last, it has columns, and chunks of so many places.
template <class C>
constexpr int64_t kChunk = sizeof(C) == 4 ? 1024 : 256;
constexpr int64_t kChunkPlaces = 256;
template <class C>
constexpr int kTileColumns = sizeof(C) == 4 ? 128 : 64;  // that are summed together: pieces of several cache lines, a few KiB of stack
template <class C>
constexpr int kTilePlaces = sizeof(C) == 4 ? 32 : 16;

// Channels first: elements [begin, end) of each of some samples; channels last: places [begin, end), counted through all samples, of the
// channels from first_column on.
struct PlanePart {
  int64_t sample, samples, begin, end, first_column = 0;
  int columns = 0;
};

// Statistics of a chunk, whose count follows from its place: mean, and the sum of (s - mean)^2.
template <class C>
struct Cell {
  Wide<C> mean = {}, square = {};
};
KILTER_INLINE double difference(double a, double b) { return a - b; }
KILTER_INLINE double difference(Twofold a, Twofold b) { return (a.hi - b.hi) + (a.lo - b.lo); }
KILTER_INLINE void add_number(double& sum, double v) { sum = sum + v; }
KILTER_INLINE void add_number(Twofold& sum, double v) { add_to(sum, Twofold{v, 0}); }
// Chan, Golub, LeVeque 1983, "Algorithms for computing the sample variance", equations 2.1.
template <class C>
KILTER_INLINE void merge(Cell<C>& a, double count, const Cell<C>& b, double more) {
  if (count == 0) {
    a = b;
    return;
  }
  const double apart = difference(b.mean, a.mean), all = count + more;
  add_number(a.mean, apart * (more / all));
  add_to(a.square, b.square);
  add_number(a.square, apart * apart * (count * more / all));
}

// Sums over a chunk of one channel, for backward: of u, u * h and h.
template <class C>
struct SumCell {
  Wide<C> u = {}, uh = {}, h = {};
};

// What turns elements into results: arrays by channel.
template <class C>
struct Normalizing {  // y = activation(((s * scale - mean) - low) * factor + offset), a residual behind the norm being a part of offset
  enum { kMean, kLow, kFactor, kOffset, kScale, kNumbers };  // kScale: null where all are 1
  const C* of[kNumbers];
};
template <class C>
struct Differentiating {  // h = (x * scale - mean) * rstd, u = dy * activation'(h * factor + offset)
  enum { kMean, kRstd, kFactor, kOffset, kScale, kOfU, kConstant, kLow, kOfH, kNumbers };  // dx = (u * of_u - constant) - (h - low) * of_h
  const C* of[kNumbers];
};

// The passes for one SIMD target.  past_caches: streaming stores.
template <class C>
struct PlanePasses {
  C (*largest)(const PlaneForward&, const PlanePart&);  // |s|; infinity where there is a NaN
  // Of s * scale; channels first: one chunk's cell, channels last: one for each column.
  void (*statistics)(const PlaneForward&, const PlanePart&, C scale, Cell<C>* cells);
  void (*normalize)(const PlaneForward&, const PlanePart&, const Normalizing<C>&, bool past_caches);
  // Channels first: of one channel.
  void (*sums)(const PlaneBackward&, const PlanePart&, const Differentiating<C>&, SumCell<C>* cells);
  void (*gradient)(const PlaneBackward&, const PlanePart&, const Differentiating<C>&, bool past_caches);
};
struct PlaneKernels {
  PlanePasses<float> f32;
  PlanePasses<double> f64;
};

[[nodiscard]] kilter_status run_on_cpu(const PlaneForward& problem, const PlaneKernels& kernels);
[[nodiscard]] kilter_status run_on_cpu(const PlaneBackward& problem, const PlaneKernels& kernels);
size_t plane_cpu_workspace(const PlaneForward& problem);
size_t plane_cpu_workspace(const PlaneBackward& problem);

}  // namespace kilter

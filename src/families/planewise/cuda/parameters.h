// What the kernels of planes receive.
#pragma once

#include "families/planewise/cuda/plan.h"

namespace kilter::cuda {

// Samples of a tensor, or a vector over channels.
struct PlaneTensor {
  char* data = nullptr;  // null: absent
  int64_t stride = 0;    // bytes between samples
  DType type = DType::none;
  PlaneTensor() = default;
  explicit PlaneTensor(const View& v)
      : data(v.data), stride(v.present() && v.map.ndim > 0 ? v.map.stride[0] * item_size(v.dtype) : 0), type(v.dtype) {}
  KILTER_INLINE char* sample(int64_t n) const { return data + n * stride; }
};

// A bit for each element of samples (core/bits.h).
struct PlaneBits {
  PlaneTensor bytes;
  int64_t row = 0;  // elements whose bits lie side by side; 0: all of a sample
};

// Samples, and what they hold.  Channels last, all samples that share planes are one, whose places lie in samples of `in_sample` places.
struct PlaneShape {
  int64_t batch, channels, spatial, in_sample;
  bool vectors;  // all samples lie at multiples of 16 bytes, and so do channels last their places
};

// Three values of a plane: mean, what it lost when it was rounded, rstd.  sample_planes: how many a sample has; 0: all samples share
// theirs, a channel each.
struct PlanesOf {
  int64_t sample_planes, width;  // channels of a plane
  KILTER_INLINE int64_t of(int64_t n, int64_t channel) const { return n * sample_planes + in_sample(channel); }
  KILTER_INLINE int64_t in_sample(int64_t channel) const {  // in 32 bits where they suffice: a division of 64 takes a hundred instructions
    return uint64_t(channel | width) >> 32 == 0 ? int64_t(uint32_t(channel) / uint32_t(width)) : channel / width;
  }
};

// Of a part of a plane: its mean, what that lost when it was rounded, and the sum of the squares of what is left.
template <class C>
struct alignas(sizeof(C) == 4 ? 16 : 8) Cell {
  C mean, lo;
  double square;
};
// Sums over a part of a channel: of u, u h and h.
template <class C>
struct alignas(4 * sizeof(C)) SumsCell {
  C u, uh, h;
};

// Statistics by channel that a call brings: a mean with its rstd, or with its variance.
struct GivenStatistics {
  PlaneTensor mean, rstd, variance;
  double eps;
};

// new = (1 - momentum) old + momentum * value.
struct Running {
  PlaneTensor old, out;
};

// Of planes: `planes` in the workspace, three values each.
template <class C>
struct PlaneResults {
  C* planes;
  PlaneTensor mean, rstd;
  PlaneTensor saved_mean;  // present, in backward: what becomes the mean, and what it lost the second value
  double eps;
};
// And what else becomes of statistics, in fp64.
struct PlaneMoments {
  PlaneTensor count, mean, m2;        // of a step
  double* moments;                    // [2][plane]: mean, unbiased variance
  Running running_mean, running_var;  // of planes that are all samples'
  double momentum;
};

template <class C>
struct StatisticsParameters {
  PlaneShape shape;
  RunPlan runs;
  TilePlan tiles;
  PlaneTensor x, residual, residual_out;
  PlanesOf planes_of;
  Cell<C>* cells;
  CellStrides strides;
  PlaneResults<C> results;  // planes: null unless a run is a plane with one cell, whose statistics are complete
  bool dependent;
};

template <class C>
struct MergeParameters {
  PlaneShape shape;
  RunPlan runs;
  TilePlan tiles;
  PlanesOf planes_of;
  CellStrides strides;
  bool first;               // channels first
  int64_t planes, samples;  // samples: that share planes
  double elements;          // of a plane
  int team;                 // threads of a plane
  const Cell<C>* cells;
  GivenStatistics given;  // present: there are no cells
  PlaneResults<C> results;
  PlaneMoments moments;
};

template <class C>
struct ApplyParameters {
  PlaneShape shape;
  SlabPlan slabs;
  TilePlan tiles;
  PlanesOf planes_of;
  PlaneTensor x, residual, weight, bias, scale, shift, y;
  PlaneBits mask;
  const C* statistics;  // null: they are given
  GivenStatistics given;
  C scale_offset;
  int32_t activation;
  bool residual_behind;
  bool early;  // s is older than the kernel before this one
};

template <class C>
struct SumsParameters {
  PlaneShape shape;
  RunPlan runs;
  TilePlan tiles;
  PlanesOf planes_of;
  PlaneTensor x, dy, mean, rstd, weight, bias, scale, shift;
  PlaneTensor residual;  // behind the affine
  PlaneBits mask;        // in the place of an activation
  const C* statistics;   // with an activation: the second value is what the saved mean lost
  C scale_offset;
  int32_t activation;
  SumsCell<C>* cells;
  CellStrides strides;
};

template <class C>
struct SumsMergeParameters {
  PlaneShape shape;
  PlanesOf planes_of;
  int team, sharers;       // threads of a plane; of a channel
  int64_t chunks, planes;  // chunks: of a channel
  double elements;         // of a plane
  const SumsCell<C>* cells;
  CellStrides strides;
  bool rounded;         // the saved mean lost what sums of h tell; else `statistics` say what
  bool moves;           // x its plane's statistics
  const C* statistics;  // or null
  PlaneTensor rstd, weight, bias, scale, dscale, dshift;
  PlaneTensor sum_u, sum_uh, dweight, dbias;  // of planes that are all samples'
  C scale_offset;
  double* channels;  // [2][sample][channel]: sums of u h, of u
  C* planes_out;     // three values each: A - lost B, B, what h lost
};

// Over samples, of numbers [2][sample][channel].
template <class C>
struct SumsFinishParameters {
  int64_t batch, channels;
  const double* numbers;
  PlaneTensor scale;
  C scale_offset;
  Running out[2];
  double momentum;  // where something was there before; in it a share of the samples
};

template <class C>
struct GradientParameters {
  PlaneShape shape;
  SlabPlan slabs;
  TilePlan tiles;
  PlanesOf planes_of;
  PlaneTensor x, dy, mean, rstd, weight, bias, scale, shift, residual, dresidual_out, dx, dresidual;
  PlaneBits mask;
  const C* statistics;               // the second value is what the saved mean lost, unless the planes say so
  const C* planes;                   // null: x moves no statistics, or
  PlaneTensor count, sum_u, sum_uh;  // sums by channel
  bool lone;                         // planes are of one element, and no y depends on it
  bool residual_behind;
  bool early;  // x and dy are older than the kernel before this one
  C scale_offset;
  int32_t activation;
};

}  // namespace kilter::cuda

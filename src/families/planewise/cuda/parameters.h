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

// Where sums lie, and which elements a block has of a plane or channel.
struct PlaneShape {
  int64_t batch, channels, spatial;
  bool vectors;  // all samples lie at multiples of 16 bytes, and so do channels last their places
};

// Three values of a plane: mean, what it lost when it was rounded, rstd.  sample_planes: how many a sample has; 0: all samples share
// theirs, a channel each.
struct PlanesOf {
  int64_t sample_planes, width;  // channels of a plane
  KILTER_INLINE int64_t of(int64_t n, int64_t channel) const { return n * sample_planes + channel / width; }
};

template <class C>
struct StatisticsCells {
  C *mean, *lo;
  double* square;
};

// Of planes: `planes` in the workspace, three values each.
template <class C>
struct PlaneResults {
  C* planes;
  PlaneTensor mean, rstd;
  PlaneTensor saved_mean;  // present, in backward: what becomes the mean, and what it lost the second value
  double eps;
};

template <class C>
struct StatisticsParameters {
  PlaneShape shape;
  RunPlan runs;
  TilePlan tiles;
  PlaneTensor x, residual, residual_out;
  StatisticsCells<C> cells;
  PlaneResults<C> results;  // planes: null unless a run is a plane with one cell, whose statistics are complete
  bool dependent;
};

// Cells of a plane: `outer` times `inner`.
struct CellWalk {
  bool first;  // channels first: chunks are the inner ones
  int64_t outer, inner, outer_stride, sample_stride, plane_stride, chunks;
};

template <class C>
struct MergeParameters {
  PlaneShape shape;
  RunPlan runs;
  TilePlan tiles;
  PlanesOf planes_of;
  CellWalk walk;
  int64_t planes;
  int team;  // threads of a plane
  StatisticsCells<C> cells;
  PlaneResults<C> results;
};

template <class C>
struct ApplyParameters {
  PlaneShape shape;
  SlabPlan slabs;
  TilePlan tiles;
  PlanesOf planes_of;
  PlaneTensor x, residual, weight, bias, scale, shift, y;
  const C* statistics;
  C scale_offset;
  int32_t activation;
  bool dependent;
};

template <class C>
struct SumsParameters {
  PlaneShape shape;
  RunPlan runs;
  TilePlan tiles;
  PlanesOf planes_of;
  PlaneTensor x, dy, mean, rstd, weight, bias, scale, shift;
  const C* statistics;  // with an activation: the second value is what the saved mean lost
  C scale_offset;
  int32_t activation;
  C* cells;  // [3][cell]
  int64_t cell_count;
};

template <class C>
struct SumsMergeParameters {
  PlaneShape shape;
  PlanesOf planes_of;
  bool first;                             // cells: [sample][channel][chunk], else [sample][chunk][channel]
  int team, sharers;                      // threads of a plane; of a channel, at most a warp
  int64_t chunks, planes, plane_samples;  // of how many samples a plane's sums are
  const C* cells;
  int64_t cell_count;
  PlaneTensor weight, bias, scale, dscale, dshift;
  C scale_offset;
  double* channels;  // [2][sample][channel]: sums of u h, of u
  C* planes_out;     // three values each: A - lost B, B, what h lost
};

template <class C>
struct SumsFinishParameters {
  PlaneShape shape;
  const double* channels;
  PlaneTensor scale;
  C scale_offset;
  PlaneTensor dweight, dbias;
};

template <class C>
struct GradientParameters {
  PlaneShape shape;
  SlabPlan slabs;
  TilePlan tiles;
  PlanesOf planes_of;
  PlaneTensor x, dy, mean, rstd, weight, bias, scale, shift, dresidual_out, dx, dresidual;
  const C* planes;
  C scale_offset;
  int32_t activation;
};

}  // namespace kilter::cuda

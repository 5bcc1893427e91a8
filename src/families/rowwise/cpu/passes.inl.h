// The row passes of LayerNorm (kCentered) and RMSNorm, forward and backward.  Order says which compute type and in which
// order the elements of a segment stand (cpu/vec_io.inl.h): Natural<float>, Natural<double>, or Pairs for bf16.
//
// One thread owns a row and reads it in 1024-element segments, four rows taken together (source.inl.h).  Forward:
// statistics of each (statistics.inl.h), then one pass that writes y; after the first pass a row comes from cache.
// Backward: one pass over x and dy for a row's three sums (gradient.inl.h), a second, from cache, that writes dx and adds
// to dweight and dbias: both rows leave memory once.  Meanwhile the next group's rows are fetched.  No barriers.
// Included once per SIMD target.
#pragma once

#include "families/rowwise/cpu/backward.inl.h"
#include "families/rowwise/cpu/forward.inl.h"

namespace kilter::KILTER_TARGET_NAMESPACE {

template <bool kCentered>
void forward_f32(const RowNormForward& p, int64_t begin, int64_t end, bool past_caches) {
  if (p.x.dtype == DType::bf16)
    forward_rows<Pairs, kCentered>(p, begin, end, past_caches);
  else
    forward_rows<Natural<float>, kCentered>(p, begin, end, past_caches);
}

template <bool kCentered>
void forward_f64(const RowNormForward& p, int64_t begin, int64_t end, bool past_caches) {
  forward_rows<Natural<double>, kCentered>(p, begin, end, past_caches);
}

template <bool kCentered>
void backward_rows_f32(const RowNormBackward& p, const RowWalk& walk, const ColumnSums<float>& sums, bool past_caches) {
  if (sums.pairs)
    backward_rows<Pairs, kCentered>(p, walk, sums, past_caches);
  else
    backward_rows<Natural<float>, kCentered>(p, walk, sums, past_caches);
}

template <bool kCentered>
constexpr RowBackwardKernels<float> backward_f32 = {backward_rows_f32<kCentered>, add_tree<Wide<float>>};
template <bool kCentered>
constexpr RowBackwardKernels<double> backward_f64 = {backward_rows<Natural<double>, kCentered>, add_tree<Wide<double>>};

}  // namespace kilter::KILTER_TARGET_NAMESPACE

// What the kernels of weight_norm receive, and which block does what: pure functions of the call.
#pragma once

#include <algorithm>

#include "families/weights/problem.h"

namespace kilter::cuda {

constexpr int kWeightsThreads = 256;
// Accesses of 16 bytes of each tensor that a thread holds, and threads of a slice at most, where a slice is read once.
constexpr int kHeldAccesses = 4, kMostTeam = 1024;
// Else a slice is parts, of so many tiles at least; a tile is an access of each thread of a block.  All slices are about this many parts.
constexpr int64_t kPartTiles = 8, kManyParts = 2048;
// By columns a block's threads lie over 32 accesses of a row and eight rows.
constexpr int kColumnsAcross = 32, kColumnsDown = kWeightsThreads / kColumnsAcross;
constexpr int64_t kColumnRows = 128, kColumnChunks = 128;

KILTER_INLINE constexpr int64_t parts_of(int64_t a, int64_t b) { return a / b + (a % b != 0); }
inline int access_width(DType t) { return 16 / item_size(t); }

// Of a slice, whose rows are each a whole number of them.
inline int64_t accesses_of(const Slices& s, DType t) { return s.rows_of_slice() * parts_of(s.n, access_width(t)); }

// A slice's threads, which read it once; 0: it is too long for them.
inline int slice_team(const Slices& s, DType t) {
  const int64_t accesses = accesses_of(s, t);
  int64_t team = 1;
  while (team * kHeldAccesses < accesses) team *= 2;
  return t == DType::f64 || team > kMostTeam ? 0 : int(team);
}

struct PartPlan {
  int64_t tiles, parts;  // of a part; of a slice
  PartPlan(const Slices& s, DType t) {
    const int64_t all = parts_of(accesses_of(s, t), kWeightsThreads);
    tiles = std::max(kPartTiles, parts_of(all, std::max<int64_t>(1, kManyParts / std::max<int64_t>(s.kept, 1))));
    parts = parts_of(all, tiles);
  }
};

struct ColumnPlan {
  int64_t rows, chunks, tiles;  // rows of a chunk; tiles of a row
  ColumnPlan(const Slices& s, DType t) {
    rows = std::max(kColumnRows, parts_of(s.rows, kColumnChunks)), chunks = parts_of(s.rows, rows);
    tiles = parts_of(s.n, int64_t(access_width(t)) * kColumnsAcross);
  }
};

// A sum of squares, of numbers that were scaled where C is fp64: fp32's squares are within fp64.  Or another sum, not scaled.
template <class C>
struct Squares {
  double hi;
};
template <>
struct Squares<double> {
  double hi, lo, scale;
};

// A tensor whose own rows have one stride.
struct WeightsTensor {
  char* data = nullptr;  // null: absent
  int64_t stride = 0;    // bytes between its own rows
  bool flat = true;      // they lie one after another
  WeightsTensor() = default;
  WeightsTensor(const View& v, int64_t row_length) : data(v.data) {
    if (!v.present()) return;
    flat = is_flat(v), stride = (flat ? row_length : v.map.stride[0]) * item_size(v.dtype);
  }
};

// One number for each slice.
struct SliceNumbers {
  char* data = nullptr;  // null: absent
  DType type = DType::none;
  SliceNumbers() = default;
  explicit SliceNumbers(const View& v) : data(v.data), type(v.dtype) {}
};

// What a column's elements are multiplied by (slices.h), and backward's sum.
template <class C>
struct SliceFactors {
  C scale, inverse, factor, rest, d;
};

struct WeightsParameters {
  Slices slices;
  int64_t runs, accesses;              // rows of a slice, and accesses of a row
  WeightsTensor v, dw, out;            // out: w or dv; absent: sums alone
  SliceNumbers g, norm, result;        // norm: backward's; result: norm of forward, dg of backward
  int64_t parts, tiles, chunks, rows;  // PartPlan or ColumnPlan
  void *sums, *factors;                // in the workspace
  int team, count;                     // threads of a slice, and accesses of each
  bool vectors;                        // accesses are 16 bytes at multiples of 16 bytes
  bool flat;                           // all tensors' rows lie one after another
  bool backward, dependent;
};

}  // namespace kilter::cuda

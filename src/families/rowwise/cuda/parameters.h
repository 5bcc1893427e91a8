// What the fast kernels of the row norms receive: rows of one or two strides.  Small, and what every launch
// reads comes first: parameters are copied per launch and fetched from memory by its first blocks.
#pragma once

#include "cuda/row_address.h"
#include "families/rowwise/cuda/plan.h"
#include "families/rowwise/problem.h"

namespace kilter::cuda {

enum RowFlag : uint32_t {
  kHasWeight = 1,
  kHasBias = 2,
  kFloatWeight = 4,  // fp32 beside 16-bit rows
  kFloatBias = 8,
  kHasOffset = 16,
  kEarlyWeights = 32,  // copied to shared memory before the reduction
  kRoundThenMultiply = 64,
  kHasResidual = 128,
  kTwoStrides = 256,
  kHasPostResidual = 512,
  kDependent = 1024,  // launched so: only weights may be read before the wait
  kStreams = 2048,    // forward: y goes around the first cache
  kShifted = 4096,    // forward: rows of one type, of which some are not aligned
  kDense = 2048,      // backward, which has no use for kStreams: x and dy lie without gaps between rows
  kModulated = 8192,  // weight and bias are a row's scale and shift
  kFloatGate = 16384,
};

// With kTwoStrides: in runs.
KILTER_INLINE char* row_at(const RowAddress& a, const RowRuns& runs, uint32_t flags, int64_t r) {
  if (__builtin_expect((flags & kTwoStrides) && runs.inner, 0)) {
    const uint32_t q = uint32_t(r) / runs.inner;
    return a.data + (uint32_t(r) - q * runs.inner) * a.stride + q * runs.outer;
  }
  return a.data + r * a.stride;
}

inline bool compact(const View& v, int64_t rows, RowAddress* address, RowRuns* runs, uint32_t* flags) {
  if (!to_address(v, rows, address, runs)) return false;
  if (runs->inner) *flags |= kTwoStrides;
  return true;
}

struct RowForwardTypes {  // read by the kernels of singles only
  DType x, y, weight, bias, residual, post_residual, gate;
};

struct RowForwardParameters {
  uint32_t flags;
  int n;
  RowAddress x;
  const char *weight, *bias;
  float inverse_n, eps;  // 1 / n, rounded
  RowAddress y, rstd, mean;
  int64_t rows;
  float weight_offset;
  RowAddress residual, residual_out, post_residual;
  RowForwardTypes types;
  bool is_plain(bool centered) const {
    return (flags & ~(kEarlyWeights | kDependent | kStreams)) == uint32_t(kHasWeight | (centered ? uint32_t(kHasBias) : 0));
  }

  RowRuns x_runs, y_runs, mean_runs, rstd_runs, residual_runs, residual_out_runs, post_residual_runs;
  // kModulated: of a row's modulation; weight and bias are those of the first.
  Modulation modulation;
  int64_t weight_stride, bias_stride;
  RowAddress gate;
};

// Which kernels a call needs: of aligned vectors; of singles (with kShifted: or of vectors, shifted into place); or those for any row.
enum class RowAccess { vectors, singles, any };

inline RowAccess compact(const RowNormForward& p, RowForwardParameters* out) {
  const DType t = p.x.dtype;
  const int width = t == DType::f32 ? 4 : 8;
  if (t == DType::f64 || p.n > INT32_MAX) return RowAccess::any;
  bool vectors = p.n % width == 0, shifted = p.n > kShiftedLength && !p.post_residual.present();
  RowForwardParameters& o = *out;
  o.flags = 0;
  // A row's scale and shift take the place of weight and bias, of which calls have them not both.
  const bool modulated = p.scale.present();
  if (modulated && (p.weight.present() || p.bias.present())) return RowAccess::any;
  const View &weight = modulated ? p.scale : p.weight, &bias = modulated ? p.shift : p.bias;
  RowAddress scale, shift;
  RowRuns runs[3];
  if (!to_address(weight, p.rows, &scale, &runs[0]) || !to_address(bias, p.rows, &shift, &runs[1]) ||
      !to_address(p.gate, p.rows, &o.gate, &runs[2]) || runs[0].inner || runs[1].inner || runs[2].inner)
    return RowAccess::any;
  const struct {
    const View& view;
    RowAddress* address;
    RowRuns* runs;
  } rows[] = {{p.x, &o.x, &o.x_runs},
              {p.y, &o.y, &o.y_runs},
              {p.residual, &o.residual, &o.residual_runs},
              {p.residual_out, &o.residual_out, &o.residual_out_runs},
              {p.post_residual, &o.post_residual, &o.post_residual_runs}};
  for (const auto& r : rows) {
    if (!compact(r.view, p.rows, r.address, r.runs, &o.flags)) return RowAccess::any;
    const bool is_same = !r.view.present() || r.view.dtype == t;
    vectors = vectors && is_same && aligned(*r.address, *r.runs);
    // What is read of a unit beside a row's bytes is another row's: inside the tensor, unless rows lie closer than that.
    const bool is_apart = !r.view.present() || p.rows == 1 || r.address->stride >= 16 || r.address->stride <= -16;
    shifted = shifted && is_same && !r.runs->inner && is_apart;
  }
  if (!compact(p.mean, p.rows, &o.mean, &o.mean_runs, &o.flags) || !compact(p.rstd, p.rows, &o.rstd, &o.rstd_runs, &o.flags))
    return RowAccess::any;
  const bool aligned_weights = aligned(scale, {}) && aligned(shift, {}) && aligned(o.gate, {});
  vectors = vectors && aligned_weights, shifted = shifted && aligned_weights && !vectors && !p.gate.present();
  o.weight = scale.data, o.bias = shift.data;
  o.modulation = p.modulation, o.weight_stride = scale.stride, o.bias_stride = shift.stride;
  o.rows = p.rows, o.n = int(p.n);
  o.inverse_n = 1.0f / float(o.n);
  o.eps = float(p.eps), o.weight_offset = float(modulated ? p.scale_offset : p.weight_offset);
  o.types = {t, p.y.dtype, weight.dtype, bias.dtype, p.residual.dtype, p.post_residual.dtype, p.gate.dtype};
  const auto flag = [&o](bool is, uint32_t f) { o.flags |= is ? f : 0; };
  flag(weight.present(), kHasWeight);
  flag(bias.present(), kHasBias);
  flag(weight.present() && weight.dtype != t, kFloatWeight);
  flag(bias.present() && bias.dtype != t, kFloatBias);
  flag(weight.present() && o.weight_offset != 0, kHasOffset);
  flag(modulated, kModulated);
  flag(p.gate.present() && p.gate.dtype != t, kFloatGate);
  flag(p.round_then_multiply && t != DType::f32, kRoundThenMultiply);
  flag(p.residual.present(), kHasResidual);
  flag(p.post_residual.present(), kHasPostResidual);
  flag(p.launch_flags & KILTER_LAUNCH_DEPENDENT, kDependent);
  flag(shifted, kShifted);
  return vectors ? RowAccess::vectors : RowAccess::singles;
}

constexpr int kStages = 3;        // of backward's ring of groups in shared memory
constexpr int kSumBuffers = 4;    // groups whose sums may be under way between the blocks of a cluster
constexpr int kScalarBytes = 32;  // of what a row's output needs to know of it

// A stage of backward's shared memory: the rows of x and of dy of a group of every slot, in bytes.
struct StageLayout {
  int row, dy_row;  // from one row's place to the next
  int dy;           // where dy begins
  int total;
  int head;  // of what is known of a row (RowHead)
};
inline StageLayout vector_stage(int row_bytes, int slots) {
  const int all = kGroupRows * slots * row_bytes;
  return {row_bytes, row_bytes, all, 2 * all, 8};
}
// Of rows in any place, the 16 byte units that cover them: each row's own, or if there are no gaps those of all rows together.
inline StageLayout single_stage(int x_bytes, int dy_bytes, int slots, bool dense) {
  constexpr int kMost = 29;  // bytes of the units beside a row's own: 14 before it, and what fills the last one
  const auto place = [dense](int bytes) { return dense ? bytes : (bytes + kMost) / 16 * 16; };
  const auto all = [&](int bytes) { return (kGroupRows * slots * place(bytes) + (dense ? kMost : 0)) / 16 * 16; };
  return {place(x_bytes), place(dy_bytes), all(x_bytes), all(x_bytes) + all(dy_bytes), 16};
}

// A block's shared memory in backward: offsets, in bytes.
struct BackwardLayout {
  int row, dy_row, dy;
  int stage;
  int weights, statistics, sums, scalars, unusual, total;
};
inline BackwardLayout backward_layout(const StageLayout& stage, int columns, int slots, int segments) {
  BackwardLayout at;
  at.row = stage.row, at.dy_row = stage.dy_row, at.dy = stage.dy;
  at.stage = stage.total;
  at.weights = kStages * at.stage;
  at.statistics = at.weights + columns * 4;
  at.sums = at.statistics + kStages * slots * kGroupRows * stage.head;
  at.scalars = (at.sums + kSumBuffers * slots * kGroupRows * 3 * segments * 4 + 15) / 16 * 16;
  at.unusual = at.scalars + 2 * slots * kGroupRows * kScalarBytes;
  at.total = at.unusual + 2 * slots * kGroupRows;
  if (at.total < slots * columns * 8) at.total = slots * columns * 8;  // their sums, at the end
  return at;
}

struct RowBackwardTypes {  // read by the kernels of singles only; dx has dy's
  DType x, dy, weight, dresidual_out, dresidual;
};

struct RowBackwardParameters {
  uint32_t flags;
  int n;
  RowAddress x, dy, dx, mean, rstd;
  const char* weight;
  float weight_offset;
  // Batches of `rows` rows, each with a weight, and sums, of its own (a grid's second dimension): the rows of a modulation.
  int64_t batches, weight_stride, out_stride[2];
  int slots, slot_threads, block_segments;  // of the plan
  int segments, padded;                     // of a row; to a power of two
  BackwardLayout at;
  int64_t rows;
  int chunks, steps;  // of the partition: P, and groups of its longest chunk
  void* partial[2];   // sums of dweight's and dbias's chunks, of a block's slots together: fp32 if they are one that is not wide, else fp64
  double* wide_sums[2];  // of chunks, on their way
  char* out[2];          // dweight and dbias, where one block (or cluster) has all chunks, else null
  DType out_types[2];
  bool wide;  // some chunk is longer than a block of the contract
  RowAddress dresidual_out, dresidual;
  RowBackwardTypes types;
};

inline RowAccess compact(const RowNormBackward& p, RowBackwardParameters* out) {
  const DType t = p.dy.dtype;
  const int width = t == DType::f32 ? 4 : 8;
  if (t == DType::f64 || p.n > INT32_MAX) return RowAccess::any;
  bool vectors = p.n % width == 0;
  RowBackwardParameters& o = *out;
  o.flags = 0;
  const struct {
    const View& view;
    RowAddress* address;
    bool vectors;
  } rows[] = {{p.x, &o.x, true},
              {p.dy, &o.dy, true},
              {p.dx, &o.dx, true},
              {p.dresidual, &o.dresidual, true},
              {p.dresidual_out, &o.dresidual_out, true},
              {p.mean, &o.mean, false},
              {p.rstd, &o.rstd, false}};
  for (const auto& r : rows) {
    RowRuns runs;
    if (!compact(r.view, p.rows, r.address, &runs, &o.flags) || runs.inner) return RowAccess::any;
    if (r.vectors) vectors = vectors && (!r.view.present() || r.view.dtype == t) && aligned(*r.address, runs);
  }
  // Scales of rows in batches are their weights; what else a modulation may have is for the general kernels.
  const bool modulated = p.scale.present();
  const Modulation& m = p.modulation;
  if (modulated && (m.lengths || m.count < 1 || m.count > 65535 || m.run < kGroupRows || p.weight.present() || p.bias.present() ||
                    p.gate.present() || p.dweight.present() || p.dbias.present()))
    return RowAccess::any;
  const View& weight = modulated ? p.scale : p.weight;
  RowAddress weights;
  RowRuns weight_runs;
  if (!to_address(weight, p.rows, &weights, &weight_runs) || weight_runs.inner) return RowAccess::any;
  for (const View* v : {&p.dscale, &p.dshift})
    if (v->present() && v->map.ndim > 1) return RowAccess::any;
  vectors = vectors && aligned(weights, {});
  o.types = {p.x.dtype, t, weight.dtype, p.dresidual_out.dtype, p.dresidual.dtype};
  o.weight = weights.data, o.weight_stride = weights.stride;
  o.batches = modulated ? m.count : 1, o.rows = p.rows / o.batches, o.n = int(p.n);
  o.weight_offset = float(modulated ? p.scale_offset : p.weight_offset);
  const auto flag = [&o](bool is, uint32_t f) { o.flags |= is ? f : 0; };
  flag(weight.present(), kHasWeight);
  flag(weight.present() && weight.dtype != t, kFloatWeight);
  flag(weight.present() && o.weight_offset != 0, kHasOffset);
  flag(p.dresidual_out.present(), kHasResidual);
  flag(p.launch_flags & KILTER_LAUNCH_DEPENDENT, kDependent);
  return vectors ? RowAccess::vectors : RowAccess::singles;
}

}  // namespace kilter::cuda

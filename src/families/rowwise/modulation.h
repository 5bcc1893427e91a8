// Which rows share a row of scale, shift and gate (adaptive_layer_norm): each by itself, `run` neighbours, or those of a segment.
#pragma once

#include <cinttypes>
#include <cstdint>
#include <limits>

#include "core/partition.h"
#include "core/status.h"
#include "core/view.h"
#include "core/wide_sum.h"

namespace kilter {

struct Modulation {
  int64_t count = 0;                                  // rows of scale; 0: there is none
  int64_t run = std::numeric_limits<int64_t>::max();  // of rows that share one
  const char* lengths = nullptr;                      // or else their segments' cumulative lengths
  DType lengths_type = DType::none;

  // What the lengths of the segments before m add up to.
  KILTER_INLINE int64_t start_of(int64_t m) const {
    if (!lengths) return m * run;
    return lengths_type == DType::i32 ? reinterpret_cast<const int32_t*>(lengths)[m] : reinterpret_cast<const int64_t*>(lengths)[m];
  }
};

// dscale from the sums of dy * h and of dy: the sum of dy * (h * w + b).
template <class W, class C>
KILTER_INLINE W scale_gradient(W of_h, C w, W of_dy, C b) {
  W sum = scaled(of_h, w);
  add_to(sum, scaled(of_dy, b));
  return sum;
}

// Rows that sums by modulation take together: a block of 32 is long beside the sums that it leaves, and 64 keep some tens of threads busy.
KILTER_INLINE int64_t modulation_block(int64_t rows) {
  constexpr int64_t kMostBlocks = 64, kLeastRows = 32;
  const int64_t some = (rows / kMostBlocks + kGroupRows) / kGroupRows * kGroupRows;
  return some > kLeastRows ? some : kLeastRows;
}

// On the host, whose memory the lengths are in.
template <class Problem>
[[nodiscard]] kilter_status check_segments(const Problem& p) {
  const Modulation& m = p.modulation;
  const char* const op = p.op;
  if (!m.lengths || p.n == 0) return KILTER_OK;
  if (m.start_of(0) != 0) return fail(KILTER_INVALID_ARGUMENT, op, "segments[0]: expected 0, got %" PRId64, m.start_of(0));
  for (int64_t i = 0; i < m.count; ++i)
    if (m.start_of(i + 1) < m.start_of(i))
      return fail(KILTER_INVALID_ARGUMENT, op, "segments[%" PRId64 "]: expected at least %" PRId64 " as before it, got %" PRId64, i + 1,
                  m.start_of(i), m.start_of(i + 1));
  if (m.start_of(m.count) == p.rows) return KILTER_OK;
  return fail(KILTER_INVALID_ARGUMENT, op, "segments: expected lengths that add up to %" PRId64 " rows, got %" PRId64, p.rows,
              m.start_of(m.count));
}

// The modulation of a row, for rows that mostly follow one another.
class ModulationCursor {
 public:
  ModulationCursor() = default;  // of no modulation: not to be asked
  KILTER_INLINE explicit ModulationCursor(const Modulation& modulation) : m_(&modulation) {}

  KILTER_INLINE void seek(int64_t row) {
    if (row >= begin_ && row < end_) return;
    if (!m_->lengths) {
      index_ = row / m_->run, begin_ = index_ * m_->run;
      end_ = begin_ > std::numeric_limits<int64_t>::max() - m_->run ? std::numeric_limits<int64_t>::max() : begin_ + m_->run;
      return;
    }
    // The next one that has rows, or by bisection: the last one that begins at the row or before it.
    int64_t low = 0, high = m_->count;
    if (row == end_ && index_ + 1 < m_->count && m_->start_of(index_ + 2) > row) {
      low = index_ + 1;
    } else {
      while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        (m_->start_of(middle) <= row ? low : high) = middle;
      }
    }
    index_ = low, begin_ = m_->start_of(low), end_ = m_->start_of(low + 1);
  }
  KILTER_INLINE explicit operator bool() const { return m_ != nullptr; }
  KILTER_INLINE int64_t index() const { return index_; }
  KILTER_INLINE int64_t end() const { return end_; }

 private:
  const Modulation* m_ = nullptr;
  int64_t index_ = 0, begin_ = 0, end_ = -1;  // no row
};

}  // namespace kilter

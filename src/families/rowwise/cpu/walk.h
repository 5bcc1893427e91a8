// The order in which a thread of the CPU visits rows in backward.
#pragma once

#include "core/partition.h"
#include "families/rowwise/modulation.h"

namespace kilter {

// Consecutive rows of one group of four.
struct RowPiece {
  int64_t first = 0;
  int count = 0;     // 0: there are no more
  int place = 0;     // of the first row in its group
  int64_t turn = 0;  // of the group's chunk in its set
  bool group_ends = false;
  bool block_ends = false;  // the chunk's current one
  int chunks = 0;           // of the set, if it ends
  int64_t modulation = 0;   // of a walk by modulations: which, and whether its rows of the walk end
  bool modulation_ends = false;
};

// Chunks [begin, end) of a partition, in sets of neighbours, step by step: what a set's chunks have in a step lies side by side,
// where a chunk by itself would jump after every four rows.  Or, without a partition, rows [begin, end) as they come, if by modulations
// groups and blocks end with those.
class RowWalk {
 public:
  KILTER_INLINE RowWalk(int64_t begin, int64_t end) : row_(begin), run_end_(end) {}
  KILTER_INLINE RowWalk(int64_t begin, int64_t end, const Modulation& modulation) : row_(begin), run_end_(end), modulation_(modulation) {}
  KILTER_INLINE RowWalk(const RowPartition& partition, int64_t rows, int64_t begin, int64_t end, int set)
      : partition_(partition), rows_(rows), set_(set), chunk_(begin), end_(end), group_(begin) {
    start_run();
  }

  // At most `most` rows: four, or one.
  KILTER_INLINE RowPiece next(int most) {
    if (modulation_) return next_by_modulation(most);
    RowPiece piece;
    const int64_t left = run_end_ - row_;
    piece.first = row_, piece.count = left < most ? int(left) : most;
    piece.place = place_, piece.turn = turn_;
    row_ += piece.count, place_ += piece.count;
    piece.group_ends = place_ == kGroupRows || row_ == run_end_;
    if (!piece.group_ends) return piece;
    piece.block_ends = (step_ + 1) % kBlockGroups == 0 || group_ + turn_ + partition_.chunks >= partition_.groups;
    place_ = 0, ++turn_;
    if (row_ == run_end_ && chunk_ < end_) piece.chunks = end_run();
    return piece;
  }

 private:
  KILTER_INLINE RowPiece next_by_modulation(int most) {
    RowPiece piece;
    piece.first = row_;
    if (row_ == run_end_) return piece;
    modulation_.seek(row_);
    const int64_t end = modulation_.end() < run_end_ ? modulation_.end() : run_end_, left = end - row_;
    piece.count = left < most ? int(left) : most;
    piece.place = place_, piece.modulation = modulation_.index();
    row_ += piece.count, place_ += piece.count;
    piece.modulation_ends = row_ == end;
    piece.group_ends = place_ == kGroupRows || piece.modulation_ends;
    if (!piece.group_ends) return piece;
    place_ = 0, ++step_;
    piece.block_ends = step_ == kBlockGroups || piece.modulation_ends;
    if (piece.block_ends) step_ = 0;
    return piece;
  }

  KILTER_INLINE int chunks() const { return end_ - chunk_ < set_ ? int(end_ - chunk_) : set_; }

  // The set's groups of this step.
  KILTER_INLINE void start_run() {
    if (chunk_ >= end_) return;
    const int64_t left = partition_.groups - group_, groups = left < chunks() ? left : chunks();
    turn_ = 0, row_ = group_ * kGroupRows;
    run_end_ = rows_ - row_ < groups * kGroupRows ? rows_ : row_ + groups * kGroupRows;
  }

  // To the next step, or to the next set; then the chunks of the set that ends, else 0.
  KILTER_INLINE int end_run() {
    int ended = 0;
    ++step_, group_ += partition_.chunks;
    if (group_ >= partition_.groups) {
      ended = chunks();
      chunk_ += ended;
      step_ = 0, group_ = chunk_;
    }
    start_run();
    return ended;
  }

  RowPartition partition_ = {};
  int64_t rows_ = 0;
  int set_ = 1;
  int64_t chunk_ = 0, end_ = 0;    // the set's first chunk; of the walk
  int64_t step_ = 0, group_ = 0;   // groups that the set's chunks are past; the next one of its first chunk
  int64_t row_ = 0, run_end_ = 0;  // the next row; where rows stop to be consecutive
  int64_t turn_ = 0;
  int place_ = 0;
  ModulationCursor modulation_;
};

}  // namespace kilter

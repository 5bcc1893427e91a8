#include "families/weights/slices.h"

#include <algorithm>

namespace kilter {
namespace {

// Shorter runs of a slice are taken as columns, where neighbours in memory are neighbours of a vector.
constexpr int64_t kShortRun = 256;
// Rows of columns are put together up to this length.
constexpr int64_t kRowLength = 1024;

}  // namespace

Slices::Slices(const Axis& axis, int64_t own_row_length, bool is_empty) : kept(axis.kept), row_length(own_row_length) {
  if (is_empty || axis.outer == 0 || kept == 0 || axis.inner == 0) return;
  outer = axis.outer, columns = outer > 1 && kept > 1 && axis.inner < kShortRun;
  if (columns) inner = axis.inner;
  const int64_t total = outer * kept * axis.inner;
  n = columns ? kept * inner : kept > 1 ? axis.inner : total;
  if (columns && n < kRowLength) n *= std::min(kRowLength / n, outer);
  if (kept == 1) outer = 1;
  rows = (total + n - 1) / n, last = total - (rows - 1) * n;
}

}  // namespace kilter

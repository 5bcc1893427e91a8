#include "families/weights/slices.h"

#include <algorithm>

namespace kilter {
namespace {

// Shorter runs of a slice are taken as columns, where neighbours in memory are neighbours of a vector.
constexpr int64_t kShortRun = 256;
// Rows of columns are put together up to this length.
constexpr int64_t kRowLength = 1024;

bool is_dense(const View& v, int64_t rows, int64_t n) {
  return !v.present() || rows == 1 || (v.map.ndim == 1 && v.map.size[0] == rows && v.map.stride[0] == n);
}

}  // namespace

Slices::Slices(const Axis& axis, int64_t tensor_rows, int64_t tensor_n, std::span<View* const> tensors) : kept(axis.kept) {
  if (!tensors[0]->present()) return;  // no elements
  const auto dense = [&](const View* v) { return is_dense(*v, tensor_rows, tensor_n); };
  const bool all_dense = std::all_of(tensors.begin(), tensors.end(), dense);
  rows = tensor_rows, n = tensor_n, outer = axis.outer;
  columns = axis.inner == 1 && kept > 1 && n == kept;
  if (all_dense) {
    columns = outer > 1 && axis.inner < kShortRun;
    inner = columns ? axis.inner : 1;
    int64_t length = columns ? kept * axis.inner : axis.inner;
    const int64_t total = outer * kept * axis.inner;
    if (columns && length < kRowLength) length *= std::min(kRowLength / length, outer);
    n = length, rows = (total + length - 1) / length, last = total - (rows - 1) * length;
    for (View* v : tensors)
      if (v->present()) v->map.ndim = 1, v->map.size[0] = rows, v->map.stride[0] = n;
  } else {
    rest = columns ? 1 : rows / (outer * kept);
    last = n;
  }
}

}  // namespace kilter

// Whether two strided tensors share an element.  Exact for every layout people use: a bounded search over the row
// indices of both, largest stride first, pruned by what the remaining strides can still reach.
#pragma once

#include <cstdint>

#include "core/view.h"

namespace kilter {

struct Extent {  // the elements of a tensor: rows of n
  const View* view;
  int64_t rows;
  int64_t n;
  __int128 begin = 0, end = 0;  // addresses between which all of them lie

  Extent(const View* view, int64_t rows, int64_t n);
  bool empty() const { return begin == end; }
};

enum class Overlap { none, exact, partial };

// exact: same first element, item size and row map.  A search that does not end soon counts as partial: the caller then
// refuses, which is safe.
Overlap search_overlap(const Extent& a, const Extent& b);

// Nearly all tensors lie apart as a whole, which needs no search.
inline Overlap overlap_of(const Extent& a, const Extent& b) {
  if (a.empty() || b.empty() || a.end <= b.begin || b.end <= a.begin) return Overlap::none;
  return search_overlap(a, b);
}

// Whether two rows of one tensor share an element.
bool rows_overlap(const Extent& a);

}  // namespace kilter

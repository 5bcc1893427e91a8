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
};

enum class Overlap { none, exact, partial };

// exact: same first element, item size and row map.  A search that does not end soon counts as partial: the caller then
// refuses, which is safe.
Overlap overlap_of(const Extent& a, const Extent& b);

// Whether two rows of one tensor share an element.
bool rows_overlap(const Extent& a);

}  // namespace kilter

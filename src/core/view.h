// A checked tensor as the kernels see it: rows of n contiguous elements at arbitrary row offsets.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "core/inline.h"

namespace kilter {

// Of a tensor's leading dimensions, once neighbours that continue each other are one.  A thirteenth would need 8192 rows, all twisted;
// room for KILTER_MAX_RANK would make the views of a call most of its stack.
constexpr int kMaxRowDims = 12;

// Element offset of row r.  Leading dimensions are coalesced; ndim is 0 or 1 for nearly every call.  What lies behind the first
// ndim sizes and strides is undefined: zeroing ten views was half of a small call's time.
struct RowMap {
  int ndim = 0;                 // innermost dimension first
  int64_t size[kMaxRowDims];    // sizes > 1
  int64_t stride[kMaxRowDims];  // in elements

  KILTER_INLINE int64_t at(int64_t row) const {
    if (ndim == 0) return 0;
    if (ndim == 1) return row * stride[0];
    int64_t offset = 0;
    for (int d = 0; d < ndim; ++d) {
      offset += row % size[d] * stride[d];
      row /= size[d];
    }
    return offset;
  }
};

// A tensor around one of its dimensions, or around none: then it is all `inner`, and kept is 1.
struct Axis {
  int64_t outer = 1, kept = 1, inner = 1;  // sizes before it, of it, behind it

  Axis() = default;
  // dim: of ndim, none of them if negative.
  Axis(const int64_t* shape, int ndim, int dim) {
    const auto times = [](int64_t& product, int64_t by) { product = int64_t(uint64_t(product) * uint64_t(by)); };  // beside 0, any
    for (int d = 0; d < ndim; ++d) times(d == dim ? kept : d < dim ? outer : inner, shape[d]);
  }
};

// How a sample of [batch, channels, spatial...] lies in memory, as bits: without a second channel or place it is both.
enum Layout : uint8_t { kChannelsFirst = 1, kChannelsLast = 2 };

struct View {
  char* data = nullptr;  // null: absent
  DType dtype = DType::none;
  uint8_t layout = 0;  // of such a tensor, whose rows are its samples: those of Layout that all tensors of the call have
  RowMap map;

  KILTER_INLINE bool present() const { return data != nullptr; }
  KILTER_INLINE char* row(int64_t r) const { return data + map.at(r) * item_size(dtype); }
};

}  // namespace kilter

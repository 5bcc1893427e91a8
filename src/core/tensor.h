// One tensor of a call: from what the caller wrote to a View, or a status that names op, argument, expected and got.
#pragma once

#include "core/status.h"
#include "core/view.h"

namespace kilter {

// The device that works on memory of device d: the CPU on all that the host can access.
kilter_device device_for(kilter_device d);

struct Checked {
  DType dtype = DType::none;
  int64_t elements = 1;
};

// Everything that does not depend on the other tensors' shapes: type, rank, sizes, device (of the tensor named `first`), address
// arithmetic.  Dimensions from contiguous_from on must be contiguous.
[[nodiscard]] kilter_status check_alone(const char* op, const char* name, const kilter_tensor& t, const char* first,
                                        const kilter_device& device, int contiguous_from, bool may_lack_memory, Checked* out);

// Dimensions 0 .. leading - 1 become rows, what lies behind is a row.  Without elements: no memory.  A tensor that lacks memory in a
// question gets a well aligned address that nobody reads.  UNSUPPORTED if more than kMaxRowDims of the leading dimensions are left.
[[nodiscard]] kilter_status fill_view(const char* op, const char* name, const kilter_tensor& t, const Checked& checked, int leading,
                                      View* out);

// Those of Layout in which the samples of [batch, channels, spatial...] are dense; 0: in neither.
uint8_t layouts_of(const kilter_tensor& t);

// "[2, 3, 4]"
struct ShapeText {
  char text[160];
  ShapeText(const int64_t* shape, int ndim);
};

}  // namespace kilter

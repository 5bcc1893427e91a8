// Checks of single tensors: from what the caller wrote to a View, or a status that names op, argument, expected and got.
#pragma once

#include <cstring>

#include "core/status.h"
#include "core/view.h"

namespace kilter {

// The device that works on memory of device d: the CPU on all that the host can access.
kilter_device device_for(kilter_device d);

// What all activations of one call share, read off x.
struct Rows {
  int ndim = 0;  // of x
  const int64_t* shape = nullptr;
  int64_t rows = 0;
  int64_t n = 0;
  kilter_device device = {};  // that works on x
};

// Reads x itself: any shape, any device.  The others must be on that device.  out->data stays null if there are no elements.
[[nodiscard]] kilter_status read_first(const char* op, const char* name, const kilter_tensor& t, Rows* rows, View* out);

enum class Need { required, optional };

// Reads another activation, which must have x's shape; absent optional tensors leave *out empty.
[[nodiscard]] kilter_status read_rows(const char* op, const char* name, const kilter_tensor& t, Need need, const Rows& rows, View* out);

// Reads a tensor whose shape is not the others' business yet.
[[nodiscard]] kilter_status read_any(const char* op, const char* name, const kilter_tensor& t, Need need, const Rows& rows, View* out);

// Reads a vector of shape [n] (weight, bias and their gradients).
[[nodiscard]] kilter_status read_vector(const char* op, const char* name, const kilter_tensor& t, Need need, const Rows& rows, View* out);

// Reads one value per row: x's shape without its last dimension, or with that dimension 1.  A View with n = 1.
[[nodiscard]] kilter_status read_per_row(const char* op, const char* name, const kilter_tensor& t, Need need, const Rows& rows, View* out);

// INVALID_ARGUMENT unless size bytes are at least the first version's `minimum` and whatever lies beyond `known` is zero.
[[nodiscard]] kilter_status check_struct(const char* op, const char* name, const void* args, size_t minimum, size_t known);

// A caller's struct in this version's form.  first_size: the size that its first version had, which never changes; what a
// shorter struct lacks is zero, and what a longer one has must be.
template <class T>
[[nodiscard]] kilter_status read_struct(const char* op, const char* name, const T* given, size_t first_size, T* out) {
  KILTER_RETURN_IF_ERROR(check_struct(op, name, given, first_size, sizeof(T)));
  *out = {};
  std::memcpy(static_cast<void*>(out), given, given->struct_size < sizeof(T) ? given->struct_size : sizeof(T));
  return KILTER_OK;
}

}  // namespace kilter

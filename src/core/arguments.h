// From what a caller passed to a checked problem, by the function's table: types, shapes, devices, addresses, aliasing, scalars.
#pragma once

#include "core/schema.h"
#include "core/status.h"
#include "core/view.h"

namespace kilter {

// kAsk: nothing will run; tensors may be without memory (null).
enum class Purpose { kRun, kAsk };

// Fills in the problem at the table's offsets, or says which argument is wrong: op, name, expected, got.
[[nodiscard]] kilter_status read_arguments(const Schema& schema, const void* args, Purpose purpose, void* problem);

// INVALID_ARGUMENT unless a size-first struct has at least the first version's `minimum`; UNSUPPORTED if what lies beyond `known`
// is not zero.
[[nodiscard]] kilter_status check_struct(const char* op, const char* name, const void* args, size_t minimum, size_t known);

template <class T>
T& member(void* base, size_t offset) {
  return *reinterpret_cast<T*>(static_cast<char*>(base) + offset);
}
template <class T>
const T& member(const void* base, size_t offset) {
  return *reinterpret_cast<const T*>(static_cast<const char*>(base) + offset);
}

}  // namespace kilter

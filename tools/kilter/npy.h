// NumPy's .npy files, versions 1 to 3, read as if hostile: every size is checked against the file before memory is taken (against
// the memory there is, where a pipe does not tell its size).
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "kilter/source.h"

namespace kilter::cli {

struct Array {
  DType dtype = DType::none;
  std::vector<int64_t> shape;
  std::unique_ptr<char, void (*)(void*)> data{nullptr, std::free};
  int64_t bytes = 0;

  kilter_tensor tensor() { return {data.get(), {KILTER_DEVICE_CPU, 0}, int32_t(shape.size()), dlpack_of(dtype), shape.data(), nullptr, 0}; }
};

// Bytes of an array, or -1 if they do not fit 63 bits.
int64_t array_bytes(DType dtype, const std::vector<int64_t>& shape);

// Memory without contents.  `what` names the tensor in the error if there is not enough.
Array make_array(const std::string& what, DType dtype, std::vector<int64_t> shape);

// What a file may hold: words of 16 bits mean bf16, or are refused; or integers alone, which are refused else.
enum class Numbers { plain, bf16, lengths };

// Reads a whole file, of either order of bytes and of elements.  Throws Error.
Array read_npy(const std::string& tensor, const std::string& path, Numbers numbers, FileId* id);

// What stands before the data.
std::string npy_header(DType dtype, const std::vector<int64_t>& shape);

}  // namespace kilter::cli

// kilter's ops on tensors that lie in one piece of device memory.  What a call takes the op's own table says.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <vector>

#include "check/arguments.h"
#include "rows.h"

namespace kilter::bench {

// One tensor of a row.
struct Tensor {
  const Field* field = nullptr;
  std::vector<int64_t> shape, strides;  // no strides: row-major
  DType type = DType::none;
  size_t at = 0;       // from the start of a set
  bool large = false;  // as large as the activations

  size_t elements() const;
  size_t bytes() const { return elements() * size_t(item_size(type)); }
};

// Where the tensors of one call lie, in their order.
using Set = std::vector<char*>;

class Call {
 public:
  // Whether the library has the row's function.
  static bool exists(const Row& row) { return check::function_of(row.op.op, row.op.backward) != nullptr; }
  explicit Call(const Row& row);  // throws std::runtime_error where it has another table
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  const Row& row() const { return row_; }
  int reads() const { return large(false); }  // activations; a floor has the same mix
  int writes() const { return large(true); }
  size_t bytes() const;  // every tensor once
  size_t footprint() const { return footprint_; }
  Set set_at(char* base) const;
  size_t index(const std::string& tensor) const;

  kilter_status workspace_bytes(size_t* bytes);
  kilter_status run(const Set& set, void* workspace, size_t workspace_size, cudaStream_t stream);
  // Normal inputs as rows.txt has them; then what forward computes of them for backward.
  kilter_status fill(const Set& set, unsigned seed, cudaStream_t stream) const;

 private:
  int large(bool outputs) const;
  kilter_tensor tensor_of(const Tensor& tensor, char* data) const;
  void set_numbers(check::Arguments* arguments) const;  // those that the function has
  kilter_status run_forward(const Set& set, cudaStream_t stream) const;

  Row row_;
  check::Arguments arguments_;
  std::vector<Tensor> tensors_;
  size_t footprint_ = 0;
  int device_ = 0;
};

}  // namespace kilter::bench

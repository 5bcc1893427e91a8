#include "calls.h"

#include "floors.h"

namespace kilter::bench {
namespace {

constexpr kilter_dtype kFp32 = {KILTER_FLOAT, 32, 1};

// A set's tensors as the ABI takes them; the shapes live here.
class Tensors {
 public:
  Tensors(const Row& row, const Set& set) : row_(row), set_(set) {
    cudaGetDevice(&device_);
    matrix_[0] = statistics_[0] = row.rows, matrix_[1] = vector_[0] = row.n;
  }
  Tensors(const Tensors&) = delete;
  Tensors& operator=(const Tensors&) = delete;

  kilter_tensor activation(char* data) { return tensor(data, 2, matrix_, row_.type->code); }
  kilter_tensor weight(char* data) { return tensor(data, 1, vector_, row_.type->code); }
  kilter_tensor statistics(char* data) { return tensor(data, 1, statistics_, kFp32); }

  template <class Args>
  void forward(Args& a) {
    a.struct_size = sizeof a;
    a.x = activation(set_.in[0]), a.weight = weight(set_.weight), a.y = activation(set_.out[0]), a.rstd = statistics(set_.rstd);
    if constexpr (requires { a.mean; }) a.mean = statistics(set_.mean), a.bias = weight(set_.bias);
    a.eps = 1e-5;
    if (row_.op->added) a.residual = activation(set_.in[1]), a.residual_out = activation(set_.out[1]);
  }
  template <class Args>
  void backward(Args& a) {
    a.struct_size = sizeof a;
    a.x = activation(set_.in[0]), a.weight = weight(set_.weight), a.rstd = statistics(set_.rstd), a.dy = activation(set_.in[1]);
    if constexpr (requires { a.mean; }) a.mean = statistics(set_.mean), a.dbias = weight(set_.dbias);
    if (row_.op->added) a.dresidual_out = activation(set_.in[2]);
    a.dx = activation(set_.out[0]), a.dweight = weight(set_.dweight);
  }

 private:
  kilter_tensor tensor(char* data, int32_t rank, int64_t* shape, kilter_dtype type) {
    return {data, {KILTER_DEVICE_CUDA, device_}, rank, type, shape, nullptr, 0};
  }
  const Row& row_;
  const Set& set_;
  int device_ = 0;
  int64_t matrix_[2], vector_[1], statistics_[1];
};

template <class Args>
kilter_status forward(const Row& row, const Set& set, kilter_status (*function)(const Args*, kilter_stream), cudaStream_t stream) {
  Tensors t(row, set);
  Args a{};
  t.forward(a);
  if (row.op->dependent) a.launch_flags |= KILTER_LAUNCH_DEPENDENT;
  return function(&a, stream);
}

template <class Args>
kilter_status backward(const Row& row, const Set& set, kilter_status (*function)(const Args*, kilter_stream), void* workspace, size_t size,
                       cudaStream_t stream) {
  Tensors t(row, set);
  Args a{};
  t.backward(a);
  a.workspace = workspace, a.workspace_size = size;
  return function(&a, stream);
}

template <class Args>
kilter_status workspace(const Row& row, kilter_function function, size_t* bytes) {
  const Set set;  // no memory yet
  Tensors t(row, set);
  Args a{};
  t.backward(a);
  kilter_plan plan = {};
  plan.struct_size = sizeof plan;
  const kilter_status status = kilter_ask(function, &a, &plan);
  *bytes = plan.workspace_size;
  return status;
}

// Hands out pieces of memory one after another; from null, only their size.
struct Cursor {
  size_t at = 0;
  char* base = nullptr;
  char* take(int64_t bytes) {
    char* const piece = base ? base + at : nullptr;
    at += (size_t(bytes) + 511) / 512 * 512;
    return piece;
  }
};

Set laid_out(const Row& row, Cursor& cursor) {
  Set s;
  const Op& op = *row.op;
  const int64_t vector = row.n * row.type->size, statistics = row.rows * int64_t(sizeof(float));
  for (int r = 0; r < op.reads; ++r) s.in[r] = cursor.take(row.activation());
  for (int w = 0; w < op.writes; ++w) s.out[w] = cursor.take(row.activation());
  s.weight = cursor.take(vector), s.rstd = cursor.take(statistics);
  if (op.centered) s.bias = cursor.take(vector), s.mean = cursor.take(statistics);
  if (op.backward) s.dweight = cursor.take(vector);
  if (op.backward && op.centered) s.dbias = cursor.take(vector);
  return s;
}

}  // namespace

size_t set_footprint(const Row& row) {
  Cursor cursor;
  laid_out(row, cursor);
  return cursor.at;
}

Set set_at(const Row& row, char* base) {
  Cursor cursor{0, base};
  return laid_out(row, cursor);
}

kilter_status workspace_bytes(const Row& row, size_t* bytes) {
  *bytes = 0;
  if (!row.op->backward) return KILTER_OK;
  return row.op->centered ? workspace<kilter_layer_norm_backward_args>(row, KILTER_LAYER_NORM_BACKWARD, bytes)
                          : workspace<kilter_rms_norm_backward_args>(row, KILTER_RMS_NORM_BACKWARD, bytes);
}

kilter_status call(const Row& row, const Set& set, void* workspace, size_t workspace_size, cudaStream_t stream) {
  if (row.op->backward)
    return row.op->centered ? backward(row, set, kilter_layer_norm_backward, workspace, workspace_size, stream)
                            : backward(row, set, kilter_rms_norm_backward, workspace, workspace_size, stream);
  return row.op->centered ? forward(row, set, kilter_layer_norm_forward, stream) : forward(row, set, kilter_rms_norm_forward, stream);
}

kilter_status fill(const Row& row, const Set& set, unsigned seed, cudaStream_t stream) {
  const size_t elements = size_t(row.rows * row.n), n = size_t(row.n);
  uint64_t next = uint64_t(seed) << 40;
  for (int r = 0; r < row.op->reads; ++r, next += elements) (void)fill_normal(set.in[r], elements, *row.type, 0, 1, next, stream);
  (void)fill_normal(set.weight, n, *row.type, 1, 0.02f, next, stream);
  if (set.bias) (void)fill_normal(set.bias, n, *row.type, 0, 0.02f, next + n, stream);
  if (!row.op->backward) return KILTER_OK;
  Op op = *row.op;
  op.backward = op.added = false;
  const Row forward_row = {&op, row.rows, row.n, row.type};
  return call(forward_row, set, nullptr, 0, stream);  // y goes where dx will be
}

}  // namespace kilter::bench

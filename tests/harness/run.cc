#include "harness/run.h"

#include <cmath>
#include <cstring>
#include <deque>
#include <tuple>
#include <utility>

namespace kilter::test {

using check::Buffer;
using check::Case;
using check::Tensors;

namespace {

// A buffer's tensor in guarded memory, and back.
Matrix placed(Buffer& b, const Placed& where) {
  if (!b.present()) return {};
  const kilter_tensor t = b.tensor();
  Matrix m(b.dtype(), {t.shape, t.shape + t.ndim}, where);
  const size_t bytes = size_t(m.n()) * size_t(item_size(m.dtype()));
  for (int64_t r = 0; r < m.rows(); ++r) std::memcpy(m.row(r), b.data() + size_t(r) * bytes, bytes);
  return m;
}

void copy_back(const Matrix& m, Buffer& b) {
  const size_t bytes = size_t(m.n()) * size_t(item_size(m.dtype()));
  for (int64_t r = 0; m.present() && r < m.rows(); ++r) std::memcpy(b.data() + size_t(r) * bytes, m.row(r), bytes);
}

}  // namespace

void call_guarded(const Case& c, const Placement& placement, Tensors& t) {
  SCOPED_TRACE(check::command(c));  // also for what memory says when it ends
  std::deque<std::pair<Buffer*, Matrix>> memory;
  const auto place = [&](Buffer& b, const Placed& where) { return &memory.emplace_back(&b, placed(b, where)).second; };
  Placed vector = placement.inputs;
  vector.reversed = false, vector.pad = 0;
  check::Call k;
  k.op = c.op, k.eps = c.eps, k.weight_offset = c.weight_offset, k.impl = c.impl.empty() ? nullptr : c.impl.c_str();
  k.rounding = c.round_then_multiply ? KILTER_ROUND_THEN_MULTIPLY : KILTER_ROUND_ONCE;
  const Matrix* x = place(t.x, placement.in_place && !c.backward ? placement.outputs : placement.inputs);
  k.x = x->tensor(), k.weight = place(t.weight, vector)->tensor(), k.bias = place(t.bias, vector)->tensor();
  k.residual = place(t.residual, placement.inputs)->tensor(), k.residual_out = place(t.residual_out, placement.outputs)->tensor();
  k.post_residual = place(t.post_residual, placement.inputs)->tensor();
  k.mean = place(t.mean, {})->tensor(), k.rstd = place(t.rstd, {})->tensor();
  const Matrix* y = placement.in_place && !c.backward ? nullptr : place(t.y, placement.outputs);
  k.y = y ? y->tensor() : k.x;
  const check::Op* op = check::find_op(c.op);
  ASSERT_EQ(op->forward(k), KILTER_OK) << kilter_last_error();
  if (!y) copy_back(*x, t.y);
  if (c.backward) {
    check::Call b = k;
    b.backward = true;
    if (t.residual_out.present()) b.x = k.residual_out;
    const Matrix* dy = place(t.dy, placement.in_place ? placement.outputs : placement.inputs);
    const Matrix* dx = placement.in_place && t.dx.present() ? nullptr : place(t.dx, placement.outputs);
    b.dy = dy->tensor(), b.dresidual_out = place(t.dresidual_out, placement.inputs)->tensor(), b.dx = dx ? dx->tensor() : b.dy;
    b.dresidual = place(t.dresidual, placement.outputs)->tensor();
    b.dweight = place(t.dweight, {})->tensor(), b.dbias = place(t.dbias, {})->tensor();
    size_t bytes = 0;
    ASSERT_EQ(op->backward_workspace(b, &bytes), KILTER_OK) << kilter_last_error();
    const GuardedBuffer work(bytes);
    b.workspace = work.data(), b.workspace_size = bytes;
    ASSERT_EQ(op->backward(b), KILTER_OK) << kilter_last_error();
    if (!dx) copy_back(*dy, t.dx);
  }
  for (auto& [buffer, matrix] : memory) copy_back(matrix, *buffer);
}

Tensors call_plain(const Case& c) {
  Tensors t = check::make_tensors(c);
  EXPECT_EQ(check::call(c, t), KILTER_OK) << kilter_last_error() << "\n" << check::command(c);
  return t;
}

::testing::AssertionResult same_rows(const Buffer& expected, int64_t row, const Buffer& got, int64_t rows, const char* name) {
  if (!expected.present()) return ::testing::AssertionSuccess();
  for (int64_t r = 0; r < rows; ++r) {
    if (std::memcmp(expected.row(row + r), got.row(r), got.row_bytes()) == 0) continue;
    for (int64_t i = 0; i < got.row_length(); ++i) {
      const double a = expected.at(row + r, i), b = got.at(r, i);
      const size_t at = size_t(i) * size_t(item_size(got.dtype()));
      if (std::memcmp(expected.row(row + r) + at, got.row(r) + at, size_t(item_size(got.dtype()))) == 0 || (std::isnan(a) && std::isnan(b)))
        continue;
      return ::testing::AssertionFailure() << name << " row " << row + r << " column " << i << ": expected " << a << ", got " << b;
    }
  }
  return ::testing::AssertionSuccess();
}

::testing::AssertionResult same_bits(const Case& c, const Tensors& expected, const Tensors& got) {
  const std::tuple<const char*, const Buffer*, const Buffer*> outputs[] = {{"y", &expected.y, &got.y},
                                                                           {"mean", &expected.mean, &got.mean},
                                                                           {"rstd", &expected.rstd, &got.rstd},
                                                                           {"residual_out", &expected.residual_out, &got.residual_out},
                                                                           {"dx", &expected.dx, &got.dx},
                                                                           {"dresidual", &expected.dresidual, &got.dresidual},
                                                                           {"dweight", &expected.dweight, &got.dweight},
                                                                           {"dbias", &expected.dbias, &got.dbias}};
  for (const auto& [name, a, b] : outputs)
    if (auto result = same_rows(*a, 0, *b, a->row_count(), name); !result) return result << "\n" << check::command(c);
  return ::testing::AssertionSuccess();
}

}  // namespace kilter::test

#include "harness/run.h"

#include <cmath>
#include <cstring>
#include <memory>
#include <utility>

namespace kilter::test {

using check::Buffer;
using check::Case;
using check::Tensors;

void call_guarded(const Case& c, const Placement& placement, Tensors& t) {
  std::vector<std::pair<Buffer*, std::unique_ptr<Guarded>>> memory;
  const auto place = [&](Buffer& b, const Layout& layout) -> Guarded* {
    memory.emplace_back(&b, std::make_unique<Guarded>(b, layout));
    return memory.back().second.get();
  };
  Layout vector = placement.inputs;
  vector.reversed = false, vector.gap = 0;
  check::Call k;
  k.op = c.op, k.eps = c.eps, k.weight_offset = c.weight_offset, k.impl = c.impl.empty() ? nullptr : c.impl.c_str();
  k.rounding = c.round_then_multiply ? KILTER_ROUND_THEN_MULTIPLY : KILTER_ROUND_ONCE;
  Guarded* x = place(t.x, placement.in_place && !c.backward ? placement.outputs : placement.inputs);
  Guarded *weight = place(t.weight, vector), *bias = place(t.bias, vector);
  Guarded *residual = place(t.residual, placement.inputs), *residual_out = place(t.residual_out, placement.outputs);
  Guarded *post = place(t.post_residual, placement.inputs), *mean = place(t.mean, {}), *rstd = place(t.rstd, {});
  Guarded* y = placement.in_place && !c.backward ? nullptr : place(t.y, placement.outputs);
  k.x = x->tensor(), k.weight = weight->tensor(), k.bias = bias->tensor(), k.residual = residual->tensor();
  k.residual_out = residual_out->tensor(), k.post_residual = post->tensor(), k.mean = mean->tensor(), k.rstd = rstd->tensor();
  k.y = y ? y->tensor() : k.x;
  const check::Op* op = check::find_op(c.op);
  ASSERT_EQ(op->forward(k), KILTER_OK) << kilter_last_error() << "\n" << check::command(c);
  if (!y) x->copy_to(t.y);
  std::vector<char> workspace;
  if (c.backward) {
    check::Call b = k;
    b.backward = true;
    if (t.residual_out.present()) b.x = k.residual_out;
    Guarded* dy = place(t.dy, placement.in_place ? placement.outputs : placement.inputs);
    Guarded* upstream = place(t.dresidual_out, placement.inputs);
    Guarded* dx = placement.in_place && t.dx.present() ? nullptr : place(t.dx, placement.outputs);
    b.dy = dy->tensor(), b.dresidual_out = upstream->tensor(), b.dx = dx ? dx->tensor() : b.dy;
    b.dresidual = place(t.dresidual, placement.outputs)->tensor();
    b.dweight = place(t.dweight, {})->tensor(), b.dbias = place(t.dbias, {})->tensor();
    size_t bytes = 0;
    ASSERT_EQ(op->backward_workspace(b, &bytes), KILTER_OK) << kilter_last_error();
    Buffer scratch = Buffer::vector(DType::bf16, int64_t(bytes + 1) / 2);
    Guarded work(scratch, {});
    b.workspace = work.tensor().data, b.workspace_size = bytes;
    ASSERT_EQ(op->backward(b), KILTER_OK) << kilter_last_error() << "\n" << check::command(c);
    EXPECT_TRUE(work.pattern_intact()) << "workspace\n" << check::command(c);
    if (!dx) dy->copy_to(t.dx);
  }
  for (auto& [buffer, guarded] : memory) {
    EXPECT_TRUE(guarded->pattern_intact()) << check::command(c);
    guarded->copy_to(*buffer);
  }
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

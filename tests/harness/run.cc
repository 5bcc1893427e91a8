#include "harness/run.h"

#include <cmath>
#include <cstring>
#include <map>
#include <string>

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
  Placed vector = placement.inputs;
  vector.reversed = false, vector.pad = 0;
  const char* const input = c.backward ? "dy" : "x";  // and the output that may lie in its place
  const char* const output = c.backward ? "dx" : "y";
  const bool in_place = placement.in_place && t[output].present();
  std::map<std::string, Matrix> memory;
  for (const bool backward : {false, true})
    for (const Field& f : check::fields_of(check::function_of(c.op, backward)))
      if (check::is_tensor(f) && t[f.name].present() && !memory.count(f.name) && !(in_place && f.name == std::string(output))) {
        const bool rows = f.shapes[0].count == 2, outside = placement.in_place && f.name == std::string(input);
        memory.emplace(f.name, placed(t[f.name], rows ? f.output || outside ? placement.outputs : placement.inputs
                                                 : f.output || f.shapes[0].any >= 0 ? Placed{}
                                                                                    : vector));
      }
  for (const bool backward : {false, true}) {
    if (backward && !c.backward) break;
    check::Arguments call = check::arguments(c, backward, t);
    for (const Field& f : check::fields_of(&call.function()))
      if (memory.count(f.name)) call.tensor(f) = memory.at(f.name).tensor();
    if (in_place && backward == c.backward) call[output] = call[input];
    if (backward && memory.count("residual_out")) call["x"] = memory.at("residual_out").tensor();
    kilter_plan plan;
    ASSERT_EQ(call.ask(&plan), KILTER_OK) << kilter_last_error();
    const GuardedBuffer work(plan.workspace_size);
    call.set_workspace(work.data(), plan.workspace_size);
    ASSERT_EQ(call.call(), KILTER_OK) << kilter_last_error();
  }
  if (in_place) copy_back(memory.at(input), t[output]);
  for (const auto& [name, matrix] : memory) copy_back(matrix, t[name]);
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
  for (const bool backward : {false, true})
    for (const Field& f : check::fields_of(check::function_of(c.op, backward)))
      if (check::is_tensor(f) && f.output)
        if (auto result = same_rows(expected[f.name], 0, got[f.name], expected[f.name].row_count(), f.name); !result)
          return result << "\n" << check::command(c);
  return ::testing::AssertionSuccess();
}

}  // namespace kilter::test

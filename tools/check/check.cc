#include "check/check.h"

#include <cinttypes>
#include <cstdio>

namespace kilter::check {
namespace {

DType statistics_type(const Case& c) { return c.x == DType::f64 ? DType::f64 : DType::f32; }
DType affine_type(const Case& c) { return c.weight != DType::none ? c.weight : c.x; }
DType sums_type(const Case& c) { return c.dweight != DType::none ? c.dweight : c.x == DType::f64 ? affine_type(c) : DType::f32; }

std::string number(double v) {
  char text[40];
  for (int digits = 1; digits <= 17; ++digits) {
    std::snprintf(text, sizeof text, "%.*g", digits, v);
    if (std::strtod(text, nullptr) == v) break;
  }
  return text;
}

template <class F>
void fill_rows(const Case& c, Buffer& b, F&& fill) {
  for (int64_t r = 0; r < b.row_count(); ++r) fill(c.first_row + r, const_cast<char*>(b.row(r)));
}

void fill_activation(const Case& c, Buffer& b, const char* name) {
  fill_rows(c, b, [&](int64_t row, char* out) { fill_moderate(name, c.seed, row, b.dtype(), c.n, 0, 1, out); });
}

const char* wanted(const Case& c) { return c.impl.empty() ? nullptr : c.impl.c_str(); }

Call forward_call(const Case& c, Tensors& t) {
  Call f;
  f.op = c.op;
  f.x = t.x.tensor(), f.weight = t.weight.tensor(), f.bias = t.bias.tensor(), f.residual = t.residual.tensor();
  f.post_residual = t.post_residual.tensor(), f.y = t.y.tensor(), f.mean = t.mean.tensor(), f.rstd = t.rstd.tensor();
  f.residual_out = t.residual_out.tensor();
  f.eps = c.eps, f.weight_offset = c.weight_offset, f.rounding = c.round_then_multiply, f.impl = wanted(c);
  // A backward-only implementation gets its statistics from the default forward.
  if (c.backward && f.impl && !implementation(f, f.impl)) f.impl = nullptr;
  return f;
}

Call backward_call(const Case& c, Tensors& t) {
  Call b;
  b.op = c.op, b.backward = true;
  b.x = c.residual != DType::none ? t.residual_out.tensor() : t.x.tensor();
  b.weight = t.weight.tensor(), b.mean = t.mean.tensor(), b.rstd = t.rstd.tensor(), b.dy = t.dy.tensor();
  b.dresidual_out = t.dresidual_out.tensor(), b.dx = t.dx.tensor(), b.dresidual = t.dresidual.tensor();
  b.dweight = t.dweight.tensor(), b.dbias = t.dbias.tensor();
  b.weight_offset = c.weight_offset, b.impl = wanted(c);
  return b;
}

kilter_status call_backward(const Case& c, Tensors& t) {
  Call b = backward_call(c, t);
  const Op* op = find_op(c.op);
  size_t bytes = 0;
  KILTER_RETURN_IF_ERROR(op->backward_workspace(b, &bytes));
  t.workspace.assign(bytes, char(0xA5));
  b.workspace = t.workspace.data(), b.workspace_size = bytes;
  return op->backward(b);
}

// Rows without NaN and infinities must not notice that others have them.
void compare_with_clean(const Case& c, const Tensors& t, Report* r) {
  Tensors clean = make_tensors(c, true);
  if (call(c, clean) != KILTER_OK) {
    r->problems.push_back(std::string("the same call on finite inputs failed: ") + kilter_last_error());
    return;
  }
  const struct {
    const char* name;
    const Buffer *got, *want;
  } outputs[] = {{"y", &t.y, &clean.y},          {"mean", &t.mean, &clean.mean},
                 {"rstd", &t.rstd, &clean.rstd}, {"residual_out", &t.residual_out, &clean.residual_out},
                 {"dx", &t.dx, &clean.dx},       {"dresidual", &t.dresidual, &clean.dresidual}};
  for (const auto& o : outputs) {
    if (!o.got->present()) continue;
    for (int64_t row = 0; row < c.rows; ++row) {
      const bool touched =
          is_poisoned("x", c.seed, c.first_row + row, c.n) || (c.backward && is_poisoned("dy", c.seed, c.first_row + row, c.n));
      if (touched || std::memcmp(o.got->row(row), o.want->row(row), o.got->row_bytes()) == 0) continue;
      r->problems.push_back(std::string(o.name) + ": row " + std::to_string(row) +
                            " changed although only other rows got NaN or infinities");
      break;
    }
  }
}

bool sums_over_rows(const Measure& m) { return m.output == "dweight" || m.output == "dbias"; }

const char* invalid(const Case& c) {
  if (!find_op(c.op)) return "op: expected the name of an op";
  if (c.x == DType::none) return "x: expected a type";
  if (bytes_needed(c) < 0) return "rows, n: expected sizes >= 0 whose product of bytes fits 63 bits";
  return nullptr;
}

}  // namespace

std::string command(const Case& c) {
  std::string s = "kilter check " + c.op;
  const auto option = [&](const char* name, const std::string& value) { s += std::string(" --") + name + " " + value; };
  const auto type = [&](const char* name, DType value) {
    if (value != DType::none) option(name, dtype_name(value));
  };
  if (c.backward) s += " --backward";
  option("rows", std::to_string(c.rows));
  option("n", std::to_string(c.n));
  if (c.first_row) option("first-row", std::to_string(c.first_row));
  type("x-dtype", c.x);
  type("weight-dtype", c.weight);
  if (c.bias) s += " --bias";
  type("residual", c.residual);
  type("post-residual", c.post_residual);
  if (c.weight_offset != 0) option("weight-offset", number(c.weight_offset));
  if (c.round_then_multiply) option("rounding", "then-multiply");
  if (c.eps != KILTER_DEFAULT_EPS) option("eps", number(c.eps));
  option("fill", fill_name(c.fill));
  option("seed", std::to_string(c.seed));
  if (c.backward) {
    type("dresidual-out", c.dresidual_out);
    type("dresidual", c.dresidual);
    type("dweight-dtype", c.dweight);
    if (!c.want_dx) s += " --no-dx";
    if (!c.want_dweight) s += " --no-dweight";
    if (!c.want_dbias) s += " --no-dbias";
  }
  if (!c.impl.empty()) option("impl", c.impl);
  if (!c.target.empty()) option("target", c.target);
  if (c.threads) option("threads", std::to_string(c.threads));
  return s;
}

int64_t bytes_needed(const Case& c) {
  if (c.rows < 0 || c.n < 0 || c.first_row < 0) return -1;
  // Per element: every activation at its widest (fill `special` holds a second set), the reference's output in fp64.
  const int64_t per_element =
      (c.fill == Fill::special ? 2 : 1) * (c.backward ? 7 : 4) * int64_t(item_size(c.x) + (c.residual == DType::f32 ? 2 : 0)) + 16;
  int64_t elements = 0, bytes = 0, rows = 0;
  if (__builtin_mul_overflow(c.rows, c.n, &elements) || __builtin_mul_overflow(elements, per_element, &bytes)) return -1;
  if (__builtin_add_overflow(c.rows, c.n, &rows) || __builtin_mul_overflow(rows, int64_t(256), &rows)) return -1;
  if (__builtin_add_overflow(bytes, rows, &bytes) || __builtin_add_overflow(c.first_row, c.rows, &rows)) return -1;
  return bytes;
}

Tensors make_tensors(const Case& c, bool clean) {
  Tensors t;
  const DType stats = statistics_type(c);
  t.x = Buffer::rows(c.x, c.rows, c.n);
  fill_rows(c, t.x, [&](int64_t row, char* out) {
    fill_x(c.fill, c.seed, row, c.x, c.n, out);
    if (c.fill == Fill::special && !clean) poison("x", c.seed, row, c.x, c.n, out);
  });
  if (c.weight != DType::none) {
    t.weight = Buffer::vector(c.weight, c.n);
    fill_moderate("weight", c.seed, 0, c.weight, c.n, 1 - c.weight_offset, 0.25, t.weight.data());
  }
  if (c.bias) {
    t.bias = Buffer::vector(affine_type(c), c.n);
    fill_moderate("bias", c.seed, 0, affine_type(c), c.n, 0, 0.5, t.bias.data());
  }
  t.residual = Buffer::rows(c.residual, c.rows, c.n);
  fill_activation(c, t.residual, "residual");
  t.post_residual = Buffer::rows(c.post_residual, c.rows, c.n);
  fill_activation(c, t.post_residual, "post_residual");
  t.y = Buffer::rows(c.x, c.rows, c.n);
  t.residual_out = Buffer::rows(c.residual, c.rows, c.n);
  if (find_op(c.op)->centered) t.mean = Buffer::per_row(stats, c.rows);
  t.rstd = Buffer::per_row(stats, c.rows);
  if (!c.backward) return t;
  t.dy = Buffer::rows(c.x, c.rows, c.n);
  fill_activation(c, t.dy, "dy");
  if (c.fill == Fill::special && !clean) fill_rows(c, t.dy, [&](int64_t row, char* out) { poison("dy", c.seed, row, c.x, c.n, out); });
  t.dresidual_out = Buffer::rows(c.dresidual_out, c.rows, c.n);
  fill_activation(c, t.dresidual_out, "dresidual_out");
  if (c.want_dx) t.dx = Buffer::rows(c.x, c.rows, c.n);
  t.dresidual = Buffer::rows(c.dresidual, c.rows, c.n);
  if (c.want_dweight) t.dweight = Buffer::vector(sums_type(c), c.n);
  if (c.want_dbias) t.dbias = Buffer::vector(sums_type(c), c.n);
  return t;
}

kilter_status call(const Case& c, Tensors& t) {
  if (!c.target.empty()) KILTER_RETURN_IF_ERROR(kilter_set_cpu_target(c.target.c_str()));
  kilter_status status = c.threads ? kilter_set_num_threads(c.threads) : KILTER_OK;
  if (status == KILTER_OK) status = find_op(c.op)->forward(forward_call(c, t));
  if (status == KILTER_OK && c.backward) status = call_backward(c, t);
  // What the caller had set before cannot be asked for; the defaults come back.  Neither call changes the last error if it succeeds.
  if (c.threads) (void)kilter_set_num_threads(0);
  if (!c.target.empty()) (void)kilter_set_cpu_target(nullptr);
  return status;
}

Report run(const Case& c) {
  Report r;
  if (const char* why = invalid(c)) {
    r.status = KILTER_INVALID_ARGUMENT;
    r.message = why;
    return r;
  }
  Tensors t = make_tensors(c);
  const Call asked = c.backward ? backward_call(c, t) : forward_call(c, t);
  const char* impl = implementation(asked, asked.impl);
  r.impl = impl ? impl : c.impl;
  r.target = c.target.empty() ? kilter_cpu_target() : c.target;
  r.status = call(c, t);
  if (r.status != KILTER_OK) {
    r.message = kilter_last_error();
    return r;
  }
  judge(c, t, &r);
  if (c.fill == Fill::special) compare_with_clean(c, t, &r);
  r.passed = r.problems.empty();
  for (const Measure& m : r.outputs) r.passed = r.passed && m.passed();
  return r;
}

std::string describe(const Case& c, const Report& r) {
  std::string s;
  char line[400];
  if (r.status != KILTER_OK) return std::string(kilter_status_name(r.status)) + ": " + r.message + "\nrepeat: " + command(c) + "\n";
  const Measure* worst = nullptr;
  for (const Measure& m : r.outputs) {
    if (m.row < 0) continue;
    char where[80];
    if (sums_over_rows(m))
      std::snprintf(where, sizeof where, "column %" PRId64, m.index);
    else
      std::snprintf(where, sizeof where, "row %" PRId64 ", element %" PRId64, c.first_row + m.row, m.index);
    std::snprintf(line, sizeof line, "%s%s (%s): error %.4g, bound %.4g, at %s: got %.9g, expected %.9g; in %s\n",
                  m.passed() ? "" : "MISSED  ", m.output.c_str(), dtype_name(m.dtype), m.error, m.bound, where, m.got, m.expected, m.unit);
    for (const char* p = line; *p; ++p)
      if (*p != '\\') s += *p;  // the units are written for a Markdown table
    if (!m.passed() && !worst && !sums_over_rows(m)) worst = &m;
  }
  for (const std::string& problem : r.problems) s += "WRONG  " + problem + "\n";
  for (const std::string& note : r.notes) s += "note: " + note + "\n";
  std::snprintf(line, sizeof line, "%s  %s on %s, seed %" PRIu64 "\n", r.passed ? "passed" : "FAILED", r.impl.c_str(), r.target.c_str(),
                c.seed);
  s += line;
  s += "repeat: " + command(c) + "\n";
  if (worst && c.rows > 1) {
    Case row = c;
    row.first_row = c.first_row + worst->row;
    row.rows = 1;
    s += "row " + std::to_string(row.first_row) + " alone: " + command(row) + "\n";
  }
  return s;
}

}  // namespace kilter::check

#include "check/check.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <utility>

namespace kilter::check {
namespace {

std::string number(double v) {
  char text[40];
  for (int digits = 1; digits <= 17; ++digits) {
    std::snprintf(text, sizeof text, "%.*g", digits, v);
    if (std::strtod(text, nullptr) == v) break;
  }
  return text;
}

bool per_row(const Field& f) { return f.shapes[0].any >= 0; }
const Field& t_field(const Case& c, bool backward) {
  const Schema& s = *function_of(c.op, backward)->schema;
  return s.fields[s.t];
}

// The type of a tensor beside those that are there already; none: the case has no such tensor.
DType type_of(const Case& c, const Field& f, const Arguments& there) {
  const Schema& s = there.schema();
  if (&f == &s.fields[s.t]) return c.x;
  if (const auto given = c.types.find(f.name); given != c.types.end()) return given->second;
  const bool lacking = f.needs >= 0 && there.type_of(s.fields[f.needs]) == DType::none;
  return (f.output ? !is_usual(f) || lacking : !f.required) ? DType::none : there.usual_type(f);
}

void fill(const Case& c, const Schema& s, const Field& f, bool clean, Buffer& b) {
  const bool is_t = &f == &s.fields[s.t];
  Moderate m = moderate(f.name);
  for (int i = 0; i < s.count; ++i)  // an offset is added to it
    if (s.fields[i].kind == Kind::real && s.fields[i].needs == &f - s.fields) m.center -= c.number(s.fields[i].name);
  for (int64_t r = 0; r < b.row_count(); ++r) {
    const int64_t row = per_row(f) ? c.first_row + r : 0;
    char* const out = const_cast<char*>(b.row(r));
    if (is_t && s.direction == KILTER_FORWARD)
      fill_x(c.fill, c.seed, row, b.dtype(), b.row_length(), out);
    else
      fill_moderate(f.name, c.seed, row, b.dtype(), b.row_length(), m.center, m.spread, out);
    if (is_t && c.fill == Fill::special && !clean) poison(f.name, c.seed, row, b.dtype(), c.n, out);
  }
}

bool knows(const Arguments& a, const std::string& impl) {
  std::vector<kilter_candidate> list;
  return a.explain(&list) == KILTER_OK && std::any_of(list.begin(), list.end(), [&](const auto& k) { return impl == k.impl; });
}

kilter_status call_one(const Case& c, bool backward, Tensors& t) {
  Arguments a = arguments(c, backward, t);
  kilter_plan plan;
  KILTER_RETURN_IF_ERROR(a.ask(&plan));
  t.workspace.assign(plan.workspace_size, char(0xA5));
  a.set_workspace(t.workspace.data(), t.workspace.size());
  return a.call();
}

// Rows without NaN and infinities must not notice that others have them.
void compare_with_clean(const Case& c, const Tensors& t, Report* r) {
  Tensors clean = make_tensors(c, true);
  if (call(c, clean) != KILTER_OK) {
    r->problems.push_back(std::string("the same call on finite inputs failed: ") + kilter_last_error());
    return;
  }
  for (const bool backward : {false, true}) {
    const Schema& s = *function_of(c.op, backward)->schema;
    for (int i = 0; i < s.count; ++i) {
      const Field& f = s.fields[i];
      if (!is_tensor(f) || !f.output || !per_row(f) || !t[f.name].present()) continue;
      const Buffer &got = t[f.name], &want = std::as_const(clean)[f.name];
      for (int64_t row = 0; row < c.rows; ++row) {
        const bool touched = is_poisoned(t_field(c, false).name, c.seed, c.first_row + row, c.n) ||
                             (c.backward && is_poisoned(t_field(c, true).name, c.seed, c.first_row + row, c.n));
        if (touched || std::memcmp(got.row(row), want.row(row), got.row_bytes()) == 0) continue;
        r->problems.push_back(std::string(f.name) + ": row " + std::to_string(row) +
                              " changed although only other rows got NaN or infinities");
        break;
      }
    }
  }
}

const char* invalid(const Case& c) {
  if (!find_op(c.op)) return "op: expected the name of an op";
  if (c.x == DType::none) return "x: expected a type";
  if (bytes_needed(c) < 0) return "rows, n: expected sizes >= 0 whose product of bytes fits 63 bits";
  return nullptr;
}

}  // namespace

double Case::number(std::string_view name) const {
  const auto given = numbers.find(name);
  if (given != numbers.end()) return given->second;
  const Field* const f = field_of(*function_of(op, false)->schema, name);
  return f ? f->fallback : 0;
}

std::string command(const Case& c) {
  std::string s = "kilter check " + c.op;
  const auto option = [&](const std::string& name, const std::string& value) { s += " --" + name + " " + value; };
  if (c.backward) s += " --backward";
  option("rows", std::to_string(c.rows));
  option("n", std::to_string(c.n));
  if (c.first_row) option("first-row", std::to_string(c.first_row));
  option(std::string(t_field(c, false).name) + "-dtype", dtype_name(c.x));
  for (const auto& [tensor, type] : c.types)
    if (c.backward || field_of(*function_of(c.op, false)->schema, tensor)) option(tensor + "_dtype", dtype_name(type));
  for (const auto& [name, value] : c.numbers) {
    const Field* const f = field_of(*function_of(c.op, false)->schema, name);
    if (!f || value == f->fallback) continue;
    option(name, f->kind == Kind::choice ? words_of(f->words)[size_t(value)] : number(value));
  }
  option("fill", fill_name(c.fill));
  option("seed", std::to_string(c.seed));
  if (!c.impl.empty()) option("impl", c.impl);
  if (!c.target.empty()) option("target", c.target);
  if (c.threads) option("threads", std::to_string(c.threads));
  return s;
}

int64_t bytes_needed(const Case& c) {
  if (c.rows < 0 || c.n < 0 || c.first_row < 0) return -1;
  // Per element: every activation at its widest (fill `special` holds a second set), the reference's output in fp64.
  int64_t widest = item_size(c.x);
  for (const auto& [tensor, type] : c.types) widest = std::max<int64_t>(widest, item_size(type));
  const int64_t per_element = (c.fill == Fill::special ? 2 : 1) * (c.backward ? 7 : 4) * widest + 16;
  int64_t elements = 0, bytes = 0, rows = 0;
  if (__builtin_mul_overflow(c.rows, c.n, &elements) || __builtin_mul_overflow(elements, per_element, &bytes)) return -1;
  if (__builtin_add_overflow(c.rows, c.n, &rows) || __builtin_mul_overflow(rows, int64_t(256), &rows)) return -1;
  if (__builtin_add_overflow(bytes, rows, &bytes) || __builtin_add_overflow(c.first_row, c.rows, &rows)) return -1;
  return bytes;
}

Tensors make_tensors(const Case& c, bool clean) {
  Tensors t;
  for (const bool backward : {false, true}) {
    if (backward && !c.backward) break;
    Arguments there(*function_of(c.op, backward));
    const Schema& s = there.schema();
    const auto add = [&](const Field& f) {
      Buffer& b = t[f.name];  // that of forward, where both have it
      if (!b.present()) {
        b = Buffer::of(f, type_of(c, f, there), c.rows, c.n);
        if (!f.output) fill(c, s, f, clean, b);
      }
      there.tensor(f) = b.tensor();
    };
    add(s.fields[s.t]);
    for (int i = 0; i < s.count; ++i)
      if (is_tensor(s.fields[i]) && i != s.t) add(s.fields[i]);
  }
  return t;
}

Arguments arguments(const Case& c, bool backward, Tensors& t) {
  Arguments a(*function_of(c.op, backward));
  const Schema& s = a.schema();
  for (int i = 0; i < s.count; ++i) {
    const Field& f = s.fields[i];
    if (is_tensor(f)) a.tensor(f) = t[f.name].tensor();
    if (const auto given = c.numbers.find(f.name); given != c.numbers.end()) a.set(f, given->second);
  }
  if (backward && t["residual_out"].present()) a["x"] = t["residual_out"].tensor();  // what the norm normalized
  // A backward-only implementation gets its statistics from the default forward.
  if (!c.impl.empty() && (backward == c.backward || knows(a, c.impl))) a.set_impl(c.impl.c_str());
  return a;
}

kilter_status call(const Case& c, Tensors& t) {
  if (!c.target.empty()) KILTER_RETURN_IF_ERROR(kilter_set_cpu_target(c.target.c_str()));
  kilter_status status = c.threads ? kilter_set_num_threads(c.threads) : KILTER_OK;
  if (status == KILTER_OK) status = call_one(c, false, t);
  if (status == KILTER_OK && c.backward) status = call_one(c, true, t);
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
  kilter_plan plan;
  r.impl = arguments(c, c.backward, t).ask(&plan) == KILTER_OK ? plan.impl : c.impl;
  r.target = c.target.empty() ? kilter_cpu_target() : c.target;
  r.status = call(c, t);
  if (r.status != KILTER_OK) {
    r.message = kilter_last_error();
    return r;
  }
  find_op(c.op)->judge(c, t, &r);
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
    if (m.sum)
      std::snprintf(where, sizeof where, "column %" PRId64, m.index);
    else
      std::snprintf(where, sizeof where, "row %" PRId64 ", element %" PRId64, c.first_row + m.row, m.index);
    std::snprintf(line, sizeof line, "%s%s (%s): error %.4g, bound %.4g, at %s: got %.9g, expected %.9g; in %s\n",
                  m.passed() ? "" : "MISSED  ", m.output.c_str(), dtype_name(m.dtype), m.error, m.bound, where, m.got, m.expected, m.unit);
    for (const char* p = line; *p; ++p)
      if (*p != '\\') s += *p;  // the units are written for a Markdown table
    if (!m.passed() && !worst && !m.sum) worst = &m;
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

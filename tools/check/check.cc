#include "check/check.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "check/meter.h"
#include "core/arguments.h"

namespace kilter::check {
namespace {

// Whether the case has a tensor of cumulative lengths.
bool by_lengths(const Case& c) {
  for (const Field& f : fields_of(function_of(c.op, false)))
    if (is_tensor(f) && f.shapes[0].more >= 0 && c.has(f.name)) return true;
  return false;
}

bool by_row(const Field& f) { return f.shapes[0].any >= 0 || f.shapes[0].count > 1; }

// The type of a tensor beside those that are there already; none: the case has no such tensor.
DType type_of(const Case& c, const Field& f, const Arguments& there) {
  const Schema& s = there.schema();
  if (&f == &s.fields[s.t]) return c.x;
  if (const auto given = c.types.find(f.name); given != c.types.end()) return given->second;
  const bool lacking = f.needs >= 0 && there.type_of(s.fields[f.needs]) == DType::none;
  const DType usual = (f.output ? !is_usual(f) || lacking : !f.required) ? DType::none : there.usual_type(f);
  const Op* const op = find_op(c.op);
  return op->type && !lacking ? op->type(c, f, usual) : usual;
}

// f(number, out) writes a unit's elements to out; numbers go on where first_row ends.
template <class F>
void by_unit(const Case& c, const Sharing& sharing, Buffer& b, F&& f) {
  const int64_t first = sharing.all_samples ? 0 : c.first_row * sharing.per_sample();
  if (!b.present()) return;
  const size_t item = size_t(item_size(b.dtype()));
  std::vector<char> unit(size_t(sharing.length()) * item + 1);
  for (int64_t u = 0; u < sharing.count(); ++u) {
    f(first + u, unit.data());
    const char* from = unit.data();
    sharing.channels_of(u, [&](int64_t sample, int64_t channel) {
      char* const row = const_cast<char*>(b.row(sample));
      if (sharing.channels == 1) {
        std::memcpy(row, from, b.row_bytes()), from += b.row_bytes();
        return;
      }
      for (int64_t i = 0; i < sharing.places; ++i, from += item) std::memcpy(row + size_t(b.place_in_row(channel, i)) * item, from, item);
    });
  }
}

// Cumulative lengths, some of which are none: for the same seed the same.
void fill_lengths(const Case& c, Buffer& b) {
  const int64_t count = b.row_count() * b.row_length() - 1;
  std::vector<double> ends(size_t(std::max<int64_t>(count, 0)));
  const Random random(c.seed, "segments", 0);
  for (size_t i = 0; i < ends.size(); ++i) ends[i] = std::floor(random.uniform(i) * double(c.rows + 1));
  std::sort(ends.begin(), ends.end());
  if (!ends.empty()) ends.back() = double(c.rows);
  View v = b.view();
  write(v, 0, 0, 0.0);
  for (int64_t i = 0; i < count; ++i) write(v, 0, i + 1, ends[size_t(i)]);
}

void fill(const Case& c, const Schema& s, const Field& f, bool clean, Buffer& b) {
  if (f.shapes[0].more >= 0) return b.present() ? fill_lengths(c, b) : void();
  const bool is_t = &f == &s.fields[s.t];
  Moderate m = moderate(f.name);
  for (int i = 0; i < s.count; ++i)  // an offset is added to it
    if (s.fields[i].kind == Kind::real && s.fields[i].name == f.name + std::string("_offset")) m.center -= c.number(s.fields[i].name);
  const Sharing sharing = sharing_of(c);
  const auto moderately = [&](int64_t number, int64_t n, char* out) {
    fill_moderate(f.name, c.seed, number, b.dtype(), n, m.center, m.spread, out);
  };
  for (int64_t r = 0; r < b.row_count() && !like_x(f); ++r)
    moderately(by_row(f) ? c.first_row + r : 0, b.row_length(), const_cast<char*>(b.row(r)));
  if (!like_x(f)) return;
  by_unit(c, sharing, b, [&](int64_t number, char* out) {
    if (is_t && s.direction == KILTER_FORWARD)
      fill_x(c.fill, c.seed, number, b.dtype(), sharing.length(), out);
    else
      moderately(number, sharing.length(), out);
    if (is_t && c.fill == Fill::special && !clean) poison(f.name, c.seed, number, b.dtype(), sharing.length(), out);
  });
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

// Whether an output's share of a unit has the same bits in both; what no unit has alone, as a sum over all rows, has.
bool same_unit(const Case& c, const Field& f, const Sharing& sharing, int64_t unit, const Buffer& a, const Buffer& b) {
  if ((!by_row(f) && !sharing.all_samples) || is_shared(f)) return true;
  const size_t item = size_t(item_size(a.dtype()));
  bool same = true;
  const auto compare = [&](int64_t row, int64_t i, int64_t count) {
    same = same && std::memcmp(a.row(row) + size_t(i) * item, b.row(row) + size_t(i) * item, size_t(count) * item) == 0;
  };
  sharing.channels_of(unit, [&](int64_t sample, int64_t channel) {
    if (f.shapes[0].is_bits())
      for (int64_t i = 0; i < sharing.places && same; ++i) same = bit_at(c, a, sample, channel, i) == bit_at(c, b, sample, channel, i);
    else if (like_x(f) && sharing.channels > 1)
      for (int64_t i = 0; i < sharing.places && same; ++i) compare(sample, a.place_in_row(channel, i), 1);
    else if (like_x(f))
      compare(sample, 0, a.row_length());
    else
      compare(by_row(f) ? sample : 0, a.row_length() == 1 ? 0 : a.row_length() == sharing.channels ? channel : channel / sharing.width, 1);
  });
  return same;
}

// Units without NaN and infinities must not notice that others have them.
void compare_with_clean(const Case& c, const Tensors& t, Report* r) {
  Tensors clean = make_tensors(c, true);
  if (call(c, clean) != KILTER_OK) {
    r->problems.push_back(std::string("the same call on finite inputs failed: ") + kilter_last_error());
    return;
  }
  const Sharing sharing = sharing_of(c);
  const int64_t first = sharing.all_samples ? 0 : c.first_row * sharing.per_sample();
  const auto touched = [&](int64_t unit, bool backward) {
    const Schema& s = *function_of(c.op, backward)->schema;
    return is_poisoned(s.fields[s.t].name, c.seed, first + unit, sharing.length());
  };
  for (const bool backward : {false, true}) {
    for (const Field& f : fields_of(function_of(c.op, backward))) {
      if (!is_tensor(f) || !f.output || !t[f.name].present()) continue;
      const Buffer &got = t[f.name], &want = std::as_const(clean)[f.name];
      for (int64_t unit = 0; unit < sharing.count(); ++unit) {
        if (touched(unit, false) || (c.backward && touched(unit, true)) || same_unit(c, f, sharing, unit, got, want)) continue;
        const std::string number = std::to_string(unit);
        r->problems.push_back(std::string(f.name) + ": " +
                              (has_planes(*function_of(c.op, false)->schema)
                                   ? "group " + number + " of all changed although only other groups got NaN or infinities"
                                   : "row " + number + " changed although only other rows got NaN or infinities"));
        break;
      }
    }
  }
}

// "": nothing is.
std::string invalid(const Case& c) {
  if (!find_op(c.op)) return "op: expected the name of an op";
  if (c.x == DType::none) return "x: expected a type";
  const Schema& s = *function_of(c.op, false)->schema;
  for (int i = 0; i < s.count; ++i)
    if (const Field& f = s.fields[i]; f.kind == Kind::count)
      if (const int64_t v = c.size(f.name), whole = c.size(f.shape_text); v < 1 || whole % v)
        return std::string(f.name) + ": expected a divisor of " + f.shape_text + " (" + std::to_string(whole) + "), got " +
               std::to_string(v);
  for (int i = 0; i < s.size_count; ++i)
    if (const int64_t v = c.size(s.sizes[i].name); s.sizes[i].shared && !by_lengths(c) && v >= 0 && (v ? c.rows % v : c.rows))
      return std::string(s.sizes[i].name) + ": expected a divisor of rows (" + std::to_string(c.rows) + "), got " + std::to_string(v);
  if (bytes_needed(c) < 0) return sizes_text(s) + ": expected sizes >= 0 whose product of bytes fits 63 bits";
  return "";
}

}  // namespace

double Case::number(std::string_view name) const {
  const auto given = numbers.find(name);
  if (given != numbers.end()) return given->second;
  const Field* const f = field_of(*function_of(op, false)->schema, name);
  return f ? usual_number(*f) : 0;
}

int64_t Case::size(std::string_view name) const {
  if (const auto given = sizes.find(name); given != sizes.end()) return given->second;
  return name == "rows" ? rows : name == "n" ? n : usual_size(name);
}

std::vector<DType> types_of_t(std::string_view op) {
  const Schema& s = *function_of(op, false)->schema;
  std::vector<DType> types;
  for (const DType t : {DType::f32, DType::bf16, DType::f16, DType::f64})
    if (s.fields[s.t].types.fixed >> int(t) & 1) types.push_back(t);
  return types;
}

int64_t usual_size(std::string_view name) {
  constexpr std::pair<std::string_view, int64_t> kUsual[] = {{"batch", 4}, {"channels", 64}, {"spatial", 196}, {"groups", 8}};
  for (const auto& [other, size] : kUsual)
    if (name == other) return size;
  return 1;
}

bool has_planes(const Schema& schema) { return schema.fields[schema.t].shapes[0].is_planes(); }

std::string sizes_text(const Schema& schema) {
  std::string text;
  for (int i = 0; i < schema.size_count; ++i) text += (i ? ", " : "") + std::string(schema.sizes[i].name);
  return text;
}

Sizes sizes_of(const Case& c, const Schema& schema) {
  Sizes sizes(schema);
  for (int i = 0; i < schema.size_count; ++i) sizes.set(schema.sizes[i], c.size(schema.sizes[i].name));
  sizes.layout = c.layout;
  sizes.set_by_lengths(by_lengths(c));
  for (int i = 0; i < schema.count; ++i)
    if (schema.fields[i].kind == Kind::axis) sizes.dim = int64_t(c.number(schema.fields[i].name));
  return sizes;
}

bool bit_at(const Case& c, const Buffer& bits, int64_t sample, int64_t channel, int64_t place) {
  const int64_t channels = c.size("channels"), places = c.size("spatial");
  const Layout layout = channels == 1 ? kChannelsFirst : c.layout;
  const BitRows rows(channels, places, layout);
  const int64_t element = layout == kChannelsFirst ? channel * places + place : place * channels + channel;
  return int(bits.at(sample, rows.byte(element))) >> rows.bit(element) & 1;
}

Sharing sharing_of(const Case& c) {
  const bool planes = has_planes(*function_of(c.op, false)->schema);
  Sharing s{c.rows, 1, c.n};
  if (planes) s.samples = c.size("batch"), s.channels = c.size("channels"), s.places = c.size("spatial");
  if (const Op* const op = find_op(c.op); op->share) op->share(c, &s);
  return s;
}

int64_t bytes_needed(const Case& c) {
  const Schema& schema = *function_of(c.op, false)->schema;
  const bool planes = has_planes(schema);
  const int64_t samples = planes ? c.size("batch") : c.rows, channels = planes ? c.size("channels") : 1;
  const int64_t places = planes ? c.size("spatial") : c.n;
  if (samples < 0 || channels < 0 || places < 0 || c.first_row < 0) return -1;
  // Per element: every activation at its widest (fill `special` holds a second set), the reference's output in fp64.
  int64_t widest = item_size(c.x);
  for (const auto& [tensor, type] : c.types) widest = std::max<int64_t>(widest, item_size(type));
  const int64_t per_element = (c.fill == Fill::special ? 2 : 1) * (c.backward ? 7 : 4) * widest + 16;
  int64_t rows = 0, elements = 0, bytes = 0, vectors = 0, last = 0;
  if (__builtin_mul_overflow(samples, channels, &rows) || __builtin_mul_overflow(rows, places, &elements)) return -1;
  if (__builtin_mul_overflow(elements, per_element, &bytes)) return -1;
  if (__builtin_add_overflow(rows, planes ? channels : places, &vectors) || __builtin_mul_overflow(vectors, int64_t(256), &vectors))
    return -1;
  if (__builtin_add_overflow(bytes, vectors, &bytes) || __builtin_add_overflow(c.first_row, samples, &last)) return -1;
  return __builtin_mul_overflow(last, std::max<int64_t>(channels, 1), &last) ? -1 : bytes;
}

Tensors make_tensors(const Case& c, bool clean) {
  Tensors t;
  for (const bool backward : {false, true}) {
    if (backward && !c.backward) break;
    Arguments there(*function_of(c.op, backward));
    const Schema& s = there.schema();
    const Sizes sizes = sizes_of(c, s);
    const auto add = [&](const Field& f) {
      Buffer& b = t[f.name];  // that of forward, where both have it
      if (!b.present()) {
        b = Buffer::of(f, type_of(c, f, there), sizes.shape_of(f), c.layout);
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
  a.set_counts(sizes_of(c, s));
  if (backward && t["residual_out"].present()) a["x"] = t["residual_out"].tensor();  // what the norm normalized
  // A backward-only implementation gets its statistics from the default forward.
  if (!c.impl.empty() && (backward == c.backward || knows(a, c.impl))) a.set_impl(c.impl.c_str());
  return a;
}

void set_problem(const Case& c, bool backward, const Tensors& t, void* problem) {
  const Schema& s = *function_of(c.op, backward)->schema;
  for (int i = 0; i < s.count; ++i) {
    const Field& f = s.fields[i];
    if (is_tensor(f) && !f.output) member<View>(problem, f.to) = t[f.name].view();
    if (f.kind == Kind::real) member<double>(problem, f.to) = as_computed(c.x, c.number(f.name));
    if (f.kind == Kind::integer) member<int64_t>(problem, f.to) = int64_t(c.number(f.name));
    if (f.kind == Kind::axis) member<Axis>(problem, f.to) = sizes_of(c, s).axis();
    if (f.kind == Kind::choice) member<int32_t>(problem, f.to) = int32_t(c.number(f.name));
  }
  for (int i = 0; i < s.size_count; ++i) member<int64_t>(problem, s.sizes[i].to) = c.size(s.sizes[i].name);
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
  if (const std::string why = invalid(c); !why.empty()) {
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

}  // namespace kilter::check

// What a case and its report are in words.
#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>

#include "check/check.h"

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

}  // namespace

std::string command(const Case& c) {
  std::string s = "kilter check " + c.op;
  const auto option = [&](const std::string& name, const std::string& value) { s += " --" + name + " " + value; };
  if (c.backward) s += " --backward";
  const Schema &schema = *function_of(c.op, c.backward)->schema, &forward = *function_of(c.op, false)->schema;
  for (int i = 0; i < schema.size_count; ++i) option(schema.sizes[i].name, std::to_string(c.size(schema.sizes[i].name)));
  if (c.layout == kChannelsLast) option("layout", "nhwc");
  if (c.first_row) option(has_planes(schema) ? "first-sample" : "first-row", std::to_string(c.first_row));
  option(std::string(forward.fields[forward.t].name) + "-dtype", dtype_name(c.x));
  for (const auto& [tensor, type] : c.types)
    if (c.backward || field_of(forward, tensor)) option(tensor + "_dtype", dtype_name(type));
  for (const auto& [name, value] : c.numbers) {
    const Field* const f = field_of(forward, name);
    if (!f || value == usual_number(*f)) continue;
    if (is_switch(*f))
      s += (value != 0 ? " --" : " --no_") + name;
    else
      option(name, f->kind == Kind::axis && value == double(KILTER_DIM_NONE) ? "none"
                   : f->kind == Kind::choice                                 ? words_of(f->words)[size_t(value)]
                                                                             : number(value));
  }
  option("fill", fill_name(c.fill));
  option("seed", std::to_string(c.seed));
  if (!c.impl.empty()) option("impl", c.impl);
  if (!c.target.empty()) option("target", c.target);
  if (c.threads) option("threads", std::to_string(c.threads));
  return s;
}

std::string where(const Case& c, const Measure& m) {
  const Schema& schema = *function_of(c.op, c.backward)->schema;
  const std::string index = std::to_string(m.index);
  if (!has_planes(schema)) return m.sum ? "column " + index : "row " + std::to_string(c.first_row + m.row) + ", element " + index;
  const Field* f = field_of(schema, m.output);
  if (!f) f = field_of(*function_of(c.op, false)->schema, m.output);
  if (m.sum || f->shapes[0].count == 1) return "channel " + index;
  std::string text = "sample " + std::to_string(c.first_row + m.row);
  const int64_t places = std::max<int64_t>(c.size("spatial"), 1);
  if (like_x(*f) || f->shapes[0].is_bits())
    return text + ", channel " + std::to_string(m.index / places) + ", place " + std::to_string(m.index % places);
  const std::string_view last = schema.sizes[f->shapes[0].dims[f->shapes[0].count - 1]].name;
  return text + (last == "groups" ? ", group " : ", channel ") + index;
}

std::string describe(const Case& c, const Report& r) {
  std::string s;
  char line[400];
  if (r.status != KILTER_OK) return std::string(kilter_status_name(r.status)) + ": " + r.message + "\nrepeat: " + command(c) + "\n";
  const Measure* worst = nullptr;
  for (const Measure& m : r.outputs) {
    if (m.row < 0) continue;
    std::snprintf(line, sizeof line, "%s%s (%s): error %.4g, bound %.4g, at %s: got %.9g, expected %.9g; in %s\n",
                  m.passed() ? "" : "MISSED  ", m.output.c_str(), dtype_name(m.dtype), m.error, m.bound, where(c, m).c_str(), m.got,
                  m.expected, m.unit);
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
  const Sharing sharing = sharing_of(c);
  if (worst && sharing.samples > 1 && !sharing.all_samples) {
    const bool planes = has_planes(*function_of(c.op, false)->schema);
    Case row = c;
    row.first_row = c.first_row + worst->row;
    (planes ? row.sizes["batch"] : row.rows) = 1;
    s += (planes ? "sample " : "row ") + std::to_string(row.first_row) + " alone: " + command(row) + "\n";
  }
  return s;
}

}  // namespace kilter::check

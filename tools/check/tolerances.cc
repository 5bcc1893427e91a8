#include "check/tolerances.h"

#include <algorithm>
#include <cstdio>
#include <stdexcept>

#include "check/arguments.h"
#include "check/op.h"

namespace kilter::check {
namespace {

std::string title_of(const Bounds& bounds, const char* output) {
  std::string title = output;
  for (const std::string& pair : words_of(bounds.also, ',')) {
    const std::vector<std::string> words = words_of(pair);
    if (words[2] == output) title += ", " + words[0];
  }
  return title;
}

std::string markdown(const Bounds& bounds) {
  std::string text =
      "### " + std::string(bounds.family) + "\n\n| output | type | when | bound | unit | why |\n| --- | --- | --- | --- | --- | --- |\n";
  for (const Tolerance& t : bounds.table) {
    char bound[32];
    std::snprintf(bound, sizeof bound, "%g", t.bound);
    text += "| " + title_of(bounds, t.output) + " | " + dtype_name(t.dtype) + " | " + (t.when ? t.when : "always") + " | " + bound + " | " +
            t.unit + " | " + t.why + " |\n";
  }
  return text + "\n" + bounds.rules + "\n";
}

}  // namespace

std::string judged_as(const Bounds& bounds, std::string_view output) {
  for (const std::string& pair : words_of(bounds.also, ',')) {
    const std::vector<std::string> words = words_of(pair);
    if (words[0] == output) return words[2];
  }
  return std::string(output);
}

const Tolerance& tolerance(const Bounds& bounds, std::string_view output, DType dtype, std::initializer_list<const char*> when) {
  const std::string name = judged_as(bounds, output);
  for (const Tolerance& t : bounds.table)
    if (name == t.output && dtype == t.dtype &&
        (!t.when || std::any_of(when.begin(), when.end(), [&](const char* w) { return w && std::string_view(w) == t.when; })))
      return t;
  throw std::logic_error("no tolerance for " + std::string(output) + " in " + dtype_name(dtype));
}

std::string tolerances_markdown() {
  std::string text;
  std::vector<const Bounds*> seen;
  for (const std::string& op : op_names()) {
    const Bounds* const bounds = find_op(op)->bounds;
    if (std::find(seen.begin(), seen.end(), bounds) == seen.end()) text += markdown(*bounds), seen.push_back(bounds);
  }
  return text +
         "### Values that no bound can judge\n\n"
         "- A unit is never smaller than the type's smallest subnormal; above the type's range it goes on growing.\n"
         "- A finite value beyond the type's range is expected as an infinity, which counts as the number after the largest.\n"
         "- NaN and infinity must stand where the reference has them. Where inf - inf can come from sums, either will do for the other:\n"
         "  which one comes out depends on the order of operations.\n"
         "- Numbers such as eps count as converted to fp32 (fp64 rows: as given).\n";
}

}  // namespace kilter::check

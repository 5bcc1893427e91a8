// kilter support: what exists, found by asking about calls of example sizes.
#include <fmt/core.h>

#include <memory>

#include "check/tolerances.h"
#include "kilter/op.h"

namespace kilter::cli {
namespace {

struct Row {
  std::string op, direction, backend;
  std::vector<std::string> types, yes, no;
};

bool has_alternatives(const Field& f) { return std::string_view(f.types_text).find('|') != std::string_view::npos; }

// Of the features, those that every supported type has; the rest are listed as missing.
Row ask(const Function& function, const Named& device) {
  const Schema& schema = *function.schema;
  Row row{schema.op, schema.direction == KILTER_BACKWARD ? "backward" : "forward", device.name, {}, {}, {}};
  const auto supported = [&](DType t, auto&& change) {
    Question q(check::Arguments(function), t, {device.value, 0}, example_sizes(schema));
    change(q, dlpack_of(t));
    q.complete();
    kilter_plan plan;
    return q.arguments().ask(&plan) == KILTER_OK;
  };
  std::vector<DType> types;
  for (const DType t : kTypes)
    if (supported(t, [](Question&, kilter_dtype) {})) types.push_back(t), row.types.push_back(dtype_name(t));
  if (types.empty()) return row;
  const auto feature = [&](const std::string& name, auto&& change) {
    bool all = true;
    for (const DType t : types) all = all && supported(t, change);
    (all ? row.yes : row.no).push_back(name);
    return all;
  };
  const kilter_dtype f32 = dlpack_of(DType::f32);
  for (int i = 0; i < schema.count; ++i) {
    const Field& f = schema.fields[i];
    const bool of_another = !f.output && check::field_of(schema, f.types_text);  // its type, as gate has scale's
    if (!check::is_tensor(f) || f.required || (!has_alternatives(f) && !of_another)) continue;
    if (f.shapes[0].more >= 0)
      feature(f.name, [&](Question& q, kilter_dtype) { q.add(f, dlpack_of(q.arguments().usual_type(f))); });
    else if (feature(f.name, [&](Question& q, kilter_dtype t) { q.add(f, t); }) && has_alternatives(f))
      feature(fmt::format("fp32 {}", f.name), [&](Question& q, kilter_dtype) { q.add(f, f32); });
  }
  for (int i = 0; i < schema.count; ++i)
    if (const Field& f = schema.fields[i]; check::is_tensor(f) && f.shapes[0].is_bits())
      feature(fmt::format("relu {}", f.name), [&](Question& q, kilter_dtype) {
        q.arguments().set(*check::field_of(schema, "activation"), KILTER_ACTIVATION_RELU);
        q.add(f, dlpack_of(DType::u8));
      });
  for (const Feature& wanted : features_of(schema))
    feature(wanted.name, [&](Question& q, kilter_dtype t) {
      if (wanted.field->needs >= 0) q.add(schema.fields[wanted.field->needs], t);
      q.arguments().set(*wanted.field, wanted.value);
    });
  for (int i = 0; i < schema.count; ++i)
    if (const Field& f = schema.fields[i]; f.required && !f.output && i != schema.t && has_alternatives(f))
      feature(f.shapes[0].any < 0 || check::is_shared(f) ? fmt::format("fp32 {}", f.name) : "fp32 residual stream",
              [&](Question& q, kilter_dtype) { q.add(f, f32); });
  if (const Field* const f = kind_field(schema))
    for (const OutputKind& kind : kOutputKinds) feature(kind.name, [&](Question& q, kilter_dtype) { q.add(*f, kind.type); });
  return row;
}

std::string or_dash(const std::vector<std::string>& words) {
  std::string s;
  for (const std::string& w : words) s += (s.empty() ? "" : ", ") + w;
  return s.empty() ? "-" : s;
}

void print_markdown(const std::vector<Row>& rows) {
  fmt::print("| op | direction | backend | types | features | not yet |\n| --- | --- | --- | --- | --- | --- |\n");
  for (const Row& r : rows)
    fmt::print("| `{}` | {} | {} | {} | {} | {} |\n", r.op, r.direction, r.backend, or_dash(r.types), or_dash(r.yes), or_dash(r.no));
}

void print_text(const std::vector<Row>& rows) {
  for (const Row& r : rows)
    fmt::print("{} {} on {}: {}\n  features: {}\n  not yet:  {}\n", r.op, r.direction, r.backend, or_dash(r.types), or_dash(r.yes),
               or_dash(r.no));
  fmt::print("(asked with {} rows of {}; kilter explain asks about other sizes)\n", kExampleRows, kExampleLength);
}

void print_tolerances(bool json) {
  if (json)
    print_json({{"tolerances", check::tolerances_markdown()}});
  else
    fmt::print("{}", check::tolerances_markdown());
}

}  // namespace

void add_support(CLI::App& app, State* state) {
  auto markdown = std::make_shared<bool>(false), bounds = std::make_shared<bool>(false);
  CLI::App* command =
      add_command(app, state, "support", "What exists: op, direction, type, backend, features", "kilter support --markdown");
  command->add_flag("--markdown", *markdown, "As a Markdown table");
  command->add_flag("--tolerances", *bounds, "Instead: the error bounds of kilter check, as a Markdown table");
  command->final_callback([markdown, bounds, state] {
    if (*bounds) return print_tolerances(state->json);
    std::vector<Row> rows;
    for (size_t i = 0; const Function* function = function_at(i); ++i)
      for (const Named& device : kDevices) {
        Row row = ask(*function, device);
        if (state->json || !row.types.empty()) rows.push_back(std::move(row));
      }
    if (!state->json) return *markdown ? print_markdown(rows) : print_text(rows);
    Json json = Json::array();
    for (const Row& r : rows)
      json.push_back(
          {{"op", r.op}, {"direction", r.direction}, {"backend", r.backend}, {"types", r.types}, {"features", r.yes}, {"missing", r.no}});
    print_json({{"support", json}});
  });
}

}  // namespace kilter::cli

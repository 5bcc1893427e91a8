// kilter support: what exists, found by asking kilter_supports about every combination.
#include <fmt/core.h>

#include <memory>

#include "check/tolerances.h"
#include "kilter/query.h"

namespace kilter::cli {
namespace {

constexpr DType kTypes[] = {DType::f64, DType::f32, DType::f16, DType::bf16};

bool supported(const kilter_query& q) { return kilter_supports(&q) == KILTER_OK; }

struct Row {
  std::string op, direction, backend;
  std::vector<std::string> types, yes, no;
};

// Of the features, those that every supported type has; the rest are listed as missing.
Row ask(const std::string& op, bool backward, const Named& device) {
  Row row{op, backward ? "backward" : "forward", device.name, {}, {}, {}};
  std::vector<DType> types;
  for (DType t : kTypes)
    if (supported(make_query(op, backward, device.value, t))) types.push_back(t), row.types.push_back(dtype_name(t));
  if (types.empty()) return row;
  const auto feature = [&](const std::string& name, auto&& change) {
    bool all = true;
    for (DType t : types) {
      kilter_query q = make_query(op, backward, device.value, t);
      change(q, t);
      all = all && supported(q);
    }
    (all ? row.yes : row.no).push_back(name);
  };
  const kilter_dtype f32 = dlpack_of(DType::f32);
  for (const QueryTensor& tensor : kQueryTensors) {
    if (!(tensor.directions >> backward & 1) || tensor.type == &kilter_query::dy) continue;
    const bool sum = tensor.type == &kilter_query::dweight || tensor.type == &kilter_query::dbias;  // follows weight's type
    feature(tensor.name, [&](kilter_query& q, DType t) {
      if (sum) q.weight = dlpack_of(t);
      q.*tensor.type = dlpack_of(t);
    });
    if (row.no.empty() || row.no.back() != tensor.name)
      feature(fmt::format("fp32 {}", tensor.name), [&](kilter_query& q, DType t) {
        if (sum) q.weight = dlpack_of(t);
        q.*tensor.type = f32;
      });
  }
  for (const Feature& f : kFeatures)
    if (f.directions >> backward & 1)
      feature(f.name, [&](kilter_query& q, DType t) {
        q.features |= f.bit;
        if (f.bit == KILTER_FEATURE_WEIGHT_OFFSET) q.weight = dlpack_of(t);
      });
  if (backward) {
    feature("fp32 residual stream", [&](kilter_query& q, DType t) { q.x = f32, q.dy = dlpack_of(t); });
    return row;
  }
  for (const Named& a : kActivations)
    if (a.value) feature(a.name, [&](kilter_query& q, DType) { q.activation = a.value; });
  for (const Named& k : kOutputKinds)
    if (k.value) feature(k.name, [&](kilter_query& q, DType) { q.output_kind = k.value; });
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
}

void print_tolerances(bool json) {
  if (json)
    print_json({{"tolerances", check::tolerances_markdown()}});
  else
    fmt::print("{}", check::tolerances_markdown());
}

}  // namespace

std::vector<std::string> dispatched_ops() {
  std::vector<std::string> names;
  for (size_t i = 0; const OpInfo* op = op_at(i); ++i) names.push_back(op->name);
  return names;
}

kilter_query make_query(const std::string& op, bool backward, int device, DType x) {
  kilter_query q{};
  q.struct_size = sizeof q;
  q.op = op.c_str();  // the caller's string
  q.direction = backward ? KILTER_BACKWARD : KILTER_FORWARD;
  q.device = {device, 0};
  q.x = dlpack_of(x);
  if (backward) q.dy = q.x;
  q.rows = q.n = -1;
  return q;
}

void add_support(CLI::App& app, State* state) {
  auto markdown = std::make_shared<bool>(false), bounds = std::make_shared<bool>(false);
  CLI::App* command =
      add_command(app, state, "support", "What exists: op, direction, type, backend, features", "kilter support --markdown");
  command->add_flag("--markdown", *markdown, "As a Markdown table");
  command->add_flag("--tolerances", *bounds, "Instead: the error bounds of kilter check, as a Markdown table");
  command->final_callback([markdown, bounds, state] {
    if (*bounds) return print_tolerances(state->json);
    std::vector<Row> rows;
    for (const std::string& op : dispatched_ops())
      for (const bool backward : {false, true})
        for (const Named& device : kDevices) {
          Row row = ask(op, backward, device);
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

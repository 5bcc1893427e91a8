// kilter explain: the walk through an op's implementation list, with every refusal's reason.
#include <fmt/core.h>

#include <memory>

#include "kilter/query.h"

namespace kilter::cli {
namespace {

struct ExplainOptions {
  std::string op, backend = "cpu", activation = "none", output_kind = "plain", impl;
  bool backward = false;
  DType x = DType::f32;
  DType tensors[std::size(kQueryTensors)] = {};
  int64_t rows = -1, n = -1;
  std::vector<std::string> features;
};

template <size_t N>
std::vector<std::string> names(const Named (&list)[N]) {
  std::vector<std::string> s;
  for (const Named& e : list) s.push_back(e.name);
  return s;
}

// "--dweight-dtype"; with underscores in the name, either spelling of it.
std::string dtype_option(const std::string& name) { return option_names(name + "_dtype"); }

// Items between commas; also empty ones, which a script's unset variable leaves.
std::vector<std::string> items(const std::string& list) {
  std::vector<std::string> s(1);
  for (const char c : list)
    if (c == ',')
      s.emplace_back();
    else
      s.back() += c;
  return s;
}

template <size_t N>
int value_of(const Named (&list)[N], const std::string& name) {
  for (const Named& e : list)
    if (name == e.name) return e.value;
  return 0;
}

kilter_query query_of(const ExplainOptions& o) {
  kilter_query q = make_query(o.op, o.backward, value_of(kDevices, o.backend), o.x);
  for (size_t i = 0; i < std::size(kQueryTensors); ++i)
    if (o.tensors[i] != DType::none) q.*kQueryTensors[i].type = dlpack_of(o.tensors[i]);
  for (const std::string& list : o.features)
    for (const std::string& name : items(list))
      for (const Feature& f : kFeatures)
        if (name == f.name) q.features |= f.bit;
  q.activation = value_of(kActivations, o.activation), q.output_kind = value_of(kOutputKinds, o.output_kind);
  q.rows = o.rows, q.n = o.n;
  q.impl = o.impl.empty() ? nullptr : o.impl.c_str();
  return q;
}

void explain(const ExplainOptions& o, State* state) {
  const kilter_query q = query_of(o);
  kilter_candidate list[64];
  size_t count = 0;
  require(kilter_explain(&q, list, 64, &count));
  const kilter_status status = kilter_supports(&q);
  const std::string why = status == KILTER_OK ? "" : kilter_last_error();
  if (status != KILTER_OK && status != KILTER_UNSUPPORTED) require(status);
  const char* chosen = nullptr;
  Json walk = Json::array();
  for (size_t i = 0; i < count && i < 64; ++i) {
    const bool asked = o.impl.empty() || o.impl == list[i].impl;
    if (!chosen && asked && !list[i].reason) chosen = list[i].impl;
    walk.push_back({{"impl", list[i].impl}, {"reason", list[i].reason ? Json(list[i].reason) : Json(nullptr)}});
    if (state->json) continue;
    const std::string verdict = list[i].reason           ? std::string("refuses: ") + list[i].reason
                                : !asked                 ? "not asked for"
                                : chosen == list[i].impl ? "runs"
                                                         : "could run";
    fmt::print("{:2}. {:<16} {}\n", i + 1, list[i].impl, verdict);
  }
  if (state->json)
    print_json({{"op", o.op},
                {"direction", o.backward ? "backward" : "forward"},
                {"chosen", chosen ? Json(chosen) : Json(nullptr)},
                {"walk", walk}});
  if (status == KILTER_OK) return;
  state->exit_code = kExitUnsupported;
  fmt::print(stderr, "kilter explain: {}\n", why);
}

}  // namespace

void add_explain(CLI::App& app, State* state) {
  auto o = std::make_shared<ExplainOptions>();
  CLI::App* command =
      add_command(app, state, "explain", "Which implementation takes a call, and why others do not; exit code 4 if none does",
                  "kilter explain layer_norm --x-dtype bf16 --rows 4096 --n 768 --output-kind fp8_e4m3");
  command->add_option("op", o->op, "The op")->required()->check(CLI::IsMember(dispatched_ops()));
  command->add_flag("--backward", o->backward, "The gradients instead of the forward pass");
  add_dtype(command, "--x-dtype", &o->x, "Type of x [fp32]");
  CLI::Option* const backward = command->get_option("--backward");
  for (size_t i = 0; i < std::size(kQueryTensors); ++i) {
    const QueryTensor& t = kQueryTensors[i];
    const char* const direction = t.directions == 1 ? "Forward: type" : t.directions == 2 ? "Backward: type" : "Type";
    CLI::Option* const option =
        add_dtype(command, dtype_option(t.name), &o->tensors[i],
                  fmt::format("{} of {} [{}]", direction, t.name, t.type == &kilter_query::dy ? "x's" : "none"), true);
    if (t.directions == 1) option->excludes(backward);
    if (t.directions == 2) option->needs(backward);
  }
  std::vector<std::string> features;
  std::string listed;
  for (const Feature& f : kFeatures) features.push_back(f.name), listed += (listed.empty() ? "" : ",") + features.back();
  command->add_option("--features", o->features, "Further features of the call, with commas between them")
      ->check([features](const std::string& list) {
        for (std::string name : items(list))
          if (std::string why = CLI::IsMember(features)(name); !why.empty()) return why;
        return std::string();
      })
      ->type_name("{" + listed + "}");
  command->add_option(option_names("activation"), o->activation, "After the norm")
      ->capture_default_str()
      ->check(CLI::IsMember(names(kActivations)));
  command->add_option(option_names("output_kind"), o->output_kind, "What y holds")
      ->capture_default_str()
      ->check(CLI::IsMember(names(kOutputKinds)));
  command->add_option("--backend", o->backend, "Where to run")->capture_default_str()->check(CLI::IsMember(names(kDevices)));
  add_number(command, "--rows", &o->rows, "Rows; -1: any");
  add_number(command, "--n", &o->n, "Row length; -1: any");
  command->add_option("--impl", o->impl, "Ask about this implementation only")->check(names_something);
  command->final_callback([o, state] { explain(*o, state); });
}

}  // namespace kilter::cli

// kilter explain: the walk through a function's implementation list, with every refusal's reason.
#include <fmt/core.h>

#include <map>
#include <memory>

#include "check/check.h"
#include "kilter/op.h"

namespace kilter::cli {
namespace {

struct ExplainOptions {
  OpCall call;
  std::map<std::string, std::pair<CLI::Option*, DType>> types;  // of tensors, by name
  SizeOptions sizes;
  Layout layout = kChannelsFirst;
  std::vector<std::string> features;
  std::string output_kind = "plain";
};

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

std::vector<std::string> feature_names(const std::string& op) {
  std::vector<std::string> names;
  for (const Feature& f : features_of(*check::function_of(op, false)->schema)) names.push_back(f.name);
  return names;
}

std::unique_ptr<Question> question_of(const ExplainOptions& o) {
  check::Arguments arguments = o.call.arguments();
  const Schema& schema = arguments.schema();
  for (const std::string& list : o.features)
    for (const std::string& name : items(list)) {
      const Field* field = nullptr;
      for (const Feature& f : features_of(schema))
        if (name == f.name) field = f.field, arguments.set(*field, f.value);
      if (!field) usage(fmt::format("--features: expected features of {}, got {}", o.call.what(), name));
    }
  check::Sizes sizes(schema);
  for (int i = 0; i < schema.size_count; ++i) sizes.set(schema.sizes[i], o.sizes.at(schema.sizes[i].name));
  sizes.dim = o.call.dim();
  int device = 0;
  for (const Named& d : kDevices)
    if (o.call.backend == d.name) device = d.value;
  const auto& base = o.types.at(t_name(o.call.op));
  const auto& t = o.types.at(schema.fields[schema.t].name);
  auto question = std::make_unique<Question>(std::move(arguments), t.first->count() ? t.second : base.second, kilter_device{device, 0},
                                             sizes, o.layout);
  for (const auto& [name, given] : o.types) {
    if (!given.first->count() || given.second == DType::none) continue;
    const Field* const field = check::field_of(schema, name);
    if (!field) usage(fmt::format("{}: expected a tensor of {}, which has none of that name", given.first->get_name(), o.call.what()));
    question->add(*field, dlpack_of(given.second));
  }
  for (const OutputKind& kind : kOutputKinds)
    if (o.output_kind == kind.name) {
      const Field* const field = kind_field(schema);
      if (!field) usage(fmt::format("--output-kind: expected none of {}, got {}", o.call.what(), kind.name));
      question->add(*field, kind.type);
    }
  return question;
}

void explain(const ExplainOptions& o, State* state) {
  const std::unique_ptr<Question> question = question_of(o);
  std::vector<kilter_candidate> list;
  require(question->arguments().explain(&list));
  kilter_plan plan;
  const kilter_status status = question->arguments().ask(&plan);
  const std::string why = status == KILTER_OK ? "" : kilter_last_error();
  if (status != KILTER_OK && status != KILTER_UNSUPPORTED) require(status);
  Json walk = Json::array();
  int number = 0;
  for (const kilter_candidate& c : list) {
    walk.push_back({{"impl", c.impl}, {"reason", c.reason ? Json(c.reason) : Json(nullptr)}});
    if (state->json) continue;
    const std::string verdict = c.reason                                             ? std::string("refuses: ") + c.reason
                                : !o.call.impl.empty() && o.call.impl != c.impl      ? "not asked for"
                                : plan.impl && std::string_view(plan.impl) == c.impl ? "runs"
                                                                                     : "could run";
    fmt::print("{:2}. {:<16} {}\n", ++number, c.impl, verdict);
  }
  if (state->json)
    print_json({{"op", o.call.op},
                {"direction", o.call.backward ? "backward" : "forward"},
                {"chosen", plan.impl ? Json(plan.impl) : Json(nullptr)},
                {"walk", walk}});
  if (status == KILTER_OK) return;
  state->exit_code = kExitUnsupported;
  fmt::print(stderr, "kilter explain: {}\n", why);
}

void add_explain_op(CLI::App* command, const std::string& op, State* state) {
  auto o = std::make_shared<ExplainOptions>();
  o->call.op = op;
  add_op_call(command, &o->call);
  add_backend(command, &o->call);
  const std::string t = t_name(op);
  for (const OpField& f : fields_of(op)) {
    if (!check::is_tensor(f.any())) continue;
    auto& [option, type] = o->types[f.name];
    type = f.name == t ? check::types_of_t(op)[0] : DType::none;
    const std::string usual = f.name == t                  ? dtype_name(type)
                              : f.name == t_name(op, true) ? t + "'s"
                              : f.any().required           ? "its usual"
                                                           : "none";
    option = add_dtype(command, option_names(std::string(f.name) + "_dtype"), &type,
                       fmt::format("{} of {} [{}]",
                                   f.in[0] && f.in[1] ? "Type"
                                   : f.in[0]          ? "Forward: type"
                                                      : "Backward: type",
                                   f.name, usual),
                       f.name != t, types_of(f.any()));
  }
  const std::vector<std::string> features = feature_names(op);
  std::string listed;
  for (const std::string& f : features) listed += (listed.empty() ? "" : ",") + f;
  command->add_option("--features", o->features, "Features of the call, with commas between them")
      ->check([features](const std::string& list) {
        for (std::string name : items(list))
          if (std::string why = CLI::IsMember(features)(name); !why.empty()) return why;
        return std::string();
      })
      ->type_name("{" + listed + "}");
  std::vector<std::string> kinds{"plain"};
  for (const OutputKind& kind : kOutputKinds) kinds.push_back(kind.name);
  command->add_option(option_names("output_kind"), o->output_kind, "What the output holds")
      ->capture_default_str()
      ->check(CLI::IsMember(kinds));
  add_sizes(command, op, &o->sizes, "Size, an example unless it is given");
  if (has_planes(op)) add_layout(command, &o->layout);
  command->final_callback([o, state] { explain(*o, state); });
}

}  // namespace

void add_explain(CLI::App& app, State* state) {
  CLI::App* command =
      add_command(app, state, "explain", "Which implementation takes a call, and why others do not; exit code 4 if none does",
                  "kilter explain layer_norm --x-dtype bf16 --rows 4096 --n 768 --activation silu");
  add_ops(command, [state](CLI::App* sub, const std::string& op) { add_explain_op(sub, op, state); });
}

}  // namespace kilter::cli

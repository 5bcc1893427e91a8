// kilter check: any implementation against the float64 reference; the work is in tools/check.
#include "check/check.h"

#include <fmt/core.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <memory>

#include "kilter/op.h"
#include "kilter/progress.h"

namespace kilter::cli {
namespace {

using check::Case;
using check::Measure;
using check::Report;

struct CheckOptions {
  OpCall call;
  Case c;
  SizeOptions sizes;  // of planes
  std::string fill = "normal";
  bool all = false;
  struct Tensor {
    OpField field;
    CLI::Option* given = nullptr;  // its type
    DType type = DType::none;
    bool wanted = false, unwanted = false;  // --NAME, --no-NAME
  };
  std::deque<Tensor> tensors;
};

std::string plain(std::string unit) {  // without the escapes for Markdown tables
  unit.erase(std::remove(unit.begin(), unit.end(), '\\'), unit.end());
  return unit;
}

Json to_json(const Case& c, const Report& r) {
  Json json{{"command", check::command(c)}, {"seed", c.seed}, {"impl", r.impl}, {"target", r.target}, {"passed", r.passed}};
  for (const Measure& m : r.outputs)
    json["outputs"].push_back({{"name", m.output},
                               {"dtype", dtype_name(m.dtype)},
                               {"error", number(m.error)},
                               {"bound", m.bound},
                               {"unit", plain(m.unit)},
                               {"row", m.sum ? Json(nullptr) : Json(c.first_row + m.row)},
                               {"element", m.index},
                               {"got", number(m.got)},
                               {"expected", number(m.expected)},
                               {"passed", m.passed()}});
  json["problems"] = r.problems;
  json["notes"] = r.notes;
  return json;
}

Report run_case(const Case& c) {
  const Schema& s = *check::function_of(c.op, false)->schema;
  std::string sizes;
  for (int i = 0; i < s.size_count; ++i) sizes += fmt::format("{}{} {}", i ? ", " : "", s.sizes[i].name, c.size(s.sizes[i].name));
  require_memory(check::bytes_needed(c), sizes);
  Report r = check::run(c);
  if (r.status != KILTER_OK) throw Error(exit_code_of(r.status), r.status, r.message);
  return r;
}

void run_one(const Case& c, State* state) {
  const Report r = run_case(c);
  if (state->json)
    print_json(to_json(c, r));
  else
    fmt::print("{}", check::describe(c, r));
  if (!r.passed) state->exit_code = kExitCheckFailed;
}

// Both directions, every fill and type, widths around the kernels' boundaries, and the op's sets of features.
std::vector<Case> sweep(const Case& base) {
  struct Size {
    int64_t rows, n;
  };
  constexpr Size kSizes[] = {{5, 1}, {5, 2}, {7, 31}, {7, 33}, {9, 256}, {40, 768}, {7, 1023}, {17, 1025}, {17, 4097}, {300, 64}};
  // One group, one per channel, groups of 1, 3, 10 channels and more; groups of one element, of less and of more than any block's.
  struct Planes {
    int64_t batch, channels, spatial, groups;
  };
  constexpr Planes kPlanes[] = {{3, 4, 1, 4},    {3, 64, 1, 2},  {2, 1, 49, 1},   {2, 9, 49, 3},   {2, 10, 49, 1},
                                {2, 32, 49, 32}, {2, 40, 64, 4}, {2, 6, 1025, 2}, {2, 3, 1025, 3}, {1, 20, 1025, 2}};
  static_assert(std::size(kSizes) == std::size(kPlanes));
  const bool planes = has_planes(base.op);
  std::vector<Case> cases;
  for (const bool backward : {false, true})
    for (const DType x : check::types_of_t(base.op))
      for (const check::Fill fill : check::kFills)
        for (size_t size = 0; size < std::size(kSizes); ++size)
          for (int variant = 0; variant < check::kVariants; ++variant) {
            Case c = base;
            c.backward = backward, c.x = x, c.fill = fill, c.rows = kSizes[size].rows, c.n = kSizes[size].n;
            if (planes) {
              const Planes& p = kPlanes[size];
              c.sizes = {{"batch", p.batch}, {"channels", p.channels}, {"spatial", p.spatial}, {"groups", p.groups}};
              c.layout = cases.size() % 2 ? kChannelsLast : kChannelsFirst;
            }
            c.seed = base.seed + uint64_t(cases.size());
            check::find_op(c.op)->vary(&c, variant);
            cases.push_back(c);
          }
  return cases;
}

void run_all(const Case& base, State* state) {
  const std::vector<Case> cases = sweep(base);
  // The worst share of its bound per output, type and direction.
  struct Worst {
    Measure measure;
    Case c;
    int64_t cases = 0, missed = 0;
  };
  std::map<std::string, Worst> worst;
  std::vector<std::pair<Case, Report>> failed;
  {
    Progress progress(cases.size());
    for (const Case& c : cases) {
      const Report r = run_case(c);
      for (const Measure& m : r.outputs) {
        Worst& w =
            worst[fmt::format("{:8} {:4} {:21} bound {:<4}", c.backward ? "backward" : "forward", dtype_name(m.dtype), m.output, m.bound)];
        if (w.cases++ == 0 || m.error > w.measure.error) w.measure = m, w.c = c;
        w.missed += !m.passed();
      }
      if (!r.passed) failed.emplace_back(c, r);
      progress.step(check::command(c));
    }
  }
  if (!failed.empty()) state->exit_code = kExitCheckFailed;
  if (state->json) {
    Json json{{"op", base.op}, {"cases", cases.size()}, {"failed", failed.size()}, {"passed", failed.empty()}};
    for (const auto& [key, w] : worst)
      json["worst"].push_back({{"direction", w.c.backward ? "backward" : "forward"},
                               {"name", w.measure.output},
                               {"dtype", dtype_name(w.measure.dtype)},
                               {"error", number(w.measure.error)},
                               {"bound", w.measure.bound},
                               {"missed", w.missed},
                               {"command", check::command(w.c)}});
    for (const auto& [c, r] : failed) json["failures"].push_back(to_json(c, r));
    return print_json(json);
  }
  for (const auto& [key, w] : worst) {
    fmt::print("{}  worst {:<9.4g} in {} cases", key, w.measure.error, w.cases);
    if (w.missed) fmt::print(", {} MISSED: {}", w.missed, check::command(w.c));
    fmt::print("\n");
  }
  constexpr size_t kShown = 5;
  for (size_t i = 0; i < failed.size() && i < kShown; ++i) fmt::print("\n{}", check::describe(failed[i].first, failed[i].second));
  if (failed.size() > kShown) fmt::print("\n... and {} more\n", failed.size() - kShown);
  fmt::print("\n{}: {} cases, {} failed\n", base.op, cases.size(), failed.size());
}

// What a case can have or lack: neither what a direction must have nor what follows another tensor.
bool is_choice(const OpField& f) {
  const bool follows = f.is_output() && f.any().needs >= 0, optional_input = f.in[0] && !f.in[0]->output && !f.in[0]->required;
  const bool must = (f.in[0] && f.in[0]->required) || (f.in[1] && f.in[1]->required && !optional_input);
  return check::is_tensor(f.any()) && !follows && !must;
}

// The tensor's type, none among them; --NAME and --no-NAME for those that are usually absent, or there.
void add_tensor(CLI::App* command, const OpField& f, CheckOptions* o) {
  CheckOptions::Tensor& t = o->tensors.emplace_back(CheckOptions::Tensor{f});
  const Field& any = f.any();
  const bool rows = any.shapes[0].any >= 0, usual = check::is_usual(any), lengths = any.shapes[0].more >= 0;
  const std::string when = f.in[0] ? "" : "backward: ", names = option_names(std::string(f.name) + "_dtype");
  std::vector<CLI::Option*> options;
  t.given = add_dtype(command, rows && !usual ? names + "," + option_names(f.name) : names, &t.type,
                      fmt::format("{}type of {} [{}]", when, f.name, usual ? "its usual" : "none"), true, types_of(any));
  options.push_back(t.given);
  if (!rows && !usual && !lengths)
    options.push_back(
        command->add_flag(option_names(f.name), t.wanted, fmt::format("{}{} in the type of the vector before it, or T", when, f.name)));
  if (usual)
    options.push_back(
        command->add_flag(option_names("no_" + std::string(f.name)), t.unwanted, fmt::format("{}do not ask for {}", when, f.name)));
  for (CLI::Option* option : options)
    if (!f.in[0]) option->needs(command->get_option("--backward"));
}

Case case_of(const CheckOptions& o) {
  Case c = o.c;
  c.op = o.call.op, c.backward = o.call.backward, c.impl = o.call.impl;
  c.fill = *check::fill_named(o.fill);
  c.sizes.insert(o.sizes.begin(), o.sizes.end());
  for (const OpCall::Number& n : o.call.numbers)
    if (n.option->count()) c.numbers[n.name] = n.value;
  DType vector = c.x;  // of the vector before
  for (const CheckOptions::Tensor& t : o.tensors) {
    if (t.given->count()) c[t.field.name] = t.type;
    if (t.wanted && !t.given->count()) c[t.field.name] = vector;
    if (t.unwanted) c[t.field.name] = DType::none;
    if (t.field.any().shapes[0].any < 0 && t.field.any().shapes[0].more < 0 && !t.field.is_output() && c.has(t.field.name))
      vector = c.type(t.field.name);
  }
  return c;
}

void add_check_op(CLI::App* command, const std::string& op, State* state) {
  auto o = std::make_shared<CheckOptions>();
  o->call.op = op;
  Case& c = o->c;
  c.x = check::types_of_t(op)[0];
  const std::string t = fmt::format("--{}-dtype", t_name(op));
  std::vector<std::string> fills;
  for (check::Fill fill : check::kFills) fills.push_back(check::fill_name(fill));
  const bool planes = has_planes(op);
  if (planes) {
    add_sizes(command, op, &o->sizes, "Size");
    add_layout(command, &c.layout);
    add_number(command, "--first-sample", &c.first_row, "Number of the first sample: a sample's numbers depend on seed and number only");
  } else {
    add_number(command, "--rows", &c.rows, "Rows");
    add_number(command, "--n", &c.n, "Row length");
    const Schema& s = *check::function_of(op, false)->schema;
    for (int i = 0; i < s.size_count; ++i)
      if (s.sizes[i].shared) {
        int64_t& size = o->sizes[s.sizes[i].name] = check::usual_size(s.sizes[i].name);
        add_number(command, fmt::format("--{}", s.sizes[i].name), &size,
                   fmt::format("Rows of scale: of as many neighbours each, or, with --{}-dtype, of some", s.sizes[i].name));
      }
    add_number(command, "--first-row", &c.first_row, "Number of the first row: a row's numbers depend on seed and number only");
  }
  add_dtype(command, t, &c.x, fmt::format("T [{}]", dtype_name(c.x)));
  command->add_option("--fill", o->fill, fmt::format("Kind of numbers in {}", t_name(op)))
      ->capture_default_str()
      ->check(CLI::IsMember(fills));
  add_number(command, "--seed", &c.seed, "Seed");
  add_op_call(command, &o->call);
  command->add_option("--target", c.target, "The SIMD target, by its name in kilter info")->check(names_something);
  add_number(command, "--threads", &c.threads, "0: what OpenMP would take");
  for (const OpField& f : fields_of(op))
    if (is_choice(f)) add_tensor(command, f, o.get());
  command->add_flag("--all", o->all, "A sweep over directions, types, fills, widths and features");
  for (const std::string& name : {std::string("--backward"), t, std::string("--fill")}) command->get_option(name)->excludes("--all");
  const Schema& schema = *check::function_of(op, false)->schema;
  for (int i = 0; i < schema.size_count; ++i) command->get_option(fmt::format("--{}", schema.sizes[i].name))->excludes("--all");
  if (planes) command->get_option("--layout")->excludes("--all");
  command->final_callback([o, state] {
    const Case c = case_of(*o);
    const Schema& s = *check::function_of(c.op, c.backward)->schema;
    std::string given;
    bool negative = c.first_row < 0;
    for (int i = 0; i < s.size_count; ++i)
      given += fmt::format("{}, ", c.size(s.sizes[i].name)), negative = negative || c.size(s.sizes[i].name) < 0;
    if (negative)
      throw Error(kExitInvalidArgument, KILTER_INVALID_ARGUMENT,
                  fmt::format("{}, {}: expected numbers >= 0, got {}{}", check::sizes_text(s),
                              check::has_planes(s) ? "first-sample" : "first-row", given, c.first_row));
    o->all ? run_all(c, state) : run_one(c, state);
  });
}

}  // namespace

void add_check(CLI::App& app, State* state) {
  CLI::App* command = add_command(app, state, "check", "Compare an implementation with the float64 reference",
                                  "kilter check layer_norm --rows 7 --n 4097 --x-dtype bf16 --fill offset --seed 3 --impl cpu:rowwise\n"
                                  "  kilter check rms_norm --all");
  add_ops(command, [state](CLI::App* sub, const std::string& op) { add_check_op(sub, op, state); });
}

}  // namespace kilter::cli

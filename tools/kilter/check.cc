// kilter check: any implementation against the float64 reference; the work is in tools/check.
#include "check/check.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <memory>

#include "kilter/command.h"
#include "kilter/progress.h"

namespace kilter::cli {
namespace {

using check::Case;
using check::Measure;
using check::Report;

struct CheckOptions {
  OpOptions op;
  Case c;
  std::string fill = "normal", rounding = "once";
  bool all = false, no_dx = false, no_dweight = false, no_dbias = false;
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
                               {"row", m.output == "dweight" || m.output == "dbias" ? Json(nullptr) : Json(c.first_row + m.row)},
                               {"element", m.index},
                               {"got", number(m.got)},
                               {"expected", number(m.expected)},
                               {"passed", m.passed()}});
  json["problems"] = r.problems;
  json["notes"] = r.notes;
  return json;
}

Report run_case(const Case& c) {
  require_memory(check::bytes_needed(c), fmt::format("rows {}, n {}", c.rows, c.n));
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

// Both directions, every fill and type, widths around the kernels' boundaries, and five sets of features.
std::vector<Case> sweep(const Case& base) {
  struct Size {
    int64_t rows, n;
  };
  constexpr Size kSizes[] = {{5, 1}, {5, 2}, {7, 31}, {7, 33}, {9, 256}, {40, 768}, {7, 1023}, {17, 1025}, {17, 4097}, {300, 64}};
  std::vector<Case> cases;
  for (const bool backward : {false, true})
    for (const DType x : {DType::f32, DType::bf16, DType::f16, DType::f64})
      for (const check::Fill fill : check::kFills)
        for (const Size size : kSizes)
          for (int variant = 0; variant < 5; ++variant) {
            Case c = base;
            c.backward = backward, c.x = x, c.fill = fill, c.rows = size.rows, c.n = size.n;
            c.seed = base.seed + uint64_t(cases.size());
            if (variant == 1) c.weight = x, c.bias = true;
            if (variant == 2) c.weight = c.residual = c.dresidual = DType::f32, c.bias = true, c.dresidual_out = x;
            if (variant == 3) c.weight = c.post_residual = c.dweight = x, c.weight_offset = 1, c.round_then_multiply = true;
            if (variant == 4) c.eps = x == DType::f64 ? 1e-300 : 1e-12;
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

}  // namespace

void add_check(CLI::App& app, State* state) {
  auto o = std::make_shared<CheckOptions>();
  Case& c = o->c;
  CLI::App* command = add_command(app, state, "check", "Compare an implementation with the float64 reference",
                                  "kilter check layer_norm --rows 7 --n 4097 --x-dtype bf16 --fill offset --seed 3 --impl cpu:rowwise\n"
                                  "  kilter check rms_norm --all");
  add_op(command, &o->op);
  std::vector<std::string> fills;
  for (check::Fill fill : check::kFills) fills.push_back(check::fill_name(fill));
  add_number(command, "--rows", &c.rows, "Rows");
  add_number(command, "--n", &c.n, "Row length");
  add_number(command, "--first-row", &c.first_row, "Number of the first row: a row's numbers depend on seed and number only");
  add_dtype(command, "--x-dtype", &c.x, "T [fp32]");
  command->add_option("--fill", o->fill, "Kind of numbers in x")->capture_default_str()->check(CLI::IsMember(fills));
  add_number(command, "--seed", &c.seed, "Seed");
  add_dtype(command, "--weight-dtype", &c.weight, "A weight of this type [none]", true);
  command->add_flag("--bias", c.bias, "A bias, of weight's type");
  add_dtype(command, "--residual", &c.residual, "A residual of this type before the norm [none]", true);
  add_dtype(command, option_names("post_residual"), &c.post_residual, "A residual of this type after the norm [none]", true);
  add_number(command, option_names("weight_offset"), &c.weight_offset, "Added to weight");
  command->add_option("--rounding", o->rounding, "Rounding order")->capture_default_str()->check(CLI::IsMember({"once", "then-multiply"}));
  add_number(command, "--eps", &c.eps, "Added to the variance");
  command->add_option("--impl", c.impl, "The implementation, by its name in kilter explain")->check(names_something);
  command->add_option("--target", c.target, "The SIMD target, by its name in kilter info")->check(names_something);
  add_number(command, "--threads", &c.threads, "0: what OpenMP would take");
  add_dtype(command, "--dweight-dtype", &c.dweight, "Backward: type of dweight and dbias [fp32; weight's for fp64]", true);
  add_dtype(command, option_names("dresidual_out"), &c.dresidual_out, "Backward: a dresidual_out of this type [none]", true);
  add_dtype(command, "--dresidual", &c.dresidual, "Backward: a dresidual of this type [none]", true);
  command->add_flag("--no-dx", o->no_dx, "Backward: do not ask for dx");
  command->add_flag("--no-dweight", o->no_dweight, "Backward: do not ask for dweight");
  command->add_flag("--no-dbias", o->no_dbias, "Backward: do not ask for dbias");
  command->add_flag("--all", o->all, "A sweep over directions, types, fills, widths and features");
  const CLI::Option* backward = command->get_option("--backward");
  for (const std::string& name : {std::string("--dweight-dtype"), option_names("dresidual_out"), std::string("--dresidual"),
                                  std::string("--no-dx"), std::string("--no-dweight"), std::string("--no-dbias")})
    command->get_option(name.substr(0, name.find(',')))->needs(const_cast<CLI::Option*>(backward));
  for (const char* name : {"--backward", "--rows", "--n", "--x-dtype", "--fill"}) command->get_option(name)->excludes("--all");
  command->final_callback([o, state] {
    Case& c = o->c;
    c.op = o->op.op, c.backward = o->op.backward;
    c.fill = *check::fill_named(o->fill);
    c.round_then_multiply = o->rounding != "once";
    c.want_dx = !o->no_dx, c.want_dweight = !o->no_dweight, c.want_dbias = !o->no_dbias;
    if (c.rows < 0 || c.n < 0 || c.first_row < 0)
      throw Error(kExitInvalidArgument, KILTER_INVALID_ARGUMENT,
                  fmt::format("rows, n, first-row: expected numbers >= 0, got {}, {}, {}", c.rows, c.n, c.first_row));
    o->all ? run_all(c, state) : run_one(c, state);
  });
}

}  // namespace kilter::cli

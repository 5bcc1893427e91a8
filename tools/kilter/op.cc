#include "kilter/op.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>

#include "check/check.h"

namespace kilter::cli {
namespace {

std::string with_underscores(std::string word) {
  std::replace(word.begin(), word.end(), '-', '_');
  return word;
}

std::string joined(const std::vector<std::string>& words, const char* by) {
  std::string s;
  for (const std::string& w : words) s += (s.empty() ? "" : by) + w;
  return s;
}

std::string size_help(const Schema& s, int i, const std::string& help) {
  for (int k = 0; k < s.count; ++k)
    if (s.fields[k].kind == Kind::count && s.fields[k].size == i) return s.fields[k].help;
  return help;
}

void add_choice(CLI::App* command, const OpField& f, OpCall::Number* n) {
  const std::vector<std::string> words = check::words_of(f.any().words);
  const auto index = [words](const std::string& text) {
    return std::find(words.begin(), words.end(), with_underscores(text)) - words.begin();
  };
  n->option = command
                  ->add_option_function<std::string>(
                      option_names(f.name), [n, index](const std::string& text) { n->value = double(index(text)); }, f.help())
                  ->check([words, index](const std::string& text) {
                    return size_t(index(text)) < words.size() ? "" : fmt::format("{} not in {{{}}}", text, joined(words, ","));
                  })
                  ->type_name("{" + joined(words, ",") + "}")
                  ->default_str(words[size_t(n->value)]);
}

void add_integer(CLI::App* command, const OpField& f, OpCall::Number* n) {
  n->option = add_number(command, option_names(f.name), &n->whole, f.help());
  n->option->each([n](const std::string& text) { n->value = std::strtod(text.c_str(), nullptr); });
}

// A dimension, or none.
void add_axis(CLI::App* command, const OpField& f, OpCall::Number* n) {
  n->option =
      command
          ->add_option_function<std::string>(
              option_names(f.name),
              [n](const std::string& text) { n->value = text == "none" ? double(KILTER_DIM_NONE) : std::strtod(text.c_str(), nullptr); },
              fmt::format("{}: a number, from the end if negative, or none", f.help()))
          ->check([](const std::string& text) {
            const bool number = text.find_first_not_of("0123456789", text.starts_with("-")) == text.npos && text.size() < 10;
            return text == "none" || (number && text != "-" && !text.empty()) ? "" : fmt::format("{}: expected a number or none", text);
          })
          ->type_name("{D,none}")
          ->default_str("0");
}

void add_switch(CLI::App* command, const OpField& f, OpCall::Number* n) {
  std::string names = option_names(f.name);
  for (const std::string& name : check::words_of(option_names("no_" + std::string(f.name)), ',')) names += ",!" + name;
  n->option = command->add_flag_function(
      names, [n](int64_t times) { n->value = times > 0; }, f.help());
}

}  // namespace

void usage(const std::string& message) { throw Error(kExitUsage, KILTER_INVALID_ARGUMENT, message); }

std::string OpField::help() const {
  if (!in[0]) return fmt::format("backward: {}", in[1]->help);
  const bool same = !in[1] || std::string_view(in[1]->help).starts_with("as in forward");
  return same ? in[0]->help : fmt::format("{}; backward: {}", in[0]->help, in[1]->help);
}

std::vector<OpField> fields_of(const std::string& op) {
  std::vector<OpField> list;
  for (const bool backward : {false, true}) {
    const Schema& s = *check::function_of(op, backward)->schema;
    for (int i = 0; i < s.count; ++i) {
      const auto same =
          std::find_if(list.begin(), list.end(), [&](const OpField& f) { return std::string_view(f.name) == s.fields[i].name; });
      OpField& f = same != list.end() ? *same : list.emplace_back(OpField{s.fields[i].name, {}});
      f.in[backward] = &s.fields[i];
    }
  }
  return list;
}

std::string t_name(const std::string& op, bool backward) {
  const Schema& s = *check::function_of(op, backward)->schema;
  return s.fields[s.t].name;
}

check::Arguments OpCall::arguments() const {
  check::Arguments a(function());
  for (const Number& n : numbers) {
    const Field* const f = check::field_of(a.schema(), n.name);
    if (!f && !n.option->count()) continue;
    if (!f) usage(fmt::format("--{}: expected a number of {}, which has none of that name", n.name, what()));
    a.set(*f, n.value);
  }
  a.set_impl(impl.empty() ? nullptr : impl.c_str());
  return a;
}

int64_t OpCall::dim() const {
  for (const Number& n : numbers)
    if (const Field* const f = check::field_of(*function().schema, n.name); f && f->kind == Kind::axis) return int64_t(n.value);
  return 0;
}

void add_ops(CLI::App* command, const std::function<void(CLI::App*, const std::string& op)>& add) {
  const std::vector<std::string> ops = check::op_names();
  for (const std::string& op : ops) {
    CLI::App* const sub = command->add_subcommand(op, fmt::format("{}; its options: kilter {} {} --help", op, command->get_name(), op));
    sub->fallthrough();  // --json
    add(sub, op);
  }
  // What is no subcommand lands here, and is told what there is; so does the value of an option that the op lacks.
  command->add_option("op", "The op")
      ->check([command](const std::string&) -> std::string {
        const std::vector<std::string> rest = command->remaining(true);
        if (!rest.empty() && !command->get_subcommands().empty()) throw CLI::ExtrasError(rest);
        return "";
      })
      ->check(CLI::IsMember(ops));
  command->require_subcommand(0, 1);
  command->final_callback([command] {
    if (command->get_subcommands().empty()) throw CLI::RequiredError("op");
  });
}

void add_op_call(CLI::App* command, OpCall* call) {
  command->add_flag("--backward", call->backward, "The gradients instead of the forward pass");
  for (const OpField& f : fields_of(call->op)) {
    if (!check::is_number(f.any())) continue;
    const double value = call->by_table ? f.any().fallback : check::usual_number(f.any());
    OpCall::Number& n = call->numbers.emplace_back(OpCall::Number{f.name, nullptr, value});
    if (f.any().kind == Kind::real)
      n.option = add_number(command, option_names(f.name), &n.value, f.help());
    else if (f.any().kind == Kind::integer)
      add_integer(command, f, &n);
    else if (f.any().kind == Kind::axis)
      add_axis(command, f, &n);
    else if (check::is_switch(f.any()))
      add_switch(command, f, &n);
    else
      add_choice(command, f, &n);
  }
  command->add_option("--impl", call->impl, "The implementation, by its name in kilter explain")->check(names_something);
}

void add_backend(CLI::App* command, OpCall* call) {
  command->add_option("--backend", call->backend, "Where to run")->capture_default_str()->check(CLI::IsMember({"cpu", "cuda", "metal"}));
}

void add_sizes(CLI::App* command, const std::string& op, SizeOptions* values, const std::string& help) {
  for (const bool backward : {false, true}) {
    const Schema& s = *check::function_of(op, backward)->schema;
    for (int i = 0; i < s.size_count; ++i)
      if (const auto [at, added] = values->emplace(s.sizes[i].name, example_size(s.sizes[i])); added)
        add_number(command, fmt::format("--{}", at->first), &at->second, size_help(s, i, help));
  }
}

bool has_planes(const std::string& op) { return check::has_planes(*check::function_of(op, false)->schema); }

CLI::Option* add_layout(CLI::App* command, Layout* layout) {
  return command
      ->add_option_function<std::string>(
          "--layout", [layout](const std::string& name) { *layout = name == "nhwc" ? kChannelsLast : kChannelsFirst; },
          "How samples lie: channels first or last")
      ->check(CLI::IsMember({"nchw", "nhwc"}))
      ->type_name("{nchw,nhwc}")
      ->default_str("nchw");
}

Question::Question(check::Arguments arguments, DType t, kilter_device device, const check::Sizes& sizes, Layout layout)
    : arguments_(std::move(arguments)), device_(device), sizes_(sizes), layout_(layout) {
  sizes_.layout = layout;
  const Schema& s = arguments_.schema();
  arguments_.set_counts(sizes);
  add(s.fields[s.t], dlpack_of(t));
  for (int i = 0; i < s.count; ++i)
    if (s.fields[i].required && i != s.t) add(s.fields[i], dlpack_of(arguments_.usual_type(s.fields[i])));
  complete();
}

void Question::complete() {
  kilter_plan plan;
  if (arguments_.ask(&plan) != KILTER_INVALID_ARGUMENT) return;
  const Schema& s = arguments_.schema();
  if (guessed_) {  // for other numbers
    arguments_.tensor(*guessed_) = {}, guessed_ = nullptr;
    if (arguments_.ask(&plan) != KILTER_INVALID_ARGUMENT) return;
  }
  const check::Arguments before = arguments_;
  for (int i = 0; i < s.count; ++i) {
    const Field& f = s.fields[i];
    const bool follows = f.needs >= 0 || std::string_view(f.types_text) == "stat";  // from numbers, not from a caller's choice
    if (!check::is_tensor(f) || f.output || !follows || arguments_.type_of(f) != DType::none) continue;
    add(f, dlpack_of(arguments_.usual_type(f)));
    guessed_ = f.needs < 0 ? &f : nullptr;
    if (arguments_.ask(&plan) != KILTER_INVALID_ARGUMENT) return;
    guessed_ = nullptr;
    arguments_ = before;
  }
}

void Question::add(const Field& field, kilter_dtype type) {
  std::vector<int64_t>& shape = shapes_.emplace_back(sizes_.shape_of(field));
  const bool last = field.shapes[0].is_planes() && layout_ == kChannelsLast;
  int64_t* const strides = last ? strides_.emplace_back(channels_last_strides(shape)).data() : nullptr;
  arguments_.tensor(field) = {nullptr, device_, int32_t(shape.size()), type, shape.data(), strides, 0};
  if (field.shapes[0].more >= 0 && !sizes_.by_lengths()) {  // all others have other shapes then
    sizes_.set_by_lengths(true);
    const Schema& s = arguments_.schema();
    for (int i = 0; i < s.count; ++i)
      if (check::is_tensor(s.fields[i]) && arguments_.type_of(s.fields[i]) != DType::none)
        add(s.fields[i], arguments_.tensor(s.fields[i]).dtype);
  }
  if (field.needs < 0) return;
  const Field& needed = arguments_.schema().fields[field.needs];
  if (arguments_.type_of(needed) == DType::none) add(needed, dlpack_of(arguments_.usual_type(needed)));
}

const Field* kind_field(const Schema& schema) {
  for (int i = 0; i < schema.count; ++i)
    if (schema.fields[i].output && schema.fields[i].required) return &schema.fields[i];
  return nullptr;
}

std::vector<Feature> features_of(const Schema& schema) {
  std::vector<Feature> list;
  for (int i = 0; i < schema.count; ++i) {
    const Field& f = schema.fields[i];
    if (f.kind == Kind::real && f.fallback == 0) list.push_back({f.name, &f, 1});
    if (check::is_switch(f)) {
      const bool usual = check::usual_number(f) != 0;
      list.push_back({(usual ? "no_" : "") + std::string(f.name), &f, usual ? 0.0 : 1.0});
      continue;
    }
    const std::vector<std::string> words = check::words_of(f.kind == Kind::choice ? f.words : "");
    for (size_t v = 1; v < words.size(); ++v)
      list.push_back({words[v].starts_with("then_") ? "round_" + words[v] : words[v], &f, double(v)});  // an order of rounding
  }
  return list;
}

int64_t example_size(const Size& size) {
  const std::string_view name = size.name;
  return name == "n" ? kExampleLength : name == "rows" ? kExampleRows : check::usual_size(name);
}

check::Sizes example_sizes(const Schema& schema) {
  check::Sizes sizes(schema);
  for (int i = 0; i < schema.size_count; ++i) sizes.set(schema.sizes[i], example_size(schema.sizes[i]));
  return sizes;
}

std::vector<int64_t> channels_last_strides(const std::vector<int64_t>& shape) {
  std::vector<int64_t> strides(shape.size());
  int64_t stride = 1;
  const auto place = [&](size_t d) { strides[d] = stride, stride *= shape[d]; };
  place(1);
  for (size_t d = shape.size(); d-- > 2;) place(d);
  place(0);
  return strides;
}

}  // namespace kilter::cli

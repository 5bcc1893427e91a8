// kilter schema: the functions' tables as text, as JSON, and as the C++ argument structs of kilter.hpp.
#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <memory>

#include "check/arguments.h"
#include "kilter/command.h"

namespace kilter::cli {
namespace {

struct Listed {
  kilter_function_info info;
  std::vector<kilter_field> fields;
  std::string direction() const { return info.direction == KILTER_BACKWARD ? "backward" : "forward"; }
  std::string name() const { return info.op + ("_" + direction()); }
};

// As any binding has it; of these ops, or of all.
std::vector<Listed> listed(const std::vector<std::string>& ops) {
  std::vector<Listed> list;
  kilter_function_info info{};
  info.struct_size = sizeof info;
  for (size_t i = 0; kilter_function_at(i, &info) == KILTER_OK; ++i) {
    if (!ops.empty() && std::find(ops.begin(), ops.end(), info.op) == ops.end()) continue;
    list.push_back({info, {}});
    for (int k = 0; k < info.field_count; ++k) {
      kilter_field field{};
      field.struct_size = sizeof field;
      require(kilter_field_at(kilter_function(info.function), size_t(k), &field));
      list.back().fields.push_back(field);
    }
  }
  return list;
}

bool is(const kilter_field& f, std::string_view kind) { return kind == f.kind; }
bool is_switch(const kilter_field& f) { return std::string_view(f.words) == "no yes"; }
bool is_tensor(const kilter_field& f) { return is(f, "input") || is(f, "output"); }

// ---------------------------------------------------------------- text

void print_text(const Listed& l) {
  fmt::print("{} {}, function {}, {} bytes\n", l.info.op, l.direction(), l.info.function, l.info.args_size);
  for (const kilter_field& f : l.fields) {
    std::string rest;
    const auto add = [&](const std::string& text) { rest += (rest.empty() ? "" : "; ") + text; };
    if (&f == &l.fields[size_t(l.info.t)]) add("is T");
    if (f.required) add("required");
    if (is(f, "real")) add(fmt::format("{} if not given", f.fallback));
    if (is(f, "count")) add(fmt::format("divides {}", f.shape));
    if (*f.words) add(f.words);
    if (*f.may_be) add(fmt::format("may be {}", f.may_be));
    if (*f.needs) add(fmt::format("needs {}", f.needs));
    if (*f.gradient_of) add(fmt::format("gradient of {}", f.gradient_of));
    add(f.help);
    const std::string type = is_tensor(f) ? fmt::format("[{}] {}", f.shape, f.types) : "";
    fmt::print("{:>5}  {:<14} {:<7} {:<24} {}\n", f.offset, f.name, f.kind, type, rest);
  }
}

Json to_json(const Listed& l) {
  Json json{{"op", l.info.op}, {"direction", l.direction()}, {"function", l.info.function}, {"args_size", l.info.args_size}};
  json["t"] = l.fields[size_t(l.info.t)].name;
  for (const kilter_field& f : l.fields)
    json["fields"].push_back({{"name", f.name},
                              {"kind", f.kind},
                              {"help", f.help},
                              {"offset", f.offset},
                              {"required", f.required != 0},
                              {"shape", f.shape},
                              {"types", f.types},
                              {"may_be", f.may_be},
                              {"needs", f.needs},
                              {"gradient_of", f.gradient_of},
                              {"words", f.words},
                              {"fallback", f.fallback}});
  return json;
}

// ---------------------------------------------------------------- C++

// The enumerations that kilter.hpp has for choices.
std::string enumeration(const kilter_field& f) {
  constexpr std::pair<const char*, const char*> kNames[] = {
      {"rounding", "rounding_order"}, {"activation", "activation_kind"}, {"averaging", "averaging_kind"}, {"norm", "norm_kind"}};
  for (const auto& [field, name] : kNames)
    if (std::string_view(field) == f.name) return name;
  return "int32_t";
}

std::string member_of(const Listed& l, const kilter_field& f) {
  if (is_tensor(f)) {
    // One dimension, or one number per row: may go without a shape.
    const bool other =
        std::any_of(l.fields.begin(), l.fields.end(), [&](const kilter_field& g) { return std::string_view(f.shape) == g.name; });
    const bool vector = !other && check::words_of(check::words_of(f.shape, '|')[0]).size() == 1;
    return fmt::format("{}{}tensor {} = {{}};", is(f, "input") ? "const_" : "", vector ? "vector_" : "", f.name);
  }
  if (is(f, "real")) {
    const std::string fallback = f.fallback == KILTER_DEFAULT_EPS        ? "KILTER_DEFAULT_EPS"
                                 : f.fallback == KILTER_DEFAULT_MOMENTUM ? "KILTER_DEFAULT_MOMENTUM"
                                                                         : fmt::format("{}", f.fallback);
    return fmt::format("double {} = {};", f.name, fallback);
  }
  if (is_switch(f)) return fmt::format("bool {} = false;", f.name);
  if (is(f, "count") || is(f, "integer") || is(f, "axis")) return fmt::format("int64_t {} = 0;", f.name);
  if (is(f, "choice")) {
    const std::string type = enumeration(f);
    return fmt::format("{} {} = {};", type, f.name, type == "int32_t" ? "0" : type + "::" + check::words_of(f.words)[0]);
  }
  if (is(f, "flags")) {
    std::string names = f.name;
    names = names.substr(0, names.rfind("_flags"));
    for (char& c : names) c = char(std::toupper(static_cast<unsigned char>(c)));
    return fmt::format("uint64_t {} = 0;  // KILTER_{}_...", f.name, names);
  }
  if (is(f, "text")) return fmt::format("const char* {} = nullptr;", f.name);
  if (is(f, "memory")) return fmt::format("std::span<std::byte> {} = {{}};", f.name);
  return "";  // "bytes": of the memory before it; "reserved": zero
}

std::string conversion_of(const kilter_field& f, const std::string& memory) {
  if (is_tensor(f)) return fmt::format("{}.c(op, \"{}\")", f.name, f.name);
  if (is(f, "choice")) return fmt::format("int32_t({})", f.name);
  if (is(f, "memory")) return fmt::format("{}.data()", f.name);
  if (is(f, "bytes")) return fmt::format("{}.size()", memory);
  return f.name;
}

void print_struct(const Listed& l) {
  const std::string args = l.name() + "_args";
  std::string memory;
  fmt::print("struct {} {{\n", args);
  for (const kilter_field& f : l.fields)
    if (const std::string text = member_of(l, f); !text.empty()) fmt::print("  {}\n", text);
  fmt::print("\n  [[nodiscard]] kilter_{} c() const {{\n    const char* const op = \"{}\";\n", args, l.info.op);
  fmt::print("    kilter_{} a = {{}};\n    a.struct_size = sizeof a;\n", args);
  for (const kilter_field& f : l.fields) {
    if (is(f, "reserved")) continue;
    fmt::print("    a.{} = {};\n", f.name, conversion_of(f, memory));
    if (is(f, "memory")) memory = f.name;
  }
  fmt::print("    return a;\n  }}\n}};\n\n");
}

void print_call(const Listed& l) {
  const std::string name = l.name();
  std::string number = name;
  for (char& c : number) c = char(std::toupper(static_cast<unsigned char>(c)));
  fmt::print("inline void {}(const {}_args& args, kilter_stream stream = nullptr) {{\n", name, name);
  fmt::print("  const kilter_{}_args call = args.c();\n  check(kilter_{}(&call, stream));\n}}\n\n", name, name);
  for (const kilter_field& f : l.fields)
    if (is(f, "memory")) {
      fmt::print("// Bytes of {} for {} with these arguments (their own is not looked at).\n", f.name, name);
      fmt::print("[[nodiscard]] inline size_t {}_{}(const {}_args& args) {{\n", name, f.name, name);
      fmt::print("  const kilter_{}_args call = args.c();\n  return detail::workspace_of(KILTER_{}, &call);\n}}\n\n", name, number);
    }
}

}  // namespace

void add_schema(CLI::App& app, State* state) {
  auto cpp = std::make_shared<bool>(false);
  auto ops = std::make_shared<std::vector<std::string>>();
  CLI::App* command =
      add_command(app, state, "schema", "What each function of the library takes, as its table has it", "kilter schema --json");
  command->add_option("op", *ops, "These ops; all without one")->check(CLI::IsMember(check::op_names()));
  command->add_flag("--cpp", *cpp, "As the argument structs and calls of kilter.hpp");
  command->final_callback([cpp, ops, state] {
    const std::vector<Listed> functions = listed(*ops);
    if (state->json) {
      Json json = Json::array();
      for (const Listed& l : functions) json.push_back(to_json(l));
      return print_json({{"functions", json}});
    }
    if (!*cpp)
      for (const Listed& l : functions) {
        if (&l != &functions[0]) fmt::print("\n");
        print_text(l);
      }
    else
      for (const auto print : {print_struct, print_call})
        for (const Listed& l : functions) print(l);
  });
}

}  // namespace kilter::cli

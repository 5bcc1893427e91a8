#include "core/dispatch.h"

#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "core/dtype.h"

namespace kilter {

#define KILTER_OP(name) extern const OpInfo name##_op;
#include "kilter_ops.inc"
#undef KILTER_OP

namespace {

const OpInfo* const kOps[] = {
#define KILTER_OP(name) &name##_op,
#include "kilter_ops.inc"
#undef KILTER_OP
};

struct Got {
  char text[64] = "";
};

// What the problem has in the field that a reason begins with ("weight.dtype: expected ..."); "" for a reason that says so itself.
Got got(const Schema& schema, const void* problem, std::string_view reason) {
  Got out;
  if (reason.find(", got ") != reason.npos) return out;
  const std::string_view field = reason.substr(0, reason.find_first_of(".:"));
  if (reason.substr(field.size()).starts_with(".device")) {
    const kilter_device device = member<kilter_device>(problem, schema.device);
    std::snprintf(out.text, sizeof out.text, "type %d, id %d", int(device.type), int(device.id));
    return out;
  }
  for (int i = 0; i < schema.size_count; ++i)
    if (field == schema.sizes[i].name)
      std::snprintf(out.text, sizeof out.text, "%lld", static_cast<long long>(member<int64_t>(problem, schema.sizes[i].to)));
  for (int k = 0; k < schema.count; ++k) {
    const Field& f = schema.fields[k];
    if (field != f.name) continue;
    if (f.kind == Kind::tensor) std::snprintf(out.text, sizeof out.text, "%s", dtype_name(member<View>(problem, f.to).dtype));
    if (f.kind == Kind::real) std::snprintf(out.text, sizeof out.text, "%g", member<double>(problem, f.to));
    if (f.kind == Kind::choice) {
      std::string_view words = f.words, word;
      for (int32_t v = member<int32_t>(problem, f.to); v >= 0; --v) schema::next_word(words, &word);
      std::snprintf(out.text, sizeof out.text, "%.*s", int(word.size()), word.data());
    }
  }
  return out;
}

}  // namespace

const Function* find_function(int32_t number) {
  for (const OpInfo* op : kOps)
    for (const Function& f : op->functions)
      if (f.schema->function == number) return &f;
  return nullptr;
}

const Function* function_at(size_t index) { return index < 2 * std::size(kOps) ? &kOps[index / 2]->functions[index % 2] : nullptr; }

kilter_status choose(const Schema& schema, const void* problem, const char* impl, const kilter_candidate* candidates, size_t count,
                     size_t* chosen) {
  const auto asked_for = [&](size_t i) { return !impl || std::strcmp(impl, candidates[i].impl) == 0; };
  bool known = false;
  for (size_t i = 0; i < count; ++i) {
    if (!asked_for(i)) continue;
    known = true;
    if (!candidates[i].reason) {
      *chosen = i;
      return KILTER_OK;
    }
  }
  char reasons[700] = "";
  size_t used = 0;
  const auto add = [&](const char* format, auto... values) {
    if (used < sizeof reasons) used += size_t(std::snprintf(reasons + used, sizeof reasons - used, format, values...));
  };
  if (!known) {
    for (size_t i = 0; i < count; ++i) add("%s%s", used ? ", " : "", candidates[i].impl);
    return fail(KILTER_INVALID_ARGUMENT, schema.op, "impl: expected one of %s, got %s", reasons, impl);
  }
  // Each reason once, behind the names of those that gave it.
  for (size_t i = 0; i < count; ++i) {
    if (!asked_for(i)) continue;  // and may have no reason
    const auto same = [&](size_t j) { return asked_for(j) && std::strcmp(candidates[i].reason, candidates[j].reason) == 0; };
    bool said = false;
    for (size_t j = 0; j < i; ++j) said |= same(j);
    if (said) continue;
    add("%s%s", used ? "; " : "", candidates[i].impl);
    for (size_t j = i + 1; j < count; ++j)
      if (same(j)) add(", %s", candidates[j].impl);
    const Got there = got(schema, problem, candidates[i].reason);
    add(": %s%s%s", candidates[i].reason, there.text[0] ? ", got " : "", there.text);
  }
  return fail(KILTER_UNSUPPORTED, schema.op, "no implementation takes this %s call: %s",
              schema.direction == KILTER_FORWARD ? "forward" : "backward", reasons);
}

kilter_status check_result(const char* op, const char* name, const void* result, size_t minimum) {
  if (!result) return fail(KILTER_INVALID_ARGUMENT, op, "%s: expected a struct, got null", name);
  const size_t size = *static_cast<const size_t*>(result);
  if (size >= minimum && size <= minimum + 4096) return KILTER_OK;
  return fail(KILTER_INVALID_ARGUMENT, op, "%s.struct_size: expected at least %zu, got %zu", name, minimum, size);
}

namespace {

kilter_status no_such(const char* what, int32_t function) {
  return fail(KILTER_INVALID_ARGUMENT, what, "function: expected one that kilter_function_at lists, got %d", int(function));
}

const char* kind_text(const Field& f) {
  switch (f.kind) {
    case Kind::tensor:
      return f.output ? "output" : "input";
    case Kind::real:
      return "real";
    case Kind::integer:
      return "integer";
    case Kind::axis:
      return "axis";
    case Kind::count:
      return "count";
    case Kind::choice:
      return "choice";
    case Kind::flags:
      return "flags";
    case Kind::text:
      return "text";
    case Kind::memory:
      return "memory";
    case Kind::bytes:
      return "bytes";
    case Kind::reserved:
      return "reserved";
  }
  return "";
}

}  // namespace
}  // namespace kilter

using namespace kilter;

extern "C" {

kilter_status kilter_call(int32_t function, const void* args, kilter_stream stream) noexcept {
  const Function* f = find_function(function);
  return f ? f->run(args, stream) : no_such("call", function);
}

kilter_status kilter_ask(int32_t function, const void* args, kilter_plan* plan) noexcept {
  const Function* f = find_function(function);
  return f ? f->ask(args, plan) : no_such("ask", function);
}

kilter_status kilter_explain(int32_t function, const void* args, kilter_candidate* candidates, size_t capacity, size_t* count) noexcept {
  const Function* f = find_function(function);
  return f ? f->explain(args, candidates, capacity, count) : no_such("explain", function);
}

kilter_status kilter_function_at(size_t index, kilter_function_info* info) noexcept {
  KILTER_RETURN_IF_ERROR(check_result("function_at", "info", info, sizeof *info));
  const Function* f = function_at(index);
  if (!f) return KILTER_INVALID_ARGUMENT;  // the end, which every walk meets
  const Schema& s = *f->schema;
  *info = {info->struct_size, s.op, s.function, s.direction, s.args_size, s.count, s.t};
  return KILTER_OK;
}

kilter_status kilter_field_at(int32_t function, size_t index, kilter_field* field) noexcept {
  KILTER_RETURN_IF_ERROR(check_result("field_at", "field", field, sizeof *field));
  const Function* found = find_function(function);
  if (!found) return no_such("field_at", function);
  const Schema& s = *found->schema;
  if (index >= size_t(s.count)) return fail(KILTER_INVALID_ARGUMENT, "field_at", "index: expected less than %d, got %zu", s.count, index);
  const Field& f = s.fields[index];
  const auto name = [&](int8_t k) { return k < 0 ? "" : s.fields[k].name; };
  *field = {field->struct_size, f.name,        kind_text(f),        f.help,  f.at,      f.required, f.shape_text, f.types_text,
            f.may_be_text,      name(f.needs), name(f.gradient_of), f.words, f.fallback};
  return KILTER_OK;
}

}  // extern "C"

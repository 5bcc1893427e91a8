#include "core/dispatch.h"

#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <string_view>

#include "core/dtype.h"
#include "core/tensor.h"

namespace kilter {

#define KILTER_OP(name) extern const OpInfo name##_op;
#include "kilter_ops.inc"
#undef KILTER_OP

namespace {

constexpr uint32_t kKnownFeatures = 2 * KILTER_FEATURE_ROUND_THEN_MULTIPLY - 1;  // the last bit and all below

const char* direction_name(int32_t direction) { return direction == KILTER_FORWARD ? "forward" : "backward"; }

const OpInfo* const kOps[] = {
#define KILTER_OP(name) &name##_op,
#include "kilter_ops.inc"
#undef KILTER_OP
};

// The caller's query, in this version's form, and its op.
kilter_status read_query(const kilter_query* given, kilter_query* query, const OpInfo** op) {
  const char* self = "query";
  KILTER_RETURN_IF_ERROR(read_struct(self, "query", given, sizeof(kilter_query), query));
  query->device = device_for(query->device);
  *op = query->op ? find_op(query->op) : nullptr;
  if (!*op) return fail(KILTER_INVALID_ARGUMENT, self, "op: expected the name of an op, got %s", query->op ? query->op : "null");
  if (query->direction != KILTER_FORWARD && query->direction != KILTER_BACKWARD)
    return fail(KILTER_INVALID_ARGUMENT, self, "direction: expected 0 or 1, got %d", int(query->direction));
  if (query->activation < KILTER_ACTIVATION_NONE || query->activation > KILTER_ACTIVATION_GELU_TANH)
    return fail(KILTER_INVALID_ARGUMENT, self, "activation: expected 0 to 3, got %d", int(query->activation));
  if (query->output_kind < KILTER_OUTPUT_PLAIN || query->output_kind > KILTER_OUTPUT_INT8)
    return fail(KILTER_INVALID_ARGUMENT, self, "output_kind: expected 0 to 3, got %d", int(query->output_kind));
  if (query->features & ~kKnownFeatures)
    return fail(KILTER_INVALID_ARGUMENT, self, "features: expected bits of 0x%x, got 0x%x", kKnownFeatures, query->features);
  if (!query->x.bits) return fail(KILTER_INVALID_ARGUMENT, self, "x: expected a type, got none: it is required");
  for (const QueryTensor& t : kQueryTensors)
    if ((query->*t.type).bits && !(t.directions >> query->direction & 1))
      return fail(KILTER_INVALID_ARGUMENT, self, "%s: expected none, as %s calls have no such tensor, got a type of %u bits", t.name,
                  direction_name(query->direction), unsigned((query->*t.type).bits));
  if ((query->features & KILTER_FEATURE_WEIGHT_OFFSET) && !query->weight.bits)
    return fail(KILTER_INVALID_ARGUMENT, self, "features: expected a weight beside WEIGHT_OFFSET, got none");
  if (query->rows < -1) return fail(KILTER_INVALID_ARGUMENT, self, "rows: expected -1 (any) or a number, got %" PRId64, query->rows);
  if (query->n < -1) return fail(KILTER_INVALID_ARGUMENT, self, "n: expected -1 (any) or a number, got %" PRId64, query->n);
  return KILTER_OK;
}

}  // namespace

const OpInfo* find_op(const char* name) {
  for (const OpInfo* op : kOps)
    if (std::strcmp(op->name, name) == 0) return op;
  return nullptr;
}

const OpInfo* op_at(size_t index) { return index < std::size(kOps) ? kOps[index] : nullptr; }

namespace {

struct Text {
  char text[64] = "";
};

Text type_text(kilter_dtype t) {
  Text out;
  if (dtype_of(t) != DType::none)
    std::snprintf(out.text, sizeof out.text, "%s", dtype_name(dtype_of(t)));
  else
    std::snprintf(out.text, sizeof out.text, "code %u with %u bits and %u lanes", unsigned(t.code), unsigned(t.bits), unsigned(t.lanes));
  return out;
}

// What the query has in the field that a reason begins with; "" for a reason that says so itself.
Text got(const kilter_query& q, std::string_view reason) {
  constexpr const char* kActivations[] = {"NONE", "SILU", "GELU", "GELU_TANH"};
  constexpr const char* kKinds[] = {"PLAIN", "FP8_E4M3", "FP8_E5M2", "INT8"};
  const std::string_view field = reason.substr(0, reason.find(':'));
  Text out;
  if (reason.find(", got ") != reason.npos) return out;
  if (field == "x.device" || field == "x.device.id")
    std::snprintf(out.text, sizeof out.text, "type %d, id %d", int(q.device.type), int(q.device.id));
  if (field == "epilogue.activation") std::snprintf(out.text, sizeof out.text, "%s", kActivations[q.activation]);
  if (field == "quantization.kind") std::snprintf(out.text, sizeof out.text, "%s", kKinds[q.output_kind]);
  if (field == "prologue.gate") return type_text(q.gate);
  if (field == "x.dtype") return type_text(q.x);
  for (const QueryTensor& t : kQueryTensors)
    if (field.starts_with(t.name) && field.substr(std::strlen(t.name)) == ".dtype") return type_text(q.*t.type);
  return out;
}

}  // namespace

kilter_status choose(const kilter_query& query, const kilter_candidate* candidates, size_t count, size_t* chosen) {
  char reasons[700] = "";
  size_t used = 0;
  const auto add = [&](const char* format, auto... values) {
    if (used < sizeof reasons) used += size_t(std::snprintf(reasons + used, sizeof reasons - used, format, values...));
  };
  const auto asked_for = [&](size_t i) { return !query.impl || std::strcmp(query.impl, candidates[i].impl) == 0; };
  bool known = false;
  for (size_t i = 0; i < count; ++i) {
    if (!asked_for(i)) continue;
    known = true;
    if (!candidates[i].reason) {
      *chosen = i;
      return KILTER_OK;
    }
  }
  if (!known) {
    for (size_t i = 0; i < count; ++i) add("%s%s", used ? ", " : "", candidates[i].impl);
    return fail(KILTER_INVALID_ARGUMENT, query.op, "impl: expected one of %s, got %s", reasons, query.impl);
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
    const Text there = got(query, candidates[i].reason);
    add(": %s%s%s", candidates[i].reason, there.text[0] ? ", got " : "", there.text);
  }
  return fail(KILTER_UNSUPPORTED, query.op, "no implementation takes this %s call: %s", direction_name(query.direction), reasons);
}

}  // namespace kilter

using namespace kilter;

extern "C" {

kilter_status kilter_supports(const kilter_query* query) noexcept {
  return catching("query", [&] {
    const OpInfo* op = nullptr;
    kilter_query known;
    KILTER_RETURN_IF_ERROR(read_query(query, &known, &op));
    kilter_candidate candidates[kMaxCandidates];
    size_t chosen = 0;
    const size_t count = op->walk(known, candidates, kMaxCandidates);
    return choose(known, candidates, count, &chosen);
  });
}

kilter_status kilter_explain(const kilter_query* query, kilter_candidate* candidates, size_t capacity, size_t* count) noexcept {
  return catching("query", [&] {
    const OpInfo* op = nullptr;
    kilter_query known;
    KILTER_RETURN_IF_ERROR(read_query(query, &known, &op));
    if (!count || (capacity && !candidates)) return fail(KILTER_INVALID_ARGUMENT, "query", "candidates, count: expected memory, got null");
    *count = op->walk(known, candidates, capacity);
    return KILTER_OK;
  });
}

}  // extern "C"

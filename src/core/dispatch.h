// Dispatch is a plain ordered array per function: the first entry without a reason against the checked problem runs it.
#pragma once

#include <cstddef>
#include <iterator>

#include "core/arguments.h"
#include "core/log.h"

namespace kilter {

template <class Problem>
struct Implementation {
  const char* name;
  // Null, or why not: a static "field: expected ...", to which a failing call adds what the problem has there.
  const char* (*refuses)(const Problem&);
  kilter_status (*run)(const Problem&, kilter_stream);
  size_t (*workspace)(const Problem&) = nullptr;     // bytes that run needs; null: none
  kilter_status (*ready)(const char* op) = nullptr;  // whether the process lets it run; null: always
};

// A function of the library as those see it that know it by its table alone.
struct Function {
  const Schema* schema;
  kilter_status (*run)(const void* args, kilter_stream stream) noexcept;
  kilter_status (*ask)(const void* args, kilter_plan* plan) noexcept;
  kilter_status (*explain)(const void* args, kilter_candidate* candidates, size_t capacity, size_t* count) noexcept;
};

// An op's functions.  Found in the list that the build makes from the folders under src/ops.
struct OpInfo {
  Function functions[2];  // forward, backward
};
const Function* find_function(int32_t number);  // null: there is none
const Function* function_at(size_t index);      // null past the end

// KILTER_OK and *chosen, or KILTER_UNSUPPORTED with every reason, or KILTER_INVALID_ARGUMENT for an unknown impl.
[[nodiscard]] kilter_status choose(const Schema& schema, const void* problem, const char* impl, const kilter_candidate* candidates,
                                   size_t count, size_t* chosen);

// A size-first struct that is filled in: what lies beyond the fields known here stays as it is.
[[nodiscard]] kilter_status check_result(const char* op, const char* name, const void* result, size_t minimum);

// The bodies of a function: its table, its list, and the rules that no table states.  finish may change the problem.
template <const Schema& kSchema, class Problem, const auto& kList, kilter_status (*finish)(Problem*)>
struct Entry {
  static constexpr size_t kCount = std::size(kList);

  static kilter_status prepare(const void* args, Purpose purpose, Problem* problem, kilter_candidate (&candidates)[kCount]) {
    problem->op = kSchema.op;
    KILTER_RETURN_IF_ERROR(read_arguments(kSchema, args, purpose, problem));
    KILTER_RETURN_IF_ERROR(finish(problem));
    for (size_t i = 0; i < kCount; ++i) candidates[i] = {kList[i].name, kList[i].refuses(*problem)};
    return KILTER_OK;
  }
  static kilter_status prepare(const void* args, Purpose purpose, Problem* problem, size_t* chosen) {
    kilter_candidate candidates[kCount];
    KILTER_RETURN_IF_ERROR(prepare(args, purpose, problem, candidates));
    KILTER_RETURN_IF_ERROR(choose(kSchema, problem, problem->impl, candidates, kCount, chosen));
    return kList[*chosen].ready ? kList[*chosen].ready(kSchema.op) : KILTER_OK;
  }

  static kilter_status run(const void* args, kilter_stream stream) noexcept {
    return catching(kSchema.op, [&] {
      Problem problem;
      size_t chosen = 0;
      KILTER_RETURN_IF_ERROR(prepare(args, Purpose::kRun, &problem, &chosen));
      log_dispatch(kSchema, &problem, kList[chosen].name);
      return kList[chosen].run(problem, stream);
    });
  }
  static kilter_status ask(const void* args, kilter_plan* plan) noexcept {
    return catching(kSchema.op, [&] {
      Problem problem;
      size_t chosen = 0;
      KILTER_RETURN_IF_ERROR(check_result(kSchema.op, "plan", plan, sizeof *plan));
      KILTER_RETURN_IF_ERROR(prepare(args, Purpose::kAsk, &problem, &chosen));
      plan->impl = kList[chosen].name;
      plan->workspace_size = kList[chosen].workspace ? kList[chosen].workspace(problem) : 0;
      return KILTER_OK;
    });
  }
  static kilter_status explain(const void* args, kilter_candidate* out, size_t capacity, size_t* count) noexcept {
    return catching(kSchema.op, [&] {
      if (!count || (capacity && !out))
        return fail(KILTER_INVALID_ARGUMENT, kSchema.op, "candidates, count: expected memory for the result, got null");
      Problem problem;
      kilter_candidate candidates[kCount];
      KILTER_RETURN_IF_ERROR(prepare(args, Purpose::kAsk, &problem, candidates));
      *count = kCount;
      for (size_t i = 0; i < kCount && i < capacity; ++i) out[i] = candidates[i];
      return KILTER_OK;
    });
  }
  static constexpr Function function = {&kSchema, run, ask, explain};
};

}  // namespace kilter

// An op's place in the list of ops, and its C functions.  Behind namespace kilter.
#define KILTER_FUNCTIONS(op, Forward, Backward)                                                                             \
  namespace kilter {                                                                                                        \
  extern const OpInfo op##_op;                                                                                              \
  const OpInfo op##_op = {{Forward::function, Backward::function}};                                                         \
  }                                                                                                                         \
  extern "C" kilter_status kilter_##op##_forward(const kilter_##op##_forward_args* args, kilter_stream stream) noexcept {   \
    return kilter::Forward::run(args, stream);                                                                              \
  }                                                                                                                         \
  extern "C" kilter_status kilter_##op##_backward(const kilter_##op##_backward_args* args, kilter_stream stream) noexcept { \
    return kilter::Backward::run(args, stream);                                                                             \
  }

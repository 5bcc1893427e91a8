// Dispatch is a plain ordered array per op and direction: the first entry without a reason against the call runs it.
#pragma once

#include <cstddef>

#include "core/log.h"
#include "core/status.h"
#include "kilter/kilter.h"

namespace kilter {

template <class Problem>
struct Implementation {
  const char* name;
  // Null, or why not: a static "field: expected ...", to which a failing call adds what the query has there.
  const char* (*supports)(const kilter_query&);
  kilter_status (*run)(const Problem&, kilter_stream);
  size_t (*workspace)(const Problem&) = nullptr;  // bytes that run needs; null: none
};

// The optional tensors of a query.  directions: 1 << kilter_direction of the calls that have the tensor.
struct QueryTensor {
  const char* name;
  kilter_dtype kilter_query::*type;
  int directions;
};
inline constexpr QueryTensor kQueryTensors[] = {{"weight", &kilter_query::weight, 3},
                                                {"bias", &kilter_query::bias, 1},
                                                {"residual", &kilter_query::residual, 1},
                                                {"gate", &kilter_query::gate, 1},
                                                {"post_residual", &kilter_query::post_residual, 1},
                                                {"dy", &kilter_query::dy, 2},
                                                {"dresidual_out", &kilter_query::dresidual_out, 2},
                                                {"dresidual", &kilter_query::dresidual, 2},
                                                {"dweight", &kilter_query::dweight, 2},
                                                {"dbias", &kilter_query::dbias, 2}};

// An op as the queries see it.  Found by name in the list that the build makes from the folders under src/ops.
struct OpInfo {
  const char* name;
  size_t (*walk)(const kilter_query&, kilter_candidate*, size_t capacity);  // returns the length of the list
};
const OpInfo* find_op(const char* name);
const OpInfo* op_at(size_t index);  // null past the end

constexpr size_t kMaxCandidates = 64;  // entries of one list

template <class Problem, size_t N>
size_t walk(const Implementation<Problem> (&list)[N], const kilter_query& query, kilter_candidate* out, size_t capacity) {
  static_assert(N <= kMaxCandidates);
  for (size_t i = 0; i < N && i < capacity; ++i) out[i] = {list[i].name, list[i].supports(query)};
  return N;
}

// KILTER_OK and *chosen, or KILTER_UNSUPPORTED with every reason, or KILTER_INVALID_ARGUMENT for an unknown query.impl.
[[nodiscard]] kilter_status choose(const kilter_query& query, const kilter_candidate* candidates, size_t count, size_t* chosen);

template <class Problem, size_t N>
[[nodiscard]] kilter_status choose(const Implementation<Problem> (&list)[N], const kilter_query& query,
                                   const Implementation<Problem>** chosen) {
  kilter_candidate candidates[N];
  size_t index = 0;
  walk(list, query, candidates, N);
  KILTER_RETURN_IF_ERROR(choose(query, candidates, N, &index));
  *chosen = &list[index];
  return KILTER_OK;
}

template <class Problem, size_t N>
[[nodiscard]] kilter_status dispatch(const Implementation<Problem> (&list)[N], const kilter_query& query, const Problem& problem,
                                     kilter_stream stream) {
  const Implementation<Problem>* chosen = nullptr;
  KILTER_RETURN_IF_ERROR(choose(list, query, &chosen));
  log_dispatch(query, chosen->name);
  return chosen->run(problem, stream);
}

// What dispatch of the same call would need.
template <class Problem, size_t N>
[[nodiscard]] kilter_status workspace_of(const Implementation<Problem> (&list)[N], const kilter_query& query, const Problem& problem,
                                         size_t* bytes) {
  const Implementation<Problem>* chosen = nullptr;
  KILTER_RETURN_IF_ERROR(choose(list, query, &chosen));
  *bytes = chosen->workspace ? chosen->workspace(problem) : 0;
  return KILTER_OK;
}

}  // namespace kilter

// Questions to the dispatch lists, shared by support and explain.
#pragma once

#include "core/dispatch.h"
#include "kilter/command.h"

namespace kilter::cli {

struct Named {
  const char* name;
  int value;
};

inline constexpr Named kDevices[] = {{"cpu", KILTER_DEVICE_CPU}, {"cuda", KILTER_DEVICE_CUDA}, {"metal", KILTER_DEVICE_METAL}};
inline constexpr Named kActivations[] = {{"none", KILTER_ACTIVATION_NONE},
                                         {"silu", KILTER_ACTIVATION_SILU},
                                         {"gelu", KILTER_ACTIVATION_GELU},
                                         {"gelu_tanh", KILTER_ACTIVATION_GELU_TANH}};
inline constexpr Named kOutputKinds[] = {{"plain", KILTER_OUTPUT_PLAIN},
                                         {"fp8_e4m3", KILTER_OUTPUT_FP8_E4M3},
                                         {"fp8_e5m2", KILTER_OUTPUT_FP8_E5M2},
                                         {"int8", KILTER_OUTPUT_INT8}};
// Which directions a feature belongs to: 1 forward, 2 backward, 3 both.
struct Feature {
  const char* name;
  uint32_t bit;
  int directions;
};
inline constexpr Feature kFeatures[] = {{"weight_offset", KILTER_FEATURE_WEIGHT_OFFSET, 3},
                                        {"round_then_multiply", KILTER_FEATURE_ROUND_THEN_MULTIPLY, 1}};

// All ops that dispatch knows.
std::vector<std::string> dispatched_ops();

kilter_query make_query(const std::string& op, bool backward, int device, DType x);

}  // namespace kilter::cli

// Small inputs to the norms of planes with the right values beside them, computed in float64.
#pragma once

#include <map>
#include <ostream>
#include <set>
#include <string>
#include <vector>

#include "core/dtype.h"

namespace kilter::test {

using Values = std::vector<double>;

struct Wanted {
  Values values;
  double units = -1;  // of the last place of the largest value; 0: exactly; negative: docs/numerics.md's bound
};

struct Case {
  std::string name, op;
  std::vector<int64_t> shape;                   // x's
  std::vector<DType> types;                     // T
  std::map<std::string, double> numbers = {};   // reals, counts and integers, where they are not the table's
  std::map<std::string, int32_t> choices = {};  // where they are not 0 (training: 1)
  std::map<std::string, Values> given = {};     // inputs, of forward and backward; one value: everywhere
  std::map<std::string, Wanted> forward = {};   // outputs to ask for
  std::map<std::string, Wanted> backward = {};  // likewise, after forward has handed over its own; none: forward alone
  std::set<std::string> without_in_backward = {};
  friend void PrintTo(const Case& c, std::ostream* out) { *out << c.op << ", " << c.name; }
};

inline const std::vector<DType> kEveryType = {DType::f64, DType::f32, DType::f16, DType::bf16};

inline std::vector<Case> cases() {
  std::vector<Case> all;
  all.push_back(
      {.name = "two_groups",
       .op = "group_norm",
       .shape = {1, 4, 1, 2},
       .types = kEveryType,
       .numbers = {{"groups", 2}, {"eps", 0}},
       .given = {{"x", {1, 3, 5, 7, -2, 0, 4, 6}}, {"weight", {1, 2, 3, 4}}, {"bias", {0, 10, 20, 30}}, {"dy", {1, 0, 0, 2, 0, 3, 4, 0}}},
       .forward = {{"y",
                    {{-1.341640786, -0.447213595, 10.894427191, 12.683281573, 16.205266808, 18.102633404, 32.529822128, 35.059644256}}},
                   {"mean", {{4, 2}, 0}},
                   {"rstd", {{0.447213595, 0.316227766}}}},
       .backward = {{"dx", {{0.491934955, -0.357770876, -0.760263112, 0.626099034, -1.533704665, 1.090985793, 2.861861282, -2.419142410}}},
                    {"dweight", {{-1.341640786, 2.683281573, -1.897366596, 2.529822128}}},
                    {"dbias", {{1, 2, 3, 4}, 0}}}});
  const double far = 1048576;
  const Case large_mean = {
      .name = "far_from_zero",
      .op = "group_norm",
      .shape = {1, 1, 8},
      .types = {DType::f64, DType::f32},
      .numbers = {{"groups", 1}},
      .given = {{"x", {far, far + 0.125, far + 0.25, far + 0.375, far + 0.5, far + 0.625, far + 0.75, far + 0.875}}},
      .forward = {{"y", {{-1.527432134, -1.091022953, -0.654613772, -0.218204591, 0.218204591, 0.654613772, 1.091022953, 1.527432134}, 4}},
                  {"rstd", {{3.49127345}, 4}}}};
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{1, 1, 8}, {1, 8}, {1, 2, 4}, {1, 2, 1, 2, 2}}) {
    all.push_back(large_mean);
    all.back().name += "_" + std::to_string(shape[1]) + "_channels_rank_" + std::to_string(shape.size()), all.back().shape = shape;
  }
  const Wanted rstd_of_nothing = {{316.227766}, 1};
  all.push_back({.name = "large_planes_of_ones",
                 .op = "group_norm",
                 .shape = {1, 8, 513, 1025},
                 .types = {DType::f32},
                 .numbers = {{"groups", 8}},
                 .given = {{"x", {1}}, {"bias", {0.3f}}},
                 .forward = {{"y", {{0.3f}, 0}}, {"mean", {{1}, 0}}, {"rstd", rstd_of_nothing}}});
  for (const double groups : {1, 2, 4})
    all.push_back({.name = "constant_planes_in_" + std::to_string(int(groups)),
                   .op = "group_norm",
                   .shape = {2, 4, 57, 59},
                   .types = {DType::f64, DType::f32, DType::bf16},
                   .numbers = {{"groups", groups}},
                   .given = {{"x", {4096.7f}}, {"weight", {3}}, {"bias", {-0.75}}},
                   .forward = {{"y", {{-0.75}, 0}}, {"rstd", rstd_of_nothing}}});
  const Case constant_planes = all.back();
  const Case one_element = {
      .name = "one_element_a_group",
      .op = "group_norm",
      .shape = {2, 3, 1, 1},
      .types = {DType::f64, DType::f32, DType::bf16},
      .numbers = {{"groups", 3}},
      .given = {{"x", {3, -7, 1e30, 5, 0, 2}}, {"weight", {2, 3, 4}}, {"bias", {1, 2, 3}}, {"dy", {1, 2, 3, 4, 5, -6}}},
      .forward = {{"y", {{1, 2, 3, 1, 2, 3}, 0}}, {"rstd", rstd_of_nothing}},
      .backward = {{"dx", {{0}, 0}}, {"dweight", {{0}, 0}}, {"dbias", {{5, 7, -3}, 0}}}};
  all.push_back(one_element);
  all.push_back(one_element);
  Case& alone = all.back();
  alone.name += "_of_one_sample", alone.shape[0] = 1;
  alone.given["x"].resize(3), alone.given["dy"].resize(3);
  alone.forward["y"].values.resize(3), alone.backward["dbias"].values = {1, 2, 3};

  for (const char* op : {"batch_norm", "instance_norm"}) {
    Case far_away = large_mean, constant = constant_planes;
    far_away.op = constant.op = op, far_away.numbers.clear(), constant.numbers.clear(), constant.name = "constant_planes";
    all.push_back(far_away), all.push_back(constant);
  }
  Case instances = one_element;
  instances.op = "instance_norm", instances.name = "one_element_a_plane", instances.numbers.clear();
  all.push_back(instances);

  const Case trained = {
      .name = "training",
      .op = "batch_norm",
      .shape = {2, 2, 2},
      .types = kEveryType,
      .numbers = {{"momentum", 0.1}},
      .given = {{"x", {1, 2, 4, 9, 3, 3, 5, 5}}, {"running_mean", {10, 20}}, {"running_var", {0.5, 2}}},
      .forward = {{"y", {{-1.507545759, -0.301509152, -0.911321141, 1.692453548, 0.904527455, 0.904527455, -0.390566203, -0.390566203}}},
                  {"running_mean_out", {{9.225, 18.575}, 1}},
                  {"running_var_out", {{0.541666667, 2.291666667}, 1}}}};
  const auto with = [&](const char* name, double momentum, int32_t averaging, const Values& mean, const Values& var, double units) {
    all.push_back(trained);
    Case& c = all.back();
    c.name = std::string("training_") + name, c.numbers = {{"momentum", momentum}, {"batches_tracked", 3}};
    c.choices = {{"averaging", averaging}};
    c.forward["running_mean_out"] = {mean, units}, c.forward["running_var_out"] = {var, units};
  };
  all.push_back(trained);
  with("momentum_1", 1, 0, {2.25, 5.75}, {0.916666667, 4.916666667}, 1);
  with("momentum_0", 0, 0, {10, 20}, {0.5, 2}, 0);
  with("cumulative", 0.1, 1, {8.0625, 16.4375}, {0.604166667, 2.729166667}, 1);

  all.push_back({.name = "inference",
                 .op = "batch_norm",
                 .shape = {2, 2, 1, 2},
                 .types = kEveryType,
                 .numbers = {{"eps", 0}},
                 .choices = {{"training", 0}},
                 .given = {{"x", {1, 2, 3, 4, -1, 0, 5, 8}},
                           {"running_mean", {1, -1}},
                           {"running_var", {4, 0.25}},
                           {"weight", {2, -3}},
                           {"dy", {1, 0, 2, -1, 0.5, 1, 0, 3}}},
                 .forward = {{"y", {{0, 1, -24, -30, -2, -1, -36, -54}, 0}}},
                 .backward = {{"dx", {{1, 0, -12, 6, 0.5, 1, 0, -18}, 0}}, {"dweight", {{-1, 60}, 0}}, {"dbias", {{2.5, 4}, 0}}},
                 .without_in_backward = {"mean", "rstd"}});
  return all;
}

}  // namespace kilter::test

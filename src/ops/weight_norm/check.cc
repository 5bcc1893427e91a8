// How weight_norm is judged.
#include "families/weights/check/check.h"

namespace kilter::check {

extern const Op weight_norm_check;
const Op weight_norm_check = {"weight_norm",
                              &weights_bounds,
                              "g",
                              false,
                              true,
                              judge_weights,
                              vary_weights,
                              [](const Case& c, Sharing* s) {
                                s->all_samples = c.number("dim") != 0;  // a slice is a row, or has elements of all rows
                              },
                              [](const Case& c, const Field& f, DType usual) { return std::string_view(f.name) == "g" ? c.x : usual; }};

}  // namespace kilter::check

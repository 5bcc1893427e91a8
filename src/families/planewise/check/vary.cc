// What a case has where it does not say, and the sets of features that a sweep takes together.
#include "families/planewise/check/check.h"

namespace kilter::check {

bool has_field(const Case& c, const char* name) { return field_of(*function_of(c.op, false)->schema, name); }
bool trains(const Case& c) { return has_field(c, "training") ? c.number("training") != 0 : c.number("inference") == 0; }

DType planewise_type(const Case& c, const Field& f, DType usual) {
  const std::string_view name = f.name;
  if (name == "mask") return f.output && int(c.number("activation")) == KILTER_ACTIVATION_RELU ? DType::u8 : DType::none;
  if (name == "running_mean" || name == "running_var") {
    const bool needed = has_field(c, "training") || !trains(c);
    return !needed ? usual : c.x == DType::f64 ? DType::f64 : DType::f32;
  }
  if (name != "running_mean_out" && name != "running_var_out") return usual;
  // A plane of one value has no unbiased variance.
  return trains(c) && (has_field(c, "training") || c.size("spatial") != 1) ? usual : DType::none;
}

void vary_planewise(Case* c, int variant) {
  const DType x = c->x;
  Case& v = *c;
  const bool scaled = has_field(v, "scale"), running = has_field(v, "running_mean");
  if (variant == 1) v["weight"] = v["bias"] = x;
  if (variant == 2) v["weight"] = v["bias"] = v["residual"] = v["dresidual"] = DType::f32;
  if (variant == 2 && has_field(v, "residual_out")) v["dresidual_out"] = x;
  if (variant == 3) v["weight"] = v["dweight"] = x, v["dbias"] = DType::f32, v.numbers["activation"] = KILTER_ACTIVATION_SILU;
  if (variant == 3 && scaled) v["scale"] = v["shift"] = v["dscale"] = x, v.numbers["scale_offset"] = 1;
  if (variant == 3 && has_field(v, "training")) v["residual"] = v["dresidual"] = x;
  if (variant == 4) {
    constexpr int kOthers[] = {KILTER_ACTIVATION_GELU, KILTER_ACTIVATION_RELU, KILTER_ACTIVATION_GELU_TANH};
    v["bias"] = v["residual"] = x, v["dweight"] = DType::none;
    v.numbers["activation"] = kOthers[v.seed % 3], v.numbers["eps"] = x == DType::f64 ? 1e-300 : 1e-12;
    if (scaled) v["shift"] = DType::f32;
    if (has_field(v, "mask") && v.seed % 2) v["mask"] = DType::none;
  }
  if (!running) return;
  if (variant == 1) v["running_mean"] = v["running_var"] = x, v.numbers["averaging"] = KILTER_AVERAGING_CUMULATIVE;
  if (variant == 1) v.numbers["batches_tracked"] = double(v.seed % 4);
  if (variant == 2) v["running_mean"] = v["running_var"] = DType::none;
  if (variant == 3) v["running_mean"] = DType::f32, v["running_var"] = x, v.numbers["momentum"] = 0.75;
  if (variant == 4) v["running_mean"] = x, v["running_var"] = DType::f32, v.numbers["momentum"] = 1;
  if (variant != 2 && v.seed / kVariants % 3 == 2) {
    if (has_field(v, "training"))
      v.numbers["training"] = 0;
    else
      v.numbers["inference"] = 1;
  }
}

}  // namespace kilter::check

#include "families/rowwise/problem.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "core/overlap.h"
#include "core/tensor.h"

namespace kilter {
namespace {

const char* const kT = "x's type";

bool absent(const View& v) { return v.dtype == DType::none; }

kilter_status wrong_dtype(const char* op, const char* name, const char* expected, DType got) {
  return fail(KILTER_UNSUPPORTED, op, "%s.dtype: expected %s, got %s", name, expected, dtype_name(got));
}

// T or fp32, where T is the type named by `what`.
kilter_status check_type(const char* op, const char* name, const View& v, DType t, const char* what) {
  if (absent(v) || v.dtype == t || v.dtype == DType::f32) return KILTER_OK;
  char expected[64];
  std::snprintf(expected, sizeof expected, "%s (%s)%s", what, dtype_name(t), t == DType::f32 ? "" : " or fp32");
  return wrong_dtype(op, name, expected, v.dtype);
}

kilter_status check_exact_type(const char* op, const char* name, const View& v, DType t, const char* what) {
  if (absent(v) || v.dtype == t) return KILTER_OK;
  char expected[64];
  std::snprintf(expected, sizeof expected, "%s (%s)", what, dtype_name(t));
  return wrong_dtype(op, name, expected, v.dtype);
}

DType statistics_type(DType x) { return x == DType::f64 ? DType::f64 : DType::f32; }

kilter_status check_finite(const char* op, const char* name, double value) {
  if (std::isfinite(value)) return KILTER_OK;
  return fail(KILTER_INVALID_ARGUMENT, op, "%s: expected a finite number, got %g", name, value);
}

struct Named {
  const char* name;
  Extent extent;
  unsigned may_be;  // bit i: an output that may be exactly input i

  Named(const char* name, const View* view, int64_t rows, int64_t n, unsigned may_be = 0)
      : name(name), extent(view, rows, n), may_be(may_be) {}
};

kilter_status check_overlaps(const char* op, const Named* inputs, int input_count, const Named* outputs, int output_count) {
  for (int o = 0; o < output_count; ++o) {
    const Extent& out = outputs[o].extent;
    if (rows_overlap(out))
      return fail(KILTER_OVERLAP, op, "%s.strides: expected rows that share no element, got rows that overlap each other", outputs[o].name);
    for (int i = 0; i < input_count; ++i) {
      const Overlap overlap = overlap_of(out, inputs[i].extent);
      const bool allowed = outputs[o].may_be >> i & 1;
      if (overlap == Overlap::none || (overlap == Overlap::exact && allowed)) continue;
      return fail(KILTER_OVERLAP, op, "%s: expected memory %s, got memory that shares elements with %s", outputs[o].name,
                  allowed ? "that is exactly another tensor's or separate" : "of its own", inputs[i].name);
    }
    for (int p = 0; p < o; ++p)
      if (overlap_of(out, outputs[p].extent) != Overlap::none)
        return fail(KILTER_OVERLAP, op, "%s: expected memory of its own, got memory that shares elements with %s", outputs[o].name,
                    outputs[p].name);
  }
  return KILTER_OK;
}

kilter_status check_launch_flags(const char* op, uint64_t flags) {
  if ((flags & ~uint64_t(KILTER_LAUNCH_DEPENDENT)) == 0) return KILTER_OK;
  return fail(KILTER_INVALID_ARGUMENT, op, "launch_flags: expected 0 or KILTER_LAUNCH_DEPENDENT (1), got 0x%llx",
              static_cast<unsigned long long>(flags));
}

void start_query(const char* op, kilter_direction direction, const Rows& rows, const char* impl, kilter_query* q) {
  *q = {};
  q->struct_size = sizeof *q;
  q->op = op;
  q->direction = direction;
  q->device = rows.device;
  q->rows = rows.rows;
  q->n = rows.n;
  q->impl = impl;
}

}  // namespace

kilter_status check_forward(const RowNormForwardArgs& a, RowNormForward* p, kilter_query* q) {
  const char* op = p->op = a.op;
  Rows rows;
  KILTER_RETURN_IF_ERROR(read_first(op, "x", a.x, &rows, &p->x));
  KILTER_RETURN_IF_ERROR(read_vector(op, "weight", a.weight, Need::optional, rows, &p->weight));
  KILTER_RETURN_IF_ERROR(read_vector(op, "bias", a.bias, Need::optional, rows, &p->bias));
  KILTER_RETURN_IF_ERROR(read_rows(op, "y", a.y, Need::required, rows, &p->y));
  KILTER_RETURN_IF_ERROR(read_per_row(op, "mean", a.mean, Need::optional, rows, &p->mean));
  KILTER_RETURN_IF_ERROR(read_per_row(op, "rstd", a.rstd, Need::optional, rows, &p->rstd));
  start_query(op, KILTER_FORWARD, rows, a.impl, q);
  if (a.prologue) {
    kilter_prologue prologue;
    KILTER_RETURN_IF_ERROR(read_struct(op, "prologue", a.prologue, sizeof(kilter_prologue), &prologue));
    KILTER_RETURN_IF_ERROR(read_rows(op, "residual", prologue.residual, Need::required, rows, &p->residual));
    KILTER_RETURN_IF_ERROR(read_rows(op, "residual_out", prologue.residual_out, Need::optional, rows, &p->residual_out));
    View gate;
    KILTER_RETURN_IF_ERROR(read_any(op, "gate", prologue.gate, Need::optional, rows, &gate));
    q->gate = dlpack_of(gate.dtype);
  }
  if (a.epilogue) {
    kilter_epilogue epilogue;
    KILTER_RETURN_IF_ERROR(read_struct(op, "epilogue", a.epilogue, sizeof(kilter_epilogue), &epilogue));
    q->activation = epilogue.activation;
    if (q->activation < KILTER_ACTIVATION_NONE || q->activation > KILTER_ACTIVATION_GELU_TANH)
      return fail(KILTER_INVALID_ARGUMENT, op, "epilogue.activation: expected 0 to %d, got %d", KILTER_ACTIVATION_GELU_TANH,
                  int(q->activation));
    KILTER_RETURN_IF_ERROR(read_rows(op, "post_residual", epilogue.post_residual, Need::optional, rows, &p->post_residual));
  }
  if (a.quantization) {
    kilter_quantization quantization;
    KILTER_RETURN_IF_ERROR(read_struct(op, "quantization", a.quantization, sizeof(kilter_quantization), &quantization));
    q->output_kind = quantization.kind;
    if (q->output_kind < KILTER_OUTPUT_PLAIN || q->output_kind > KILTER_OUTPUT_INT8)
      return fail(KILTER_INVALID_ARGUMENT, op, "quantization.kind: expected 0 to %d, got %d", KILTER_OUTPUT_INT8, int(q->output_kind));
    if (quantization.from_fp32 != 0 && quantization.from_fp32 != 1)
      return fail(KILTER_INVALID_ARGUMENT, op, "quantization.from_fp32: expected 0 or 1, got %d", int(quantization.from_fp32));
    if (q->output_kind == KILTER_OUTPUT_PLAIN && quantization.from_fp32)
      return fail(KILTER_INVALID_ARGUMENT, op, "quantization.from_fp32: expected 0 with kind PLAIN, got 1");
    if (q->output_kind == KILTER_OUTPUT_PLAIN && quantization.scale.data)
      return fail(KILTER_INVALID_ARGUMENT, op, "quantization.scale: expected none with kind PLAIN, got a tensor of %d dimensions",
                  int(quantization.scale.ndim));
  }
  if (a.rounding != KILTER_ROUND_ONCE && a.rounding != KILTER_ROUND_THEN_MULTIPLY)
    return fail(KILTER_INVALID_ARGUMENT, op, "rounding: expected 0 or 1, got %d", int(a.rounding));
  KILTER_RETURN_IF_ERROR(check_launch_flags(op, a.launch_flags));
  KILTER_RETURN_IF_ERROR(check_finite(op, "eps", a.eps));
  KILTER_RETURN_IF_ERROR(check_finite(op, "weight_offset", a.weight_offset));
  if (a.weight_offset != 0 && absent(p->weight))
    return fail(KILTER_INVALID_ARGUMENT, op, "weight_offset: expected 0 without a weight, got %g", a.weight_offset);

  const DType t = p->x.dtype;
  KILTER_RETURN_IF_ERROR(check_exact_type(op, "y", p->y, t, kT));
  KILTER_RETURN_IF_ERROR(check_type(op, "weight", p->weight, t, kT));
  KILTER_RETURN_IF_ERROR(check_type(op, "bias", p->bias, t, kT));
  KILTER_RETURN_IF_ERROR(check_type(op, "residual", p->residual, t, kT));
  KILTER_RETURN_IF_ERROR(check_exact_type(op, "residual_out", p->residual_out, p->residual.dtype, "residual's type"));
  KILTER_RETURN_IF_ERROR(check_type(op, "post_residual", p->post_residual, t, kT));
  KILTER_RETURN_IF_ERROR(check_exact_type(op, "mean", p->mean, statistics_type(t), "the statistics' type"));
  KILTER_RETURN_IF_ERROR(check_exact_type(op, "rstd", p->rstd, statistics_type(t), "the statistics' type"));

  const Named inputs[] = {{"x", &p->x, rows.rows, rows.n},
                          {"residual", &p->residual, rows.rows, rows.n},
                          {"post_residual", &p->post_residual, rows.rows, rows.n},
                          {"weight", &p->weight, 1, rows.n},
                          {"bias", &p->bias, 1, rows.n}};
  const Named outputs[] = {{"y", &p->y, rows.rows, rows.n, 0b111},
                           {"residual_out", &p->residual_out, rows.rows, rows.n, 0b011},
                           {"mean", &p->mean, rows.rows, 1},
                           {"rstd", &p->rstd, rows.rows, 1}};
  KILTER_RETURN_IF_ERROR(check_overlaps(op, inputs, 5, outputs, 4));

  // Rows without elements have statistics, if asked for, and nothing else: there may be 2^60 of them.
  p->rows = rows.n == 0 && absent(p->mean) && absent(p->rstd) ? 0 : rows.rows;
  p->n = rows.n;
  p->device = rows.device;
  p->eps = a.eps;
  p->weight_offset = a.weight_offset;
  p->round_then_multiply = a.rounding == KILTER_ROUND_THEN_MULTIPLY && item_size(t) == 2;
  p->centered = a.centered;
  p->dependent = a.launch_flags & KILTER_LAUNCH_DEPENDENT;
  q->x = dlpack_of(t);
  q->weight = dlpack_of(p->weight.dtype);
  q->bias = dlpack_of(p->bias.dtype);
  q->residual = dlpack_of(p->residual.dtype);
  q->post_residual = dlpack_of(p->post_residual.dtype);
  if (a.weight_offset != 0) q->features |= KILTER_FEATURE_WEIGHT_OFFSET;
  if (a.rounding == KILTER_ROUND_THEN_MULTIPLY) q->features |= KILTER_FEATURE_ROUND_THEN_MULTIPLY;
  return KILTER_OK;
}

kilter_status check_backward(const RowNormBackwardArgs& a, RowNormBackward* p, kilter_query* q) {
  const char* op = a.op;
  Rows rows;
  KILTER_RETURN_IF_ERROR(read_first(op, "x", a.x, &rows, &p->x));
  KILTER_RETURN_IF_ERROR(read_vector(op, "weight", a.weight, Need::optional, rows, &p->weight));
  if (a.centered) KILTER_RETURN_IF_ERROR(read_per_row(op, "mean", a.mean, Need::required, rows, &p->mean));
  KILTER_RETURN_IF_ERROR(read_per_row(op, "rstd", a.rstd, Need::required, rows, &p->rstd));
  KILTER_RETURN_IF_ERROR(read_rows(op, "dy", a.dy, Need::required, rows, &p->dy));
  KILTER_RETURN_IF_ERROR(read_rows(op, "dresidual_out", a.dresidual_out, Need::optional, rows, &p->dresidual_out));
  KILTER_RETURN_IF_ERROR(read_rows(op, "dx", a.dx, Need::optional, rows, &p->dx));
  KILTER_RETURN_IF_ERROR(read_rows(op, "dresidual", a.dresidual, Need::optional, rows, &p->dresidual));
  KILTER_RETURN_IF_ERROR(read_vector(op, "dweight", a.dweight, Need::optional, rows, &p->dweight));
  KILTER_RETURN_IF_ERROR(read_vector(op, "dbias", a.dbias, Need::optional, rows, &p->dbias));
  KILTER_RETURN_IF_ERROR(check_launch_flags(op, a.launch_flags));
  KILTER_RETURN_IF_ERROR(check_finite(op, "weight_offset", a.weight_offset));
  if (a.weight_offset != 0 && absent(p->weight))
    return fail(KILTER_INVALID_ARGUMENT, op, "weight_offset: expected 0 without a weight, got %g", a.weight_offset);

  const DType t = p->dy.dtype, s = p->x.dtype;
  if (s != t && s != DType::f32) return wrong_dtype(op, "x", "dy's type or fp32 (a residual stream's)", s);
  const DType weight_type = absent(p->weight) ? t : p->weight.dtype;
  KILTER_RETURN_IF_ERROR(check_type(op, "weight", p->weight, t, "dy's type"));
  if (a.centered) KILTER_RETURN_IF_ERROR(check_exact_type(op, "mean", p->mean, statistics_type(t), "the statistics' type"));
  KILTER_RETURN_IF_ERROR(check_exact_type(op, "rstd", p->rstd, statistics_type(t), "the statistics' type"));
  KILTER_RETURN_IF_ERROR(check_type(op, "dresidual_out", p->dresidual_out, t, "dy's type"));
  KILTER_RETURN_IF_ERROR(check_exact_type(op, "dx", p->dx, t, "dy's type"));
  KILTER_RETURN_IF_ERROR(check_type(op, "dresidual", p->dresidual, t, "dy's type"));
  KILTER_RETURN_IF_ERROR(check_type(op, "dweight", p->dweight, weight_type, "weight's type"));
  KILTER_RETURN_IF_ERROR(check_type(op, "dbias", p->dbias, weight_type, "weight's type"));

  const Named inputs[] = {
      {"x", &p->x, rows.rows, rows.n},   {"dy", &p->dy, rows.rows, rows.n}, {"dresidual_out", &p->dresidual_out, rows.rows, rows.n},
      {"weight", &p->weight, 1, rows.n}, {"mean", &p->mean, rows.rows, 1},  {"rstd", &p->rstd, rows.rows, 1}};
  const Named outputs[] = {{"dx", &p->dx, rows.rows, rows.n, 0b111},
                           {"dresidual", &p->dresidual, rows.rows, rows.n, 0b111},
                           {"dweight", &p->dweight, 1, rows.n},
                           {"dbias", &p->dbias, 1, rows.n}};
  KILTER_RETURN_IF_ERROR(check_overlaps(op, inputs, 6, outputs, 4));

  p->rows = rows.n == 0 ? 0 : rows.rows;
  p->n = rows.n;
  p->device = rows.device;
  p->weight_offset = a.weight_offset;
  p->centered = a.centered;
  p->dependent = a.launch_flags & KILTER_LAUNCH_DEPENDENT;
  p->workspace = static_cast<char*>(a.workspace);
  p->workspace_size = a.workspace_size;
  p->op = op;
  start_query(op, KILTER_BACKWARD, rows, a.impl, q);
  q->x = dlpack_of(s);
  q->dy = dlpack_of(t);
  q->weight = dlpack_of(p->weight.dtype);
  q->dresidual_out = dlpack_of(p->dresidual_out.dtype);
  q->dresidual = dlpack_of(p->dresidual.dtype);
  q->dweight = dlpack_of(p->dweight.dtype);
  q->dbias = dlpack_of(p->dbias.dtype);
  if (a.weight_offset != 0) q->features |= KILTER_FEATURE_WEIGHT_OFFSET;
  return KILTER_OK;
}

const char* family_refuses(const kilter_query& q) {
  const bool backward = q.direction == KILTER_BACKWARD;
  const DType x = dtype_of(q.x), t = backward && q.dy.bits ? dtype_of(q.dy) : x;
  if (x == DType::none) return "x.dtype: expected fp64, fp32, fp16 or bf16";
  if (q.activation != KILTER_ACTIVATION_NONE) return "epilogue.activation: expected NONE, as no other has a kernel yet";
  if (q.output_kind != KILTER_OUTPUT_PLAIN) return "quantization.kind: expected PLAIN, as no other has a kernel yet";
  if (q.gate.bits) return "prologue.gate: expected none, as gates have no kernel yet";
  if (t == DType::none) return "dy.dtype: expected fp64, fp32, fp16 or bf16";
  if (x != t && x != DType::f32) return "x.dtype: expected dy's type or fp32";
  const auto fits = [](kilter_dtype d, DType type) { return d.bits == 0 || dtype_of(d) == type || dtype_of(d) == DType::f32; };
  if (!fits(q.weight, t)) return backward ? "weight.dtype: expected dy's type or fp32" : "weight.dtype: expected x's type or fp32";
  if (!fits(q.bias, t)) return "bias.dtype: expected x's type or fp32";
  if (!fits(q.residual, t)) return "residual.dtype: expected x's type or fp32";
  if (!fits(q.post_residual, t)) return "post_residual.dtype: expected x's type or fp32";
  if (!fits(q.dresidual_out, t)) return "dresidual_out.dtype: expected dy's type or fp32";
  if (!fits(q.dresidual, t)) return "dresidual.dtype: expected dy's type or fp32";
  const DType sums = q.weight.bits ? dtype_of(q.weight) : t;
  if (!fits(q.dweight, sums)) return "dweight.dtype: expected weight's type (dy's without a weight) or fp32";
  if (!fits(q.dbias, sums)) return "dbias.dtype: expected weight's type (dy's without a weight) or fp32";
  return nullptr;
}

}  // namespace kilter

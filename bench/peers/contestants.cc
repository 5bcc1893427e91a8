// The copies, kilter and oneDNN behind one C interface, for peers.py: the row norms.
#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "contestant.h"

// Activations x, dy and out (y forward, dx backward) are rows x n, in bf16 or fp32.  The rest is fp32: weight, bias and their
// gradients [n]; mean, rstd and variance [rows], outputs of forward and inputs of backward.
struct Problem {
  int32_t rms, backward, bf16, threads;
  int64_t rows, n;
  void *x, *dy, *out;
  float *weight, *bias, *mean, *rstd, *variance, *dweight, *dbias;
};

namespace {

// ---------------------------------------------------------------- kilter

template <class Activation>
Contestant kilter_contestant(const Problem& p) {
  kilter::check(kilter_set_num_threads(p.threads));
  const auto activations = [&p](void* data) { return kilter::tensor(static_cast<Activation*>(data), {p.rows, p.n}); };
  const auto per_row = [&p](float* data) { return kilter::tensor(data, {p.rows, 1}); };
  const auto per_column = [&p](float* data) { return kilter::tensor(data, {p.n}); };
  const auto forward = [&](auto args) {
    args.x = activations(p.x), args.y = activations(p.out), args.weight = per_column(p.weight), args.rstd = per_row(p.rstd),
    args.eps = kEps;
    if constexpr (requires { args.mean; }) args.mean = per_row(p.mean), args.bias = per_column(p.bias);
    return args;
  };
  const auto backward = [&](auto args, auto workspace_size) {
    args.x = activations(p.x), args.dy = activations(p.dy), args.dx = activations(p.out), args.weight = per_column(p.weight);
    args.rstd = per_row(p.rstd), args.dweight = per_column(p.dweight);
    if constexpr (requires { args.mean; }) args.mean = per_row(p.mean), args.dbias = per_column(p.dbias);
    auto workspace = std::make_shared<std::vector<std::byte>>(workspace_size(args));
    args.workspace = *workspace;
    return std::pair(args, workspace);
  };
  const char* const name = "kilter";
  if (!p.backward && p.rms) return {name, [a = forward(kilter::rms_norm_forward_args())] { kilter::rms_norm_forward(a); }};
  if (!p.backward) return {name, [a = forward(kilter::layer_norm_forward_args())] { kilter::layer_norm_forward(a); }};
  if (p.rms)
    return {name,
            [a = backward(kilter::rms_norm_backward_args(), kilter::rms_norm_backward_workspace)] { kilter::rms_norm_backward(a.first); }};
  return {name, [a = backward(kilter::layer_norm_backward_args(), kilter::layer_norm_backward_workspace)] {
            kilter::layer_norm_backward(a.first);
          }};
}

// ---------------------------------------------------------------- oneDNN

Contestant onednn_contestant(const Problem& p) {
  using dnnl::memory;
  using Flags = dnnl::normalization_flags;
  using Forward = dnnl::layer_normalization_forward;
  using Backward = dnnl::layer_normalization_backward;
  Onednn onednn;
  const memory::desc data({p.rows, p.n}, p.bf16 ? memory::data_type::bf16 : memory::data_type::f32, memory::format_tag::ab);
  const memory::desc per_row({p.rows}, memory::data_type::f32, memory::format_tag::a);
  const memory::desc per_column({p.n}, memory::data_type::f32, memory::format_tag::a);
  onednn.bind(DNNL_ARG_SRC, data, p.x);
  onednn.bind(DNNL_ARG_SCALE, per_column, p.weight);
  onednn.bind(DNNL_ARG_VARIANCE, per_row, p.variance);
  Flags flags = Flags::use_scale;
  if (p.rms) {
    flags = flags | Flags::rms_norm;
  } else {
    flags = flags | Flags::use_shift;
    onednn.bind(DNNL_ARG_MEAN, per_row, p.mean);
    onednn.bind(DNNL_ARG_SHIFT, per_column, p.bias);
  }
  const Forward::primitive_desc forward(onednn.engine, dnnl::prop_kind::forward_training, data, data, per_row, float(kEps), flags);
  if (!p.backward) {
    onednn.bind(DNNL_ARG_DST, data, p.out);
    return onednn.contestant<Forward>(forward);
  }
  onednn.bind(DNNL_ARG_DIFF_DST, data, p.dy);
  onednn.bind(DNNL_ARG_DIFF_SRC, data, p.out);
  onednn.bind(DNNL_ARG_DIFF_SCALE, per_column, p.dweight);
  if (!p.rms) onednn.bind(DNNL_ARG_DIFF_SHIFT, per_column, p.dbias);
  const Backward::primitive_desc backward(onednn.engine, dnnl::prop_kind::backward, data, data, data, per_row, float(kEps), flags, forward);
  return onednn.contestant<Backward>(backward);
}

}  // namespace

extern "C" {

// kind: "kilter", "onednn" or "copy" (the index-th).  Null, with a line on stderr, where there is none.
void* contestant_create(const char* kind, int index, const Problem* p) {
  return created(kind, [&, which = std::string(kind)] {
    return which == "copy"     ? copy_contestant(*p, size_t(index), p->rows * p->n * (p->bf16 ? 2 : 4))
           : which == "onednn" ? onednn_contestant(*p)
           : p->bf16           ? kilter_contestant<kilter::bfloat16>(*p)
                               : kilter_contestant<float>(*p);
  });
}

const char* contestant_name(const void* c) { return static_cast<const Contestant*>(c)->name.c_str(); }

int contestant_run(const void* c) try {
  static_cast<const Contestant*>(c)->run();
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "%s: %s\n", contestant_name(c), e.what());
  return 1;
}

void contestant_destroy(void* c) { delete static_cast<Contestant*>(c); }

const char* onednn_version() {
  static const std::string text = [] {
    const dnnl_version_t* v = dnnl_version();
    return std::to_string(v->major) + "." + std::to_string(v->minor) + "." + std::to_string(v->patch);
  }();
  return text.c_str();
}
}

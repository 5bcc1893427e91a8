// The norms of planes among the contestants: batch_norm, group_norm and instance_norm over [batch, channels, height, width].
#include <memory>
#include <vector>

#include "contestant.h"

enum PlaneOp : int32_t { kBatchNorm, kGroupNorm, kInstanceNorm };

// Activations x, dy and out (y forward, dx backward) are in bf16 or fp32, channels first or last.  The rest is fp32: weight, bias and
// their gradients [channels]; mean, rstd and variance, of the planes, are outputs of forward in training, else inputs.
struct PlaneProblem {
  PlaneOp op;
  int32_t backward, training, bf16, last, threads;
  int64_t batch, channels, height, width, groups;
  void *x, *dy, *out;
  float *weight, *bias, *mean, *rstd, *variance, *dweight, *dbias;
};

namespace {

// ---------------------------------------------------------------- kilter

template <class Activation>
struct Kilter {
  const PlaneProblem& p;

  kilter::tensor activations(void* data) const {
    const int64_t line = p.width * (p.last ? p.channels : 1), all = p.height * p.width;
    const auto strides = p.last ? kilter::sizes{p.channels * all, 1, line, p.channels} : kilter::sizes{p.channels * all, all, line, 1};
    return {static_cast<Activation*>(data), {p.batch, p.channels, p.height, p.width}, strides};
  }
  kilter::tensor by_channel(float* data) const { return {data, {p.channels}}; }
  kilter::tensor by_plane(float* data) const { return p.op == kBatchNorm ? by_channel(data) : kilter::tensor(data, {p.batch, p.groups}); }

  template <class Args>
  Args arguments() const {
    Args args;
    args.x = activations(p.x), args.weight = by_channel(p.weight), args.bias = by_channel(p.bias);
    if constexpr (requires { args.groups; }) args.groups = p.groups;
    if constexpr (requires { args.training; }) args.training = p.training;
    if constexpr (requires { args.dy; }) {
      args.dy = activations(p.dy), args.dx = activations(p.out);
      args.dweight = by_channel(p.dweight), args.dbias = by_channel(p.dbias);
    } else {
      args.y = activations(p.out), args.eps = kEps;
    }
    if (p.training) {
      args.mean = by_plane(p.mean), args.rstd = by_plane(p.rstd);
    } else {
      if constexpr (requires { args.running_mean; }) args.running_mean = by_channel(p.mean), args.running_var = by_channel(p.variance);
    }
    return args;
  }

  template <class Args>
  Contestant contestant(void (*call)(const Args&, kilter_stream), size_t (*workspace_size)(const Args&)) const {
    kilter::check(kilter_set_num_threads(p.threads));
    Args args = arguments<Args>();
    auto workspace = std::make_shared<std::vector<std::byte>>(workspace_size(args));
    args.workspace = *workspace;
    return {"kilter", [call, args, workspace] { call(args, nullptr); }};
  }

  Contestant contestant() const {
    using namespace kilter;
    switch (p.op) {
      case kBatchNorm:
        return p.backward ? contestant(batch_norm_backward, batch_norm_backward_workspace)
                          : contestant(batch_norm_forward, batch_norm_forward_workspace);
      case kGroupNorm:
        return p.backward ? contestant(group_norm_backward, group_norm_backward_workspace)
                          : contestant(group_norm_forward, group_norm_forward_workspace);
      case kInstanceNorm:
        return p.backward ? contestant(instance_norm_backward, instance_norm_backward_workspace)
                          : contestant(instance_norm_forward, instance_norm_forward_workspace);
    }
    return {};
  }
};

// ---------------------------------------------------------------- oneDNN

// Its instance norm is a group norm.  more: what else the descriptions of Forward and Backward take.
template <class Forward, class Backward, class... More>
Contestant onednn_contestant(const PlaneProblem& p, const dnnl::memory::desc& by_plane, More... more) {
  using dnnl::memory;
  using dnnl::prop_kind;
  using Flags = dnnl::normalization_flags;
  const memory::desc data({p.batch, p.channels, p.height, p.width}, p.bf16 ? memory::data_type::bf16 : memory::data_type::f32,
                          p.last ? memory::format_tag::nhwc : memory::format_tag::nchw);
  const memory::desc by_channel({p.channels}, memory::data_type::f32, memory::format_tag::a);
  Onednn onednn;
  onednn.bind(DNNL_ARG_SRC, data, p.x);
  onednn.bind(DNNL_ARG_SCALE, by_channel, p.weight);
  onednn.bind(DNNL_ARG_SHIFT, by_channel, p.bias);
  onednn.bind(DNNL_ARG_MEAN, by_plane, p.mean);
  onednn.bind(DNNL_ARG_VARIANCE, by_plane, p.variance);
  Flags flags = Flags::use_scale | Flags::use_shift;
  if (!p.training) flags = flags | Flags::use_global_stats;
  const auto kind = p.training ? prop_kind::forward_training : prop_kind::forward_inference;
  const typename Forward::primitive_desc forward(onednn.engine, kind, data, data, more..., float(kEps), flags);
  if (!p.backward) {
    onednn.bind(DNNL_ARG_DST, data, p.out);
    return onednn.contestant<Forward>(forward);
  }
  onednn.bind(DNNL_ARG_DIFF_DST, data, p.dy);
  onednn.bind(DNNL_ARG_DIFF_SRC, data, p.out);
  onednn.bind(DNNL_ARG_DIFF_SCALE, by_channel, p.dweight);
  onednn.bind(DNNL_ARG_DIFF_SHIFT, by_channel, p.dbias);
  return onednn.contestant<Backward>({onednn.engine, prop_kind::backward, data, data, data, more..., float(kEps), flags, forward});
}

Contestant onednn_contestant(const PlaneProblem& p) {
  using dnnl::memory;
  if (p.op == kBatchNorm)
    return onednn_contestant<dnnl::batch_normalization_forward, dnnl::batch_normalization_backward>(
        p, {{p.channels}, memory::data_type::f32, memory::format_tag::a});
  return onednn_contestant<dnnl::group_normalization_forward, dnnl::group_normalization_backward>(
      p, {{p.batch, p.groups}, memory::data_type::f32, memory::format_tag::ab}, p.groups);
}

}  // namespace

// As contestant_create.
extern "C" void* plane_contestant_create(const char* kind, int index, const PlaneProblem* p) {
  return created(kind, [&, which = std::string(kind)] {
    return which == "copy"     ? copy_contestant(*p, size_t(index), p->batch * p->channels * p->height * p->width * (p->bf16 ? 2 : 4))
           : which == "onednn" ? onednn_contestant(*p)
           : p->bf16           ? Kilter<kilter::bfloat16>{*p}.contestant()
                               : Kilter<float>{*p}.contestant();
  });
}

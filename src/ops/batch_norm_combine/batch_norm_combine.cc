// batch_norm_combine: 1. the implementation lists  2. the C entry points.
#include <cmath>

#include "core/dispatch.h"
#include "cpu/entry.h"
#include "ops/batch_norm_combine/combine.h"

namespace kilter {
namespace {

constexpr const char* kOp = "batch_norm_combine";

kilter_status forward_on_cpu(const CombineForward& p, kilter_stream) {
  const View* const inputs[] = {&p.counts, &p.means, &p.m2s};
  const double share = share_of(p);
  double count = 0;
  for (int64_t r = 0; r < p.ranks; ++r) count = count + read<double>(p.counts, 0, r);
  for (int64_t c = 0; c < p.channels; ++c) {
    const Combined all = combine_channel(
        p.ranks, [&](int which, int64_t r) { return which ? read<double>(*inputs[which], r, c) : read<double>(p.counts, 0, r); });
    write(p.mean, 0, c, all.count > 0 ? all.mean : 0 / all.count);
    write(p.rstd, 0, c, 1 / std::sqrt(all.m2 / all.count + p.eps));
    const auto update = [&](const View& before, const View& out, double value) {
      if (out.present()) write(out, 0, c, averaged(read<double>(before, 0, c), value, all.count > 1 ? share : 0));
    };
    update(p.running_mean, p.running_mean_out, all.mean);
    update(p.running_var, p.running_var_out, all.count > 1 ? all.m2 / (all.count - 1) : 0);
  }
  write(p.count, 0, 0, count);
  return KILTER_OK;
}

kilter_status backward_on_cpu(const CombineBackward& p, kilter_stream) {
  for (int64_t c = 0; c < p.channels; ++c)
    for (const auto& [sums, sum] : {std::pair{&p.sums_u, &p.sum_u}, {&p.sums_u_xhat, &p.sum_u_xhat}})
      write(*sum, 0, c, sum_of_ranks(p.ranks, [&, of = sums](int64_t r) { return read<double>(*of, r, c); }));
  return KILTER_OK;
}

const char* refuses(const CombineForward& p) {
  return p.device.type == KILTER_DEVICE_CPU ? nullptr : "means.device: expected the CPU (type 1)";
}
const char* refuses(const CombineBackward& p) {
  return p.device.type == KILTER_DEVICE_CPU ? nullptr : "sums_u.device: expected the CPU (type 1)";
}

constexpr Implementation<CombineForward> kForward[] = {
#if defined(KILTER_ENABLE_CUDA)
    {"cuda:combine", combine_cuda_refuses, combine_cuda_forward},
#endif
    {"cpu:combine", refuses, forward_on_cpu, nullptr, cpu_ready},
    {"reference:f64", refuses, batch_norm_combine_reference_forward},
};

constexpr Implementation<CombineBackward> kBackward[] = {
#if defined(KILTER_ENABLE_CUDA)
    {"cuda:combine", combine_cuda_refuses, combine_cuda_backward},
#endif
    {"cpu:combine", refuses, backward_on_cpu, nullptr, cpu_ready},
    {"reference:f64", refuses, batch_norm_combine_reference_backward},
};

constexpr Schema kForwardSchema = combine_forward<kilter_batch_norm_combine_forward_args>(kOp, KILTER_BATCH_NORM_COMBINE_FORWARD);
constexpr Schema kBackwardSchema = combine_backward<kilter_batch_norm_combine_backward_args>(kOp, KILTER_BATCH_NORM_COMBINE_BACKWARD);
using ForwardEntry = Entry<kForwardSchema, CombineForward, kForward, finish_combine>;
using BackwardEntry = Entry<kBackwardSchema, CombineBackward, kBackward, finish_combine>;

}  // namespace

}  // namespace kilter

KILTER_FUNCTIONS(batch_norm_combine, ForwardEntry, BackwardEntry)

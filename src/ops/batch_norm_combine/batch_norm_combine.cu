// batch_norm_combine on CUDA devices: a thread owns a channel, whose ranks it reads one after another, neighbours side by side; what it
// reads more than once is in the caches.  No barriers.
#include "cuda/dependent_launch.cuh"
#include "cuda/launch.h"
#include "cuda/runtime.h"
#include "families/planewise/cuda/access.cuh"
#include "ops/batch_norm_combine/combine.h"

namespace kilter {
namespace cuda {
namespace {

constexpr int kCombineThreads = 64;  // few: there are only so many channels

struct CombineParameters {
  int64_t ranks, channels;
  PlaneTensor counts, means, m2s, running_mean, running_var, count, mean, rstd, running_mean_out, running_var_out;
  double eps, share;
  bool dependent;
};

__device__ __forceinline__ void update(const PlaneTensor& before, const PlaneTensor& out, int64_t c, double value, double share) {
  if (out.data) store_of<double>(out, 0, c, averaged(load_of<double>(before, 0, c, 0), value, share));
}

__global__ void __launch_bounds__(kCombineThreads) combine_kernel(const __grid_constant__ CombineParameters p) {
  wait_for_predecessor(p.dependent);
  const int64_t c = int64_t(blockIdx.x) * kCombineThreads + threadIdx.x;
  const auto count_of = [&](int64_t r) { return load_of<double>(p.counts, 0, r, 0); };
  const bool is = c < p.channels;
  if (!is && c > 0) return;
  const Combined all = combine_channel(is ? p.ranks : 0, [&](int which, int64_t r) {
    return which == 0 ? count_of(r) : load_of<double>(which == 1 ? p.means : p.m2s, r, c, 0);
  });
  if (c == 0) {
    double count = 0;
    for (int64_t r = 0; r < p.ranks; ++r) count = count + count_of(r);
    store_of<double>(p.count, 0, 0, count);
  }
  if (!is) return;
  store_of<double>(p.mean, 0, c, all.count > 0 ? all.mean : 0 / all.count);
  store_of<double>(p.rstd, 0, c, 1 / sqrt(all.m2 / all.count + p.eps));
  const bool any = all.count > 1;
  update(p.running_mean, p.running_mean_out, c, all.mean, any ? p.share : 0);
  update(p.running_var, p.running_var_out, c, any ? all.m2 / (all.count - 1) : 0, any ? p.share : 0);
}

struct SumsOfRanksParameters {
  int64_t ranks, channels;
  PlaneTensor sums[2], sum[2];
  bool dependent;
};

__global__ void __launch_bounds__(kCombineThreads) sums_of_ranks_kernel(const __grid_constant__ SumsOfRanksParameters p) {
  wait_for_predecessor(p.dependent);
  const int64_t c = int64_t(blockIdx.x) * kCombineThreads + threadIdx.x;
  if (c >= p.channels) return;
#pragma unroll
  for (int q = 0; q < 2; ++q)
    store_of<double>(p.sum[q], 0, c, sum_of_ranks(p.ranks, [&](int64_t r) { return load_of<double>(p.sums[q], r, c, 0); }));
}

template <class Problem>
bool may_start_early(const Problem& p) {
  return (p.launch_flags & KILTER_LAUNCH_DEPENDENT) && traits_of(p.device.id).has_dependent_launch();
}
int64_t blocks_of(int64_t channels) { return channels > 0 ? (channels + kCombineThreads - 1) / kCombineThreads : 1; }

}  // namespace
}  // namespace cuda

const char* combine_cuda_refuses(const CombineForward& p) { return cuda::cuda_refuses_device(p.device); }
const char* combine_cuda_refuses(const CombineBackward& p) { return cuda::cuda_refuses_device(p.device); }

kilter_status combine_cuda_forward(const CombineForward& p, kilter_stream stream) {
  using cuda::PlaneTensor;
  cuda::DeviceCall call(p.op, p.device);
  KILTER_RETURN_IF_ERROR(call.begin());
  cuda::CombineParameters k = {};
  k.ranks = p.ranks, k.channels = p.channels;
  k.counts = PlaneTensor(p.counts), k.means = PlaneTensor(p.means), k.m2s = PlaneTensor(p.m2s);
  k.running_mean = PlaneTensor(p.running_mean), k.running_var = PlaneTensor(p.running_var);
  k.count = PlaneTensor(p.count), k.mean = PlaneTensor(p.mean), k.rstd = PlaneTensor(p.rstd);
  k.running_mean_out = PlaneTensor(p.running_mean_out), k.running_var_out = PlaneTensor(p.running_var_out);
  k.eps = p.eps, k.share = share_of(p), k.dependent = cuda::may_start_early(p);
  cuda::Launch(cuda::blocks_of(p.channels), cuda::kCombineThreads, static_cast<cudaStream_t>(stream))
      .dependent(k.dependent)(&cuda::combine_kernel, k);
  return call.finish();
}

kilter_status combine_cuda_backward(const CombineBackward& p, kilter_stream stream) {
  using cuda::PlaneTensor;
  cuda::DeviceCall call(p.op, p.device);
  KILTER_RETURN_IF_ERROR(call.begin());
  const cuda::SumsOfRanksParameters k = {p.ranks,
                                         p.channels,
                                         {PlaneTensor(p.sums_u), PlaneTensor(p.sums_u_xhat)},
                                         {PlaneTensor(p.sum_u), PlaneTensor(p.sum_u_xhat)},
                                         cuda::may_start_early(p)};
  cuda::Launch(cuda::blocks_of(p.channels), cuda::kCombineThreads, static_cast<cudaStream_t>(stream))
      .dependent(k.dependent)(&cuda::sums_of_ranks_kernel, k);
  return call.finish();
}

}  // namespace kilter

// The statistics and sums of several ranks as those of one, in __float128: the definition that everything else is tested against.
#include "ops/batch_norm_combine/combine.h"

namespace kilter {

kilter_status batch_norm_combine_reference_forward(const CombineForward& p, kilter_stream) {
  const auto count_of = [&](int64_t r) { return read<Quad>(p.counts, 0, r); };
  const Quad share = p.averaging == KILTER_AVERAGING_CUMULATIVE ? 1 / Quad(p.batches_tracked + 1) : Quad(p.momentum);
  Quad count = 0;
  for (int64_t r = 0; r < p.ranks; ++r) count += count_of(r);
  for (int64_t c = 0; c < p.channels; ++c) {
    Quad mean = 0, m2 = 0;
    for (int64_t r = 0; r < p.ranks; ++r)
      if (count_of(r) > 0) mean += read<Quad>(p.means, r, c) * count_of(r) / count;
    for (int64_t r = 0; r < p.ranks; ++r) {
      if (!(count_of(r) > 0)) continue;
      const Quad apart = read<Quad>(p.means, r, c) - mean;
      m2 += read<Quad>(p.m2s, r, c) + apart * apart * count_of(r);
    }
    write(p.mean, 0, c, count > 0 ? mean : Quad(0) / count);
    write(p.rstd, 0, c, 1 / square_root(m2 / count + Quad(p.eps)));
    const auto update = [&](const View& old, const View& out, Quad value) {
      if (!out.present()) return;
      const Quad before = read<Quad>(old, 0, c);
      write(out, 0, c, count > 1 ? (1 - share) * before + share * value : before);
    };
    update(p.running_mean, p.running_mean_out, mean);
    update(p.running_var, p.running_var_out, m2 / (count - 1));
  }
  write(p.count, 0, 0, count);
  return KILTER_OK;
}

kilter_status batch_norm_combine_reference_backward(const CombineBackward& p, kilter_stream) {
  for (int64_t c = 0; c < p.channels; ++c) {
    Quad u = 0, uh = 0;
    for (int64_t r = 0; r < p.ranks; ++r) u += read<Quad>(p.sums_u, r, c), uh += read<Quad>(p.sums_u_xhat, r, c);
    write(p.sum_u, 0, c, u), write(p.sum_u_xhat, 0, c, uh);
  }
  return KILTER_OK;
}

}  // namespace kilter

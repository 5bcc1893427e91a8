#include "families/rowwise/cuda/run.h"

#include "core/wide_sum.h"
#include "cuda/runtime.h"
#include "kilter/device/row_formulas.h"

namespace kilter {

size_t row_norm_cuda_workspace(const RowNormBackward& p) {
  const bool wide = p.dy.dtype == DType::f64;
  const int64_t planes = (p.dweight.dtype != DType::none) + (p.dbias.dtype != DType::none);
  if (p.n > int64_t(1) << 48 || p.rows > int64_t(1) << 48) return SIZE_MAX;  // beyond any memory, and short of an overflow below
  const int64_t row = wide ? sizeof(RowGradient<double>) : sizeof(RowGradient<float>),
                sum = wide ? sizeof(Wide<double>) : sizeof(Wide<float>);
  if (p.scale.dtype != DType::none) {  // the general kernels', or those of batches: copies of the chunks of all of them
    const int64_t general = p.rows * row + 3 * modulation_slots(p) * p.n * sum, batches = p.modulation.count > 0 ? p.modulation.count : 1;
    const int64_t chunks = row_partition(p.rows / batches, p.n).chunks * batches;
    const int64_t fast = chunks <= p.rows ? 4 * chunks * p.n * int64_t(sizeof(double)) : 0;
    return size_t(general > fast ? general : fast) + 128;
  }
  const RowPartition partition = row_partition(p.rows, p.n);
  const int64_t copies = partition.steps() > kBlockGroups ? 2 : 1;  // chunks on their way, and what blocks of threads make of them
  return size_t(p.rows * row + planes * copies * partition.chunks * p.n * sum) + 128;  // each part's alignment
}

const char* cuda_refuses(const RowNormForward& p) {
  const char* const reason = cuda::cuda_refuses_device(p.device);
  return reason ? reason : family_refuses(p);
}
const char* cuda_refuses(const RowNormBackward& p) {
  const char* const reason = cuda::cuda_refuses_device(p.device);
  return reason ? reason : family_refuses(p);
}

}  // namespace kilter

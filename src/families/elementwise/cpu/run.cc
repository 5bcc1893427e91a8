#include "families/elementwise/cpu/run.h"

#include <algorithm>

#include "core/element.h"
#include "cpu/parallel.h"
#include "cpu/share.h"

namespace kilter {
namespace {

template <class C>
int64_t pieces_of(int64_t n) {
  return (n + kPieceLength<C> - 1) / kPieceLength<C>;
}

// The workspace: every chunk's sums of dweight's and dbias's terms, n columns each; every piece's of dalpha's and dshift's; a
// PieceSums for each thread.
template <class C>
struct SumMemory {
  int64_t n, chunks, pieces;
  int threads;
  Wide<C>*columns = nullptr, *scalars = nullptr;
  PieceSums<C>* scratch = nullptr;

  SumMemory(const ElementwiseBackward& p, int threads_wanted)
      : n(p.n), chunks(row_partition(p.rows, p.n).chunks), pieces(pieces_of<C>(p.n)), threads(threads_wanted) {}
  int64_t sums() const { return 2 * chunks * (n + pieces); }
  size_t bytes() const { return size_t(sums()) * sizeof(Wide<C>) + size_t(threads) * sizeof(PieceSums<C>) + 63; }
  void place(char* workspace) {
    columns = reinterpret_cast<Wide<C>*>((reinterpret_cast<uintptr_t>(workspace) + 63) & ~uintptr_t(63));
    scalars = columns + 2 * chunks * n;
    scratch = reinterpret_cast<PieceSums<C>*>(scalars + 2 * chunks * pieces);
  }
  Wide<C>* column(int64_t chunk, int term) const { return columns + (2 * chunk + term) * n; }
  Wide<C>* scalar(int64_t chunk, int64_t piece) const { return scalars + 2 * (chunk * pieces + piece); }

  // What a piece's pass left: by column, and added up over its columns.
  void keep(const PieceSums<C>& from, int64_t chunk, int64_t piece, int m) const {
    for (const int term : {kWeightTerm, kBiasTerm}) std::copy_n(from.wide[term], m, column(chunk, term) + piece * kPieceLength<C>);
    for (const int term : {kAlphaTerm, kShiftTerm}) {
      Wide<C>& sum = scalar(chunk, piece)[term - kAlphaTerm];
      sum = {};
      for (int i = 0; i < m; ++i) add_to(sum, from.wide[term][i]);
    }
  }
  // In the order of the chunks, and of the pieces in them.
  void finish(const ElementwiseBackward& p) const {
    constexpr int64_t kColumns = 256;
    parallel_for((n + kColumns - 1) / kColumns, chunks * n > kElementsPerThread ? threads : 1, [&](int64_t block, int) {
      const int64_t begin = block * kColumns, count = std::min(n - begin, kColumns);
      for (const int term : {kWeightTerm, kBiasTerm}) {
        const View& out = term == kWeightTerm ? p.dweight : p.dbias;
        if (!out.present()) continue;
        Wide<C> sums[kColumns] = {};
        for (int64_t c = 0; c < chunks; ++c)
          for (int64_t i = 0; i < count; ++i) add_to(sums[i], column(c, term)[begin + i]);
        for (int64_t i = 0; i < count; ++i) write(out, 0, begin + i, C(value_of(sums[i])));
      }
    });
    for (const int k : {0, 1}) {
      Wide<C> sum = {};
      for (int64_t i = 0; i < chunks * pieces; ++i) add_to(sum, scalars[2 * i + k]);
      write(k == 0 ? p.dalpha : p.dshift, 0, 0, C(value_of(sum)));
    }
  }
};

template <class C>
kilter_status backward(const ElementwiseBackward& p, const ElementwisePasses<C>& passes) {
  const int64_t pieces = pieces_of<C>(p.n);
  const RowPartition partition = row_partition(p.rows, p.n);
  const int64_t tasks = partition.chunks * pieces, useful = std::max<int64_t>(1, p.rows * p.n / kElementsPerThread);
  int threads = int(std::min<int64_t>({available_threads(), useful, std::max<int64_t>(tasks, 1)}));
  SumMemory<C> memory(p, threads);
  while (memory.threads > 1 && memory.bytes() > p.workspace_size) --memory.threads;
  if (p.has_sums()) {
    if (!p.workspace || memory.bytes() > p.workspace_size)
      return fail(KILTER_WORKSPACE_TOO_SMALL, p.op, "workspace: expected %zu bytes, got %zu", memory.bytes(),
                  p.workspace ? p.workspace_size : 0);
    memory.place(p.workspace);
    threads = memory.threads;
  }
  const auto streams = [&](const View& out) { return should_stream(out, p.rows, p.n, {&p.x, &p.dy, &p.dresidual_out}); };
  const bool past_caches = (!p.dx.present() || streams(p.dx)) && (!p.dresidual.present() || streams(p.dresidual));
  parallel_for(tasks, threads, [&](int64_t task, int thread) {
    const int64_t chunk = task / pieces, piece = task % pieces, start = piece * kPieceLength<C>;
    const int m = int(std::min(p.n - start, kPieceLength<C>));
    PieceSums<C>* const sums = p.has_sums() ? memory.scratch + thread : nullptr;
    passes.backward(p, partition, chunk, start, m, sums, past_caches);
    if (sums) memory.keep(*sums, chunk, piece, m);
  });
  if (p.has_sums()) memory.finish(p);
  return KILTER_OK;
}

template <class C>
kilter_status forward(const ElementwiseForward& p, const ElementwisePasses<C>& passes) {
  const int64_t pieces = p.rows * pieces_of<C>(p.n);
  if (pieces == 0) return KILTER_OK;
  const bool past_caches = should_stream(p.y, p.rows, p.n, {&p.x, &p.residual});
  const int threads = threads_for(pieces, std::min(p.n, kPieceLength<C>), available_threads());
  parallel_for(threads, threads, [&](int64_t b, int) { passes.forward(p, pieces * b / threads, pieces * (b + 1) / threads, past_caches); });
  return KILTER_OK;
}

}  // namespace

kilter_status run_on_cpu(const ElementwiseForward& p, const ElementwiseKernels& kernels) {
  return p.x.dtype == DType::f64 ? forward(p, kernels.f64) : forward(p, kernels.f32);
}

kilter_status run_on_cpu(const ElementwiseBackward& p, const ElementwiseKernels& kernels) {
  return p.dy.dtype == DType::f64 ? backward(p, kernels.f64) : backward(p, kernels.f32);
}

size_t elementwise_cpu_workspace(const ElementwiseBackward& p, int threads) {
  if (!p.has_sums()) return 0;
  if (p.n > int64_t(1) << 40 || p.rows > int64_t(1) << 48) return SIZE_MAX;  // beyond any memory, and short of an overflow below
  return p.dy.dtype == DType::f64 ? SumMemory<double>(p, threads).bytes() : SumMemory<float>(p, threads).bytes();
}

}  // namespace kilter

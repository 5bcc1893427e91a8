#include "families/weights/cpu/run.h"

#include <algorithm>
#include <cmath>

#include "core/element.h"
#include "cpu/parallel.h"
#include "cpu/share.h"

namespace kilter {
namespace {

// A part of a slice: what a core's second-level cache holds, so that forward's second look at v finds it there.
constexpr int64_t kPartElements = 65536;
// From so many slices on, each is one thread's.
constexpr int64_t kManySlices = 64;
// Rows that a thread adds up by columns, and into how many chunks of them all rows are divided at most.
constexpr int64_t kChunkRows = 128, kMostChunks = 64;

// The parts of each slice.
struct Parts {
  const Slices& s;
  int64_t of_row, rows, count;  // parts of a row, or rows of a part

  explicit Parts(const Slices& slices) : s(slices) {
    of_row = (s.n + kPartElements - 1) / kPartElements, rows = std::max<int64_t>(1, kPartElements / std::max<int64_t>(s.n, 1));
    count = of_row > 1 ? s.rows_of_slice() * of_row : (s.rows_of_slice() + rows - 1) / rows;
  }
  SlicePart at(int64_t slice, int64_t i) const {
    if (of_row > 1) {
      const int64_t row = i / of_row, begin = i % of_row * kPartElements;
      return {&s, slice, row, row + 1, begin, std::min(s.n, begin + kPartElements)};
    }
    return {&s, slice, i * rows, std::min(s.rows_of_slice(), (i + 1) * rows), 0, s.n};
  }
  bool are_shared() const { return count > 1 && s.kept < kManySlices; }  // among threads
};

struct Chunks {
  int64_t rows, count;
  explicit Chunks(const Slices& s)
      : rows(std::max(kChunkRows, (s.rows + kMostChunks - 1) / kMostChunks)), count((s.rows + rows - 1) / rows) {}
};

// What a slice's sum came to: forward's norm is root / scale.
template <class C>
struct Norm {
  double root;
  C scale;
};

// The workspace.  Rows: a sum for each part, a Norm and a sum for each slice, if parts are shared; columns: a sum for each chunk and
// column, a Norm for each slice, five factors for each column.
template <class C>
struct WeightsMemory {
  Wide<C>* sums = nullptr;
  Norm<C>* norms = nullptr;
  ColumnFactors<C> factors = {};

  static size_t bytes(const Slices& s) {
    if (s.empty()) return 0;
    if (s.n > int64_t(1) << 44 || s.kept > int64_t(1) << 44) return SIZE_MAX;  // beyond any memory, and short of an overflow
    if (!s.columns) {
      const Parts parts(s);
      return parts.are_shared() ? size_t(s.kept * parts.count) * sizeof(Wide<C>) + size_t(s.kept) * sizeof(Norm<C>) + 63 : 0;
    }
    return size_t(Chunks(s).count * s.n) * sizeof(Wide<C>) + size_t(s.kept) * sizeof(Norm<C>) + size_t(5 * s.n) * sizeof(C) + 63;
  }
  WeightsMemory(const Slices& s, char* workspace) {
    sums = reinterpret_cast<Wide<C>*>((reinterpret_cast<uintptr_t>(workspace) + 63) & ~uintptr_t(63));
    norms = reinterpret_cast<Norm<C>*>(sums + (s.columns ? Chunks(s).count * s.n : s.kept * Parts(s).count));
    C* const at = reinterpret_cast<C*>(norms + s.kept);
    factors = {at, at + s.n, at + 2 * s.n, at + 3 * s.n, at + 4 * s.n};
  }
};

// By rows one part after another.
template <class C>
Norm<C> norm_of(const WeightsForward& p, const WeightsPasses<C>& passes, int64_t slice, double squares) {
  if (is_ordinary(squares)) return {std::sqrt(squares), 1};
  const Slices& s = p.slices;
  const Parts parts(s);
  C most = 0;
  Wide<C> sum = {};
  const auto each = [&](auto&& f) {
    if (!s.columns) {
      for (int64_t i = 0; i < parts.count; ++i) f(parts.at(slice, i));
      return;
    }
    const Slices one = [&] {  // its runs in the rows, as rows themselves
      Slices o = s;
      o.kept = 1;
      return o;
    }();
    for (int64_t r = 0; r < s.rows; ++r)
      for (int64_t begin = slice * s.inner; begin < s.length(r); begin += s.kept * s.inner)
        f(SlicePart{&one, 0, r, r + 1, begin, begin + s.inner});
  };
  each([&](const SlicePart& part) { most = std::max(most, passes.largest(part, p.v)); });
  const C scale = scale_for<C>(most);
  if (scale == 1) return {std::sqrt(squares), 1};  // zeros, NaN, infinities
  each([&](const SlicePart& part) { passes.sum(part, p.v, View(), scale, 1, &sum); });
  return {std::sqrt(value_of(sum)), scale};
}

// ---------------------------------------------------------------- what differs between the directions

template <class C>
struct Forward {
  using Problem = WeightsForward;
  const Problem& p;
  const WeightsPasses<C>& passes;
  bool past_caches = should_stream(p.w, p.slices.rows, p.slices.n, {&p.v});

  bool writes() const { return p.w.present(); }
  void add(const SlicePart& part, Wide<C>* sum) const { passes.sum(part, p.v, View(), 1, 1, sum); }
  Norm<C> result(int64_t slice, Wide<C> sum) const {
    const Norm<C> norm = norm_of(p, passes, slice, value_of(sum));
    write(p.norm, 0, slice, norm.root / double(norm.scale));
    return norm;
  }
  ForwardFactors<C> factors(int64_t slice, const Norm<C>& norm) const { return {norm.root, norm.scale, C(read<double>(p.g, 0, slice))}; }
  void apply(const SlicePart& part, const Norm<C>& norm) const { passes.forward(part, p, factors(part.slice, norm), past_caches); }

  void before(const WeightsMemory<C>&, int64_t, int64_t, int64_t) const {}
  void add(const ColumnPart& part, const WeightsMemory<C>&, Wide<C>* sums) const { passes.column_sums(part, p.v, View(), nullptr, sums); }
  void after(const WeightsMemory<C>& m, int64_t slice, int64_t begin, int64_t end) const {
    if (!writes()) return;
    const ForwardFactors<C> f = factors(slice, m.norms[slice]);
    for (int64_t i = begin; i < end; ++i) m.factors.scale[i] = f.scale, m.factors.factor[i] = f.factor, m.factors.rest[i] = f.rest;
  }
  void apply(const ColumnPart& part, const WeightsMemory<C>& m) const { passes.forward_columns(part, p, m.factors, past_caches); }
};

template <class C>
struct Backward {
  using Problem = WeightsBackward;
  const Problem& p;
  const WeightsPasses<C>& passes;
  bool past_caches = should_stream(p.dv, p.slices.rows, p.slices.n, {&p.v, &p.dw});

  bool writes() const { return p.dv.present(); }
  BackwardFactors<C> factors(int64_t slice) const { return {C(read<double>(p.norm, 0, slice)), C(read<double>(p.g, 0, slice))}; }
  void add(const SlicePart& part, Wide<C>* sum) const {
    const BackwardFactors<C> f = factors(part.slice);
    passes.sum(part, p.v, p.dw, f.scale, f.inverse, sum);
  }
  Norm<C> result(int64_t slice, Wide<C> sum) const {  // the sum in the norm's place
    write(p.dg, 0, slice, value_of(sum));
    return {value_of(sum), 1};
  }
  void apply(const SlicePart& part, const Norm<C>& d) const { passes.backward(part, p, factors(part.slice), C(d.root), past_caches); }

  void before(const WeightsMemory<C>& m, int64_t slice, int64_t begin, int64_t end) const {
    const BackwardFactors<C> f = factors(slice);
    for (int64_t i = begin; i < end; ++i)
      m.factors.scale[i] = f.scale, m.factors.inverse[i] = f.inverse, m.factors.factor[i] = f.factor, m.factors.rest[i] = f.rest;
  }
  void add(const ColumnPart& part, const WeightsMemory<C>& m, Wide<C>* sums) const {
    passes.column_sums(part, p.v, p.dw, &m.factors, sums);
  }
  void after(const WeightsMemory<C>& m, int64_t slice, int64_t begin, int64_t end) const {
    for (int64_t i = begin; i < end; ++i) m.factors.d[i] = C(m.norms[slice].root);
  }
  void apply(const ColumnPart& part, const WeightsMemory<C>& m) const { passes.backward_columns(part, p, m.factors, past_caches); }
};

// ---------------------------------------------------------------- slices of rows

template <class C, class D>
void run_rows(const D& d, WeightsMemory<C>& memory) {
  const Slices& s = d.p.slices;
  const Parts parts(s);
  const int64_t length = s.rows_of_slice() * s.n;
  if (!parts.are_shared()) {
    const int64_t at_once = std::max<int64_t>(1, kElementsPerThread / length), blocks = (s.kept + at_once - 1) / at_once;
    parallel_for(blocks, threads_for(s.kept, length, available_threads()), [&](int64_t block, int) {
      for (int64_t slice = block * at_once; slice < std::min(s.kept, (block + 1) * at_once); ++slice) {
        Wide<C> sum = {};
        for (int64_t i = 0; i < parts.count; ++i) {
          Wide<C> part = {};
          d.add(parts.at(slice, i), &part);
          add_to(sum, part);
        }
        const Norm<C> result = d.result(slice, sum);
        for (int64_t i = 0; i < parts.count && d.writes(); ++i) d.apply(parts.at(slice, i), result);
      }
    });
    return;
  }
  const int64_t tasks = s.kept * parts.count;
  const int threads = threads_for(tasks, length / parts.count, available_threads());
  parallel_for(tasks, threads, [&](int64_t i, int) {
    memory.sums[i] = {};
    d.add(parts.at(i / parts.count, i % parts.count), &memory.sums[i]);
  });
  for (int64_t slice = 0; slice < s.kept; ++slice) {
    Wide<C> sum = {};
    for (int64_t i = 0; i < parts.count; ++i) add_to(sum, memory.sums[slice * parts.count + i]);
    memory.norms[slice] = d.result(slice, sum);
  }
  if (d.writes())
    parallel_for(tasks, threads,
                 [&](int64_t i, int) { d.apply(parts.at(i / parts.count, i % parts.count), memory.norms[i / parts.count]); });
}

// ---------------------------------------------------------------- slices of columns

// f(slice, begin, end): the runs of the columns of these slices, in order.
template <class F>
void over_runs(const Slices& s, int64_t first, int64_t last, F&& f) {
  for (int64_t slice = first; slice < last; ++slice)
    for (int64_t begin = slice * s.inner; begin < s.n; begin += s.kept * s.inner) f(slice, begin, begin + s.inner);
}

template <class C, class D>
void run_columns(const D& d, WeightsMemory<C>& memory) {
  const Slices& s = d.p.slices;
  const Chunks chunks(s);
  constexpr int64_t kPiece = kWeightsPiece<C>, kSlices = 256;
  const int64_t pieces = (s.n + kPiece - 1) / kPiece, tasks = chunks.count * pieces;
  const int threads = threads_for(tasks, s.rows * s.n / tasks, available_threads());
  const auto part = [&](int64_t task) {
    const int64_t chunk = task / pieces, start = task % pieces * kPiece;
    return ColumnPart{&s, chunk * chunks.rows, std::min(s.rows, (chunk + 1) * chunks.rows), start, int(std::min(kPiece, s.n - start))};
  };
  const auto over_slices = [&](auto&& f) {
    parallel_for((s.kept + kSlices - 1) / kSlices, threads,
                 [&](int64_t block, int) { f(block * kSlices, std::min(s.kept, (block + 1) * kSlices)); });
  };
  over_slices([&](int64_t first, int64_t last) {
    over_runs(s, first, last, [&](int64_t slice, int64_t begin, int64_t end) { d.before(memory, slice, begin, end); });
  });
  parallel_for(tasks, threads, [&](int64_t task, int) { d.add(part(task), memory, memory.sums + task / pieces * s.n + part(task).start); });
  parallel_for(pieces, threads, [&](int64_t piece, int) {  // into the first chunk's
    for (int64_t c = 1; c < chunks.count; ++c)
      for (int64_t i = piece * kPiece; i < std::min(s.n, (piece + 1) * kPiece); ++i) add_to(memory.sums[i], memory.sums[c * s.n + i]);
  });
  over_slices([&](int64_t first, int64_t last) {
    for (int64_t slice = first; slice < last; ++slice) {
      Wide<C> sum = {};
      over_runs(s, slice, slice + 1, [&](int64_t, int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) add_to(sum, memory.sums[i]);
      });
      memory.norms[slice] = d.result(slice, sum);
      over_runs(s, slice, slice + 1, [&](int64_t, int64_t begin, int64_t end) { d.after(memory, slice, begin, end); });
    }
  });
  if (d.writes()) parallel_for(tasks, threads, [&](int64_t task, int) { d.apply(part(task), memory); });
}

template <class C, class D>
kilter_status run(const D& d) {
  const Slices& s = d.p.slices;
  if (s.empty()) {
    for (int64_t slice = 0; slice < s.kept; ++slice) (void)d.result(slice, {});
    return KILTER_OK;
  }
  const size_t need = WeightsMemory<C>::bytes(s);
  if (need && (!d.p.workspace || d.p.workspace_size < need))
    return fail(KILTER_WORKSPACE_TOO_SMALL, d.p.op, "workspace: expected %zu bytes, got %zu", need,
                d.p.workspace ? d.p.workspace_size : size_t(0));
  WeightsMemory<C> memory(s, d.p.workspace);
  s.columns ? run_columns<C>(d, memory) : run_rows<C>(d, memory);
  return KILTER_OK;
}

}  // namespace

kilter_status run_on_cpu(const WeightsForward& p, const WeightsKernels& kernels) {
  return p.v.dtype == DType::f64 ? run<double>(Forward<double>{p, kernels.f64}) : run<float>(Forward<float>{p, kernels.f32});
}
kilter_status run_on_cpu(const WeightsBackward& p, const WeightsKernels& kernels) {
  return p.dw.dtype == DType::f64 ? run<double>(Backward<double>{p, kernels.f64}) : run<float>(Backward<float>{p, kernels.f32});
}

size_t weights_cpu_workspace(const WeightsForward& p) {
  return p.v.dtype == DType::f64 ? WeightsMemory<double>::bytes(p.slices) : WeightsMemory<float>::bytes(p.slices);
}
size_t weights_cpu_workspace(const WeightsBackward& p) {
  return p.dw.dtype == DType::f64 ? WeightsMemory<double>::bytes(p.slices) : WeightsMemory<float>::bytes(p.slices);
}

}  // namespace kilter

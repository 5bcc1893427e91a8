// The norms of planes: passes over pieces of samples.  Included per SIMD target.
//
// Channels first, a piece is a run of elements of one or several channels; channels last, a tile of some places of up to 64 channels,
// row by row.  Pieces are read, converted to the compute type C, worked on by loops that the compiler makes vectors of, and written;
// what a pass needs of a channel comes as one number (a run within a channel) or as one for each element.  Sums of a run are the row
// tree's; a tile's are chains of eight places.  No sum in C has a chain of more than 16 terms of 16; longer ones are Wide.
#pragma once

#include "core/activation.h"
#include "cpu/arithmetic.inl.h"
#include "cpu/reduce.inl.h"
#include "families/planewise/cpu/run.h"

namespace kilter::KILTER_TARGET_NAMESPACE {

constexpr int kShortRun = 32;  // of shorter channels, each element has numbers of its own
constexpr int kChain = 8;      // places whose terms are added in turn

template <class C>
constexpr int kRun = sizeof(C) == 4 ? 512 : 256;  // elements of a buffer: a call takes less than 32 KiB of stack (kilter.h)

// m elements of a tensor's sample, in C: where they lie, or in `buffer`; and back, each rounded once.
template <class C>
[[gnu::noinline]] const C* load(const View& v, const char* sample, int64_t start, int m, C* buffer) {
  return Natural<C>::load(v.dtype, sample + start * item_size(v.dtype), m, buffer);
}
template <class C>
[[gnu::noinline]] void store(const View& v, char* sample, int64_t start, int m, const C* from, bool past_caches) {
  Natural<C>::store(v.dtype, from, m, sample + start * item_size(v.dtype), past_caches);
}

// s of forward: x, or x + residual as residual's type holds it; times scale, a power of two.
template <class C>
struct Source {
  const View &x, &residual;
  const char *x_at, *residual_at;  // the sample's

  Source(const PlaneForward& p, int64_t sample)
      : x(p.x), residual(p.residual), x_at(p.x.row(sample)), residual_at(residual.present() ? residual.row(sample) : nullptr) {}

  KILTER_INLINE const C* load(int64_t start, int m, C* buffer) const {
    const C* v = kilter::KILTER_TARGET_NAMESPACE::load(x, x_at, start, m, buffer);
    if (residual_at) add_residual(start, m, v, buffer), v = buffer;
    return v;
  }

 private:
  void add_residual(int64_t start, int m, const C* v, C* buffer) const {
    constexpr int kAtOnce = kSmallPiece / 2;
    alignas(64) C other[kAtOnce];
    for (int done = 0; done < m; done += kAtOnce) {
      const int count = m - done < kAtOnce ? m - done : kAtOnce;
      const C* r = kilter::KILTER_TARGET_NAMESPACE::load(residual, residual_at, start + done, count, other);
      for (int i = 0; i < count; ++i) buffer[done + i] = v[done + i] + r[i];
      round_to(residual.dtype, buffer + done, count);
    }
  }
};

template <class C, class Of>
KILTER_INLINE const C* scaled(const C* v, int m, const Of& scale, C* buffer) {
  for (int i = 0; i < m; ++i) buffer[i] = v[i] * scale[i];
  return buffer;
}
// A channel's numbers for a run of elements: all the same, or one each.
template <class C>
struct Same {
  C value;
  KILTER_INLINE C operator[](int) const { return value; }
};
template <class C>
struct Each {
  const C* at;
  KILTER_INLINE C operator[](int i) const { return at[i]; }
};

// Whether the mean's rounding makes up most of what is left of a nearly constant run: then the mean once more.
template <class C>
KILTER_INLINE bool is_lost(C sum, C square, C count) {
  return sum * sum * 5 > square * count;  // lo^2 > var / 4 with lo = sum / count, var = square / count - lo^2
}

template <class C>
KILTER_INLINE Cell<C> cell_of(C mean, C sum, C square, C count) {
  Cell<C> cell;
  cell.mean = widen(mean), cell.square = widen(square);
  add_number(cell.mean, double(sum) / double(count));
  add_number(cell.square, -(double(sum) * (double(sum) / double(count))));
  return cell;
}

template <class C>
void run_statistics(const Source<C>& source, const PlanePart& part, C scale, Cell<C>* cell) {
  alignas(64) C buffer[kChunk<C>];
  const int m = int(part.end - part.begin);
  const C* v = source.load(part.begin, m, buffer);
  if (scale != 1) v = scaled(v, m, Same<C>{scale}, buffer);
  C sum[1], sums[2];
  natural_sums(m, sum, Ahead{}, [v](int i, C(&t)[1]) KILTER_INLINE_LAMBDA { t[0] = v[i]; });
  C mean = sum[0] / C(m);
  const auto around = [&] {
    natural_sums(m, sums, Ahead{}, [v, mean](int i, C(&t)[2]) KILTER_INLINE_LAMBDA {
      const C d = v[i] - mean;
      t[0] = d, t[1] = d * d;
    });
  };
  around();
  if (is_lost(sums[0], sums[1], C(m))) mean = mean + sums[0] / C(m), around();
  *cell = cell_of(mean, sums[0], sums[1], C(m));
}

// Sums over the places of a tile by column, chains of eight at a time: term(place, column, t) writes the N terms.
template <int N, class C, class F>
KILTER_INLINE void tile_sums(int places, int columns, C (&sums)[N][kTileColumns], F term) {
  for (int q = 0; q < N; ++q)
    for (int c = 0; c < columns; ++c) sums[q][c] = 0;
  const auto chain = [&](int first, auto count) KILTER_INLINE_LAMBDA {
    for (int c = 0; c < columns; ++c) {
      C chain[N] = {};
      unrolled<decltype(count)::value>([&](int k) KILTER_INLINE_LAMBDA {
        C t[N];
        term(first + k, c, t);
        for (int q = 0; q < N; ++q) chain[q] = chain[q] + t[q];
      });
      for (int q = 0; q < N; ++q) sums[q][c] = sums[q][c] + chain[q];
    }
  };
  int place = 0;
  for (; place + kChain <= places; place += kChain) chain(place, std::integral_constant<int, kChain>());
  for (; place < places; ++place) chain(place, std::integral_constant<int, 1>());
}

// A tile's places of a tensor's sample, in C: where they lie, or in a buffer.
template <class C>
struct Tile {
  const C* at;
  int64_t stride;
  KILTER_INLINE C operator()(int place, int column) const { return at[place * stride + column]; }
};
template <class C, class F>
KILTER_INLINE Tile<C> load_tile(int64_t place, int places, const PlanePart& part, int64_t channels, C* buffer, F load) {
  for (int k = 0; k < places; ++k) {
    C* const row = buffer + k * kTileColumns;
    const C* const v = load((place + k) * channels + part.first_column, row);
    if (k == 0 && v != row) return {v, channels};
    if (v != row) std::memcpy(row, v, size_t(part.columns) * sizeof(C));
  }
  return {buffer, kTileColumns};
}

template <class C>
void column_statistics(const Source<C>& source, int64_t channels, const PlanePart& part, C scale, Cell<C>* cells) {
  alignas(64) C buffer[kTilePlaces<C> * kTileColumns], sum[1][kTileColumns], sums[2][kTileColumns], mean[kTileColumns];
  for (int64_t place = part.begin; place < part.end; place += kTilePlaces<C>) {
    const int places = int(part.end - place < kTilePlaces<C> ? part.end - place : kTilePlaces<C>), columns = part.columns;
    const Tile<C> v = load_tile(place, places, part, channels, buffer, [&](int64_t start, C* row) KILTER_INLINE_LAMBDA {
      const C* const v = source.load(start, columns, row);
      return scale == 1 ? v : scaled(v, columns, Same<C>{scale}, row);
    });
    tile_sums(places, columns, sum, [v](int k, int c, C(&t)[1]) KILTER_INLINE_LAMBDA { t[0] = v(k, c); });
    for (int c = 0; c < columns; ++c) mean[c] = sum[0][c] / C(places);
    const auto around = [&] {
      tile_sums(places, columns, sums, [v, &mean](int k, int c, C(&t)[2]) KILTER_INLINE_LAMBDA {
        const C d = v(k, c) - mean[c];
        t[0] = d, t[1] = d * d;
      });
    };
    around();
    bool lost = false;
    for (int c = 0; c < columns; ++c) lost |= is_lost(sums[0][c], sums[1][c], C(places));
    if (lost) {
      for (int c = 0; c < columns; ++c) mean[c] = mean[c] + sums[0][c] / C(places);
      around();
    }
    for (int c = 0; c < columns; ++c)
      merge(cells[c], double(place - part.begin), cell_of(mean[c], sums[0][c], sums[1][c], C(places)), double(places));
  }
}

template <class C>
void statistics(const PlaneForward& p, const PlanePart& part, C scale, Cell<C>* cells) {
  const Source<C> source(p, part.sample);
  if (part.columns)
    column_statistics(source, p.channels, part, scale, cells);
  else
    run_statistics(source, part, scale, cells);
}

template <class C>
C largest(const PlaneForward& p, const PlanePart& part) {
  constexpr int kLanes = 16;
  alignas(64) C buffer[kRun<C>], most[kLanes] = {};
  const Source<C> source(p, part.sample);
  const int64_t rows = part.columns ? part.end - part.begin : 1, length = part.columns ? part.columns : part.end - part.begin;
  bool finite = true;
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t begin = part.columns ? (part.begin + r) * p.channels + part.first_column : part.begin;
    for (int64_t done = 0; done < length; done += kRun<C>) {
      const int m = int(length - done < kRun<C> ? length - done : kRun<C>);
      const C* const v = source.load(begin + done, m, buffer);
      for (int i = 0; i < m; ++i) {
        const C size = v[i] < 0 ? -v[i] : v[i];
        most[i % kLanes] = size > most[i % kLanes] ? size : most[i % kLanes];
        finite &= size - size == 0;
      }
    }
  }
  for (const C size : most) most[0] = size > most[0] ? size : most[0];
  return finite ? most[0] : C(__builtin_inf());
}

// Pieces of a part for passes that go element by element: body(start, m, numbers) gets m elements of the sample from `start` on, which lie
// side by side, and their channels' numbers.
template <class C, class Numbers, class F>
void each_piece(const PlanePart& part, int64_t channels, int64_t spatial, const Numbers& numbers, const F& body) {
  constexpr int kNumbers = Numbers::kNumbers, kShort = kRun<C> / 2;
  if (part.columns) {
    for (int done = 0; done < part.columns; done += kRun<C>) {
      const int64_t column = part.first_column + done;
      const int m = part.columns - done < kRun<C> ? part.columns - done : kRun<C>;
      Each<C> each[kNumbers];
      for (int q = 0; q < kNumbers; ++q) each[q].at = numbers.of[q] ? numbers.of[q] + column : nullptr;
      for (int64_t place = part.begin; place < part.end; ++place) body(place * channels + column, m, each);
    }
  } else if (spatial >= kShortRun) {
    for (int64_t start = part.begin; start < part.end;) {
      const int64_t channel = start / spatial, end = (channel + 1) * spatial < part.end ? (channel + 1) * spatial : part.end;
      Same<C> same[kNumbers];
      for (int q = 0; q < kNumbers; ++q) same[q].value = numbers.of[q] ? numbers.of[q][channel] : C(1);
      for (; start < end; start += kRun<C>) body(start, int(end - start < kRun<C> ? end - start : kRun<C>), same);
      start = end;
    }
  } else {
    alignas(64) C one_each[kNumbers][kShort];
    Each<C> each[kNumbers];
    for (int q = 0; q < kNumbers; ++q) each[q].at = one_each[q];
    for (int64_t start = part.begin; start < part.end; start += kShort) {
      const int m = int(part.end - start < kShort ? part.end - start : kShort);
      int64_t channel = start / spatial, left = (channel + 1) * spatial - start;
      for (int i = 0; i < m; ++i, --left) {
        if (left == 0) ++channel, left = spatial;
        for (int q = 0; q < kNumbers; ++q) one_each[q][i] = numbers.of[q] ? numbers.of[q][channel] : C(1);
      }
      body(start, m, each);
    }
  }
}

// The loops with an activation inside, once for each way to have a channel's numbers.
template <class C, class Of>
[[gnu::noinline]] void normalize_run(int32_t activation, const C* v, int m, const Of& of, C* y) {
  using N = Normalizing<C>;
  with_activation(activation, [&](auto f) KILTER_INLINE_LAMBDA {
    KILTER_NO_DEPENDENCE
    for (int i = 0; i < m; ++i) {
      const C z = ((v[i] - of[N::kMean][i]) - of[N::kLow][i]) * of[N::kFactor][i] + of[N::kOffset][i];
      y[i] = decltype(f)::template both<Plain>(z).value;
    }
  });
}
// To h and u, which may lie where x and dy do.
template <class C, class Of>
[[gnu::noinline]] void differentiate_run(int32_t activation, const C* x, const C* dy, int m, const Of& of, C* h, C* u) {
  using N = Differentiating<C>;
  with_activation(activation, [&](auto f) KILTER_INLINE_LAMBDA {
    KILTER_NO_DEPENDENCE
    for (int i = 0; i < m; ++i) {
      const C hat = (x[i] - of[N::kMean][i]) * of[N::kRstd][i], upstream = dy[i];
      h[i] = hat;
      u[i] = upstream;
      if constexpr (!std::is_same_v<decltype(f), Identity>)
        u[i] = upstream * decltype(f)::template both<Plain>(hat * of[N::kFactor][i] + of[N::kOffset][i]).slope;
    }
  });
}

template <class C>
void normalize(const PlaneForward& p, const PlanePart& part, const Normalizing<C>& numbers, bool past_caches) {
  using N = Normalizing<C>;
  const Source<C> source(p, part.sample);
  char* const y = p.y.row(part.sample);
  char* const sum = p.residual_out.present() ? p.residual_out.row(part.sample) : nullptr;
  each_piece<C>(part, p.channels, p.spatial, numbers, [&](int64_t start, int m, const auto& of) {
    alignas(64) C value[kRun<C>];
    const C* v = source.load(start, m, value);
    if (sum) store(p.residual_out, sum, start, m, v, false);
    if (numbers.of[N::kScale]) v = scaled(v, m, of[N::kScale], value);
    normalize_run(p.activation, v, m, of, value);
    store(p.y, y, start, m, value, past_caches);
  });
  if (past_caches) stream_fence();
}

// x as it is differentiated.
template <class C, class Of>
KILTER_INLINE const C* load_x(const PlaneBackward& p, const char* sample, int64_t start, int m, const Differentiating<C>& numbers,
                              const Of& of, C* buffer) {
  const C* const x = load(p.x, sample, start, m, buffer);
  return numbers.of[Differentiating<C>::kScale] ? scaled(x, m, of[Differentiating<C>::kScale], buffer) : x;
}

template <class C>
void run_sums(const PlaneBackward& p, const PlanePart& part, const Differentiating<C>& numbers, SumCell<C>* cells) {
  alignas(64) C h[kChunk<C>], u[kChunk<C>];
  const char *const x = p.x.row(part.sample), *const dy = p.dy.row(part.sample);
  for (int64_t channel = part.begin / p.spatial; channel * p.spatial < part.end; ++channel, ++cells) {
    Same<C> same[Differentiating<C>::kNumbers];
    for (int q = 0; q <= Differentiating<C>::kScale; ++q) same[q].value = numbers.of[q] ? numbers.of[q][channel] : C(1);
    *cells = {};
    for (int64_t start = channel * p.spatial, end = start + p.spatial; start < end; start += kChunk<C>) {
      const int m = int(end - start < kChunk<C> ? end - start : kChunk<C>);
      const C *const from_x = load_x(p, x, start, m, numbers, same, h), *const from_dy = load(p.dy, dy, start, m, u);
      differentiate_run(p.activation, from_x, from_dy, m, same, h, u);
      C sums[3];
      natural_sums(m, sums, Ahead{}, [&](int i, C(&t)[3]) KILTER_INLINE_LAMBDA { t[0] = u[i], t[1] = u[i] * h[i], t[2] = h[i]; });
      add_to(cells->u, widen(sums[0])), add_to(cells->uh, widen(sums[1])), add_to(cells->h, widen(sums[2]));
    }
  }
}

template <class C>
void column_sums(const PlaneBackward& p, const PlanePart& part, const Differentiating<C>& numbers, SumCell<C>* cells) {
  alignas(64) C h[kTilePlaces<C> * kTileColumns], u[kTilePlaces<C> * kTileColumns], sums[3][kTileColumns];
  const char *const x = p.x.row(part.sample), *const dy = p.dy.row(part.sample);
  const int columns = part.columns;
  Each<C> each[Differentiating<C>::kNumbers] = {};
  for (int q = 0; q <= Differentiating<C>::kScale; ++q) each[q].at = numbers.of[q] ? numbers.of[q] + part.first_column : nullptr;
  for (int c = 0; c < columns; ++c) cells[c] = {};
  for (int64_t place = part.begin; place < part.end; place += kTilePlaces<C>) {
    const int places = int(part.end - place < kTilePlaces<C> ? part.end - place : kTilePlaces<C>);
    for (int k = 0; k < places; ++k) {
      const int64_t start = (place + k) * p.channels + part.first_column;
      C *const h_row = h + k * kTileColumns, *const u_row = u + k * kTileColumns;
      const C *const from_x = load_x(p, x, start, columns, numbers, each, h_row), *const from_dy = load(p.dy, dy, start, columns, u_row);
      differentiate_run(p.activation, from_x, from_dy, columns, each, h_row, u_row);
    }
    tile_sums(places, columns, sums, [&](int k, int c, C(&t)[3]) KILTER_INLINE_LAMBDA {
      const int i = k * kTileColumns + c;
      t[0] = u[i], t[1] = u[i] * h[i], t[2] = h[i];
    });
    for (int c = 0; c < columns; ++c)
      add_to(cells[c].u, widen(sums[0][c])), add_to(cells[c].uh, widen(sums[1][c])), add_to(cells[c].h, widen(sums[2][c]));
  }
}

template <class C>
void sums(const PlaneBackward& p, const PlanePart& part, const Differentiating<C>& numbers, SumCell<C>* cells) {
  if (part.columns)
    column_sums(p, part, numbers, cells);
  else
    run_sums(p, part, numbers, cells);
}

template <class C>
void gradient(const PlaneBackward& p, const PlanePart& part, const Differentiating<C>& numbers, bool past_caches) {
  using N = Differentiating<C>;
  const auto row = [&](const View& v) { return v.present() ? v.row(part.sample) : nullptr; };
  const char *const x = row(p.x), *const dy = row(p.dy), *const up = row(p.dresidual_out);
  char *const dx = row(p.dx), *const dresidual = row(p.dresidual);
  each_piece<C>(part, p.channels, p.spatial, numbers, [&](int64_t start, int m, const auto& of) {
    alignas(64) C h[kRun<C>], u[kRun<C>];
    const C *const from_x = load_x(p, x, start, m, numbers, of, h), *const from_dy = load(p.dy, dy, start, m, u);
    differentiate_run(p.activation, from_x, from_dy, m, of, h, u);
    for (int i = 0; i < m; ++i) u[i] = (u[i] * of[N::kOfU][i] - of[N::kConstant][i]) - (h[i] - of[N::kLow][i]) * of[N::kOfH][i];
    if (up) {
      const C* const more = load(p.dresidual_out, up, start, m, h);
      for (int i = 0; i < m; ++i) u[i] = u[i] + more[i];
    }
    if (dx) store(p.dx, dx, start, m, u, past_caches);
    if (dresidual) store(p.dresidual, dresidual, start, m, u, past_caches);
  });
  if (past_caches) stream_fence();
}

constexpr PlaneKernels plane_kernels() {
  return {{largest<float>, statistics<float>, normalize<float>, sums<float>, gradient<float>},
          {largest<double>, statistics<double>, normalize<double>, sums<double>, gradient<double>}};
}

}  // namespace kilter::KILTER_TARGET_NAMESPACE

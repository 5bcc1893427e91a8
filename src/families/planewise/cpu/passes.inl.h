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

constexpr int kChain = 8;  // places whose terms are added in turn

// Elements that will be needed so many bytes further on are asked for, into the second-level cache: what the core foresees ends with a
// page.  batch_norm, fp32, 32 x 256 x 56 x 56, one thread of a Xeon, without / with, ms: forward 28 / 20, backward 40 / 34; channels last
// 34 / 24, 59 / 37.
constexpr int kAhead = 4096;

template <class C>
constexpr int kRun = sizeof(C) == 4 ? 512 : 256;  // elements of a buffer: a call takes less than 32 KiB of stack (kilter.h)

// m elements of a sample from element `start` on, in C: where they lie, or in `buffer`; and back, each rounded once.
template <class C>
[[gnu::noinline]] const C* load(const View& v, int64_t sample, int64_t start, int m, C* buffer) {
  const char* const at = v.row(sample) + start * item_size(v.dtype);
  const int bytes = m * int(item_size(v.dtype));
  for (int line = 0; line < bytes; line += 64) __builtin_prefetch(at + kAhead + line, 0, 2);
  return Natural<C>::load(v.dtype, at, m, buffer);
}
template <class C>
[[gnu::noinline]] void store(const View& v, int64_t sample, int64_t start, int m, const C* from, bool past_caches) {
  Natural<C>::store(v.dtype, from, m, v.row(sample) + start * item_size(v.dtype), past_caches);
}

// v + residual, in buffer; rounded as residual's type holds it if `rounds`.
template <class C>
[[gnu::noinline]] const C* add_residual(const View& residual, int64_t sample, int64_t start, int m, const C* v, bool rounds, C* buffer) {
  constexpr int kAtOnce = kSmallPiece / 2;
  alignas(64) C other[kAtOnce];
  for (int done = 0; done < m; done += kAtOnce) {
    const int count = m - done < kAtOnce ? m - done : kAtOnce;
    const C* r = load(residual, sample, start + done, count, other);
    for (int i = 0; i < count; ++i) buffer[done + i] = v[done + i] + r[i];
    if (rounds) round_to(residual.dtype, buffer + done, count);
  }
  return buffer;
}

// s of forward: x, or x + residual as residual's type holds it.
template <class C>
KILTER_INLINE const C* load_s(const PlaneForward& p, int64_t sample, int64_t start, int m, C* buffer) {
  const C* const x = load(p.x, sample, start, m, buffer);
  return p.residual.present() && !p.residual_behind ? add_residual(p.residual, sample, start, m, x, true, buffer) : x;
}

// A place counted through all samples.
struct Place {
  int64_t sample, place, spatial;
  Place(int64_t number, int64_t spatial_size) : sample(number / spatial_size), place(number % spatial_size), spatial(spatial_size) {}
  KILTER_INLINE void next() {
    if (++place == spatial) place = 0, ++sample;
  }
};

// A part's elements side by side: where they lie, or in `buffer`.  get(sample, start, m, to) is load of one sample's.
template <class C, class F>
KILTER_INLINE const C* gather(const PlanePart& part, C* buffer, F get) {
  const int m = int(part.end - part.begin);
  if (part.samples == 1) return get(part.sample, part.begin, m, buffer);
  for (int64_t n = 0; n < part.samples; ++n) {
    C* const to = buffer + n * m;
    const C* const v = get(part.sample + n, part.begin, m, to);
    if (v != to) std::memcpy(to, v, size_t(m) * sizeof(C));
  }
  return buffer;
}

template <class C, class Of>
KILTER_INLINE const C* scaled(const C* v, int m, const Of& scale, C* buffer) {
  for (int i = 0; i < m; ++i) buffer[i] = v[i] * scale[i];
  return buffer;
}
// A channel's numbers for a run of elements: all the same, or one each.
template <class C>
struct Same {
  C value = 1;
  KILTER_INLINE C operator[](int) const { return value; }
  KILTER_INLINE void skip(int) {}
};
template <class C>
struct Each {
  const C* at = nullptr;
  KILTER_INLINE C operator[](int i) const { return at[i]; }
  KILTER_INLINE void skip(int count) {
    if (at) at += count;
  }
};
template <class Number, int kCount>
struct Numbers {
  Number of[kCount];
  KILTER_INLINE Number& operator[](int q) { return of[q]; }
  KILTER_INLINE const Number& operator[](int q) const { return of[q]; }
  Number* begin() { return of; }
  Number* end() { return of + kCount; }
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
void run_statistics(const PlaneForward& p, const PlanePart& part, C scale, Cell<C>* cell) {
  alignas(64) C buffer[kChunk<C>];
  const int m = int(part.samples * (part.end - part.begin));
  const C* v = gather(part, buffer, [&](int64_t n, int64_t start, int count, C* to) { return load_s(p, n, start, count, to); });
  if (scale != 1) v = scaled(v, m, Same<C>{scale}, buffer);
  C sum[1], sums[2];
  natural_sums<1, kChunk<C>>(m, sum, Ahead{}, [v](int i, C(&t)[1]) KILTER_INLINE_LAMBDA { t[0] = v[i]; });
  C mean = sum[0] / C(m);
  const auto around = [&] {
    natural_sums<2, kChunk<C>>(m, sums, Ahead{}, [v, mean](int i, C(&t)[2]) KILTER_INLINE_LAMBDA {
      const C d = v[i] - mean;
      t[0] = d, t[1] = d * d;
    });
  };
  around();
  if (is_lost(sums[0], sums[1], C(m))) mean = mean + sums[0] / C(m), around();
  *cell = cell_of(mean, sums[0], sums[1], C(m));
}

template <int N, class C>
KILTER_INLINE void clear(int columns, C (&sums)[N][kTileColumns]) {
  for (int q = 0; q < N; ++q)
    for (int c = 0; c < columns; ++c) sums[q][c] = 0;
}
// Adds up over the places of a tile by column, chains of eight at a time: term(place, column, t) writes the N terms.
template <int N, class C, class F>
KILTER_INLINE void add_places(int places, int columns, C (&sums)[N][kTileColumns], F term) {
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

// A tile's places in C: where they lie, or in a buffer.
template <class C>
struct Tile {
  const C* at;
  int64_t stride;
  KILTER_INLINE C operator()(int place, int column) const { return at[place * stride + column]; }
};
// get(sample, start, m, to) is load of one sample's; ready(tile, first, count) is called for every chain of places.
template <class C, class F, class Ready>
KILTER_INLINE Tile<C> load_tile(Place place, int places, const PlanePart& part, int64_t channels, C* buffer, F get, Ready ready) {
  const bool in_one = place.place + places <= place.spatial;
  Tile<C> tile{buffer, kTileColumns};
  for (int k = 0; k < places; ++k, place.next()) {
    C* const row = buffer + k * kTileColumns;
    const C* const v = get(place.sample, place.place * channels + part.first_column, part.columns, row);
    if (v != row && in_one) {
      if (k == 0) tile = {v, channels};
    } else if (v != row) {
      std::memcpy(row, v, size_t(part.columns) * sizeof(C));
    }
    if ((k + 1) % kChain == 0 || k + 1 == places) ready(tile, k / kChain * kChain, k % kChain + 1);
  }
  return tile;
}

// Of the columns of a tile, and what they give with those of `before` places.
template <class C>
void tile_statistics(const PlaneForward& p, const PlanePart& tile, C scale, int64_t before, Cell<C>* cells) {
  alignas(64) C buffer[kTilePlaces<C> * kTileColumns], sum[1][kTileColumns], sums[2][kTileColumns], mean[kTileColumns];
  const int places = int(tile.end - tile.begin), columns = tile.columns;
  clear(columns, sum);
  const auto get = [&](int64_t sample, int64_t start, int m, C* to) KILTER_INLINE_LAMBDA {
    const C* const s = load_s(p, sample, start, m, to);
    return scale == 1 ? s : scaled(s, m, Same<C>{scale}, to);
  };
  const auto add = [&](Tile<C> v, int first, int count) KILTER_INLINE_LAMBDA {
    add_places(count, columns, sum, [v, first](int k, int c, C(&t)[1]) KILTER_INLINE_LAMBDA { t[0] = v(first + k, c); });
  };
  const Tile<C> v = load_tile(Place(tile.begin, p.spatial), places, tile, p.channels, buffer, get, add);
  for (int c = 0; c < columns; ++c) mean[c] = sum[0][c] / C(places);
  const auto around = [&] {
    clear(columns, sums);
    add_places(places, columns, sums, [v, &mean](int k, int c, C(&t)[2]) KILTER_INLINE_LAMBDA {
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
  for (int c = 0; c < columns; ++c) merge(cells[c], double(before), cell_of(mean[c], sums[0][c], sums[1][c], C(places)), double(places));
}

// f(tile, first of its columns in the part): tiles of some places, side by side.
template <class C, class F>
KILTER_INLINE void each_tile(const PlanePart& part, F f) {
  PlanePart tile = part;
  for (tile.begin = part.begin; tile.begin < part.end; tile.begin = tile.end) {
    tile.end = part.end - tile.begin < kTilePlaces<C> ? part.end : tile.begin + kTilePlaces<C>;
    for (int done = 0; done < part.columns; done += kTileColumns) {
      tile.first_column = part.first_column + done;
      tile.columns = part.columns - done < kTileColumns ? part.columns - done : kTileColumns;
      f(tile, done);
    }
  }
}

template <class C>
void column_statistics(const PlaneForward& p, const PlanePart& part, C scale, Cell<C>* cells) {
  each_tile<C>(part, [&](const PlanePart& tile, int first) { tile_statistics(p, tile, scale, tile.begin - part.begin, cells + first); });
}

template <class C>
void statistics(const PlaneForward& p, const PlanePart& part, C scale, Cell<C>* cells) {
  if (part.columns)
    column_statistics(p, part, scale, cells);
  else
    run_statistics(p, part, scale, cells);
}

// f(sample, start, m) for pieces of at most `most` elements that lie side by side.
template <class F>
KILTER_INLINE void each_run(const PlanePart& part, int64_t channels, int64_t spatial, int most, F f) {
  const auto pieces = [&](int64_t sample, int64_t begin, int64_t end) KILTER_INLINE_LAMBDA {
    for (; begin < end; begin += most) f(sample, begin, int(end - begin < most ? end - begin : most));
  };
  if (!part.columns)
    for (int64_t n = 0; n < part.samples; ++n) pieces(part.sample + n, part.begin, part.end);
  Place place(part.columns ? part.begin : 0, spatial);
  for (int64_t k = part.begin; part.columns && k < part.end; ++k, place.next()) {
    const int64_t start = place.place * channels + part.first_column;
    pieces(place.sample, start, start + part.columns);
  }
}

template <class C>
C largest(const PlaneForward& p, const PlanePart& part) {
  constexpr int kLanes = 16;
  alignas(64) C buffer[kRun<C>], most[kLanes] = {};
  bool finite = true;
  each_run(part, p.channels, p.spatial, kRun<C>, [&](int64_t sample, int64_t start, int m) {
    const C* const v = load_s(p, sample, start, m, buffer);
    for (int i = 0; i < m; ++i) {
      const C size = v[i] < 0 ? -v[i] : v[i];
      most[i % kLanes] = size > most[i % kLanes] ? size : most[i % kLanes];
      finite &= size - size == 0;
    }
  });
  for (const C size : most) most[0] = size > most[0] ? size : most[0];
  return finite ? most[0] : C(__builtin_inf());
}

// Pieces of a part for passes that go element by element: body(sample, start, m, numbers) gets m elements of the sample from `start` on,
// which lie side by side, and their channels' numbers.
template <class C, class Arrays, class F>
void each_piece(const PlanePart& part, int64_t channels, int64_t spatial, const Arrays& numbers, const F& body) {
  constexpr int kNumbers = Arrays::kNumbers, kShort = kRun<C> / 2;
  alignas(64) C one_each[kNumbers][kShort];
  if (part.columns == channels && channels <= kShort / 2) {  // all channels of some places at once
    const int64_t most = kShort / channels;
    Numbers<Each<C>, kNumbers> each;
    for (int q = 0; q < kNumbers; ++q) {
      for (int64_t k = 0; k < most && numbers.of[q]; ++k)
        std::memcpy(one_each[q] + k * channels, numbers.of[q], size_t(channels) * sizeof(C));
      each[q].at = numbers.of[q] ? one_each[q] : nullptr;
    }
    for (int64_t at = part.begin, count; at < part.end; at += count) {
      const Place place(at, spatial);
      count = part.end - at < most ? part.end - at : most;
      if (spatial - place.place < count) count = spatial - place.place;
      body(place.sample, place.place * channels, int(count * channels), each);
    }
  } else if (part.columns) {
    each_run(part, channels, spatial, kRun<C>, [&](int64_t sample, int64_t start, int m) KILTER_INLINE_LAMBDA {
      Numbers<Each<C>, kNumbers> each;
      for (int q = 0; q < kNumbers; ++q) each[q].at = numbers.of[q] ? numbers.of[q] + start % channels : nullptr;
      body(sample, start, m, each);
    });
  } else if (spatial >= kShortRun) {
    for (int64_t start = part.begin; start < part.end;) {
      const int64_t channel = start / spatial, end = (channel + 1) * spatial < part.end ? (channel + 1) * spatial : part.end;
      Numbers<Same<C>, kNumbers> same;
      for (int q = 0; q < kNumbers; ++q) same[q].value = numbers.of[q] ? numbers.of[q][channel] : C(1);
      const PlanePart run{part.sample, part.samples, start, end};
      each_run(run, channels, spatial, kRun<C>, [&](int64_t sample, int64_t at, int m) KILTER_INLINE_LAMBDA { body(sample, at, m, same); });
      start = end;
    }
  } else {
    Numbers<Each<C>, kNumbers> each;
    for (int q = 0; q < kNumbers; ++q) each[q].at = one_each[q];
    for (int64_t start = part.begin; start < part.end; start += kShort) {
      const int m = int(part.end - start < kShort ? part.end - start : kShort);
      int64_t channel = start / spatial, left = (channel + 1) * spatial - start;
      for (int i = 0; i < m; ++i, --left) {
        if (left == 0) ++channel, left = spatial;
        for (int q = 0; q < kNumbers; ++q) one_each[q][i] = numbers.of[q] ? numbers.of[q][channel] : C(1);
      }
      for (int64_t n = 0; n < part.samples; ++n) body(part.sample + n, start, m, each);
    }
  }
}

// The loops with an activation inside, once for each way to have a channel's numbers.  more: is added to what the activation is of.
template <class C, class Of>
[[gnu::noinline]] void normalize_run(int32_t activation, const C* v, const C* more, int m, const Of& of, C* y) {
  using N = Normalizing<C>;
  with_activation(activation, [&](auto f) KILTER_INLINE_LAMBDA {
    with_flag(more, [&](auto has_more) KILTER_INLINE_LAMBDA {
      KILTER_NO_DEPENDENCE
      for (int i = 0; i < m; ++i) {
        C z = ((v[i] - of[N::kMean][i]) - of[N::kLow][i]) * of[N::kFactor][i] + of[N::kOffset][i];
        if constexpr (has_more.value) z = z + more[i];
        y[i] = decltype(f)::template both<Plain>(z).value;
      }
    });
  });
}
// To h and u, which may lie where x and dy do.
template <class C, class Of>
[[gnu::noinline]] void differentiate_run(int32_t activation, const C* x, const C* dy, const C* more, int m, const Of& of, C* h, C* u) {
  using N = Differentiating<C>;
  with_activation(activation, [&](auto f) KILTER_INLINE_LAMBDA {
    with_flag(more, [&](auto has_more) KILTER_INLINE_LAMBDA {
      KILTER_NO_DEPENDENCE
      for (int i = 0; i < m; ++i) {
        const C hat = (x[i] - of[N::kMean][i]) * of[N::kRstd][i], upstream = dy[i];
        C z = hat * of[N::kFactor][i] + of[N::kOffset][i];
        if constexpr (has_more.value) z = z + more[i];
        h[i] = hat;
        u[i] = upstream;
        if constexpr (!std::is_same_v<decltype(f), Identity>) u[i] = upstream * decltype(f)::template both<Plain>(z).slope;
      }
    });
  });
}

template <class C>
void normalize(const PlaneForward& p, const PlanePart& part, const Normalizing<C>& numbers, bool past_caches) {
  using N = Normalizing<C>;
  const bool behind = p.residual.present() && p.residual_behind;
  each_piece<C>(part, p.channels, p.spatial, numbers, [&](int64_t sample, int64_t start, int m, const auto& of) {
    alignas(64) C value[kRun<C>], other[kRun<C>];
    const C* v = load_s(p, sample, start, m, value);
    if (p.residual_out.present()) store(p.residual_out, sample, start, m, v, false);
    if (numbers.of[N::kScale]) v = scaled(v, m, of[N::kScale], value);
    normalize_run(p.activation, v, behind ? load(p.residual, sample, start, m, other) : nullptr, m, of, value);
    store(p.y, sample, start, m, value, past_caches);
  });
  if (past_caches) stream_fence();
}

// x as it is differentiated.
template <class C, class Of>
KILTER_INLINE const C* load_x(const PlaneBackward& p, int64_t sample, int64_t start, int m, const Differentiating<C>& numbers, const Of& of,
                              C* buffer) {
  const C* const x = load(p.x, sample, start, m, buffer);
  return numbers.of[Differentiating<C>::kScale] ? scaled(x, m, of[Differentiating<C>::kScale], buffer) : x;
}
template <class C, class Of>
KILTER_INLINE void differentiate(const PlaneBackward& p, int64_t sample, int64_t start, int m, const Differentiating<C>& numbers,
                                 const Of& of, C* h, C* u) {
  constexpr int kAtOnce = kSmallPiece / 2;
  if (!p.residual.present()) {
    const C *const x = load_x(p, sample, start, m, numbers, of, h), *const dy = load(p.dy, sample, start, m, u);
    return differentiate_run(p.activation, x, dy, static_cast<const C*>(nullptr), m, of, h, u);
  }
  alignas(64) C other[kAtOnce];
  for (int done = 0; done < m; done += kAtOnce) {
    const int count = m - done < kAtOnce ? m - done : kAtOnce;
    Of here = of;
    for (auto& number : here) number.skip(done);
    const C *const x = load_x(p, sample, start + done, count, numbers, here, h + done), *const dy = load(p.dy, sample, start + done, count,
                                                                                                         u + done);
    differentiate_run(p.activation, x, dy, load(p.residual, sample, start + done, count, other), count, here, h + done, u + done);
  }
}

// Whether h follows from x alone, and u is dy.
template <class C>
bool is_plain(const PlaneBackward& p, const Differentiating<C>& numbers) {
  return p.activation == KILTER_ACTIVATION_NONE && !p.residual.present() && !numbers.of[Differentiating<C>::kScale];
}
template <class C, class Of>
KILTER_INLINE C hat_of(C x, int i, const Of& of) {
  return (x - of[Differentiating<C>::kMean][i]) * of[Differentiating<C>::kRstd][i];
}

template <class C>
void run_sums(const PlaneBackward& p, const PlanePart& part, const Differentiating<C>& numbers, SumCell<C>* cell) {
  alignas(64) C h[kChunk<C>], u[kChunk<C>];
  Numbers<Same<C>, Differentiating<C>::kNumbers> same;
  for (int q = 0; q <= Differentiating<C>::kScale; ++q) same[q].value = numbers.of[q] ? numbers.of[q][part.begin / p.spatial] : C(1);
  const int m = int(part.end - part.begin), all = int(part.samples) * m;
  C sums[3];
  if (is_plain(p, numbers)) {
    const C* const x = gather(part, h, [&](int64_t n, int64_t start, int count, C* to) { return load(p.x, n, start, count, to); });
    const C* const dy = gather(part, u, [&](int64_t n, int64_t start, int count, C* to) { return load(p.dy, n, start, count, to); });
    natural_sums<3, kChunk<C>>(all, sums, Ahead{}, [&](int i, C(&t)[3]) KILTER_INLINE_LAMBDA {
      const C hat = hat_of(x[i], i, same);
      t[0] = dy[i], t[1] = dy[i] * hat, t[2] = hat;
    });
  } else {
    for (int64_t n = 0; n < part.samples; ++n) differentiate(p, part.sample + n, part.begin, m, numbers, same, h + n * m, u + n * m);
    natural_sums<3, kChunk<C>>(all, sums, Ahead{},
                               [&](int i, C(&t)[3]) KILTER_INLINE_LAMBDA { t[0] = u[i], t[1] = u[i] * h[i], t[2] = h[i]; });
  }
  cell->u = widen(sums[0]), cell->uh = widen(sums[1]), cell->h = widen(sums[2]);
}

template <class C>
void tile_sums(const PlaneBackward& p, const PlanePart& tile, const Differentiating<C>& numbers, SumCell<C>* cells) {
  alignas(64) C h[kChain * kTileColumns], u[kChain * kTileColumns], sums[3][kTileColumns];
  const int columns = tile.columns;
  Numbers<Each<C>, Differentiating<C>::kNumbers> each;
  for (int q = 0; q <= Differentiating<C>::kScale; ++q) each[q].at = numbers.of[q] ? numbers.of[q] + tile.first_column : nullptr;
  Place place(tile.begin, p.spatial);
  clear(columns, sums);
  const bool plain = is_plain(p, numbers);
  const auto rows = [&](const View& v, int places, C* buffer) KILTER_INLINE_LAMBDA {
    const auto get = [&](int64_t n, int64_t start, int m, C* to) KILTER_INLINE_LAMBDA { return load(v, n, start, m, to); };
    return load_tile(place, places, tile, p.channels, buffer, get, [](Tile<C>, int, int) {});
  };
  for (int64_t done = tile.begin; done < tile.end; done += kChain) {
    const int places = int(tile.end - done < kChain ? tile.end - done : kChain);
    if (plain) {
      const Tile<C> x = rows(p.x, places, h), dy = rows(p.dy, places, u);
      add_places(places, columns, sums, [&](int k, int c, C(&t)[3]) KILTER_INLINE_LAMBDA {
        const C hat = hat_of(x(k, c), c, each);
        t[0] = dy(k, c), t[1] = dy(k, c) * hat, t[2] = hat;
      });
      place = Place(done + places, p.spatial);
      continue;
    }
    for (int k = 0; k < places; ++k, place.next())
      differentiate(p, place.sample, place.place * p.channels + tile.first_column, columns, numbers, each, h + k * kTileColumns,
                    u + k * kTileColumns);
    add_places(places, columns, sums, [&](int k, int c, C(&t)[3]) KILTER_INLINE_LAMBDA {
      const int i = k * kTileColumns + c;
      t[0] = u[i], t[1] = u[i] * h[i], t[2] = h[i];
    });
  }
  for (int c = 0; c < columns; ++c)
    add_to(cells[c].u, widen(sums[0][c])), add_to(cells[c].uh, widen(sums[1][c])), add_to(cells[c].h, widen(sums[2][c]));
}

template <class C>
void column_sums(const PlaneBackward& p, const PlanePart& part, const Differentiating<C>& numbers, SumCell<C>* cells) {
  for (int c = 0; c < part.columns; ++c) cells[c] = {};
  each_tile<C>(part, [&](const PlanePart& tile, int first) { tile_sums(p, tile, numbers, cells + first); });
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
  const bool behind = p.dresidual.present() && p.residual_behind, plain = is_plain(p, numbers) && p.training && !behind;
  each_piece<C>(part, p.channels, p.spatial, numbers, [&](int64_t sample, int64_t start, int m, const auto& of) {
    alignas(64) C h[kRun<C>], u[kRun<C>];
    const auto dx = [&](C upstream, C hat, int i) KILTER_INLINE_LAMBDA {
      return (upstream * of[N::kOfU][i] - of[N::kConstant][i]) - (hat - of[N::kLow][i]) * of[N::kOfH][i];
    };
    if (plain) {
      const C *const x = load(p.x, sample, start, m, h), *const dy = load(p.dy, sample, start, m, u);
      KILTER_NO_DEPENDENCE
      for (int i = 0; i < m; ++i) u[i] = dx(dy[i], hat_of(x[i], i, of), i);
    } else {
      differentiate(p, sample, start, m, numbers, of, h, u);
      if (behind) store(p.dresidual, sample, start, m, u, past_caches);
      if (!p.dx.present() && behind) return;
      if (p.training)
        for (int i = 0; i < m; ++i) u[i] = dx(u[i], h[i], i);
      else  // h may be infinite, and is nothing that dx depends on
        for (int i = 0; i < m; ++i) u[i] = u[i] * of[N::kOfU][i];
    }
    if (p.dresidual_out.present()) add_residual(p.dresidual_out, sample, start, m, u, false, u);
    if (p.dx.present()) store(p.dx, sample, start, m, u, past_caches);
    if (p.dresidual.present() && !behind) store(p.dresidual, sample, start, m, u, past_caches);
  });
  if (past_caches) stream_fence();
}

constexpr PlaneKernels plane_kernels() {
  return {{largest<float>, statistics<float>, normalize<float>, sums<float>, gradient<float>},
          {largest<double>, statistics<double>, normalize<double>, sums<double>, gradient<double>}};
}

}  // namespace kilter::KILTER_TARGET_NAMESPACE

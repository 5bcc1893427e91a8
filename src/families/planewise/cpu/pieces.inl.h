// The norms of planes: pieces of samples, which passes go over.  Included per SIMD target.
//
// Channels first, a piece is a run of elements of one or several channels; channels last, a tile of some places of up to 128 channels,
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
// page.  batch_norm, fp32, 32 x 256 x 56 x 56, one thread of a Xeon, without / with, ms: forward 29 / 20, backward 36 / 31; channels last
// 31 / 23, 47 / 45.
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

// Elements [start, start + m) of a sample, as f(byte, bit, first, count): of what lies in one row of bits the first one's bit, and which of
// the m they are.
template <class F>
KILTER_INLINE void each_bit_run(const BitRows& rows, char* sample, int64_t start, int m, F f) {
  for (int first = 0, count; first < m; first += count) {
    const int64_t at = start + first, left = rows.length - at % rows.length;
    count = left < m - first ? int(left) : m - first;
    f(reinterpret_cast<uint8_t*>(sample) + rows.byte(at), rows.bit(at), first, count);
  }
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

template <int N, class C>
KILTER_INLINE void clear(int columns, C (&sums)[N][kTileColumns<C>]) {
  for (int q = 0; q < N; ++q)
    for (int c = 0; c < columns; ++c) sums[q][c] = 0;
}
// Adds up over the places of a tile by column, chains of eight at a time, then of four, two and one: term(place, column, t) writes the N
// terms.
template <int N, class C, class F>
KILTER_INLINE void add_places(int places, int columns, C (&sums)[N][kTileColumns<C>], F term) {
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
  const auto rest = [&](auto count) KILTER_INLINE_LAMBDA {
    if (decltype(count)::value <= places - place) chain(place, count), place += decltype(count)::value;
  };
  rest(std::integral_constant<int, 4>()), rest(std::integral_constant<int, 2>()), rest(std::integral_constant<int, 1>());
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
  const bool in_one = place.place + places <= place.spatial, side_by_side = in_one && part.columns == channels;
  const int64_t stride = side_by_side ? channels : kTileColumns<C>;
  Tile<C> tile{buffer, stride};
  for (int k = 0, count; k < places; k += count) {
    count = !side_by_side ? 1 : places - k < kChain ? places - k : kChain;
    C* const to = buffer + k * stride;
    const C* const v = get(place.sample, place.place * channels + part.first_column, count * part.columns, to);
    if (v != to && in_one) {
      if (k == 0) tile = {v, channels};
    } else if (v != to) {
      std::memcpy(to, v, size_t(part.columns) * sizeof(C));
    }
    for (int i = 0; i < count; ++i) place.next();
    const int done = k + count;
    if (done % kChain == 0 || done == places) ready(tile, (done - 1) / kChain * kChain, (done - 1) % kChain + 1);
  }
  return tile;
}

// f(tile, first of its columns in the part): tiles of some places, side by side.
template <class C, class F>
KILTER_INLINE void each_tile(const PlanePart& part, F f) {
  PlanePart tile = part;
  for (tile.begin = part.begin; tile.begin < part.end; tile.begin = tile.end) {
    tile.end = part.end - tile.begin < kTilePlaces<C> ? part.end : tile.begin + kTilePlaces<C>;
    for (int done = 0; done < part.columns; done += kTileColumns<C>) {
      tile.first_column = part.first_column + done;
      tile.columns = part.columns - done < kTileColumns<C> ? part.columns - done : kTileColumns<C>;
      f(tile, done);
    }
  }
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

}  // namespace kilter::KILTER_TARGET_NAMESPACE

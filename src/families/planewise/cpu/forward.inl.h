// The norms of planes: forward's passes.  Included per SIMD target.
#pragma once

#include "families/planewise/cpu/pieces.inl.h"

namespace kilter::KILTER_TARGET_NAMESPACE {

// s of forward: x, or x + residual as residual's type holds it.
template <class C>
KILTER_INLINE const C* load_s(const PlaneForward& p, int64_t sample, int64_t start, int m, C* buffer) {
  const C* const x = load(p.x, sample, start, m, buffer);
  return p.residual.present() && !p.residual_behind ? add_residual(p.residual, sample, start, m, x, true, buffer) : x;
}

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

// Of the columns of a tile, and what they give with those of `before` places.
template <class C>
void tile_statistics(const PlaneForward& p, const PlanePart& tile, C scale, int64_t before, Cell<C>* cells) {
  alignas(64) C buffer[kTilePlaces<C> * kTileColumns<C>], sum[1][kTileColumns<C>], sums[2][kTileColumns<C>], mean[kTileColumns<C>];
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

// The loop with an activation inside, once for each way to have a channel's numbers.  more: is added to what the activation is of.
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

// relu's derivative at m elements of a sample from element `start` on, into the sample's bits; a byte that an earlier piece began is gone
// on with.
template <class C>
[[gnu::noinline]] void write_bits(const PlaneForward& p, int64_t sample, int64_t start, int m, const C* v) {
  const auto passes = [v](int i) KILTER_INLINE_LAMBDA { return unsigned(!(v[i] <= 0)); };
  each_bit_run(bits_of(p), p.mask.row(sample), start, m, [&](uint8_t* byte, int bit, int first, int count) KILTER_INLINE_LAMBDA {
    int i = 0;
    if (bit) {
      for (; i < count && bit < 8; ++i, ++bit) *byte = uint8_t(*byte | passes(first + i) << bit);
      ++byte;
    }
    for (; i + 8 <= count; i += 8, ++byte) {
      unsigned bits = 0;
      for (int k = 0; k < 8; ++k) bits |= passes(first + i + k) << k;
      *byte = uint8_t(bits);
    }
    unsigned rest = 0;
    for (int k = 0; i + k < count; ++k) rest |= passes(first + i + k) << k;
    if (i < count) *byte = uint8_t(rest);
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
    const bool bits = p.mask.present();
    normalize_run(bits ? KILTER_ACTIVATION_NONE : p.activation, v, behind ? load(p.residual, sample, start, m, other) : nullptr, m, of,
                  value);
    if (bits) {
      write_bits(p, sample, start, m, value);
      for (int i = 0; i < m; ++i) value[i] = Relu::both<Plain>(value[i]).value;
    }
    store(p.y, sample, start, m, value, past_caches);
  });
  if (past_caches) stream_fence();
}

}  // namespace kilter::KILTER_TARGET_NAMESPACE

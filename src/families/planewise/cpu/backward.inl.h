// The norms of planes: backward's passes.  Included per SIMD target.
#pragma once

#include "families/planewise/cpu/pieces.inl.h"

namespace kilter::KILTER_TARGET_NAMESPACE {

// As normalize_run, to h and u, which may lie where x and dy do.
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

// x as it is differentiated.
template <class C, class Of>
KILTER_INLINE const C* load_x(const PlaneBackward& p, int64_t sample, int64_t start, int m, const Differentiating<C>& numbers, const Of& of,
                              C* buffer) {
  const C* const x = load(p.x, sample, start, m, buffer);
  return numbers.of[Differentiating<C>::kScale] ? scaled(x, m, of[Differentiating<C>::kScale], buffer) : x;
}
// u times relu's derivative, from the sample's bits.
template <class C>
[[gnu::noinline]] void take_bits(const PlaneBackward& p, int64_t sample, int64_t start, int m, C* u) {
  each_bit_run(bits_of(p), p.mask.row(sample), start, m, [&](const uint8_t* byte, int bit, int first, int count) KILTER_INLINE_LAMBDA {
    int i = 0;
    for (; i < count && bit % 8; ++i, ++bit) u[first + i] = u[first + i] * C(*byte >> bit & 1);
    byte += i > 0;
    for (; i + 8 <= count; i += 8, ++byte)
      for (int k = 0; k < 8; ++k) u[first + i + k] = u[first + i + k] * C(*byte >> k & 1);
    for (int k = 0; i + k < count; ++k) u[first + i + k] = u[first + i + k] * C(*byte >> k & 1);
  });
}

template <class C, class Of>
KILTER_INLINE void differentiate(const PlaneBackward& p, int64_t sample, int64_t start, int m, const Differentiating<C>& numbers,
                                 const Of& of, C* h, C* u) {
  constexpr int kAtOnce = kSmallPiece / 2;
  if (p.mask.present()) {
    const C *const x = load_x(p, sample, start, m, numbers, of, h), *const dy = load(p.dy, sample, start, m, u);
    differentiate_run(KILTER_ACTIVATION_NONE, x, dy, static_cast<const C*>(nullptr), m, of, h, u);
    return take_bits(p, sample, start, m, u);
  }
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
  alignas(64) C h[kChain * kTileColumns<C>], u[kChain * kTileColumns<C>], sums[3][kTileColumns<C>];
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
      differentiate(p, place.sample, place.place * p.channels + tile.first_column, columns, numbers, each, h + k * kTileColumns<C>,
                    u + k * kTileColumns<C>);
    add_places(places, columns, sums, [&](int k, int c, C(&t)[3]) KILTER_INLINE_LAMBDA {
      const int i = k * kTileColumns<C> + c;
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

}  // namespace kilter::KILTER_TARGET_NAMESPACE

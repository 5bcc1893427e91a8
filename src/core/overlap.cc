#include "core/overlap.h"

#include <algorithm>
#include <cstdlib>

namespace kilter {
namespace {

// sum of c_i * stride_i with lo_i <= c_i <= hi_i, in bytes
struct Term {
  int64_t stride, lo, hi;
};

struct Search {
  Term terms[2 * kMaxRowDims];
  int count = 0;
  __int128 reach_lo[2 * kMaxRowDims + 1], reach_hi[2 * kMaxRowDims + 1];  // of terms i and later
  bool need_nonzero = false;
  int budget = 20000;

  void add(int64_t stride, int64_t lo, int64_t hi) {
    if (stride < 0) {
      stride = -stride;
      std::swap(lo, hi);
      lo = -lo;
      hi = -hi;
    }
    for (int i = 0; i < count && !need_nonzero; ++i)
      if (terms[i].stride == stride) {
        terms[i].lo += lo;
        terms[i].hi += hi;
        return;
      }
    terms[count++] = {stride, lo, hi};
  }

  // Is there a choice whose sum lies in [lo, hi]?  (true also when the budget ends)
  bool any_in(__int128 lo, __int128 hi) {
    std::sort(terms, terms + count, [](const Term& a, const Term& b) { return a.stride > b.stride; });
    reach_lo[count] = reach_hi[count] = 0;
    for (int i = count - 1; i >= 0; --i) {
      reach_lo[i] = reach_lo[i + 1] + __int128(terms[i].stride) * terms[i].lo;
      reach_hi[i] = reach_hi[i + 1] + __int128(terms[i].stride) * terms[i].hi;
    }
    return step(0, lo, hi, false);
  }

  bool step(int i, __int128 lo, __int128 hi, bool nonzero) {
    if (--budget < 0) return true;
    if (hi < reach_lo[i] || lo > reach_hi[i]) return false;
    if (i == count) return nonzero || !need_nonzero;
    const Term& t = terms[i];
    int64_t first = t.lo, last = t.hi;
    if (t.stride > 0) {  // c * stride must land in [lo - reach_hi, hi - reach_lo] of the terms after this one
      const __int128 s = t.stride, a = lo - reach_hi[i + 1], b = hi - reach_lo[i + 1];
      const __int128 from = a >= 0 ? (a + s - 1) / s : -(-a / s), to = b >= 0 ? b / s : -((-b + s - 1) / s);
      if (from > first) first = from > t.hi ? t.hi + 1 : int64_t(from);
      if (to < last) last = to < t.lo ? t.lo - 1 : int64_t(to);
    } else if (!need_nonzero) {
      last = first;  // a zero stride reaches nothing new
    }
    for (int64_t c = first; c <= last; ++c)
      if (step(i + 1, lo - __int128(t.stride) * c, hi - __int128(t.stride) * c, nonzero || c != 0)) return true;
    return false;
  }
};

int64_t bytes_of(const Extent& e) { return e.n * item_size(e.view->dtype); }

bool same_map(const RowMap& a, const RowMap& b) {
  return a.ndim == b.ndim && std::equal(a.size, a.size + a.ndim, b.size) && std::equal(a.stride, a.stride + a.ndim, b.stride);
}

}  // namespace

Extent::Extent(const View* view, int64_t rows, int64_t n) : view(view), rows(rows), n(n) {
  if (!view->present() || rows == 0 || n == 0) return;
  begin = reinterpret_cast<intptr_t>(view->data);
  end = begin + bytes_of(*this);
  for (int d = 0; d < view->map.ndim; ++d) {
    const __int128 reach = __int128(view->map.stride[d]) * item_size(view->dtype) * (view->map.size[d] - 1);
    (reach < 0 ? begin : end) += reach;
  }
}

Overlap search_overlap(const Extent& a, const Extent& b) {
  const int sa = item_size(a.view->dtype), sb = item_size(b.view->dtype);
  if (a.view->data == b.view->data && sa == sb && a.n == b.n && a.rows == b.rows && same_map(a.view->map, b.view->map))
    return Overlap::exact;
  Search search;
  for (int d = 0; d < b.view->map.ndim; ++d) search.add(b.view->map.stride[d] * sb, 0, b.view->map.size[d] - 1);
  for (int d = 0; d < a.view->map.ndim; ++d) search.add(-a.view->map.stride[d] * sa, 0, a.view->map.size[d] - 1);
  // runs [p, p + |a|) and [q, q + |b|) meet when -|b| < q - p < |a|
  const __int128 distance = __int128(intptr_t(b.view->data)) - __int128(intptr_t(a.view->data));
  return search.any_in(-distance - bytes_of(b) + 1, -distance + bytes_of(a) - 1) ? Overlap::partial : Overlap::none;
}

bool rows_overlap(const Extent& a) {
  if (a.empty() || a.view->map.ndim == 0) return false;
  const RowMap& map = a.view->map;
  // Nested layouts need no search: each stride clears what the smaller ones span.
  int order[KILTER_MAX_RANK];
  for (int d = 0; d < map.ndim; ++d) order[d] = d;
  std::sort(order, order + map.ndim, [&](int p, int q) { return std::abs(map.stride[p]) < std::abs(map.stride[q]); });
  __int128 span = a.n;
  bool nested = true;
  for (int i = 0; i < map.ndim && nested; ++i) {
    const __int128 stride = std::abs(map.stride[order[i]]);
    nested = stride >= span;
    span += stride * (map.size[order[i]] - 1);
  }
  if (nested) return false;
  Search search;
  search.need_nonzero = true;
  for (int d = 0; d < map.ndim; ++d) search.add(map.stride[d], -(map.size[d] - 1), map.size[d] - 1);
  return search.any_in(-(a.n - 1), a.n - 1);
}

}  // namespace kilter

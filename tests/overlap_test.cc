// Overlap is judged by elements: compared with lists of all addresses, over thousands of small layouts.
#include "core/overlap.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <vector>

#include "core/tensor.h"

namespace kilter {
namespace {

struct Layout {
  DType dtype = DType::f32;
  std::vector<int64_t> shape, strides;
  int64_t offset = 0;  // elements
};

// An address that nobody dereferences, far from both ends.
char* const kBase = reinterpret_cast<char*>(uintptr_t(1) << 40);

struct Read {
  View view;
  int64_t rows = 1, n = 0;
  Extent extent() const { return {&view, rows, n}; }
};

Read read(Layout& l) {
  Read r;
  const kilter_tensor t = {kBase,
                           {KILTER_DEVICE_CPU, 0},
                           int32_t(l.shape.size()),
                           dlpack_of(l.dtype),
                           l.shape.data(),
                           l.strides.data(),
                           uint64_t(l.offset * item_size(l.dtype))};
  Checked checked;
  EXPECT_EQ(check_alone("test", "x", t, "x", t.device, t.ndim - 1, false, &checked), KILTER_OK) << kilter_last_error();
  EXPECT_EQ(fill_view("overlap", "t", t, checked, t.ndim - 1, &r.view), KILTER_OK);
  for (size_t d = 0; d + 1 < l.shape.size(); ++d) r.rows *= l.shape[d];
  r.n = l.shape.back();
  return r;
}

// First byte of every element, in row-major order of indices.
std::vector<int64_t> addresses(const Layout& l) {
  std::vector<int64_t> all = {l.offset};
  for (size_t d = 0; d < l.shape.size(); ++d) {
    std::vector<int64_t> next;
    for (const int64_t a : all)
      for (int64_t i = 0; i < l.shape[d]; ++i) next.push_back(a + i * l.strides[d]);
    all = next;
  }
  for (int64_t& a : all) a *= item_size(l.dtype);
  return all;
}

std::set<int64_t> bytes(const Layout& l) {
  std::set<int64_t> all;
  for (const int64_t a : addresses(l))
    for (int b = 0; b < item_size(l.dtype); ++b) all.insert(a + b);
  return all;
}

std::string text(const Layout& l) {
  std::string s = std::string(dtype_name(l.dtype)) + " at " + std::to_string(l.offset) + " shape";
  for (const int64_t v : l.shape) s.append(" ").append(std::to_string(v));
  s.append(" strides");
  for (const int64_t v : l.strides) s.append(" ").append(std::to_string(v));
  return s;
}

class Source {
 public:
  explicit Source(uint32_t seed) : random_(seed) {}
  int64_t between(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random_); }
  Layout layout(int64_t max_stride, int64_t max_size) {
    constexpr DType kTypes[] = {DType::f64, DType::f32, DType::f16, DType::bf16};
    Layout l;
    l.dtype = kTypes[between(0, 3)];
    l.offset = 1000 + between(-20, 20);
    const int64_t leading = between(0, 3);
    for (int64_t d = 0; d < leading; ++d) {
      l.shape.push_back(between(1, max_size));
      l.strides.push_back(between(-max_stride, max_stride));
    }
    l.shape.push_back(between(1, 5));
    l.strides.push_back(1);
    return l;
  }

 private:
  std::mt19937 random_;
};

void expect_exact(Layout& a, Layout& b, int* counts) {
  const Read ra = read(a), rb = read(b);
  const std::set<int64_t> first = bytes(a), second = bytes(b);
  bool share = false;
  for (const int64_t v : first) share |= second.count(v) > 0;
  const bool equal = item_size(a.dtype) == item_size(b.dtype) && a.shape.back() == b.shape.back() && addresses(a) == addresses(b);
  const Overlap expected = equal ? Overlap::exact : share ? Overlap::partial : Overlap::none;
  ++counts[int(expected)];
  EXPECT_EQ(int(overlap_of(ra.extent(), rb.extent())), int(expected)) << text(a) << "\n" << text(b);
  EXPECT_EQ(int(overlap_of(rb.extent(), ra.extent())), int(expected)) << text(b) << "\n" << text(a);
}

TEST(Overlap, TwoTensorsAgainstTheListOfTheirElements) {
  int counts[3] = {};
  Source source(1);
  for (int i = 0; i < 20000; ++i) {
    Layout a = source.layout(i % 2 ? 9 : 30, 4), b = source.layout(i % 2 ? 9 : 30, 4);
    expect_exact(a, b, counts);
  }
  EXPECT_GT(counts[int(Overlap::none)], 2000);
  EXPECT_GT(counts[int(Overlap::partial)], 2000);
}

TEST(Overlap, TheSameTensorInOtherWords) {
  int counts[3] = {};
  Source source(2);
  for (int i = 0; i < 5000; ++i) {
    Layout a = source.layout(12, 3), b = a;
    switch (source.between(0, 4)) {
      case 0:
        break;
      case 1:
        b.offset += source.between(-2, 2);
        break;
      case 2:
        b.shape.insert(b.shape.begin(), 1), b.strides.insert(b.strides.begin(), 77);
        break;  // a size of 1: any stride
      case 3:
        if (b.strides.size() > 1) b.strides[0] += source.between(-1, 1);
        break;
      case 4:
        if (b.shape.size() > 2) std::swap(b.shape[0], b.shape[1]), std::swap(b.strides[0], b.strides[1]);
        break;
    }
    expect_exact(a, b, counts);
  }
  EXPECT_GT(counts[int(Overlap::exact)], 1000);
  EXPECT_GT(counts[int(Overlap::partial)], 500);
}

TEST(Overlap, InterleavedSlices) {  // x and y of every third column group, heads of one buffer, and one element too wide
  int counts[3] = {};
  for (const int64_t n : {1, 4, 5})
    for (const int64_t slice : {1, 2})
      for (const int64_t width : {n, n + 1}) {
        Layout a{DType::f16, {6, n}, {3 * n, 1}, 100}, b{DType::f16, {6, width}, {3 * n, 1}, 100 + slice * n};
        expect_exact(a, b, counts);
        Layout c{DType::f32, {2, 3, 2, n}, {3 * 4 * n, 4 * n, n, 1}, 100},
            d{DType::f32, {2, 3, 2, width}, {3 * 4 * n, 4 * n, n, 1}, 100 + 2 * n};
        expect_exact(c, d, counts);
      }
  EXPECT_GT(counts[int(Overlap::none)], 0);
  EXPECT_GT(counts[int(Overlap::partial)], 0);
}

TEST(Overlap, RowsOfOneTensorAgainstTheListOfTheirElements) {
  int overlapping = 0;
  Source source(3);
  for (int i = 0; i < 20000; ++i) {
    Layout a = source.layout(i % 2 ? 12 : 40, i % 3 ? 3 : 5);
    const std::vector<int64_t> all = addresses(a);
    const bool expected = std::set<int64_t>(all.begin(), all.end()).size() != all.size();
    overlapping += expected;
    const Read r = read(a);
    EXPECT_EQ(rows_overlap(r.extent()), expected) << text(a);
  }
  EXPECT_GT(overlapping, 2000);
  EXPECT_LT(overlapping, 18000);
}

TEST(Overlap, LargeLayoutsPeopleUseEndWithAnAnswer) {
  // Two halves of the heads of a [batch, sequence, heads, size] buffer, and a transposed view of the other half.
  const int64_t batch = 64, sequence = 4096, heads = 32, size = 128, row = 2 * heads * size;
  Layout a{DType::bf16, {batch, sequence, heads, size}, {sequence * row, row, size, 1}, 0};
  Layout b{DType::bf16, {batch, heads, sequence, size}, {sequence * row, size, row, 1}, heads * size};
  EXPECT_EQ(int(overlap_of(read(a).extent(), read(b).extent())), int(Overlap::none));
  EXPECT_FALSE(rows_overlap(read(a).extent()));
  EXPECT_FALSE(rows_overlap(read(b).extent()));
  b.offset -= 1;
  EXPECT_EQ(int(overlap_of(read(a).extent(), read(b).extent())), int(Overlap::partial));
  b.offset += 2;
  EXPECT_EQ(int(overlap_of(read(a).extent(), read(b).extent())), int(Overlap::partial));
}

TEST(Overlap, NothingOverlapsWithoutElements) {
  Layout a{DType::f32, {3, 4}, {4, 1}, 0};
  Layout none{DType::f32, {0, 4}, {4, 1}, 0}, empty{DType::f32, {3, 0}, {4, 1}, 0};
  EXPECT_EQ(int(overlap_of(read(a).extent(), read(none).extent())), int(Overlap::none));
  EXPECT_EQ(int(overlap_of(read(empty).extent(), read(a).extent())), int(Overlap::none));
  EXPECT_FALSE(rows_overlap(read(empty).extent()));
  EXPECT_FALSE(rows_overlap(read(none).extent()));
}

}  // namespace
}  // namespace kilter

// Every layout that every tensor of every function may have, from the library's listing alone: the bits are those of the plain call.
#include <cmath>
#include <cstring>

#include "harness/call.h"

namespace kilter::test {
namespace {

class Layouts : public ::testing::TestWithParam<kilter_function> {
 protected:
  static void run_alike(Call& expected, Call& got) {
    ASSERT_EQ(expected.run(), KILTER_OK) << kilter_last_error();
    ASSERT_EQ(got.run(), KILTER_OK) << kilter_last_error();
    EXPECT_TRUE(same_outputs(expected, got));
  }
  std::vector<std::string> tensors() {
    const Call plain(GetParam());
    std::vector<std::string> names;
    for (const kilter_field& f : plain.fields())
      if (is_tensor(f) && plain.has(f.name)) names.push_back(f.name);
    return names;
  }
  // change(tensor) for each by itself, then for all.
  template <class F>
  void each_and_all(F change) {
    for (const DType t : {DType::f32, DType::bf16}) {
      Call expected(GetParam(), {.t = t}), all(GetParam(), {.t = t});
      for (const std::string& name : tensors()) {
        SCOPED_TRACE(name);
        Call one(GetParam(), {.t = t});
        change(one[name]), change(all[name]);
        run_alike(expected, one);
      }
      run_alike(expected, all);
    }
  }
  void place_each_and_all(const Placed& where, int64_t size) {
    for (const bool last : layouts_of(GetParam()))
      for (const DType t : {DType::f32, DType::bf16}) {
        Making all = {.t = t, .size = size, .channels_last = last};
        Call expected(GetParam(), all);
        for (const std::string& name : tensors()) {
          SCOPED_TRACE(name);
          Making one = {.t = t, .size = size, .channels_last = last};
          const bool vector = expected.memory_shape(name).size() == 1;
          Placed p = where;
          if (vector) p.pad = 0, p.reversed = false;
          one.placed[name] = all.placed[name] = p;
          Call got(GetParam(), one);
          run_alike(expected, got);
        }
        Call got(GetParam(), all);
        run_alike(expected, got);
      }
  }
};

INSTANTIATE_TEST_SUITE_P(Every, Layouts, ::testing::ValuesIn(all_functions()), function_name);

TEST_P(Layouts, ByteOffsetCountsLikeTheAddress) {
  each_and_all([](kilter_tensor& t) { t.data = static_cast<char*>(t.data) - 4096, t.byte_offset = 4096; });
}

TEST_P(Layouts, NullStridesAreRowMajor) {
  each_and_all([](kilter_tensor& t) { t.strides = nullptr; });
}

TEST_P(Layouts, MemoryThatTheHostCanAccessIsTheCPUs) {
  for (const kilter_device device : {kilter_device{KILTER_DEVICE_CUDA_HOST, 0},
                                     {KILTER_DEVICE_ROCM_HOST, 0},
                                     {KILTER_DEVICE_CUDA_MANAGED, 0},
                                     {KILTER_DEVICE_CUDA_HOST, 3}})
    each_and_all([&](kilter_tensor& t) { t.device = device; });
}

TEST_P(Layouts, PaddedShiftedReversed) {
  for (const int64_t size : {5, 64, 131}) {
    place_each_and_all({.pad = 3}, size);
    place_each_and_all({.pad = 1, .shift = 1, .at_end = false}, size);
    place_each_and_all({.shift = 3}, size);
    place_each_and_all({.pad = 8, .reversed = true}, size);
  }
}

// Every row, or sample, of an input is one and the same.
TEST_P(Layouts, InputsWithoutAStride) {
  for (const bool last : layouts_of(GetParam()))
    for (const std::string& name : tensors()) {
      SCOPED_TRACE(name);
      const Making plain = {.channels_last = last};
      Making m = plain;
      Call expected(GetParam(), plain);
      const kilter_field& f = expected.field(name);
      const size_t rank = expected.memory_shape(name).size();
      if (is_output(f) || rank == 1 || words_of(f.shape).front() == "...|...") continue;  // "..." alone: a row of its own
      m.placed[name].strides.assign(is_planes(f) ? 1 : rank - 1, 0);
      Call got(GetParam(), m);
      expected.memory(name).copy_from(got.memory(name));
      run_alike(expected, got);
    }
}

// The reference goes through a sample by channel and place, wherever they lie.
TEST_P(Layouts, ChannelsFirstAndLastAreTheSameNumbers) {
  if (layouts_of(GetParam()).size() < 2) return;
  for (const std::vector<int64_t>& any : {std::vector<int64_t>{}, {6}, {2, 3}, {2, 1, 3}}) {
    const Making first = {.t = DType::f64, .any = any, .without = {"mask"}, .impl = "reference:f64"};  // whose shape is the layout's
    Making last = first;
    last.channels_last = true;
    Call expected(GetParam(), first), got(GetParam(), last);
    run_alike(expected, got);
  }
}

TEST_P(Layouts, OneRowMayHaveAnyStride) {
  if (!Call(GetParam()).has_any_rows()) GTEST_SKIP() << "its rows are counted by a size of its own";
  for (const int64_t stride : {int64_t(0), int64_t(-3), int64_t(1) << 60}) {
    const bool planes = Call(GetParam()).has_planes();
    const Making one = {.any = {planes ? 2 : 1}, .batch = 1, .lengths = false};
    Call expected(GetParam(), one), got(GetParam(), one);
    int64_t of_rows[2] = {stride, 1}, of_planes[3] = {stride, 2, 1};
    for (const std::string& name : tensors())
      if (const size_t rank = got.memory_shape(name).size(); rank >= 2) got[name].strides = rank == 2 ? of_rows : of_planes;
    run_alike(expected, got);
  }
}

// Tensors of one shape and type as groups of columns of one buffer, as a projection for queries, keys and values leaves them; samples
// as parts of the samples of one buffer.
TEST_P(Layouts, InterleavedColumns) {
  for (const auto& [form, size] : {std::pair("... n", 1),
                                   {"... n", 37},
                                   {"... n", 1025},
                                   {"...|... 1", 37},
                                   {"batch channels ...", 12},
                                   {"batch channels", 12},
                                   {"batch groups", 12}})
    for (const DType t : types_of_t(GetParam())) {
      const Making m = {.t = t, .any = {6}, .size = size, .batch = 6};
      Call expected(GetParam(), m), got(GetParam(), m);
      std::vector<std::string> group;
      for (const std::string& name : tensors())
        if (got.field(name).shape == form && (group.empty() || got.type_of(name) == got.type_of(group.front()))) group.push_back(name);
      if (group.size() < 2) continue;
      const Matrix& member = got.memory(group.front());
      const int64_t n = member.rows() * member.n() / 6, width = int64_t(group.size()) * n;
      Matrix buffer(got.type_of(group.front()), {6, width});
      int64_t strides[3] = {width, member.shape().size() == 3 ? 6 : 1, 1};
      const auto element = [&](Call& call, size_t k, int64_t r, int64_t i) {
        const Matrix& own = call.memory(group[k]);
        return own.get((r * n + i) / own.n(), (r * n + i) % own.n());
      };
      buffer.fill([&](int64_t r, int64_t i) { return element(got, size_t(i / n), r, i % n); });
      for (size_t k = 0; k < group.size(); ++k) {
        kilter_tensor& tensor = got[group[k]];
        tensor.data = buffer.row(0) + int64_t(k) * n * item_size(buffer.dtype());
        tensor.strides = strides;
      }
      ASSERT_EQ(expected.run(), KILTER_OK) << kilter_last_error();
      ASSERT_EQ(got.run(), KILTER_OK) << kilter_last_error();
      Matrix want(buffer.dtype(), {6, width});
      want.fill([&](int64_t r, int64_t i) { return element(expected, size_t(i / n), r, i % n); });
      EXPECT_TRUE(same(want, buffer, form));
    }
}

// Inputs may be one and the same memory.
TEST_P(Layouts, InputsMayShareEverything) {
  Call expected(GetParam()), got(GetParam());
  std::map<std::string, std::string> first;  // of a shape and type
  for (const std::string& name : tensors()) {
    const kilter_field& f = got.field(name);
    if (is_output(f)) continue;
    const std::string& other = first.emplace(std::string(f.shape) + dtype_name(got.type_of(name)), name).first->second;
    got[name] = got[other];
    expected.memory(name).copy_from(expected.memory(other));
  }
  run_alike(expected, got);
}

TEST_P(Layouts, RankUpToTheLargest) {
  const size_t others = layouts_of(GetParam()).size();  // sizes beside "..."
  Making flat = {.any = {6}, .dim = -1}, deep = {.any = std::vector<int64_t>(KILTER_MAX_RANK - others, 1), .dim = -1};
  deep.any[3] = 2, deep.any.back() = 3;
  Call f(GetParam(), flat), d(GetParam(), deep);
  ASSERT_EQ(f.run(), KILTER_OK) << kilter_last_error();
  ASSERT_EQ(d.run(), KILTER_OK) << kilter_last_error();
  for (const kilter_field& field : f.fields()) {
    if (!is_output(field) || !f.has(field.name)) continue;
    const Matrix &a = f.memory(field.name), &b = d.memory(field.name);
    for (int64_t i = 0; i < a.rows() * a.n(); ++i) EXPECT_EQ(a.get(i / a.n(), i % a.n()), b.get(i / b.n(), i % b.n())) << field.name << i;
  }
}

// Without rows, or with rows of no elements: right, with null data as well; sums over nothing are zero, and statistics of it NaN.
TEST_P(Layouts, Empty) {
  int64_t any_strides[] = {7, 3, 5, 11};
  for (const Making& m : {Making{.any = {0, 3}}, Making{.any = {2, 0}}, Making{.size = 0}, Making{.any = {0, 3}, .batch = 0}})
    for (const bool null : {false, true}) {
      Call call(GetParam(), m);
      for (const std::string& name : tensors()) {
        if (!call.has(name)) continue;
        const Matrix& memory = call.memory(name);
        if (memory.rows() * memory.n() != 0) continue;
        if (null) call[name].data = nullptr;
        if (null) call[name].strides = any_strides;
      }
      EXPECT_EQ(call.run(), KILTER_OK) << kilter_last_error();
      const bool no_rows = m.size != 0 && Call(GetParam()).has_any_rows();
      for (const kilter_field& f : call.fields()) {
        if (!is_output(f) || !call.has(f.name)) continue;
        const Matrix& all = call.memory(f.name);
        const bool statistics = std::strcmp(f.types, "stat") == 0;
        if (!no_rows && !(statistics && call.has_planes())) continue;
        for (int64_t i = 0; i < all.rows() * all.n(); ++i) {
          const double v = all.get(i / all.n(), i % all.n());
          const bool running = std::string(f.name).starts_with("running_");  // stay as they are
          const double want = running ? call.memory(f.may_be).get(i / all.n(), i % all.n()) : 0;
          EXPECT_TRUE(statistics && call.has_planes() ? std::isnan(v) : v == want) << f.name << " " << v;
        }
      }
    }
}

// As many leading dimensions as a view has room for, none of which continues another; and one more.
TEST(Layouts, TwistedDimensions) {
  for (const size_t dims : {size_t(12), size_t(13)}) {
    const std::vector<int64_t> twos(dims, 2);
    Call flat(KILTER_RMS_NORM_FORWARD, {.any = twos, .size = 3}), twisted(KILTER_RMS_NORM_FORWARD, {.any = twos, .size = 3});
    std::vector<int64_t> strides(dims + 1, 1);
    for (size_t d = 0; d < dims; ++d) strides[d] = int64_t(3) << d;
    twisted["x"].strides = strides.data();
    if (dims == 13) {
      EXPECT_EQ(twisted.run(), KILTER_UNSUPPORTED);
      EXPECT_NE(std::string(kilter_last_error()).find("x.strides: expected at most 12 leading dimensions"), std::string::npos);
      continue;
    }
    Matrix& x = flat.memory("x");
    for (int64_t r = 0; r < x.rows(); ++r) {
      int64_t there = 0;
      for (size_t d = 0; d < dims; ++d) there |= (r >> d & 1) << (dims - 1 - d);
      for (int64_t i = 0; i < 3; ++i) x.set(r, i, twisted.memory("x").get(there, i));
    }
    ASSERT_EQ(flat.run(), KILTER_OK);
    ASSERT_EQ(twisted.run(), KILTER_OK) << kilter_last_error();
    EXPECT_TRUE(same_outputs(flat, twisted));
  }
}

}  // namespace
}  // namespace kilter::test

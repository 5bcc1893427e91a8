// What a row of a function's table allows, run: each output in each input's memory against memory of its own, each type and shape
// against the reference.  A row that is too generous shows here.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "check/op.h"
#include "check/units.h"
#include "harness/call.h"

namespace kilter::test {
namespace {

class Table : public ::testing::TestWithParam<kilter_function> {
 protected:
  // Calls to make: of every T and layout, with the first type that each tensor may have, and with fp32 wherever that may stand instead.
  std::vector<Making> makings() {
    std::vector<Making> all;
    std::vector<std::pair<bool, bool>> calls;
    for (const bool last : layouts_of(GetParam()))
      for (const bool wide : {false, true}) calls.emplace_back(wide, last);
    for (const DType t : types_of_t(GetParam()))
      for (const auto& [wide, last] : calls) {
        Making m = {.t = t, .channels_last = last};
        const Call plain(GetParam(), m);
        for (const kilter_field& f : plain.fields()) {
          const std::vector<std::string> words = words_of(f.types, '|');
          if (wide && f.name != plain.t_field() && std::count(words.begin(), words.end(), "fp32")) m.types[f.name] = "fp32";
        }
        all.push_back(m);
      }
    return all;
  }
};

INSTANTIATE_TEST_SUITE_P(Every, Table, ::testing::ValuesIn(all_functions()), function_name);

using Aliases = std::map<std::string, std::string>;  // output, input

std::string text_of(const Call& call, const Making& m, const Aliases& aliases = {}) {
  std::string text = call.op() + std::string(", T ") + dtype_name(m.t) + (m.channels_last ? ", channels last" : "");
  for (const auto& [name, type] : m.types) text.append(", ").append(name).append(" ").append(type);
  for (const auto& [output, input] : aliases) text.append(", ").append(output).append(" in ").append(input);
  return text;
}

std::vector<Aliases> aliases_of(const Call& call) {
  std::vector<Aliases> one, two;
  for (const kilter_field& o : call.fields())
    for (const std::string& i : words_of(o.may_be))
      if (call.has(o.name) && call.has(i) && call.type_of(o.name) == call.type_of(i)) one.push_back({{o.name, i}});
  for (const Aliases& a : one)
    for (const Aliases& b : one)
      if (a.begin()->first < b.begin()->first) two.push_back({*a.begin(), *b.begin()});
  one.insert(one.end(), two.begin(), two.end());
  return one;
}

void put(Call& call, const Aliases& aliases) {
  for (const auto& [output, input] : aliases) call[output] = call[input];
}

void expect_outputs(Call& expected, Call& got, const Aliases& aliases) {
  for (const kilter_field& f : got.fields()) {
    if (!is_output(f) || !got.has(f.name)) continue;
    const auto alias = aliases.find(f.name);
    EXPECT_TRUE(same(expected.memory(f.name), got.memory(alias == aliases.end() ? f.name : alias->second), f.name));
  }
}

TEST_P(Table, InPlaceGivesTheBitsOfMemoryOfItsOwn) {
  std::set<std::pair<std::string, std::string>> listed, tried;
  const Call plain(GetParam());
  for (const kilter_field& o : plain.fields())
    for (const std::string& i : words_of(o.may_be)) listed.insert({o.name, i});
  const int64_t longest = layouts_of(GetParam()).size() > 1 ? 261 : 1025;  // channels of a tile and more, elements of a row
  for (Making m : makings())
    for (const int64_t size : {int64_t(5), int64_t(64), longest}) {
      m.size = size, m.any = {3, 2};
      Call expected(GetParam(), m);
      ASSERT_EQ(expected.run(), KILTER_OK) << kilter_last_error();
      for (const Aliases& aliases : aliases_of(expected)) {
        Call got(GetParam(), m);
        SCOPED_TRACE(text_of(got, m, aliases));
        std::set<std::string> places;
        for (const auto& [output, input] : aliases) places.insert(input);
        if (places.size() < aliases.size()) {  // two outputs in one place
          expect_refused(got, KILTER_OVERLAP, aliases.rbegin()->first, [&] { put(got, aliases); });
          continue;
        }
        put(got, aliases);
        ASSERT_EQ(got.run(), KILTER_OK) << kilter_last_error();
        expect_outputs(expected, got, aliases);
        Making without_others = m;
        for (const kilter_field& f : got.fields())
          if (is_output(f) && !f.required && !aliases.count(f.name)) without_others.without.insert(f.name);
        Call alone(GetParam(), without_others);
        put(alone, aliases);
        ASSERT_EQ(alone.run(), KILTER_OK) << kilter_last_error();
        expect_outputs(expected, alone, aliases);
        if (aliases.size() == 1) tried.insert(*aliases.begin());
      }
    }
  EXPECT_EQ(tried, listed);
}

// Each output in the first input that no other output is in.
void expect_in_place(kilter_function function, const Making& m, const char* choice = nullptr, int32_t value = 0) {
  Call expected(function, m), got(function, m);
  Aliases aliases;
  std::set<std::string> places;
  for (const Aliases& a : aliases_of(expected))
    if (a.size() == 1 && !aliases.count(a.begin()->first) && places.insert(a.begin()->second).second) aliases.insert(*a.begin());
  put(got, aliases);
  if (choice) expected.at<int32_t>(choice) = got.at<int32_t>(choice) = value;
  SCOPED_TRACE(text_of(got, m, aliases) + (choice ? ", " + std::string(choice) + " " + std::to_string(value) : ""));
  const kilter_status status = expected.run();
  if (choice && status == KILTER_UNSUPPORTED) return;
  if (choice && status == KILTER_INVALID_ARGUMENT) {  // beside other tensors
    Making other = m;
    other.choices[choice] = value;
    return expect_in_place(function, other);
  }
  ASSERT_EQ(status, KILTER_OK) << kilter_last_error();
  ASSERT_EQ(got.run(), KILTER_OK) << kilter_last_error();
  expect_outputs(expected, got, aliases);
}

// Rows that go one by one, that are read twice, that are so many that y does not stay in the caches.
TEST_P(Table, InPlaceWhereItIsLarge) {
  if (!Call(GetParam()).has_any_rows()) GTEST_SKIP() << "its rows are as many as its columns here";
  const bool planes = layouts_of(GetParam()).size() > 1;  // two samples of `size` channels
  for (const bool last : layouts_of(GetParam()))
    for (const auto& [rows, size] :
         {std::pair<int64_t, int64_t>(2, planes ? 6000 : 20000), {1, planes ? 20001 : 300001}, {2100, planes ? 304 : 1111}})
      expect_in_place(GetParam(), {.any = {rows}, .size = size, .channels_last = last});
}

TEST_P(Table, InPlaceWithEveryChoice) {
  const Call plain(GetParam());
  for (const kilter_field& f : plain.fields())
    for (size_t v = 1; std::strcmp(f.kind, "choice") == 0 && v < words_of(f.words).size(); ++v)
      for (const DType t : types_of_t(GetParam())) expect_in_place(GetParam(), {.t = t, .size = 1025}, f.name, int32_t(v));
}

// Finite, and within the reference's bounds in units of the tensor's largest element.
void expect_close(const std::string& op, DType t, const Matrix& expected, const Matrix& got, const std::string& name) {
  double largest = 0;
  for (int64_t r = 0; r < expected.rows(); ++r)
    for (int64_t i = 0; i < expected.n(); ++i) largest = std::max(largest, std::fabs(expected.get(r, i)));
  if (expected.rows() * expected.n() == 1) largest = std::max(largest, 1.0);  // a sum over all elements, whose terms may cancel
  // Statistics of fp32, where what is normalized is no wider, may lie in fp64.
  const double unit = check::ulp(t == DType::f64 ? got.dtype() : std::max(got.dtype(), DType::f32), largest);
  double bound = 4;
  const check::Bounds& bounds = *check::find_op(op)->bounds;
  for (const check::Tolerance& t : bounds.table)
    if (t.output == judged_as(bounds, name) && t.dtype == got.dtype()) bound = std::max(bound, t.bound);
  for (int64_t r = 0; r < got.rows(); ++r)
    for (int64_t i = 0; i < got.n(); ++i) {
      const double have = got.get(r, i), want = expected.get(r, i);
      ASSERT_TRUE(std::isfinite(have) && std::fabs(have - want) <= bound * unit)
          << name << " row " << r << " column " << i << ": expected " << want << ", got " << have << ", units " << (have - want) / unit;
    }
}

// Whether there is nothing to compare it with yet.
bool only_the_reference(kilter_function function) {
  Call asked(function);
  return std::string(asked.plan().impl).starts_with("reference:");
}

// Every implementation that takes the call against the one to compare with.
void expect_implementations_agree(kilter_function function, Making m, int* compared) {
  Call asked(function, m);
  SCOPED_TRACE(text_of(asked, m));
  kilter_candidate list[32];
  size_t count = 0;
  ASSERT_EQ(kilter_explain(function, asked.args(), list, std::size(list), &count), KILTER_OK) << kilter_last_error();
  const char* reference = nullptr;
  for (size_t i = 0; i < count; ++i)
    if (!list[i].reason && std::strncmp(list[i].impl, "reference:", 10) == 0) reference = list[i].impl;
  ASSERT_NE(reference, nullptr) << "nothing to compare with";
  m.impl = reference;
  Call expected(function, m);
  ASSERT_EQ(expected.run(), KILTER_OK) << kilter_last_error();
  for (size_t i = 0; i < count; ++i) {
    if (list[i].reason || list[i].impl == std::string(reference)) continue;
    SCOPED_TRACE(list[i].impl);
    m.impl = list[i].impl;
    Call got(function, m);
    ASSERT_EQ(got.run(), KILTER_OK) << kilter_last_error();
    ++*compared;
    for (const kilter_field& f : got.fields()) {
      ASSERT_EQ(got.has(f.name), expected.has(f.name)) << f.name;
      if (is_output(f) && got.has(f.name)) expect_close(got.op(), m.t, expected.memory(f.name), got.memory(f.name), f.name);
    }
  }
}

TEST_P(Table, EveryTypeAgainstTheReference) {
  int compared = 0;
  for (const DType t : types_of_t(GetParam())) {
    const Call plain(GetParam(), {.t = t});
    for (const kilter_field& f : plain.fields()) {
      const std::vector<std::string> words = words_of(f.types, '|');
      for (size_t w = 0; w < words.size(); ++w) {
        if (f.name == plain.t_field() && w > 0) continue;
        Making m = {.t = t, .size = 45};
        if (w > 0) m.types[f.name] = words[w];
        // Where the table has a type, an implementation has it.
        EXPECT_EQ(Call(GetParam(), m).has(f.name), plain.has(f.name)) << f.name << " " << words[w] << ", T " << dtype_name(t);
        expect_implementations_agree(GetParam(), m, &compared);
      }
    }
  }
  for (const Making& m : makings()) expect_implementations_agree(GetParam(), m, &compared);
  EXPECT_GE(compared, only_the_reference(GetParam()) ? 0 : 5 * int(types_of_t(GetParam()).size()));
}

TEST_P(Table, EveryShapeAgainstTheReference) {
  int compared = 0;
  for (const DType t : types_of_t(GetParam()))
    for (const std::vector<int64_t>& any : {std::vector<int64_t>{}, {1}, {5}, {2, 3}, {2, 1, 2, 3}})
      for (const size_t variant : {0, 1})
        for (const int64_t size : {1, 7, 129}) {
          const bool planes = layouts_of(GetParam()).size() > 1;
          if (any.empty() && variant == 0 && !planes) continue;  // rank 0 is not a tensor's
          Making m = {.t = t, .any = any, .size = size};
          if (planes)
            m.channels_last = variant == 1;
          else
            m.shape = variant;
          expect_implementations_agree(GetParam(), m, &compared);
        }
  EXPECT_GE(compared, only_the_reference(GetParam()) ? 0 : 20);
}

// An optional tensor takes nothing of the others' results away: without it, all that is left is as with it, unless it was read.
TEST_P(Table, OutputsDoNotDependOnWhichOthersAreAskedFor) {
  for (const Making& made : makings()) {
    Call all(GetParam(), made);
    ASSERT_EQ(all.run(), KILTER_OK) << kilter_last_error();
    for (const kilter_field& f : all.fields()) {
      if (!is_output(f) || f.required || !all.has(f.name)) continue;
      Making m = made;
      m.without.insert(f.name);
      Call some(GetParam(), m);
      SCOPED_TRACE(std::string("without ") + f.name);
      ASSERT_EQ(some.run(), KILTER_OK) << kilter_last_error();
      for (const kilter_field& other : some.fields())
        if (is_output(other) && some.has(other.name)) {
          EXPECT_TRUE(same(all.memory(other.name), some.memory(other.name), other.name));
        }
    }
  }
}

}  // namespace
}  // namespace kilter::test

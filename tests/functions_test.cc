// What the library lists of itself: every function, every field of its struct, in words that mean something.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <limits>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "kilter/kilter.h"

namespace kilter::test {
namespace {

struct Place {
  const char* name;
  size_t offset;
};
// The structs as the header has them: a list by hand, beside the library's tables.
struct Expected {
  kilter_function function;
  const char* op;
  kilter_direction direction;
  size_t args_size;
  const char *t, *required;
  std::vector<Place> fields;
};

#define AT(field) \
  Place { #field, offsetof(Args, field) }
template <class Args>
std::vector<Place> forward_fields() {
  std::vector<Place> all = {AT(x), AT(weight), AT(bias), AT(residual), AT(gate), AT(post_residual), AT(y), AT(residual_out)};
  if constexpr (requires(Args a) { a.mean; }) all.push_back(AT(mean));
  for (const Place& p : {AT(rstd), AT(eps), AT(weight_offset), AT(rounding), AT(activation), AT(impl), AT(launch_flags)}) all.push_back(p);
  return all;
}
template <class Args>
std::vector<Place> backward_fields() {
  std::vector<Place> all = {AT(x), AT(weight)};
  if constexpr (requires(Args a) { a.mean; }) all.push_back(AT(mean));
  for (const Place& p : {AT(rstd), AT(dy), AT(dresidual_out), AT(dx), AT(dresidual), AT(dweight), AT(dbias), AT(weight_offset),
                         AT(workspace), AT(workspace_size), AT(impl), AT(launch_flags)})
    all.push_back(p);
  return all;
}
template <class Args>
std::vector<Place> plane_forward_fields() {
  return {
      AT(x),           AT(weight), AT(bias), AT(residual),     AT(scale),      AT(shift),    AT(y),         AT(residual_out),   AT(mean),
      AT(rstd),        AT(groups), AT(eps),  AT(scale_offset), AT(activation), AT(reserved), AT(workspace), AT(workspace_size), AT(impl),
      AT(launch_flags)};
}
template <class Args>
std::vector<Place> plane_backward_fields() {
  return {AT(x),        AT(weight),    AT(bias),           AT(scale),  AT(shift),        AT(mean),
          AT(rstd),     AT(dy),        AT(dresidual_out),  AT(dx),     AT(dresidual),    AT(dweight),
          AT(dbias),    AT(dscale),    AT(dshift),         AT(groups), AT(scale_offset), AT(activation),
          AT(reserved), AT(workspace), AT(workspace_size), AT(impl),   AT(launch_flags)};
}
#undef AT

const std::vector<Expected>& expected_functions() {
  static const std::vector<Expected> all = {
      {KILTER_LAYER_NORM_FORWARD, "layer_norm", KILTER_FORWARD, sizeof(kilter_layer_norm_forward_args), "x", "x y",
       forward_fields<kilter_layer_norm_forward_args>()},
      {KILTER_LAYER_NORM_BACKWARD, "layer_norm", KILTER_BACKWARD, sizeof(kilter_layer_norm_backward_args), "dy", "x mean rstd dy",
       backward_fields<kilter_layer_norm_backward_args>()},
      {KILTER_RMS_NORM_FORWARD, "rms_norm", KILTER_FORWARD, sizeof(kilter_rms_norm_forward_args), "x", "x y",
       forward_fields<kilter_rms_norm_forward_args>()},
      {KILTER_RMS_NORM_BACKWARD, "rms_norm", KILTER_BACKWARD, sizeof(kilter_rms_norm_backward_args), "dy", "x rstd dy",
       backward_fields<kilter_rms_norm_backward_args>()},
      {KILTER_GROUP_NORM_FORWARD, "group_norm", KILTER_FORWARD, sizeof(kilter_group_norm_forward_args), "x", "x y",
       plane_forward_fields<kilter_group_norm_forward_args>()},
      {KILTER_GROUP_NORM_BACKWARD, "group_norm", KILTER_BACKWARD, sizeof(kilter_group_norm_backward_args), "dy", "x mean rstd dy",
       plane_backward_fields<kilter_group_norm_backward_args>()}};
  return all;
}

std::vector<kilter_field> fields_of(kilter_function function, int32_t count) {
  std::vector<kilter_field> fields(static_cast<size_t>(count));
  for (size_t i = 0; i < fields.size(); ++i) {
    fields[i].struct_size = sizeof fields[i];
    EXPECT_EQ(kilter_field_at(function, i, &fields[i]), KILTER_OK) << kilter_last_error();
  }
  return fields;
}

std::vector<std::string> words(const std::string& text, char separator = ' ') {
  std::vector<std::string> all;
  std::istringstream in(text);
  for (std::string word; std::getline(in, word, separator);)
    if (!word.empty()) all.push_back(word);
  return all;
}

TEST(Functions, EveryOneIsListedOnce) {
  std::set<int32_t> seen;
  kilter_function_info info{};
  info.struct_size = sizeof info;
  size_t found = 0;
  for (size_t count = 0; kilter_function_at(count, &info) == KILTER_OK; ++count) {
    EXPECT_TRUE(seen.insert(info.function).second) << info.function;
    const Expected* e = nullptr;
    for (const Expected& one : expected_functions())
      if (one.function == info.function) e = &one;
    if (!e) continue;  // tests/functions.txt has all
    ++found;
    EXPECT_STREQ(info.op, e->op);
    EXPECT_EQ(info.direction, e->direction);
    EXPECT_EQ(info.args_size, e->args_size);
    ASSERT_EQ(size_t(info.field_count), e->fields.size());
    const std::vector<kilter_field> fields = fields_of(e->function, info.field_count);
    EXPECT_STREQ(fields.at(size_t(info.t)).name, e->t);
    std::string required;
    std::map<std::string, size_t> offsets;
    for (const kilter_field& f : fields) {
      offsets[f.name] = f.offset;
      if (f.required) required += (required.empty() ? "" : " ") + std::string(f.name);
    }
    EXPECT_EQ(required, e->required);
    for (const Place& p : e->fields) EXPECT_EQ(offsets.count(p.name) ? offsets[p.name] : 0, p.offset) << p.name;
    kilter_field past = fields.back();
    for (const size_t index : {fields.size(), size_t(1) << 40, std::numeric_limits<size_t>::max()})
      EXPECT_EQ(kilter_field_at(e->function, index, &past), KILTER_INVALID_ARGUMENT) << index;
    // NOLINTNEXTLINE(bugprone-suspicious-memory-comparison): every byte
    EXPECT_EQ(std::memcmp(&past, &fields.back(), sizeof past), 0) << "written past the end";
  }
  EXPECT_EQ(found, expected_functions().size());
}

// A walk over all functions ends without an error that a later failure could be taken for.
TEST(Functions, TheEndOfTheListHasNoText) {
  kilter_function_info info{};
  info.struct_size = sizeof info;
  const kilter_function_info untouched = info;
  size_t end = 0;
  for (kilter_function_info each = info; kilter_function_at(end, &each) == KILTER_OK;) ++end;
  EXPECT_EQ(kilter_set_num_threads(-7), KILTER_INVALID_ARGUMENT);
  const std::string before = kilter_last_error();
  for (const size_t index : {end, size_t(1) << 40, std::numeric_limits<size_t>::max()})
    EXPECT_EQ(kilter_function_at(index, &info), KILTER_INVALID_ARGUMENT);
  EXPECT_EQ(kilter_last_error(), before);
  EXPECT_EQ(std::memcmp(&info, &untouched, sizeof info), 0);
}

// Each field's words name what is there and fit its kind.
TEST(Functions, FieldsDescribeThemselves) {
  const std::map<std::string, size_t> sizes = {
      {"input", sizeof(kilter_tensor)}, {"output", sizeof(kilter_tensor)}, {"real", sizeof(double)},  {"choice", sizeof(int32_t)},
      {"flags", sizeof(uint64_t)},      {"text", sizeof(char*)},           {"memory", sizeof(void*)}, {"bytes", sizeof(size_t)},
      {"count", sizeof(int64_t)},       {"reserved", sizeof(int32_t)}};
  const std::set<std::string> types = {"T", "stat", "fp64", "fp32", "fp16", "bf16"};
  for (const Expected& e : expected_functions()) {
    const std::vector<kilter_field> fields = fields_of(e.function, int32_t(e.fields.size()));
    const auto named = [&](const std::string& name) -> const kilter_field* {
      for (const kilter_field& f : fields)
        if (name == f.name) return &f;
      return nullptr;
    };
    const auto is_tensor = [](const kilter_field* f) {
      return f && (std::strcmp(f->kind, "input") == 0 || std::strcmp(f->kind, "output") == 0);
    };
    std::map<size_t, size_t> extents;  // offset to end
    for (const kilter_field& f : fields) {
      SCOPED_TRACE(std::string(e.op) + " " + std::to_string(e.function) + " " + f.name);
      for (const char* text : {f.name, f.kind, f.help, f.shape, f.types, f.may_be, f.needs, f.gradient_of, f.words})
        ASSERT_NE(text, nullptr);
      EXPECT_EQ(named(f.name), &f) << "two of that name";
      EXPECT_STRNE(f.help, "");
      ASSERT_TRUE(sizes.count(f.kind)) << f.kind;
      extents[f.offset] = f.offset + sizes.at(f.kind);
      const bool output = std::strcmp(f.kind, "output") == 0;
      if (is_tensor(&f)) {
        EXPECT_FALSE(words(f.shape).empty());
        for (const std::string& word : words(f.types, '|')) EXPECT_TRUE(types.count(word) || is_tensor(named(word))) << word;
        EXPECT_FALSE(words(f.types, '|').empty());
        EXPECT_STREQ(f.words, "");
      } else {
        for (const char* text : {f.types, f.may_be, f.gradient_of}) EXPECT_STREQ(text, "");
        EXPECT_EQ(words(f.shape).size(), std::strcmp(f.kind, "count") == 0 ? 1u : 0u) << f.shape;
        EXPECT_FALSE(f.required);
      }
      for (const std::string& name : words(f.may_be)) {
        ASSERT_TRUE(output && is_tensor(named(name))) << name;
        EXPECT_STREQ(named(name)->kind, "input") << name;
        EXPECT_STREQ(named(name)->shape, f.shape) << name;
      }
      EXPECT_TRUE(!*f.needs || is_tensor(named(f.needs))) << f.needs;
      EXPECT_TRUE(!*f.gradient_of || (output && e.direction == KILTER_BACKWARD)) << f.gradient_of;
      const bool has_words = std::strcmp(f.kind, "choice") == 0 || std::strcmp(f.kind, "flags") == 0;
      EXPECT_EQ(!words(f.words).empty(), has_words) << f.words;
    }
    EXPECT_STREQ(named(e.t)->kind, "input");
    // The fields in order of their offsets are the struct, without holes but for alignment.
    size_t at = sizeof(size_t);
    for (const auto& [begin, end] : extents) {
      EXPECT_EQ((at + (begin % 8 ? 3 : 7)) / (begin % 8 ? 4 : 8) * (begin % 8 ? 4 : 8), begin);
      at = end;
    }
    EXPECT_EQ((at + 7) / 8 * 8, e.args_size);
  }
}

// A gradient is named where the struct of the forward function has what it is the gradient of.
TEST(Functions, GradientsNameFields) {
  for (const Expected& e : expected_functions()) {
    if (e.direction != KILTER_BACKWARD) continue;
    std::map<std::string, std::string> gradients;
    for (const kilter_field& f : fields_of(e.function, int32_t(e.fields.size())))
      if (*f.gradient_of) gradients[f.name] = f.gradient_of;
    EXPECT_EQ(gradients["dx"], "x");
    EXPECT_EQ(gradients["dweight"], "weight");
  }
}

}  // namespace
}  // namespace kilter::test

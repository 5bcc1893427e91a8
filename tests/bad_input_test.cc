// Every argument of every function with one thing wrong, from the library's listing alone: the right status, a text that names op,
// argument, expected and got, nothing written, and the same answer to a question.  What can be wrong with a tensor by
// itself: bad_tensors_test.cc.
#include <algorithm>
#include <limits>

#include "harness/call.h"

namespace kilter::test {
namespace {

constexpr kilter_status kInvalid = KILTER_INVALID_ARGUMENT;

class BadInput : public ::testing::TestWithParam<kilter_function> {
 protected:
  Call call{GetParam()};
};

INSTANTIATE_TEST_SUITE_P(Every, BadInput, ::testing::ValuesIn(all_functions()), function_name);

// What is right, but no implementation takes: tensors and choices, by hand.
const std::map<kilter_function, std::set<std::string>> kWithoutImplementation = {
    {KILTER_LAYER_NORM_FORWARD, {"gate", "activation silu", "activation gelu", "activation gelu_tanh", "activation relu"}},
    {KILTER_RMS_NORM_FORWARD, {"gate", "activation silu", "activation gelu", "activation gelu_tanh", "activation relu"}},
};

// What a choice requires that the table does not, as the calls here choose.
const std::map<kilter_function, std::set<std::string>> kRequiredByChoice = {{KILTER_ADAPTIVE_LAYER_NORM_BACKWARD, {"mean"}}};

TEST_P(BadInput, TheCallItself) {
  EXPECT_EQ(call.run(), KILTER_OK) << kilter_last_error();
  EXPECT_NE(call.plan().impl, nullptr);
  std::set<std::string> refused;
  for (const kilter_field& f : call.fields()) {
    if (is_tensor(f) && !call.has(f.name)) {
      refused.insert(f.name);
      expect_refused(call, KILTER_UNSUPPORTED, named(f), [&] { call[f.name]; });
    }
    const std::vector<std::string> words = words_of(std::string(f.kind) == "choice" ? f.words : "");
    for (size_t v = 0; v < words.size(); ++v) {
      const auto choose = [&] { call.at<int32_t>(f.name) = int32_t(v); };
      call.attach();
      choose();
      const kilter_status status = call.run();
      if (status == KILTER_OK) continue;
      if (status == KILTER_INVALID_ARGUMENT) {  // beside other tensors: running statistics are not written where they are read
        Making other;
        other.choices[f.name] = int32_t(v);
        EXPECT_EQ(Call(GetParam(), other).run(), KILTER_OK) << f.name << " " << words[v] << ": " << kilter_last_error();
        continue;
      }
      refused.insert(f.name + (" " + words[v]));
      expect_refused(call, KILTER_UNSUPPORTED, named(f), choose);
    }
  }
  const auto known = kWithoutImplementation.find(GetParam());
  EXPECT_EQ(refused, known == kWithoutImplementation.end() ? std::set<std::string>() : known->second);
}

TEST_P(BadInput, Absent) {
  for (const kilter_field& f : call.fields()) {
    if (!is_tensor(f)) continue;
    SCOPED_TRACE(f.name);
    const auto remove = [&] { call[f.name] = {}; };
    if (f.required) {
      expect_refused(call, kInvalid, named(f, ": expected a tensor, got none: it is required"), remove);
      continue;
    }
    if (is_lengths(f)) {  // others have another shape without it
      expect_refused(call, kInvalid, ".shape", remove);
      continue;
    }
    const auto chosen = kRequiredByChoice.find(GetParam());
    if (chosen != kRequiredByChoice.end() && chosen->second.count(f.name)) {
      expect_refused(call, kInvalid, named(f, ": expected a tensor"), remove);
      continue;
    }
    const kilter_field* dependent = nullptr;
    for (const kilter_field& other : call.fields())
      if (!dependent && std::string(f.name) == other.needs && call.has(other.name)) dependent = &other;
    if (dependent) {
      expect_refused(call, kInvalid, named(*dependent, ": expected none without a ") + f.name, remove);
      continue;
    }
    const bool one_of_two = std::string(f.name) == "rstd" || std::string(f.name) == "running_var";
    if (*f.needs && !is_output(f) && call.has(f.name) && one_of_two) {
      expect_refused(call, kInvalid, f.name, remove);
      continue;
    }
    call.attach();
    remove();
    EXPECT_EQ(call.run(), KILTER_OK) << kilter_last_error();
  }
}

TEST_P(BadInput, WithoutWhatItNeeds) {
  for (const kilter_field& f : call.fields()) {
    if (!*f.needs) continue;
    SCOPED_TRACE(f.name);
    expect_refused(call, kInvalid, named(f), [&] {
      if (is_tensor(f))
        (void)call[f.name];  // there, also if no implementation takes it
      else
        call.at<double>(f.name) = 1;
      for (const kilter_field& other : call.fields())  // with the others that need it
        if (is_tensor(other) && std::string(other.name) != f.name &&
            (std::string(other.name) == f.needs || std::string(other.needs) == f.needs))
          call[other.name] = {};
    });
  }
}

// Each output on each other tensor: at its first element, unless it may be exactly that; an element, or a row, before and behind;
// and where it may be exactly that, with another stride.
TEST_P(BadInput, Overlaps) {
  for (const DType t : types_of_t(GetParam())) {
    Call with(GetParam(), {.t = t});
    int refused = 0;
    const auto expect = [&](const kilter_field& o, const kilter_field& b, auto change) {
      ++refused;
      const bool swapped = is_output(b) && &o < &b;  // of two outputs, the one that follows is named first
      expect_refused(with, KILTER_OVERLAP, named(swapped ? b : o), change);
      const std::string other = std::string("shares elements with ") + (swapped ? o : b).name;
      EXPECT_NE(std::string(kilter_last_error()).find(other), std::string::npos) << kilter_last_error();
    };
    for (const kilter_field& o : with.fields())
      for (const kilter_field& b : with.fields()) {
        if (!is_output(o) || !is_tensor(b) || &o == &b || !with.has(o.name) || !with.has(b.name)) continue;
        const std::vector<std::string> may_be = words_of(o.may_be);
        const bool exact = std::count(may_be.begin(), may_be.end(), b.name) != 0 && with.type_of(o.name) == with.type_of(b.name);
        const int64_t item = item_size(with.type_of(o.name)), other = item_size(with.type_of(b.name));
        const int64_t own = with.memory(o.name).n() * item, row = with.memory(b.name).n() * other;  // bytes
        for (const int64_t shift : {int64_t(0), std::max(item, other), row - std::max(item, other), row, -item, -own}) {
          if ((shift == 0 && exact) || shift % item || (reinterpret_cast<intptr_t>(with[b.name].data) + shift) % item) continue;
          if ((shift == row && with.memory(b.name).rows() == 1) || (shift == -own && with.memory(o.name).rows() == 1))
            continue;  // beside it
          SCOPED_TRACE(std::string(o.name) + " at " + b.name + " + " + std::to_string(shift) + ", T " + dtype_name(t));
          expect(o, b, [&] { with[o.name].data = static_cast<char*>(with[b.name].data) + shift; });
        }
        if (!exact || words_of(o.shape).size() == 1) continue;  // a vector has no other stride
        std::vector<int64_t> strides;
        expect(o, b, [&] {
          with[o.name].data = with[b.name].data;
          strides.assign(with[o.name].strides, with[o.name].strides + with[o.name].ndim);
          strides.front() += 4;
          with[o.name].strides = strides.data();
        });
      }
    EXPECT_GE(refused, 10);
  }
}

TEST_P(BadInput, Scalars) {
  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  for (const kilter_field& f : call.fields()) {
    SCOPED_TRACE(f.name);
    const std::string kind = f.kind;
    const std::vector<std::string> words = words_of(f.words);
    if (kind == "real")
      for (const double v : {nan, inf, -inf}) expect_refused(call, kInvalid, named(f), [&] { call.at<double>(f.name) = v; });
    if (kind == "integer") {
      for (const int64_t v : {int64_t(-1), std::numeric_limits<int64_t>::min()})
        expect_refused(call, kInvalid, named(f, ": expected a number >= 0"), [&] { call.at<int64_t>(f.name) = v; });
      call.attach();
      call.at<int64_t>(f.name) = std::numeric_limits<int64_t>::max();
      EXPECT_EQ(call.run(), KILTER_OK) << kilter_last_error();
    }
    if (kind == "count")
      for (const int64_t v : {int64_t(0), int64_t(-1), std::numeric_limits<int64_t>::min()})
        expect_refused(call, kInvalid, named(f, ": expected at least 1"), [&] { call.at<int64_t>(f.name) = v; });
    if (kind == "reserved")
      for (const int32_t v : {1, -1, std::numeric_limits<int32_t>::max(), std::numeric_limits<int32_t>::min()})
        expect_refused(call, kInvalid, named(f, ": expected 0"), [&] { call.at<int32_t>(f.name) = v; });
    if (kind == "choice")
      for (const int32_t v : {-1, int32_t(words.size()), std::numeric_limits<int32_t>::max(), std::numeric_limits<int32_t>::min()})
        expect_refused(call, kInvalid, named(f), [&] { call.at<int32_t>(f.name) = v; });
    if (kind == "flags") {
      for (const uint64_t v : {uint64_t{1} << words.size(), uint64_t{1} << 32, uint64_t{1} << 63, ~uint64_t{0}})
        expect_refused(call, kInvalid, named(f), [&] { call.at<uint64_t>(f.name) = v; });
      call.attach();
      call.at<uint64_t>(f.name) = (uint64_t{1} << words.size()) - 1;
      EXPECT_EQ(call.run(), KILTER_OK) << kilter_last_error();
    }
    if (kind == "text")
      for (const char* v : {"", "cpu", "cuda:no_such", "cpu:rowwise ", "CPU:ROWWISE"})
        expect_refused(call, kInvalid, named(f), [&] { call.at<const char*>(f.name) = v; });
    if (kind == "memory") {
      call.attach();
      if (call.plan().workspace_size == 0) {
        const bool has_y =
            std::any_of(call.fields().begin(), call.fields().end(), [](const auto& g) { return g.name == std::string("y"); });
        EXPECT_TRUE(!has_y || is_output(call.field("y"))) << "a backward call that sums, and needs no memory";
        continue;
      }
      expect_refused(
          call, KILTER_WORKSPACE_TOO_SMALL, named(f), [&] { call.at<void*>(f.name) = nullptr; }, Refused::by_call_alone);
      for (const size_t size : {size_t(0), size_t(1)})
        expect_refused(
            call, KILTER_WORKSPACE_TOO_SMALL, named(f), [&] { call.at<size_t>(f.name + std::string("_size")) = size; },
            Refused::by_call_alone);
    }
  }
}

// With the tensors that have as many, so that the count alone is wrong; then with one tensor of another count.
TEST_P(BadInput, CountsDivide) {
  for (const kilter_field& f : call.fields()) {
    if (!is_count(f)) continue;
    const int64_t whole = call.size_named(f.shape), right = call.size_named(f.name);
    std::map<std::string, std::vector<int64_t>> shapes;
    const auto change = [&](int64_t count, const char* but = "") {
      call.at<int64_t>(f.name) = count;
      for (const kilter_field& other : call.fields()) {
        const std::vector<std::string> words = words_of(is_tensor(other) ? other.shape : "");
        const auto at = std::find(words.begin(), words.end(), f.name);
        if (at == words.end() || !call.has(other.name) || std::string(but) == other.name) continue;
        std::vector<int64_t>& shape = shapes[other.name] = call.memory_shape(other.name);
        shape[size_t(at - words.begin())] = count;
        call[other.name].shape = shape.data(), call[other.name].strides = nullptr;
      }
    };
    const std::string divisor = std::string(": expected a divisor of ") + f.shape + " (" + std::to_string(whole) + ")";
    for (const int64_t v : {int64_t(5), whole - 1, whole + 1, 2 * whole, std::numeric_limits<int64_t>::max() / 1024})
      expect_refused(call, kInvalid, named(f, divisor + ", got " + std::to_string(v)), [&] { change(v); });
    for (const kilter_field& other : call.fields())
      if (is_tensor(other) && std::string(other.shape).ends_with(f.name))
        expect_refused(call, kInvalid, named(other, ".shape: expected ["), [&] { change(right == 1 ? whole : 1, other.name); });
    for (int64_t v = 1; v <= whole; ++v) {
      if (whole % v) continue;
      Call with(GetParam(), {.counts = {{f.name, v}}});
      EXPECT_EQ(with.at<int64_t>(f.name), v);
      EXPECT_EQ(with.run(), KILTER_OK) << kilter_last_error();
    }
  }
}

TEST_P(BadInput, StructSizes) {
  const size_t size = call.args_size();
  for (const size_t wrong : {size_t(0), size_t(8), size - 8, size - 1, size_t(1) << 40, std::numeric_limits<size_t>::max()})
    expect_refused(call, kInvalid, "args.struct_size", [&] { call.struct_size() = wrong; });
  for (const size_t at : {size, size + 63})
    expect_refused(call, KILTER_UNSUPPORTED, "args.struct_size", [&] {
      call.struct_size() = size + 64;
      call.args()[at] = 1;
    });
  for (const size_t right : {size, size + 1, size + 64}) {
    call.attach();
    call.struct_size() = right;
    EXPECT_EQ(call.run(), KILTER_OK) << kilter_last_error();
  }
  EXPECT_EQ(kilter_call(GetParam(), nullptr, nullptr), kInvalid);
  EXPECT_NE(std::string(kilter_last_error()).find(call.op() + std::string(": args: expected a struct, got null")), std::string::npos);
}

}  // namespace
}  // namespace kilter::test

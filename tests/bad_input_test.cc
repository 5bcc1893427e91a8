// Every argument of every function with one thing wrong, from the library's listing alone: the right status, a text that names op,
// argument, expected and got, nothing written, and the same answer to a question.
#include <cmath>
#include <functional>
#include <limits>

#include "harness/call.h"

namespace kilter::test {
namespace {

constexpr int64_t kMax = std::numeric_limits<int64_t>::max(), kMin = std::numeric_limits<int64_t>::min();
constexpr kilter_status kInvalid = KILTER_INVALID_ARGUMENT;

class BadInput : public ::testing::TestWithParam<kilter_function> {
 protected:
  Call call{GetParam()};
  std::vector<int64_t> shape, strides;

  // body(field, tensor as the call has it, sizes and strides in shape and strides) for every tensor, one in a fresh call each time.
  void for_every_tensor(const std::function<void(const kilter_field&)>& body) {
    for (const kilter_field& f : call.fields()) {
      if (!is_tensor(f)) continue;
      SCOPED_TRACE(f.name);
      body(f);
    }
    call.attach();
  }
  // Refused after change(tensor), for every tensor.
  void expect_each_refused(kilter_status status, const char* part, const std::function<void(kilter_tensor&)>& change,
                           Refused by = Refused::by_call_and_question) {
    for_every_tensor([&](const kilter_field& f) { expect_tensor_refused(f, status, f.name + std::string(part), change, by); });
  }
  void expect_tensor_refused(const kilter_field& f, kilter_status status, const std::string& argument,
                             const std::function<void(kilter_tensor&)>& change, Refused by = Refused::by_call_and_question) {
    expect_refused(
        call, status, argument,
        [&] {
          kilter_tensor& t = call[f.name];
          shape.assign(t.shape, t.shape + t.ndim);
          strides.assign(t.strides, t.strides + t.ndim);
          change(t);
        },
        by);
  }
  void use(kilter_tensor& t) {
    t.ndim = int32_t(shape.size());
    t.shape = shape.data();
    t.strides = strides.data();
  }
  // The tensor that gives the sizes their values: where it is changed, the next one is found wrong.
  bool is_first(const kilter_field& f) const { return &call.field(f.name) == &call.fields().front(); }
  static bool ends_in_a_row(const kilter_field& f) {
    const std::string last = words_of(words_of(f.shape, '|').front().c_str()).back();
    return last != "..." && last != "1";
  }
  static bool has_rows(const kilter_field& f) { return std::string(f.shape).find("...") != std::string::npos; }
};

INSTANTIATE_TEST_SUITE_P(Every, BadInput, ::testing::ValuesIn(all_functions()), function_name);

TEST_P(BadInput, TheCallItself) {
  EXPECT_EQ(call.run(), KILTER_OK) << kilter_last_error();
  EXPECT_NE(call.plan().impl, nullptr);
  for (const kilter_field& f : call.fields())  // few tensors have no implementation
    if (is_tensor(f) && !call.has(f.name)) std::printf("without %s\n", f.name);
}

TEST_P(BadInput, Absent) {
  for_every_tensor([&](const kilter_field& f) {
    const auto remove = [&] { call[f.name] = {}; };
    if (f.required) {
      expect_refused(call, kInvalid, f.name + std::string(": expected a tensor, got none: it is required"), remove);
      return;
    }
    for (const kilter_field& other : call.fields())
      if (std::string(f.name) == other.needs && call.has(other.name)) {
        expect_refused(call, kInvalid, other.name + std::string(": expected none without a ") + f.name, remove);
        return;
      }
    call.attach();
    remove();
    EXPECT_EQ(call.run(), KILTER_OK) << kilter_last_error();
  });
}

TEST_P(BadInput, WithoutWhatItNeeds) {
  for (const kilter_field& f : call.fields()) {
    if (!*f.needs) continue;
    SCOPED_TRACE(f.name);
    expect_refused(call, kInvalid, f.name, [&] {
      const kilter_tensor own = is_tensor(f) ? call[f.name] : kilter_tensor{};
      for (const kilter_field& other : call.fields())  // with the others that need it
        if (is_tensor(other) && (std::string(other.name) == f.needs || std::string(other.needs) == f.needs)) call[other.name] = {};
      if (is_tensor(f))
        call[f.name] = own;
      else
        call.at<double>(f.name) = 1;
    });
  }
}

TEST_P(BadInput, NullData) {
  expect_each_refused(
      kInvalid, ".data", [](kilter_tensor& t) { t.data = nullptr; }, Refused::by_call_alone);
  for_every_tensor([&](const kilter_field& f) {
    if (!call.has(f.name)) return;
    call.attach();
    const kilter_plan plan = call.plan();
    call[f.name].data = nullptr;
    EXPECT_STREQ(call.plan().impl, plan.impl);
    EXPECT_EQ(call.plan().workspace_size, plan.workspace_size);
  });
}

TEST_P(BadInput, NoType) {
  const auto zero = [&](auto change) {
    expect_each_refused(kInvalid, "", [&](kilter_tensor& t) {
      const kilter_tensor was = t;
      t = {};
      change(t, was);
    });
  };
  zero([](kilter_tensor& t, const kilter_tensor& was) {
    t = was;
    t.dtype = {};
  });
  zero([](kilter_tensor& t, const kilter_tensor& was) { t.data = was.data; });
  zero([](kilter_tensor& t, const kilter_tensor&) { t.device.type = KILTER_DEVICE_CPU; });
  zero([](kilter_tensor& t, const kilter_tensor&) { t.device.id = 1; });
  zero([](kilter_tensor& t, const kilter_tensor&) { t.ndim = 2; });
  zero([](kilter_tensor& t, const kilter_tensor& was) { t.shape = was.shape; });
  zero([](kilter_tensor& t, const kilter_tensor& was) { t.strides = was.strides; });
  zero([](kilter_tensor& t, const kilter_tensor&) { t.byte_offset = 64; });
}

TEST_P(BadInput, TypesThatDoNotExist) {
  for (const kilter_dtype type : {kilter_dtype{0, 32, 1},
                                  {1, 32, 1},
                                  {5, 64, 1},
                                  {200, 32, 1},
                                  {KILTER_FLOAT, 8, 1},
                                  {KILTER_FLOAT, 0, 1},
                                  {KILTER_FLOAT, 128, 1},
                                  {KILTER_BFLOAT, 32, 1}})
    expect_each_refused(KILTER_UNSUPPORTED, ".dtype", [&](kilter_tensor& t) { t.dtype = type; });
  for (const uint16_t lanes : {0, 2, 65535})
    expect_each_refused(kInvalid, ".dtype.lanes", [&](kilter_tensor& t) { t.dtype.lanes = lanes; });
}

// Each type that the table does not allow beside the others' types, for each T.
TEST_P(BadInput, TypesThatDoNotBelongTogether) {
  GuardedBuffer memory(4096);  // enough in any type
  for (const DType t : types_of_t(GetParam())) {
    Call with(GetParam(), {.t = t});
    int refused = 0;
    for (const kilter_field& f : with.fields()) {
      if (!is_tensor(f)) continue;
      const std::set<DType> allowed = with.allowed(f);
      for (const DType type : {DType::f64, DType::f32, DType::f16, DType::bf16}) {
        // T itself may be any; another is then wrong beside it.
        const bool is_t = f.name == with.t_field();
        if (is_t ? type == t : allowed.count(type) != 0) continue;
        SCOPED_TRACE(std::string(f.name) + " in " + dtype_name(type) + ", T " + dtype_name(t));
        ++refused;
        expect_refused(with, KILTER_UNSUPPORTED, is_t ? ".dtype: expected" : f.name + std::string(".dtype: expected"), [&] {
          kilter_tensor& tensor = with[f.name];
          tensor.dtype = dlpack_of(type), tensor.data = memory.data();
        });
      }
    }
    EXPECT_GE(refused, 10);
  }
}

TEST_P(BadInput, Rank) {
  expect_each_refused(kInvalid, "", [](kilter_tensor& t) { t.ndim = 0; });
  for (const int32_t ndim : {-1, std::numeric_limits<int32_t>::min()})
    expect_each_refused(kInvalid, ".ndim", [&](kilter_tensor& t) { t.ndim = ndim; });
  expect_each_refused(KILTER_UNSUPPORTED, ".ndim", [](kilter_tensor& t) { t.ndim = std::numeric_limits<int32_t>::max(); });
  expect_each_refused(KILTER_UNSUPPORTED, ".ndim", [&](kilter_tensor& t) {
    shape.assign(KILTER_MAX_RANK + 1, 1), strides.assign(KILTER_MAX_RANK + 1, 1);
    use(t);
  });
  expect_each_refused(kInvalid, ".shape", [](kilter_tensor& t) { t.shape = nullptr; });
  for_every_tensor([&](const kilter_field& f) {  // one dimension more, one less
    const std::string argument = is_first(f) ? ".shape" : f.name + std::string(".shape");
    expect_tensor_refused(f, kInvalid, argument, [&](kilter_tensor& t) {
      shape.insert(shape.begin(), 1), strides.insert(strides.begin(), 1);
      use(t);
    });
    if (call.memory_shape(f.name).size() < 2) return;
    expect_tensor_refused(f, kInvalid, argument, [&](kilter_tensor& t) {
      shape.erase(shape.begin()), strides.erase(strides.begin());
      use(t);
    });
  });
}

TEST_P(BadInput, Sizes) {
  for_every_tensor([&](const kilter_field& f) {
    const std::string argument = is_first(f) ? ".shape" : f.name + std::string(".shape");
    const size_t rank = call.memory_shape(f.name).size();
    for (size_t d = 0; d < rank; ++d) {
      SCOPED_TRACE(d);
      for (const int64_t by : {-1, 1})
        expect_tensor_refused(f, kInvalid, argument, [&](kilter_tensor& t) {
          shape[d] += by;
          use(t);
        });
      for (const int64_t size : {int64_t(-1), kMin})
        expect_tensor_refused(f, kInvalid, f.name, [&](kilter_tensor& t) {
          shape[d] = size;
          use(t);
        });
      for (const bool contiguous : {false, true})  // more bytes than there are
        expect_tensor_refused(f, kInvalid, f.name, [&](kilter_tensor& t) {
          shape[d] = kMax;
          use(t);
          if (contiguous) t.strides = nullptr;
        });
    }
  });
}

TEST_P(BadInput, Strides) {
  for_every_tensor([&](const kilter_field& f) {
    if (ends_in_a_row(f))
      for (const int64_t stride : {2, 0, -1})
        expect_tensor_refused(f, KILTER_UNSUPPORTED, f.name + std::string(".strides"), [&](kilter_tensor& t) {
          strides.back() = stride;
          use(t);
        });
    if (!has_rows(f)) return;
    for (const int64_t stride : {kMax, kMin, kMin + 1, kMax / 2, -(kMax / 4)})
      expect_tensor_refused(f, kInvalid, f.name + std::string(".strides"), [&](kilter_tensor& t) {
        strides.front() = stride;
        use(t);
      });
    if (!is_output(f) || !call.has(f.name)) return;
    for (const int64_t stride : {0, 1, -1})  // rows on rows
      expect_tensor_refused(f, KILTER_OVERLAP, f.name + std::string(".strides"), [&](kilter_tensor& t) {
        strides.front() = stride;
        use(t);
      });
  });
}

TEST_P(BadInput, Devices) {
  for (const kilter_device device : {kilter_device{KILTER_DEVICE_CUDA, 0}, {-1, 0}, {KILTER_DEVICE_CPU, 1}})
    for_every_tensor([&](const kilter_field& f) {
      const std::string argument = is_first(f) ? ".device" : f.name + std::string(".device");
      expect_tensor_refused(f, kInvalid, argument, [&](kilter_tensor& t) { t.device = device; });
    });
  const std::string first = call.fields().front().name;
  for (const kilter_device device : {kilter_device{KILTER_DEVICE_METAL, 1}, {0, 0}, {1 << 20, 3}})
    expect_refused(call, KILTER_UNSUPPORTED, first + ".device", [&] {
      for (const kilter_field& f : call.fields())
        if (is_tensor(f) && call.has(f.name)) call[f.name].device = device;
    });
}

TEST_P(BadInput, Addresses) {
  for (const DType t : types_of_t(GetParam())) {
    Call with(GetParam(), {.t = t});
    for (const kilter_field& f : with.fields()) {
      if (!is_tensor(f)) continue;
      SCOPED_TRACE(f.name);
      for (int shift = 1; shift < item_size(with.type_of(f.name)); ++shift) {
        expect_refused(with, kInvalid, f.name, [&] { with[f.name].data = static_cast<char*>(with[f.name].data) + shift; });
        expect_refused(with, kInvalid, f.name, [&] { with[f.name].byte_offset = uint64_t(shift); });
      }
    }
  }
}

// Each output on each other tensor: at its first element, unless it may be exactly that, and one element further.
TEST_P(BadInput, Overlaps) {
  for (const DType t : types_of_t(GetParam())) {
    Call with(GetParam(), {.t = t});
    int refused = 0;
    for (const kilter_field& o : with.fields())
      for (const kilter_field& b : with.fields()) {
        if (!is_output(o) || !is_tensor(b) || &o == &b || !with.has(o.name) || !with.has(b.name)) continue;
        const std::vector<std::string> may_be = words_of(o.may_be);
        const bool exact = std::count(may_be.begin(), may_be.end(), b.name) != 0 && with.type_of(o.name) == with.type_of(b.name);
        const int64_t item = item_size(with.type_of(o.name)), other = item_size(with.type_of(b.name));
        for (const int64_t shift : {int64_t(0), std::max(item, other)}) {
          if (shift == 0 && exact) continue;
          SCOPED_TRACE(std::string(o.name) + " at " + b.name + " + " + std::to_string(shift) + ", T " + dtype_name(t));
          ++refused;
          expect_refused(with, KILTER_OVERLAP, o.name, [&] { with[o.name].data = static_cast<char*>(with[b.name].data) + shift; });
          EXPECT_NE(std::string(kilter_last_error()).find(b.name), std::string::npos) << kilter_last_error();
        }
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
      for (const double v : {nan, inf, -inf}) expect_refused(call, kInvalid, f.name, [&] { call.at<double>(f.name) = v; });
    if (kind == "choice")
      for (const int32_t v : {-1, int32_t(words.size()), std::numeric_limits<int32_t>::max(), std::numeric_limits<int32_t>::min()})
        expect_refused(call, kInvalid, f.name, [&] { call.at<int32_t>(f.name) = v; });
    if (kind == "flags") {
      for (const uint64_t v : {uint64_t{1} << words.size(), uint64_t{1} << 32, uint64_t{1} << 63, ~uint64_t{0}})
        expect_refused(call, kInvalid, f.name, [&] { call.at<uint64_t>(f.name) = v; });
      call.attach();
      call.at<uint64_t>(f.name) = (uint64_t{1} << words.size()) - 1;
      EXPECT_EQ(call.run(), KILTER_OK) << kilter_last_error();
    }
    if (kind == "choice")  // what has a name is right, if perhaps without an implementation
      for (size_t v = 0; v < words.size(); ++v) {
        call.attach();
        call.at<int32_t>(f.name) = int32_t(v);
        const kilter_status status = call.run();
        EXPECT_TRUE(status == KILTER_OK || (v > 0 && status == KILTER_UNSUPPORTED)) << kilter_last_error();
      }
    if (kind == "text")
      for (const char* v : {"", "cpu", "cuda:no_such", "cpu:rowwise ", "CPU:ROWWISE"})
        expect_refused(call, kInvalid, f.name, [&] { call.at<const char*>(f.name) = v; });
    if (kind == "memory") {
      call.attach();
      ASSERT_GT(call.plan().workspace_size, 0u);
      expect_refused(
          call, KILTER_WORKSPACE_TOO_SMALL, f.name, [&] { call.at<void*>(f.name) = nullptr; }, Refused::by_call_alone);
      for (const size_t size : {size_t(0), size_t(1)})
        expect_refused(
            call, KILTER_WORKSPACE_TOO_SMALL, f.name, [&] { call.at<size_t>(f.name + std::string("_size")) = size; },
            Refused::by_call_alone);
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

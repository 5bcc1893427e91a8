// Every tensor of every function with one thing wrong, from the library's listing alone: data, types, ranks, sizes, strides, devices,
// addresses.  The other arguments: bad_input_test.cc.
#include <algorithm>
#include <functional>
#include <limits>

#include "harness/call.h"

namespace kilter::test {
namespace {

constexpr int64_t kMax = std::numeric_limits<int64_t>::max(), kMin = std::numeric_limits<int64_t>::min();
constexpr kilter_status kInvalid = KILTER_INVALID_ARGUMENT;

class BadTensor : public ::testing::TestWithParam<kilter_function> {
 protected:
  Call call{GetParam()};
  std::vector<int64_t> shape, strides;

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
    for_every_tensor([&](const kilter_field& f) { expect_tensor_refused(f, status, named(f, part), change, by); });
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
  bool is_first(const kilter_field& f) const { return &call.field(f.name) == &call.fields().front() || is_lengths(f); }
  static bool ends_in_a_row(const kilter_field& f) {
    const std::string last = words_of(words_of(f.shape, '|').front().c_str()).back();
    return last != "..." && last != "1";
  }
  bool has_rows(const kilter_field& f) const { return call.memory_shape(f.name).size() > 1; }
};

INSTANTIATE_TEST_SUITE_P(Every, BadTensor, ::testing::ValuesIn(all_functions()), function_name);

TEST_P(BadTensor, NullData) {
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

TEST_P(BadTensor, NoType) {
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

TEST_P(BadTensor, TypesThatDoNotExist) {
  for (const kilter_dtype type : {kilter_dtype{0, 16, 1},
                                  {0, 8, 1},
                                  {1, 32, 1},
                                  {3, 64, 1},
                                  {5, 64, 1},
                                  {7, 32, 1},
                                  {200, 32, 1},
                                  {KILTER_FLOAT, 8, 1},
                                  {KILTER_FLOAT, 0, 1},
                                  {KILTER_FLOAT, 128, 1},
                                  {KILTER_BFLOAT, 32, 1},
                                  {KILTER_BFLOAT, 8, 1}})
    expect_each_refused(KILTER_UNSUPPORTED, ".dtype", [&](kilter_tensor& t) { t.dtype = type; });
  for (const uint16_t lanes : {0, 2, 65535})
    expect_each_refused(kInvalid, ".dtype.lanes", [&](kilter_tensor& t) { t.dtype.lanes = lanes; });
}

// Each type that the table does not allow beside the others' types, for each T.
TEST_P(BadTensor, TypesThatDoNotBelongTogether) {
  GuardedBuffer memory(4096);  // enough in any type
  for (const DType t : types_of_t(GetParam())) {
    Call with(GetParam(), {.t = t});
    int refused = 0;
    const bool alone = std::none_of(with.fields().begin(), with.fields().end(), [&](const kilter_field& f) {
      const std::string types = f.types;
      return f.name != with.t_field() && types.find("fp32") == types.npos &&
             (types.find('T') != types.npos || types.find("stat") != types.npos);
    });
    for (const kilter_field& f : with.fields()) {
      if (!is_tensor(f)) continue;
      const std::set<DType> allowed = with.allowed(f);
      for (const DType type : {DType::f64, DType::f32, DType::f16, DType::bf16, DType::i32, DType::i64}) {
        // T itself may be any; another is then wrong beside it, unless nothing follows it.
        const bool is_t = f.name == with.t_field() && !alone;
        if (is_t ? type == t : allowed.count(type) != 0) continue;
        SCOPED_TRACE(std::string(f.name) + " in " + dtype_name(type) + ", T " + dtype_name(t));
        ++refused;
        expect_refused(with, KILTER_UNSUPPORTED, is_t ? ".dtype: expected" : named(f, ".dtype: expected"), [&] {
          kilter_tensor& tensor = with[f.name];
          tensor.dtype = dlpack_of(type), tensor.data = memory.data();
        });
      }
    }
    EXPECT_GE(refused, alone ? 9 : 10);  // three of each other tensor
  }
}

TEST_P(BadTensor, Rank) {
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
    const std::string argument = is_first(f) ? ".shape" : named(f, ".shape");
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

TEST_P(BadTensor, Sizes) {
  for (const size_t alternative : {0, 1}) {  // of the shapes that a tensor may have
    Call with(GetParam(), {.shape = alternative});
    for (const kilter_field& f : with.fields()) {
      if (!is_tensor(f)) continue;
      const std::string argument = is_first(f) ? ".shape" : named(f, ".shape");
      const size_t rank = with.memory_shape(f.name).size();
      for (size_t d = 0; d < rank; ++d) {
        SCOPED_TRACE(std::string(f.name) + ".shape[" + std::to_string(d) + "], alternative " + std::to_string(alternative));
        const auto refused = [&](const std::string& part, auto change, bool contiguous = false) {
          expect_refused(with, kInvalid, part, [&] {
            kilter_tensor& t = with[f.name];
            shape.assign(t.shape, t.shape + t.ndim);
            change(shape[d]);
            t.shape = shape.data();
            if (contiguous) t.strides = nullptr;
          });
        };
        // Nobody else says how many samples and places there are.
        const bool alone = is_planes(f) && d != 1 && std::count_if(with.fields().begin(), with.fields().end(), is_planes) == 1;
        for (const int64_t by : {-1, 1})
          if (!alone)
            refused(
                argument, [&](int64_t& size) { size += by; }, is_planes(f));  // dense, so that the shape alone is wrong
        for (const int64_t wrong : {int64_t(-1), kMin}) refused(named(f, ".shape"), [&](int64_t& size) { size = wrong; });
        for (const bool contiguous : {false, true})
          refused(
              named(f, ".shape"), [&](int64_t& size) { size = kMax; }, contiguous);  // more bytes than there are
      }
    }
  }
}

// Two negative sizes have a positive product, and two large ones one that no integer holds.
TEST_P(BadTensor, SizesTogether) {
  const int64_t large = int64_t(1) << 32;
  for (const std::vector<int64_t>& sizes :
       {std::vector<int64_t>{-2, -3, 12}, {-2, -3}, {large, large}, {3, kMax, 3}, {large / 2, large / 2, 1}})
    for (const bool contiguous : {false, true})
      expect_each_refused(kInvalid, "", [&](kilter_tensor& t) {
        shape = sizes, strides.assign(sizes.size(), 0);
        strides.back() = 1;
        use(t);
        if (contiguous) t.strides = nullptr;
      });
}

TEST_P(BadTensor, Strides) {
  for_every_tensor([&](const kilter_field& f) {
    if (ends_in_a_row(f))
      for (const int64_t stride : {2, 0, -1})
        expect_tensor_refused(f, KILTER_UNSUPPORTED, named(f, ".strides"), [&](kilter_tensor& t) {
          strides.back() = stride;
          use(t);
        });
    if (!has_rows(f)) return;
    for (const int64_t stride : {kMax, kMin, kMin + 1, kMax / 2, -(kMax / 4)})
      expect_tensor_refused(f, kInvalid, named(f, ".strides"), [&](kilter_tensor& t) {
        strides.front() = stride;
        use(t);
      });
    if (!is_output(f) || !call.has(f.name)) return;
    for (const int64_t stride : {0, 1, -1})  // rows on rows
      expect_tensor_refused(f, KILTER_OVERLAP, named(f, ".strides"), [&](kilter_tensor& t) {
        strides.front() = stride;
        use(t);
      });
  });
}

// What a sample holds is dense: any other stride, and the order of channels that the others do not have.
TEST_P(BadTensor, StridesOfPlanes) {
  for (const bool last : layouts_of(GetParam())) {
    Call with(GetParam(), {.channels_last = last});
    for (const kilter_field& f : with.fields()) {
      if (!is_planes(f)) continue;
      SCOPED_TRACE(std::string(f.name) + (last ? ", channels last" : ", channels first"));
      const auto refused = [&](const std::string& text, auto change) {
        expect_refused(with, KILTER_UNSUPPORTED, text, [&] {
          kilter_tensor& t = with[f.name];
          strides.assign(t.strides, t.strides + t.ndim);
          change();
          t.strides = strides.data();
        });
      };
      const std::string dense = ".strides: expected channels first or channels last, dense in each sample, got [";
      for (size_t d = 1; d < with.memory_shape(f.name).size(); ++d)
        for (const int64_t by : {-1, 1}) refused(named(f, dense), [&] { strides[d] += by; });
      for (size_t d = 1; d < with.memory_shape(f.name).size(); ++d) refused(named(f, dense), [&] { strides[d] = -strides[d]; });
      refused(named(f, dense), [&] { std::swap(strides[2], strides[3]); });
      refused(named(f, dense), [&] { strides[1] = 0; });
      if (std::count_if(with.fields().begin(), with.fields().end(), is_planes) == 1) continue;
      const char *mine = last ? "last" : "first", *others = last ? "first" : "last";
      const kilter_field& first = with.fields().front();
      const std::string mixed = std::string(".strides: expected channels ") + (is_first(f) ? others : mine) + ", as of " + first.name +
                                ", got channels " + (is_first(f) ? mine : others);
      refused(mixed, [&] {
        const int64_t channels = with.memory_shape(f.name)[1], places = with.memory_shape(f.name)[2] * with.memory_shape(f.name)[3];
        const int64_t width = with.memory_shape(f.name)[3];
        const bool to_last = !last;
        strides = {channels * places, to_last ? 1 : places, to_last ? width * channels : width, to_last ? channels : 1};
      });
    }
  }
}

TEST_P(BadTensor, Devices) {
  for (const kilter_device device : {kilter_device{KILTER_DEVICE_CUDA, 0}, {-1, 0}, {KILTER_DEVICE_CPU, 1}})
    for_every_tensor([&](const kilter_field& f) {
      const std::string argument = is_first(f) ? ".device" : named(f, ".device");
      expect_tensor_refused(f, kInvalid, argument, [&](kilter_tensor& t) { t.device = device; });
    });
  // Beside the others in memory that the host can access, as beside the host's own.
  for (const kilter_field& f : call.fields())
    if (is_tensor(f) && !is_first(f))
      expect_refused(call, kInvalid, named(f, ".device"), [&] {
        for (const kilter_field& other : call.fields())
          if (is_tensor(other) && call.has(other.name)) call[other.name].device = {KILTER_DEVICE_CUDA_HOST, 0};
        call[f.name].device = {KILTER_DEVICE_CUDA, 0};
      });
  // Without elements as with them.
  Call empty(GetParam(), {.any = {0, 3}});
  for (const kilter_field& f : empty.fields())
    if (is_tensor(f) && !is_first(f)) {
      const std::string argument = named(f, ".device");
      expect_refused(empty, kInvalid, argument, [&] { empty[f.name].device = {KILTER_DEVICE_CUDA, 0}; });
    }
}

TEST_P(BadTensor, ADeviceWithoutABackend) {
  kilter_candidate list[32];
  size_t count = 0;
  ASSERT_EQ(kilter_explain(GetParam(), call.args(), list, std::size(list), &count), KILTER_OK);
  list[count++].impl = nullptr;
  const std::string first = call.fields().front().name;
  std::vector<kilter_device> devices = {{KILTER_DEVICE_METAL, 1}, {0, 0}, {-1, 0}, {1 << 20, 3}};
  const bool cuda =
      std::any_of(list, list + count, [](const kilter_candidate& c) { return c.impl && std::string(c.impl).starts_with("cuda:"); });
  if (!cuda) devices.push_back({KILTER_DEVICE_CUDA, 0});
  for (size_t i = 0; i < count; ++i)
    for (const kilter_device device : devices)
      expect_refused(call, KILTER_UNSUPPORTED, first + ".device", [&] {
        for (const kilter_field& f : call.fields())
          if (is_tensor(f) && call.has(f.name)) call[f.name].device = device;
        call.at<const char*>("impl") = list[i].impl;
      });
}

TEST_P(BadTensor, Addresses) {
  for (const DType t : types_of_t(GetParam())) {
    Call with(GetParam(), {.t = t});
    for (const kilter_field& f : with.fields()) {
      if (!is_tensor(f)) continue;
      SCOPED_TRACE(f.name);
      for (int shift = 1; shift < item_size(with.type_of(f.name)); ++shift) {
        expect_refused(with, kInvalid, named(f), [&] { with[f.name].data = static_cast<char*>(with[f.name].data) + shift; });
        expect_refused(with, kInvalid, named(f), [&] { with[f.name].byte_offset = uint64_t(shift); });
      }
    }
  }
}

}  // namespace
}  // namespace kilter::test

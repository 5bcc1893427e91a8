// Each tensor of each op's functions with one thing wrong: the right status, a text that names it, nothing written.
#include <limits>

#include "harness/abi.h"

namespace kilter::test {
namespace {

constexpr int64_t kMax = std::numeric_limits<int64_t>::max(), kMin = std::numeric_limits<int64_t>::min();

template <class Op>
class BadInput : public ::testing::Test {
 protected:
  static Spec all() {
    Spec s;
    s.leading = {2, 3};
    s.weight = s.bias = s.residual = s.post_residual = DType::f32;
    s.dresidual_out = s.dresidual = DType::f32;
    return s;
  }
  // body(call, tensor) for every tensor of both directions.
  template <class F>
  void for_every_tensor(F body) {
    for (const NamedTensor& t : forward.tensors()) body(forward, t);
    for (const NamedTensor& t : backward.tensors()) body(backward, t);
  }
  // For every tensor: refused after change(tensor), which may put sizes and strides into shape and strides.
  template <class F>
  void expect_each_refused(kilter_status status, F change) {
    for_every_tensor([&](auto& call, const NamedTensor& t) {
      SCOPED_TRACE(std::string(call.is_backward ? "backward " : "forward ") + t.name);
      expect_refused(call, status, t.name, [&] {
        const kilter_tensor& now = *t.tensor;
        shape.assign(now.shape, now.shape + now.ndim);
        strides.assign(now.strides, now.strides + now.ndim);
        change(*t.tensor, t);
      });
    });
  }
  void use(kilter_tensor& t) {
    t.ndim = int32_t(shape.size());
    t.shape = shape.data();
    t.strides = strides.data();
  }

  Forward<Op> forward{all()};
  Backward<Op> backward{all()};
  std::vector<int64_t> shape = {1}, strides = {1};
};
TYPED_TEST_SUITE(BadInput, Ops, OpName);

TYPED_TEST(BadInput, Rank) {
  this->expect_each_refused(KILTER_INVALID_ARGUMENT, [&](kilter_tensor& t, const NamedTensor&) { t.ndim = -1; });
  this->expect_each_refused(KILTER_INVALID_ARGUMENT,
                            [&](kilter_tensor& t, const NamedTensor&) { t.ndim = std::numeric_limits<int32_t>::min(); });
  this->expect_each_refused(KILTER_INVALID_ARGUMENT, [&](kilter_tensor& t, const NamedTensor&) { t.ndim = 0; });
  this->expect_each_refused(KILTER_UNSUPPORTED, [&](kilter_tensor& t, const NamedTensor&) {
    this->shape.assign(KILTER_MAX_RANK + 1, 1), this->strides.assign(KILTER_MAX_RANK + 1, 1);
    this->use(t);
  });
  this->expect_each_refused(KILTER_UNSUPPORTED,
                            [&](kilter_tensor& t, const NamedTensor&) { t.ndim = std::numeric_limits<int32_t>::max(); });
}

TYPED_TEST(BadInput, RankUpTo32IsAccepted) {
  Spec s;
  s.n = 7;
  s.leading.assign(KILTER_MAX_RANK - 1, 1);
  s.leading[3] = 4, s.leading[30] = 2;
  Forward<TypeParam> f(s);
  EXPECT_EQ(f.run(), KILTER_OK) << kilter_last_error();
  Spec flat;
  flat.rows = 8, flat.n = 7;
  Forward<TypeParam> expected(flat);
  EXPECT_EQ(expected.run(), KILTER_OK);
  EXPECT_TRUE(same(expected.y, f.y, "y"));
}

TYPED_TEST(BadInput, NullShape) {
  this->expect_each_refused(KILTER_INVALID_ARGUMENT, [&](kilter_tensor& t, const NamedTensor&) { t.shape = nullptr; });
}

TYPED_TEST(BadInput, NegativeSizes) {
  for (const int64_t size : {int64_t(-1), kMin})
    this->expect_each_refused(KILTER_INVALID_ARGUMENT, [&](kilter_tensor& t, const NamedTensor&) {
      this->shape[0] = size;
      this->use(t);
    });
  this->expect_each_refused(KILTER_INVALID_ARGUMENT, [&](kilter_tensor& t, const NamedTensor&) {
    this->shape.back() = -1;
    this->use(t);
  });
}

// Two negative sizes have a positive product.
TYPED_TEST(BadInput, NegativeSizesTwice) {
  this->expect_each_refused(KILTER_INVALID_ARGUMENT, [&](kilter_tensor& t, const NamedTensor&) {
    this->shape = {-2, -3, 12}, this->strides = {36, 12, 1};
    this->use(t);
  });
}

TYPED_TEST(BadInput, SizesWhoseProductOverflows) {
  const std::vector<int64_t> shapes[] = {
      {kMax, 2}, {int64_t(1) << 32, int64_t(1) << 32}, {int64_t(1) << 31, int64_t(1) << 31, 1}, {kMax}, {3, kMax, 3}};
  for (const std::vector<int64_t>& s : shapes)
    for (const bool contiguous : {false, true})
      this->expect_each_refused(KILTER_INVALID_ARGUMENT, [&](kilter_tensor& t, const NamedTensor&) {
        this->shape = s;
        this->strides.assign(s.size(), 0);
        this->strides.back() = 1;
        this->use(t);
        if (contiguous) t.strides = nullptr;
      });
}

TYPED_TEST(BadInput, StridesWhoseReachOverflows) {
  for (const int64_t stride : {kMax, kMin, kMin + 1, kMax / 2, -(kMax / 4)})
    this->for_every_tensor([&](auto& call, const NamedTensor& t) {
      if (t.kind == Kind::vector) return;  // has no stride but 1
      SCOPED_TRACE(t.name);
      expect_refused(call, KILTER_INVALID_ARGUMENT, t.name, [&] {
        this->shape.assign(t.tensor->shape, t.tensor->shape + t.tensor->ndim);
        this->strides.assign(t.tensor->strides, t.tensor->strides + t.tensor->ndim);
        this->strides[1] = stride;
        this->use(*t.tensor);
      });
    });
}

TYPED_TEST(BadInput, UnknownTypes) {
  const kilter_dtype types[] = {{0, 32, 1},
                                {1, 32, 1},
                                {3, 64, 1},
                                {5, 64, 1},
                                {7, 32, 1},
                                {200, 32, 1},
                                {KILTER_FLOAT, 8, 1},
                                {KILTER_FLOAT, 0, 1},
                                {KILTER_FLOAT, 128, 1},
                                {KILTER_BFLOAT, 32, 1},
                                {KILTER_BFLOAT, 8, 1}};
  for (const kilter_dtype type : types)
    this->expect_each_refused(KILTER_UNSUPPORTED, [&](kilter_tensor& t, const NamedTensor&) { t.dtype = type; });
}

TYPED_TEST(BadInput, Lanes) {
  for (const uint16_t lanes : {0, 2, 4, 65535})
    this->expect_each_refused(KILTER_INVALID_ARGUMENT, [&](kilter_tensor& t, const NamedTensor&) { t.dtype.lanes = lanes; });
}

TYPED_TEST(BadInput, TypesThatDoNotBelongTogether) {
  // A call in bf16 (T) with fp32 allowed beside it: fp16 and fp64 belong nowhere, bf16 statistics neither.
  Spec s = this->all();
  s.t = s.weight = s.bias = s.residual = s.post_residual = s.dresidual = s.dresidual_out = s.dweight = s.dbias = DType::bf16;
  Forward<TypeParam> f(s);
  Backward<TypeParam> b(s);
  ASSERT_EQ(f.run(), KILTER_OK) << kilter_last_error();
  ASSERT_EQ(b.run(), KILTER_OK) << kilter_last_error();
  // Large enough for every type, so that nothing but the type is wrong.
  GuardedBuffer memory(6 * 12 * 8);
  const auto expect = [&](auto& call) {
    for (const NamedTensor& t : call.tensors())
      for (const DType type : {DType::f64, DType::f16, DType::bf16, DType::f32}) {
        const bool statistics = t.kind == Kind::per_row, is_x_or_dy = std::string(t.name) == "x" || std::string(t.name) == "dy";
        const bool exact = std::string(t.name) == "y" || std::string(t.name) == "dx" || std::string(t.name) == "residual_out";
        if (type == DType::bf16 && !statistics) continue;
        if (type == DType::f32 && !exact) continue;  // allowed
        SCOPED_TRACE(std::string(t.name) + " in " + dtype_name(type));
        expect_refused(call, KILTER_UNSUPPORTED, is_x_or_dy ? ".dtype" : t.name,
                       [&] { t.tensor->dtype = dlpack_of(type), t.tensor->data = memory.data(); });
      }
  };
  expect(f);
  expect(b);
}

constexpr kilter_device kOtherDevices[] = {{KILTER_DEVICE_CUDA, 0}, {KILTER_DEVICE_METAL, 1}, {0, 0}, {-1, 0}, {1 << 20, 3}};

TYPED_TEST(BadInput, OneTensorOnAnotherDevice) {
  for (const kilter_device device : {kOtherDevices[0], kOtherDevices[3], kilter_device{KILTER_DEVICE_CPU, 1}})
    this->for_every_tensor([&](auto& call, const NamedTensor& t) {
      SCOPED_TRACE(t.name);
      // x decides: if it lies elsewhere, the first of the others is the wrong one.
      const std::string wrong = std::string(t.name) == "x" ? "weight" : t.name;
      expect_refused(call, KILTER_INVALID_ARGUMENT, (wrong + ".device").c_str(), [&] { t.tensor->device = device; });
    });
  Forward<TypeParam>& f = this->forward;
  expect_refused(f, KILTER_INVALID_ARGUMENT, "gate.device", [&] {
    f.args.gate = f.x.tensor();
    f.args.gate.device.type = KILTER_DEVICE_CUDA;
  });
}

constexpr kilter_device kHostMemory[] = {
    {KILTER_DEVICE_CUDA_HOST, 0}, {KILTER_DEVICE_ROCM_HOST, 0}, {KILTER_DEVICE_CUDA_MANAGED, 0}, {KILTER_DEVICE_CUDA_HOST, 3}};

// Memory that the host can access counts as the CPU's: all tensors in it, or each by itself beside the CPU's.
TYPED_TEST(BadInput, HostAccessibleMemoryRunsOnTheCPU) {
  Forward<TypeParam> forward(this->all());
  Backward<TypeParam> backward(this->all());
  ASSERT_EQ(forward.run(), KILTER_OK);
  ASSERT_EQ(backward.run(), KILTER_OK);
  const auto expect = [&](auto& call, auto& expected) {
    for (const NamedTensor& t : call.tensors())
      if (t.output) t.matrix->fill([](int64_t, int64_t) { return 99; });
    EXPECT_EQ(call.run(), KILTER_OK) << kilter_last_error();
    EXPECT_TRUE(same_outputs(expected, call));
    call.attach();
  };
  const auto each = [&](auto& call, auto& expected) {
    for (const kilter_device device : kHostMemory) {
      for (const NamedTensor& t : call.tensors()) t.tensor->device = device;
      expect(call, expected);
      for (const NamedTensor& t : call.tensors()) {
        t.tensor->device = device;
        expect(call, expected);
      }
      // A device of its own is still another one.
      expect_refused(call, KILTER_INVALID_ARGUMENT, "weight.device", [&] {
        for (const NamedTensor& t : call.tensors()) t.tensor->device = device;
        call.args.weight.device = {KILTER_DEVICE_CUDA, 0};
      });
      call.attach();
    }
  };
  each(this->forward, forward);
  each(this->backward, backward);
}

TYPED_TEST(BadInput, AnEmptyTensorOnAnotherDevice) {
  Spec s;
  s.rows = 0;
  Forward<TypeParam> f(s);
  ASSERT_EQ(f.run(), KILTER_OK) << kilter_last_error();
  expect_refused(f, KILTER_INVALID_ARGUMENT, "y.device", [&] { f.args.y.device.type = KILTER_DEVICE_CUDA; });
}

TYPED_TEST(BadInput, ADeviceWithoutABackendIsUnsupported) {
  const auto expect = [](auto& call, const char* impl) {
    for (const kilter_device device : kOtherDevices)
      expect_refused(call, KILTER_UNSUPPORTED, "x.device", [&] {
        for (const NamedTensor& t : call.tensors()) t.tensor->device = device;
        call.args.impl = impl;
      });
  };
  for (const char* impl : {static_cast<const char*>(nullptr), "cpu:rowwise", "reference:f64"}) {
    expect(this->forward, impl);
    expect(this->backward, impl);
  }
}

// A question may be asked before there is memory; a call needs it, of every tensor that is there.
TYPED_TEST(BadInput, NullDataWithElements) {
  this->for_every_tensor([&](auto& call, const NamedTensor& t) {
    SCOPED_TRACE(t.name);
    const kilter_plan plan = asked(call);
    expect_refused(
        call, KILTER_INVALID_ARGUMENT, (std::string(t.name) + ".data").c_str(), [&] { t.tensor->data = nullptr; }, Refused::by_call_alone);
    EXPECT_STREQ(asked(call).impl, plan.impl);
    EXPECT_EQ(asked(call).workspace_size, plan.workspace_size);
    call.attach();
  });
}

// Whether a tensor is there is said by its type alone; nothing else may stand beside a type that is zero.
TYPED_TEST(BadInput, AZeroTypeBesideAnythingElse) {
  this->for_every_tensor([&](auto& call, const NamedTensor& t) {
    SCOPED_TRACE(t.name);
    const auto refused = [&](auto change) {
      expect_refused(call, KILTER_INVALID_ARGUMENT, t.name, [&] {
        *t.tensor = {};
        change(*t.tensor);
      });
    };
    refused([&](kilter_tensor& z) { z.data = t.matrix->row(0); });
    refused([&](kilter_tensor& z) { z.device.type = KILTER_DEVICE_CPU; });
    refused([&](kilter_tensor& z) { z.device.id = 1; });
    refused([&](kilter_tensor& z) { z.ndim = 1; });
    refused([&](kilter_tensor& z) { z.shape = this->shape.data(); });
    refused([&](kilter_tensor& z) { z.strides = this->strides.data(); });
    refused([&](kilter_tensor& z) { z.byte_offset = 8; });
    call.attach();
  });
}

TYPED_TEST(BadInput, AnOptionalTensorMayBeAbsent) {
  this->for_every_tensor([&](auto& call, const NamedTensor& t) {
    if (t.required || std::string(t.name) == "residual") return;  // residual_out needs residual
    SCOPED_TRACE(t.name);
    call.attach();
    *t.tensor = {};
    EXPECT_EQ(call.run(), KILTER_OK) << kilter_last_error();
    call.attach();
  });
  Forward<TypeParam>& f = this->forward;
  f.args.residual = f.args.residual_out = {};
  EXPECT_EQ(f.run(), KILTER_OK) << kilter_last_error();
  expect_refused(f, KILTER_INVALID_ARGUMENT, "residual_out", [&] { f.args.residual = {}; });
}

TYPED_TEST(BadInput, BaseInsideAnElementIsInvalid) {
  for (const DType type : {DType::f32, DType::bf16, DType::f16, DType::f64}) {
    Spec s = this->all();
    s.t = s.weight = s.bias = s.residual = s.post_residual = s.dresidual = s.dresidual_out = type;
    Forward<TypeParam> f(s);
    Backward<TypeParam> b(s);
    const auto expect = [&](auto& call) {
      for (const NamedTensor& t : call.tensors())
        for (int shift = 1; shift < item_size(t.matrix->dtype()); ++shift) {
          SCOPED_TRACE(t.name);
          expect_refused(call, KILTER_INVALID_ARGUMENT, t.name, [&] { t.tensor->data = static_cast<char*>(t.tensor->data) + shift; });
          expect_refused(call, KILTER_INVALID_ARGUMENT, t.name, [&] { t.tensor->byte_offset = uint64_t(shift); });
        }
    };
    expect(f);
    expect(b);
  }
}

TYPED_TEST(BadInput, ByteOffsetCountsLikeTheAddress) {
  Forward<TypeParam>& f = this->forward;
  Forward<TypeParam> expected(this->all());
  ASSERT_EQ(expected.run(), KILTER_OK);
  for (const NamedTensor& t : f.tensors()) {
    t.tensor->data = static_cast<char*>(t.tensor->data) - 4096;
    t.tensor->byte_offset = 4096;
  }
  ASSERT_EQ(f.run(), KILTER_OK) << kilter_last_error();
  EXPECT_TRUE(same_outputs(expected, f));
}

TYPED_TEST(BadInput, WrongShapes) {
  // x decides; every other tensor is wrong by one element, one dimension, or one order.
  const std::vector<int64_t> shapes[] = {{2, 3, 13}, {2, 3, 11}, {3, 2, 12}, {2, 3, 12, 1}, {1, 2, 3, 12}, {72},   {6, 12}, {13},
                                         {11},       {1},        {2, 3, 2},  {2, 4},        {6},           {3, 2}, {1, 12}};
  for (const std::vector<int64_t>& s : shapes) {
    this->for_every_tensor([&](auto& call, const NamedTensor& t) {
      if (std::string(t.name) == "x") return;
      SCOPED_TRACE(t.name);
      expect_refused(call, KILTER_INVALID_ARGUMENT, t.name, [&] {
        this->shape = s;
        this->use(*t.tensor);
        t.tensor->strides = nullptr;
      });
    });
  }
}

TYPED_TEST(BadInput, StatisticsWithoutTheLastDimension) {
  const auto expect = [&](auto& call, auto& expected) {
    for (const NamedTensor& t : call.tensors())
      if (t.kind == Kind::per_row) t.tensor->ndim = 2;
    EXPECT_EQ(call.run(), KILTER_OK) << kilter_last_error();
    EXPECT_EQ(expected.run(), KILTER_OK);
    EXPECT_TRUE(same_outputs(expected, call));
  };
  Forward<TypeParam> f(this->all());
  Backward<TypeParam> b(this->all());
  expect(this->forward, f);
  expect(this->backward, b);
}

TYPED_TEST(BadInput, LastStrideOtherThanOneIsUnsupported) {
  for (const int64_t stride : {2, 0, -1})
    this->for_every_tensor([&](auto& call, const NamedTensor& t) {
      if (t.kind == Kind::per_row) return;  // any stride will do there
      SCOPED_TRACE(t.name);
      expect_refused(call, KILTER_UNSUPPORTED, t.name, [&] {
        this->shape.assign(t.tensor->shape, t.tensor->shape + t.tensor->ndim);
        this->strides.assign(t.tensor->strides, t.tensor->strides + t.tensor->ndim);
        this->strides.back() = stride;
        this->use(*t.tensor);
      });
    });
}

}  // namespace
}  // namespace kilter::test

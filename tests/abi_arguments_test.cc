// Each argument of each op's functions, invalid by itself: the right status, a text that names it, nothing written.
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>

#include "harness/abi.h"

namespace kilter::test {
namespace {

template <class Op>
class Arguments : public ::testing::Test {
 protected:
  static Spec all() {
    Spec s;
    s.weight = s.bias = s.residual = s.post_residual = DType::f32;
    s.dresidual_out = s.dresidual = DType::f32;
    return s;
  }
  Forward<Op> forward{all()};
  Backward<Op> backward{all()};
};
TYPED_TEST_SUITE(Arguments, Ops, OpName);

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN(), kInf = std::numeric_limits<double>::infinity();

TYPED_TEST(Arguments, AllTensorsAtOnceAreAccepted) {
  EXPECT_EQ(this->forward.run(), KILTER_OK) << kilter_last_error();
  EXPECT_EQ(this->backward.run(), KILTER_OK) << kilter_last_error();
}

TYPED_TEST(Arguments, NullArgs) {
  using Op = TypeParam;
  size_t bytes = 7;
  EXPECT_EQ(Op::forward(nullptr, nullptr), KILTER_INVALID_ARGUMENT);
  EXPECT_NE(std::string(kilter_last_error()).find("args: expected a struct, got null"), std::string::npos) << kilter_last_error();
  EXPECT_EQ(Op::backward(nullptr, nullptr), KILTER_INVALID_ARGUMENT);
  EXPECT_EQ(Op::backward_workspace(nullptr, &bytes), KILTER_INVALID_ARGUMENT);
  EXPECT_EQ(bytes, 7u);
  EXPECT_EQ(Op::backward_workspace(&this->backward.args, nullptr), KILTER_INVALID_ARGUMENT);
  EXPECT_NE(std::string(kilter_last_error()).find("bytes"), std::string::npos) << kilter_last_error();
}

// The same struct inside more memory, whose tail a later version would give a meaning.
template <class Args>
struct Longer {
  Args args;
  unsigned char tail[64] = {};
};

// What the first version of a struct had: all of it, or what comes before the fields that joined.
template <class Args>
constexpr size_t first_size() {
  if constexpr (requires(Args a) { a.launch_flags; })
    return offsetof(Args, launch_flags);
  else
    return sizeof(Args);
}

template <class Call, class Args, class Use>
void expect_sizes_checked(Call& call, const char* name, Args& original, Use use) {
  Longer<Args> longer;
  const auto refused = [&](kilter_status status, size_t size, unsigned char last) {
    expect_refused(call, status, name, [&] {
      longer.args = original;
      longer.args.struct_size = size;
      longer.tail[63] = last;
      use(&longer.args);
    });
  };
  for (const size_t size : {size_t(0), size_t(8), first_size<Args>() - 8, first_size<Args>() - 1})
    refused(KILTER_INVALID_ARGUMENT, size, 0);
  refused(KILTER_INVALID_ARGUMENT, std::numeric_limits<size_t>::max(), 0);
  refused(KILTER_INVALID_ARGUMENT, size_t(1) << 40, 0);
  refused(KILTER_UNSUPPORTED, sizeof(Args) + 64, 1);
  call.attach();
  longer.args = original;
  longer.args.struct_size = sizeof(Args) + 64;
  longer.tail[63] = 0;
  use(&longer.args);
  EXPECT_EQ(call.run(), KILTER_OK) << "a longer struct with a zero tail: " << kilter_last_error();
  longer.args.struct_size = first_size<Args>();
  EXPECT_EQ(call.run(), KILTER_OK) << "the first version's struct: " << kilter_last_error();
}

// Calls with the struct at another address.
template <class Op>
struct ForwardAt : Forward<Op> {
  using Forward<Op>::Forward;
  const typename Op::ForwardArgs* at = nullptr;
  kilter_status run() { return Op::forward(at, nullptr); }
};

TYPED_TEST(Arguments, StructSizeOfForward) {
  ForwardAt<TypeParam> call(this->all());
  expect_sizes_checked(call, "args.struct_size", call.args, [&](auto* args) { call.at = args; });
}

TYPED_TEST(Arguments, StructSizeOfBackward) {
  using Op = TypeParam;
  Backward<Op>& b = this->backward;
  Longer<typename Op::BackwardArgs> longer;
  const auto expect = [&](kilter_status status, size_t size, unsigned char last) {
    longer.args = b.args, longer.args.struct_size = size, longer.tail[63] = last;
    const Snapshot before = b.snapshot();
    size_t bytes = 3;
    EXPECT_EQ(Op::backward(&longer.args, nullptr), status) << size;
    EXPECT_TRUE(status == KILTER_OK || before == b.snapshot());
    EXPECT_TRUE(status == KILTER_OK || std::strstr(kilter_last_error(), "args.struct_size")) << kilter_last_error();
    EXPECT_EQ(Op::backward_workspace(&longer.args, &bytes), status) << size;
    EXPECT_EQ(bytes == 3, status != KILTER_OK);
  };
  const size_t size = sizeof(typename Op::BackwardArgs), first = first_size<typename Op::BackwardArgs>();
  for (const size_t small : {size_t(0), size_t(8), first - 8, first - 1}) expect(KILTER_INVALID_ARGUMENT, small, 0);
  expect(KILTER_INVALID_ARGUMENT, std::numeric_limits<size_t>::max(), 0);
  expect(KILTER_UNSUPPORTED, size + 64, 1);
  expect(KILTER_OK, size + 64, 0);
  expect(KILTER_OK, first, 0);
}

TYPED_TEST(Arguments, StructSizeOfPrologue) {
  Forward<TypeParam>& f = this->forward;
  expect_sizes_checked(f, "prologue.struct_size", f.prologue, [&](auto* p) { f.args.prologue = p; });
}

TYPED_TEST(Arguments, StructSizeOfEpilogue) {
  Forward<TypeParam>& f = this->forward;
  expect_sizes_checked(f, "epilogue.struct_size", f.epilogue, [&](auto* p) { f.args.epilogue = p; });
}

TYPED_TEST(Arguments, StructSizeOfQuantization) {
  Forward<TypeParam>& f = this->forward;
  expect_sizes_checked(f, "quantization.struct_size", f.quantization, [&](auto* p) { f.args.quantization = p; });
}

TYPED_TEST(Arguments, LaunchFlags) {
  Forward<TypeParam>& f = this->forward;
  Backward<TypeParam>& b = this->backward;
  f.args.launch_flags = b.args.launch_flags = KILTER_LAUNCH_DEPENDENT;
  EXPECT_EQ(f.run(), KILTER_OK) << kilter_last_error();
  EXPECT_EQ(b.run(), KILTER_OK) << kilter_last_error();
  for (const uint64_t flags : {uint64_t{2}, uint64_t{3}, uint64_t{1} << 32, ~uint64_t{0}}) {
    expect_refused(f, KILTER_INVALID_ARGUMENT, "launch_flags", [&] { f.args.launch_flags = flags; });
    expect_refused(b, KILTER_INVALID_ARGUMENT, "launch_flags", [&] { b.args.launch_flags = flags; });
  }
}

TYPED_TEST(Arguments, EpsilonMustBeFinite) {
  Forward<TypeParam>& f = this->forward;
  for (const double eps : {kNaN, kInf, -kInf}) expect_refused(f, KILTER_INVALID_ARGUMENT, "eps", [&] { f.args.eps = eps; });
}

TYPED_TEST(Arguments, WeightOffset) {
  Forward<TypeParam>& f = this->forward;
  Backward<TypeParam>& b = this->backward;
  for (const double offset : {kNaN, kInf, -kInf}) {
    expect_refused(f, KILTER_INVALID_ARGUMENT, "weight_offset", [&] { f.args.weight_offset = offset; });
    expect_refused(b, KILTER_INVALID_ARGUMENT, "weight_offset", [&] { b.args.weight_offset = offset; });
  }
  expect_refused(f, KILTER_INVALID_ARGUMENT, "weight_offset", [&] { f.args.weight_offset = 1, f.args.weight = {}; });
  expect_refused(b, KILTER_INVALID_ARGUMENT, "weight_offset", [&] { b.args.weight_offset = 1, b.args.weight = {}; });
}

TYPED_TEST(Arguments, Enums) {
  Forward<TypeParam>& f = this->forward;
  for (const int32_t value : {-1, 2, std::numeric_limits<int32_t>::max(), std::numeric_limits<int32_t>::min()})
    expect_refused(f, KILTER_INVALID_ARGUMENT, "rounding", [&] { f.args.rounding = value; });
  for (const int32_t value : {-1, 4, std::numeric_limits<int32_t>::max()}) {
    expect_refused(f, KILTER_INVALID_ARGUMENT, "activation", [&] { f.epilogue.activation = value; });
    expect_refused(f, KILTER_INVALID_ARGUMENT, "quantization.kind",
                   [&] { f.quantization.kind = value, f.args.quantization = &f.quantization; });
  }
}

TYPED_TEST(Arguments, PlainOutputHasNoScaleAndNothingToQuantize) {
  Forward<TypeParam>& f = this->forward;
  for (const int32_t value : {-1, 2, std::numeric_limits<int32_t>::max()})
    for (const int32_t kind : {KILTER_OUTPUT_PLAIN, KILTER_OUTPUT_INT8})
      expect_refused(f, KILTER_INVALID_ARGUMENT, "quantization.from_fp32", [&] {
        f.quantization.kind = kind, f.quantization.from_fp32 = value;
        f.args.quantization = &f.quantization;
      });
  expect_refused(f, KILTER_INVALID_ARGUMENT, "quantization", [&] {
    f.quantization.from_fp32 = 1;
    f.args.quantization = &f.quantization;
  });
  expect_refused(f, KILTER_INVALID_ARGUMENT, "quantization", [&] {
    f.quantization.scale = f.rstd.tensor();
    f.args.quantization = &f.quantization;
  });
  f.attach();
  f.args.quantization = &f.quantization;
  EXPECT_EQ(f.run(), KILTER_OK) << kilter_last_error();
}

// What a caller forgets is a struct of zeros: the text says so, instead of finding fault with its fields.
TYPED_TEST(Arguments, AForgottenTensorIsNamed) {
  const auto expect = [](auto& call) {
    int required = 0;
    for (const NamedTensor& t : call.tensors()) {
      if (!t.required) continue;
      ++required;
      expect_refused(call, KILTER_INVALID_ARGUMENT, t.name, [&] { *t.tensor = {}; });
      const std::string whole = std::string(TypeParam::name) + ": " + t.name + ": expected a tensor, got none: it is required";
      EXPECT_EQ(kilter_last_error(), whole);
    }
    EXPECT_GE(required, 3);
  };
  expect(this->forward);
  expect(this->backward);
}

TYPED_TEST(Arguments, WhatHasNoKernelYetIsUnsupported) {
  Forward<TypeParam>& f = this->forward;
  for (const int32_t value : {KILTER_ACTIVATION_SILU, KILTER_ACTIVATION_GELU, KILTER_ACTIVATION_GELU_TANH})
    expect_refused(f, KILTER_UNSUPPORTED, "activation", [&] { f.epilogue.activation = value; });
  for (const int32_t value : {KILTER_OUTPUT_FP8_E4M3, KILTER_OUTPUT_FP8_E5M2, KILTER_OUTPUT_INT8})
    expect_refused(f, KILTER_UNSUPPORTED, "quantization", [&] { f.quantization.kind = value, f.args.quantization = &f.quantization; });
  expect_refused(f, KILTER_UNSUPPORTED, "gate", [&] { f.prologue.gate = f.x.tensor(); });
}

TYPED_TEST(Arguments, Implementation) {
  Forward<TypeParam>& f = this->forward;
  Backward<TypeParam>& b = this->backward;
  for (const char* impl : {"", "cpu", "cuda:row_register", "cpu:rowwise ", "CPU:ROWWISE"}) {
    expect_refused(f, KILTER_INVALID_ARGUMENT, "impl", [&] { f.args.impl = impl; });
    expect_refused(b, KILTER_INVALID_ARGUMENT, "impl", [&] { b.args.impl = impl; });
  }
  for (const char* impl : {"cpu:rowwise", "reference:f64"}) {
    f.attach(), b.attach();
    f.args.impl = impl;
    b.choose(impl);
    EXPECT_EQ(f.run(), KILTER_OK) << impl << kilter_last_error();
    EXPECT_EQ(b.run(), KILTER_OK) << impl << kilter_last_error();
  }
}

TYPED_TEST(Arguments, Workspace) {
  Backward<TypeParam>& b = this->backward;
  expect_refused(b, KILTER_WORKSPACE_TOO_SMALL, "workspace", [&] { b.args.workspace = nullptr; });
  size_t least = 0;  // what one thread needs: more threads accept less than they could use
  {
    const WithThreads one(1);
    ASSERT_EQ(TypeParam::backward_workspace(&b.args, &least), KILTER_OK);
  }
  for (const size_t size : {size_t(0), size_t(1), least / 2, least - 1})
    expect_refused(b, KILTER_WORKSPACE_TOO_SMALL, "workspace", [&] { b.args.workspace_size = size; });
  // Where there is nothing to sum, none is needed.
  b.attach();
  b.args.dweight = b.args.dbias = {};
  b.args.workspace = nullptr, b.args.workspace_size = 0;
  size_t bytes = 1;
  EXPECT_EQ(TypeParam::backward_workspace(&b.args, &bytes), KILTER_OK);
  EXPECT_EQ(bytes, 0u);
  EXPECT_EQ(b.run(), KILTER_OK) << kilter_last_error();
}

TYPED_TEST(Arguments, WorkspaceIsThatOfTheImplementation) {
  Backward<TypeParam>& b = this->backward;
  std::vector<size_t> sizes;
  for (const char* impl : {static_cast<const char*>(nullptr), "cpu:rowwise", "reference:f64"}) {
    b.args.impl = impl;
    size_t bytes = 0;
    ASSERT_EQ(TypeParam::backward_workspace(&b.args, &bytes), KILTER_OK) << kilter_last_error();
    sizes.push_back(bytes);
    GuardedBuffer memory(bytes);
    b.args.workspace = memory.data(), b.args.workspace_size = bytes;
    EXPECT_EQ(b.run(), KILTER_OK) << kilter_last_error();
    b.args.workspace_size = 0;
    EXPECT_EQ(b.run(), KILTER_WORKSPACE_TOO_SMALL);
  }
  EXPECT_EQ(sizes[0], sizes[1]);
  EXPECT_EQ(sizes[2], size_t(2 * b.spec.n) * 16);  // two rows in the reference's widest type, whatever the kernels need
  EXPECT_NE(sizes[1], sizes[2]);
}

// No memory is that large: the answer is that, not what an overflow leaves.  Addresses are compared, not used.
TYPED_TEST(Arguments, WorkspaceOfAHugeRowSaturates) {
  Backward<TypeParam>& b = this->backward;
  int64_t row[] = {1, (int64_t(1) << 48) + 1}, one[] = {1};
  uint64_t address = uint64_t(1) << 52;
  for (const NamedTensor& t : b.tensors()) {
    t.tensor->data = reinterpret_cast<void*>(address += uint64_t(1) << 52);
    t.tensor->shape = t.kind == Kind::rows ? row : t.kind == Kind::vector ? row + 1 : one;
    t.tensor->ndim = t.kind == Kind::rows ? 2 : 1;
    t.tensor->strides = nullptr;
  }
  for (const char* impl : {"cpu:rowwise", "reference:f64"}) {
    b.args.impl = impl;
    size_t bytes = 0;
    EXPECT_EQ(TypeParam::backward_workspace(&b.args, &bytes), KILTER_OK) << kilter_last_error();
    EXPECT_EQ(bytes, std::numeric_limits<size_t>::max()) << impl;
  }
}

TYPED_TEST(Arguments, WorkspaceOfAnyAlignmentAndNotAByteMore) {
  Spec s = this->all();
  for (const DType t : {DType::f32, DType::bf16, DType::f64}) {
    s.t = s.residual = s.weight = s.bias = s.post_residual = s.dresidual = s.dresidual_out = t;
    s.rows = 37, s.n = 45;
    Backward<TypeParam> expected(s);
    ASSERT_EQ(expected.run(), KILTER_OK);
    const size_t size = expected.workspace->size();
    for (size_t shift = 0; shift < 65; ++shift) {  // the guard page lies right behind `size` bytes
      Backward<TypeParam> b(s);
      GuardedBuffer memory(size + shift);
      b.args.workspace = memory.data() + shift, b.args.workspace_size = size;
      ASSERT_EQ(b.run(), KILTER_OK) << kilter_last_error();
      EXPECT_TRUE(same_outputs(expected, b));
      for (size_t i = 0; i < shift; ++i) EXPECT_EQ(memory.data()[i], GuardedBuffer::kCanary);
    }
  }
}

TYPED_TEST(Arguments, ErrorsDescribeTheLastFailureOfTheirThread) {
  Forward<TypeParam>& f = this->forward;
  f.args.eps = kNaN;
  EXPECT_EQ(f.run(), KILTER_INVALID_ARGUMENT);
  const std::string text = kilter_last_error();
  f.args.eps = 1e-5;
  EXPECT_EQ(f.run(), KILTER_OK);
  EXPECT_EQ(kilter_last_error(), text);  // success leaves it
}

}  // namespace
}  // namespace kilter::test

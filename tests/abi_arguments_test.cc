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
  EXPECT_EQ(Op::forward(nullptr, nullptr), KILTER_INVALID_ARGUMENT);
  EXPECT_NE(std::string(kilter_last_error()).find("args: expected a struct, got null"), std::string::npos) << kilter_last_error();
  EXPECT_EQ(Op::backward(nullptr, nullptr), KILTER_INVALID_ARGUMENT);
}

// The same struct inside more memory, whose tail a later version would give a meaning.
template <class Args>
struct Longer {
  Args args;
  unsigned char tail[64] = {};
};

// Calls with the struct inside more memory.
template <class Call>
struct InMoreMemory : Call {
  using Call::Call;
  Longer<decltype(Call::args)> longer{};
  kilter_status run() { return kilter_call(Call::kFunction, &longer.args, nullptr); }
  kilter_status ask(kilter_plan* plan) const { return kilter_ask(Call::kFunction, &longer.args, plan); }
};

template <class Call>
void expect_sizes_checked(const Spec& spec) {
  InMoreMemory<Call> call(spec);
  const auto with = [&](size_t size, unsigned char last) {
    call.longer.args = call.args;
    call.longer.args.struct_size = size;
    call.longer.tail[63] = last;
  };
  constexpr size_t kSize = sizeof call.args;
  for (const size_t size : {size_t(0), size_t(8), kSize - 8, kSize - 1, std::numeric_limits<size_t>::max(), size_t(1) << 40})
    expect_refused(call, KILTER_INVALID_ARGUMENT, "args.struct_size", [&] { with(size, 0); });
  expect_refused(call, KILTER_UNSUPPORTED, "args.struct_size", [&] { with(kSize + 64, 1); });
  for (const size_t size : {kSize + 64, kSize}) {
    with(size, 0);
    EXPECT_EQ(call.run(), KILTER_OK) << size << ": " << kilter_last_error();
    asked(call);
  }
}

TYPED_TEST(Arguments, StructSizeOfForward) { expect_sizes_checked<Forward<TypeParam>>(this->all()); }

TYPED_TEST(Arguments, StructSizeOfBackward) { expect_sizes_checked<Backward<TypeParam>>(this->all()); }

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
    expect_refused(f, KILTER_INVALID_ARGUMENT, "activation", [&] { f.args.activation = value; });
  }
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
    EXPECT_EQ(required, !call.is_backward ? 2 : TypeParam::centered ? 4 : 3);
  };
  expect(this->forward);
  expect(this->backward);
}

TYPED_TEST(Arguments, WhatHasNoKernelYetIsUnsupported) {
  Forward<TypeParam>& f = this->forward;
  for (const int32_t value : {KILTER_ACTIVATION_SILU, KILTER_ACTIVATION_GELU, KILTER_ACTIVATION_GELU_TANH})
    expect_refused(f, KILTER_UNSUPPORTED, "activation", [&] { f.args.activation = value; });
  expect_refused(f, KILTER_UNSUPPORTED, "gate", [&] { f.args.gate = f.x.tensor(); });
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
  const auto refused = [&](auto change) {
    expect_refused(b, KILTER_WORKSPACE_TOO_SMALL, "workspace", change, Refused::by_call_alone);
    asked(b);
  };
  refused([&] { b.args.workspace = nullptr; });
  size_t least = 0;  // what one thread needs: more threads accept less than they could use
  {
    const WithThreads one(1);
    least = asked(b).workspace_size;
  }
  for (const size_t size : {size_t(0), size_t(1), least / 2, least - 1}) refused([&] { b.args.workspace_size = size; });
  // Where there is nothing to sum, none is needed.
  b.attach();
  b.args.dweight = b.args.dbias = {};
  b.args.workspace = nullptr, b.args.workspace_size = 0;
  EXPECT_EQ(asked(b).workspace_size, 0u);
  EXPECT_EQ(b.run(), KILTER_OK) << kilter_last_error();
}

TYPED_TEST(Arguments, WorkspaceIsThatOfTheImplementation) {
  Backward<TypeParam>& b = this->backward;
  std::vector<size_t> sizes;
  for (const char* impl : {static_cast<const char*>(nullptr), "cpu:rowwise", "reference:f64"}) {
    b.args.impl = impl;
    const size_t bytes = asked(b).workspace_size;
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
    EXPECT_EQ(asked(b).workspace_size, std::numeric_limits<size_t>::max()) << impl;
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

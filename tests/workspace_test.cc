// The scratch memory of a backward call: how much, whose, where it lies.
#include <limits>

#include "harness/rowwise.h"

namespace kilter::test {
namespace {

template <class Op>
class Workspaces : public ::testing::Test {
 protected:
  static Spec all() {
    Spec s;
    s.weight = s.bias = s.residual = s.post_residual = DType::f32;
    s.dresidual_out = s.dresidual = DType::f32;
    return s;
  }
  Backward<Op> backward{all()};
};
TYPED_TEST_SUITE(Workspaces, Ops, OpName);

TYPED_TEST(Workspaces, TooSmallIsRefused) {
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

TYPED_TEST(Workspaces, ThatOfTheImplementation) {
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
TYPED_TEST(Workspaces, OfAHugeRowSaturates) {
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

TYPED_TEST(Workspaces, OfAnyAlignmentAndNotAByteMore) {
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

}  // namespace
}  // namespace kilter::test

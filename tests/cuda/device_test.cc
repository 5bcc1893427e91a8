// The CUDA implementations against the CPU's: equal bits in y, mean, rstd, residual_out, dx, dresidual, dweight and dbias, for
// every feature, type, fill and layout.  The CPU's own tests hold those bits against float64.
#include <cuda_runtime_api.h>

#include <deque>
#include <vector>

#include "check/call.h"
#include "harness/run.h"

namespace kilter::test {
namespace {

using check::Buffer;
using check::Case;
using check::Fill;
using check::Tensors;

constexpr DType kTypes[] = {DType::f32, DType::bf16, DType::f16, DType::f64};

struct DeviceLayout {
  int64_t gap = 0;    // elements between rows
  int64_t shift = 0;  // elements by which the tensor is moved off its alignment
  bool in_place = false;
};

// A buffer's tensor in device memory, with a pattern around it and between its rows that must survive.
class DeviceTensor {
 public:
  DeviceTensor(Buffer& from, const DeviceLayout& layout) : buffer_(&from) {
    if (!from.present()) return;
    const kilter_tensor t = from.tensor();
    ndim_ = t.ndim;
    rows_ = ndim_ == 2 ? from.row_count() : 1;
    n_ = ndim_ == 2 ? from.row_length() : from.row_count() * from.row_length();
    item_ = item_size(from.dtype());
    stride_ = n_ + (ndim_ == 2 ? layout.gap : 0);
    first_ = (kMargin + layout.shift) * item_;
    host_.assign(size_t(2 * kMargin + layout.shift + rows_ * stride_) * size_t(item_), kPattern);
    for (int64_t r = 0; r < rows_; ++r) std::memcpy(host_row(r), from.data() + r * n_ * item_, size_t(n_ * item_));
    EXPECT_EQ(cudaMalloc(reinterpret_cast<void**>(&device_), host_.size()), cudaSuccess);
    EXPECT_EQ(cudaMemcpy(device_, host_.data(), host_.size(), cudaMemcpyHostToDevice), cudaSuccess);
    shape_[0] = ndim_ == 2 ? rows_ : n_, shape_[1] = n_;
    strides_[0] = ndim_ == 2 ? stride_ : 1, strides_[1] = 1;
  }
  ~DeviceTensor() { cudaFree(device_); }
  DeviceTensor(const DeviceTensor&) = delete;
  DeviceTensor& operator=(const DeviceTensor&) = delete;

  kilter_tensor tensor() {
    if (!device_) return {};
    return {device_ + first_, {KILTER_DEVICE_CUDA, 0}, ndim_, dlpack_of(buffer_->dtype()), shape_, strides_, 0};
  }
  void fetch(Buffer* to = nullptr) {
    if (!device_) return;
    if (!to) to = buffer_;
    std::vector<char> got(host_.size());
    ASSERT_EQ(cudaMemcpy(got.data(), device_, got.size(), cudaMemcpyDeviceToHost), cudaSuccess);
    for (int64_t r = 0; r < rows_; ++r) {
      char* const row = got.data() + first_ + r * stride_ * item_;
      std::memcpy(to->data() + r * n_ * item_, row, size_t(n_ * item_));
      std::memset(row, kPattern, size_t(n_ * item_));
    }
    for (const char c : got) ASSERT_EQ(c, kPattern) << "memory around a tensor was written";
  }

 private:
  static constexpr int64_t kMargin = 64;
  static constexpr char kPattern = 0x5A;
  char* host_row(int64_t r) { return host_.data() + first_ + r * stride_ * item_; }

  Buffer* buffer_;
  int32_t ndim_ = 0;
  int64_t rows_ = 0, n_ = 0, stride_ = 0, item_ = 1, first_ = 0;
  int64_t shape_[2] = {}, strides_[2] = {};
  std::vector<char> host_;
  char* device_ = nullptr;
};

void call_on_device(const Case& c, const DeviceLayout& layout, Tensors& t) {
  SCOPED_TRACE(check::command(c));
  std::deque<DeviceTensor> memory;
  const auto place = [&](Buffer& b) -> DeviceTensor& { return memory.emplace_back(b, layout); };
  check::Call k;
  k.op = c.op, k.eps = c.eps, k.weight_offset = c.weight_offset;
  k.rounding = c.round_then_multiply ? KILTER_ROUND_THEN_MULTIPLY : KILTER_ROUND_ONCE;
  DeviceTensor& x = place(t.x);
  k.x = x.tensor(), k.weight = place(t.weight).tensor(), k.bias = place(t.bias).tensor();
  k.residual = place(t.residual).tensor(), k.residual_out = place(t.residual_out).tensor();
  k.post_residual = place(t.post_residual).tensor(), k.mean = place(t.mean).tensor(), k.rstd = place(t.rstd).tensor();
  const bool y_is_x = layout.in_place && !c.backward;
  k.y = y_is_x ? k.x : place(t.y).tensor();
  const check::Op* const op = check::find_op(c.op);
  ASSERT_STREQ(check::implementation(check::query_of(k)), "cuda:rowwise");
  ASSERT_EQ(op->forward(k), KILTER_OK) << kilter_last_error();
  char* workspace = nullptr;
  DeviceTensor* dy = nullptr;
  const bool dx_is_dy = c.backward && layout.in_place && t.dx.present();
  if (c.backward) {
    check::Call b = k;
    b.backward = true;
    if (t.residual_out.present()) b.x = k.residual_out;
    dy = &place(t.dy);
    b.dy = dy->tensor(), b.dresidual_out = place(t.dresidual_out).tensor(), b.dx = dx_is_dy ? b.dy : place(t.dx).tensor();
    b.dresidual = place(t.dresidual).tensor(), b.dweight = place(t.dweight).tensor(), b.dbias = place(t.dbias).tensor();
    size_t bytes = 0;
    ASSERT_EQ(op->backward_workspace(b, &bytes), KILTER_OK) << kilter_last_error();
    if (bytes) {
      ASSERT_EQ(cudaMalloc(reinterpret_cast<void**>(&workspace), bytes), cudaSuccess);
      ASSERT_EQ(cudaMemset(workspace, 0, bytes), cudaSuccess);
    }
    b.workspace = workspace, b.workspace_size = bytes;
    ASSERT_EQ(op->backward(b), KILTER_OK) << kilter_last_error();
  }
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  for (DeviceTensor& m : memory) {
    if ((y_is_x && &m == &x) || (dx_is_dy && &m == dy)) continue;
    m.fetch();
  }
  if (y_is_x) x.fetch(&t.y);
  if (dx_is_dy) dy->fetch(&t.dx);
  cudaFree(workspace);
}

class Device : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) GTEST_SKIP() << "no CUDA device";
  }
  Case base(DType x, int64_t rows, int64_t n, Fill fill = Fill::normal) {
    Case c;
    c.op = GetParam(), c.x = x, c.rows = rows, c.n = n, c.fill = fill, c.seed = 11;
    c.weight = DType::f32, c.bias = true, c.backward = true;
    return c;
  }
  void compare(const Case& c, const DeviceLayout& layout = {}) {
    ++compared;
    const Tensors expected = call_plain(c);
    Tensors got = check::make_tensors(c);
    ASSERT_NO_FATAL_FAILURE(call_on_device(c, layout, got));
    EXPECT_TRUE(same_bits(c, expected, got)) << "gap " << layout.gap << ", shift " << layout.shift << (layout.in_place ? ", in place" : "");
  }
  void TearDown() override { RecordProperty("compared", compared); }
  int compared = 0;
};

TEST_P(Device, EveryFillAndLength) {
  for (const DType x : kTypes)
    for (const Fill fill : check::kFills)
      for (const int64_t n :
           {1, 2, 7, 31, 32, 33, 255, 256, 257, 384, 768, 1000, 1023, 1024, 1025, 1536, 2048, 2056, 4096, 5001, 7168, 8192, 12288, 16384})
        compare(base(x, 19, n, fill));
}

TEST_P(Device, LongRows) {
  for (const DType x : {DType::f32, DType::bf16})
    for (const Fill fill : {Fill::normal, Fill::offset, Fill::constant, Fill::denormal})
      for (const int64_t n : {65537, 262144, 262145, 1000001}) compare(base(x, 6, n, fill));
}

TEST_P(Device, RowCounts) {
  for (const DType x : kTypes)
    for (const int64_t rows : {0, 1, 2, 3, 4, 5, 127, 513, 4097, 70001}) compare(base(x, rows, 96));
  compare(base(DType::f32, 200000, 33));
  compare(base(DType::f32, 600000, 3));  // chunks of several blocks
}

TEST_P(Device, Features) {
  for (const DType x : kTypes)
    for (const bool wide : {false, true})
      for (const int64_t n : {65, 1500}) {
        const DType second = wide ? DType::f32 : x;
        Case c = base(x, 21, n);
        c.weight = second;
        c.dweight = second;
        c.residual = second, c.dresidual_out = second, c.dresidual = second;
        compare(c);
        c.post_residual = second, c.weight_offset = 1, c.backward = false;
        compare(c);
        c.round_then_multiply = true;
        compare(c);
        c.weight = DType::none, c.weight_offset = 0, c.bias = false;
        compare(c);
        Case b = base(x, 21, n);
        b.weight_offset = 1, b.want_dbias = false;
        compare(b);
        b.want_dbias = true, b.want_dweight = false, b.want_dx = false;
        compare(b);
        b.want_dbias = false, b.want_dx = true, b.weight = DType::none, b.weight_offset = 0;
        compare(b);
      }
}

TEST_P(Device, Layouts) {
  for (const DType x : kTypes)
    for (const bool backward : {false, true})
      for (const DeviceLayout& layout : {DeviceLayout{5, 0, false}, {0, 1, false}, {3, 7, true}, {0, 0, true}}) {
        Case c = base(x, 23, 777);
        c.backward = backward;
        compare(c, layout);
      }
}

TEST_P(Device, ZeroWidthRowsHaveNaNStatistics) {
  Case c = base(DType::f32, 5, 0);
  c.backward = false, c.weight = DType::none, c.bias = false;
  compare(c);
}

TEST_P(Device, RunToRun) {
  const Case c = base(DType::bf16, 300, 4096);
  Tensors first = check::make_tensors(c);
  ASSERT_NO_FATAL_FAILURE(call_on_device(c, {}, first));
  for (int i = 0; i < 20; ++i) {
    Tensors again = check::make_tensors(c);
    ASSERT_NO_FATAL_FAILURE(call_on_device(c, {}, again));
    ASSERT_TRUE(same_bits(c, first, again));
  }
}

TEST_P(Device, CapturesFromTheFirstCall) {
  Case c = base(DType::f32, 3, 300);
  c.backward = false;
  Tensors t = check::make_tensors(c);
  DeviceTensor x(t.x, {}), y(t.y, {});
  check::Call k;
  k.op = c.op, k.x = x.tensor(), k.y = y.tensor();
  cudaStream_t stream;
  ASSERT_EQ(cudaStreamCreate(&stream), cudaSuccess);
  ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  k.stream = stream;
  EXPECT_EQ(check::find_op(c.op)->forward(k), KILTER_OK) << kilter_last_error();
  cudaGraph_t graph;
  ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  size_t nodes = 0;
  ASSERT_EQ(cudaGraphGetNodes(graph, nullptr, &nodes), cudaSuccess);
  EXPECT_EQ(nodes, 1u);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
}

TEST_P(Device, PendingErrorsAreNotBlamedOnTheCall) {
  Case c = base(DType::f32, 3, 300);
  Tensors t = check::make_tensors(c);
  DeviceTensor x(t.x, {}), y(t.y, {});
  check::Call k;
  k.op = c.op, k.x = x.tensor(), k.y = y.tensor();
  (void)cudaMemcpy(nullptr, k.x.data, 4, cudaMemcpyDeviceToHost);  // leaves an error behind
  EXPECT_EQ(check::find_op(c.op)->forward(k), KILTER_PENDING_DEVICE_ERROR);
  (void)cudaGetLastError();
  EXPECT_EQ(check::find_op(c.op)->forward(k), KILTER_OK) << kilter_last_error();
}

TEST_P(Device, SmallWorkspacesAndOtherDevicesAreRefused) {
  Case c = base(DType::f32, 30, 300);
  Tensors t = check::make_tensors(c);
  std::deque<DeviceTensor> m;
  for (Buffer* b : {&t.x, &t.dy, &t.mean, &t.rstd, &t.dweight, &t.dx}) m.emplace_back(*b, DeviceLayout{});
  check::Call k;
  k.op = c.op, k.backward = true, k.x = m[0].tensor(), k.dy = m[1].tensor(), k.mean = m[2].tensor(), k.rstd = m[3].tensor();
  k.dweight = m[4].tensor(), k.dx = m[5].tensor();
  size_t bytes = 0;
  ASSERT_EQ(check::find_op(c.op)->backward_workspace(k, &bytes), KILTER_OK) << kilter_last_error();
  char memory;
  k.workspace = &memory, k.workspace_size = bytes - 1;
  EXPECT_EQ(check::find_op(c.op)->backward(k), KILTER_WORKSPACE_TOO_SMALL);
  k.backward = false;
  k.y = k.dx, k.y.device.id = 99;
  EXPECT_EQ(check::find_op(c.op)->forward(k), KILTER_INVALID_ARGUMENT) << kilter_last_error();
}

INSTANTIATE_TEST_SUITE_P(Ops, Device, ::testing::ValuesIn(check::op_names()), [](const auto& op) { return op.param; });

}  // namespace
}  // namespace kilter::test

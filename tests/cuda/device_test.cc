// The CUDA implementations against the CPU's: equal bits in y, mean, rstd, residual_out, dx, dresidual, dweight and dbias, for
// every feature, type, fill and layout.  The CPU's own tests hold those bits against float64.
#include "device.h"

namespace kilter::test {
namespace {

using check::Buffer;
using check::Case;
using check::Fill;
using check::Tensors;

TEST_P(Device, EveryFillAndLength) {
  for (const DType x : kTypes)
    for (const Fill fill : check::kFills)
      for (const int64_t n :
           {1, 2, 7, 31, 32, 33, 255, 256, 257, 384, 768, 1000, 1023, 1024, 1025, 1536, 2048, 2056, 4096, 5001, 7168, 8192, 12288, 16384})
        for (const Case& c : {base(x, 19, n, fill), plain(base(x, 19, n, fill))}) compare(c);
}

TEST_P(Device, LongRows) {
  for (const DType x : {DType::f32, DType::bf16})
    for (const Fill fill : {Fill::normal, Fill::offset, Fill::constant, Fill::denormal})
      for (const int64_t n : {20000, 32768, 65536, 65537, 131072, 262144, 262145, 1000001})
        for (const Case& c : {base(x, 6, n, fill), plain(base(x, 6, n, fill))}) compare(c);
}

TEST_P(Device, RowCounts) {
  for (const DType x : kTypes)
    for (const int64_t rows : {0, 1, 2, 3, 4, 5, 127, 513, 4097, 70001}) compare(base(x, rows, 96));
  compare(base(DType::f32, 200000, 33));
  compare(base(DType::f32, 600000, 3));  // chunks of several blocks
  compare(base(DType::bf16, 600000, 8));
}

TEST_P(Device, Features) {
  for (const DType x : kTypes)
    for (const bool wide : {false, true})
      for (const int64_t n : {65, 504, 1504}) {
        const DType second = wide ? DType::f32 : x;
        Case c = base(x, 21, n);
        c.want_dbias = true;
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

// Each call reads what the one before it wrote: with the flag, while that one's kernel may still run.
class Chain {
 public:
  explicit Chain(const Case& c) : case_(c), tensors_(check::make_tensors(c)) {
    for (Buffer* b : {&tensors_.x, &tensors_.y, &tensors_.dx, &tensors_.weight, &tensors_.bias, &tensors_.mean, &tensors_.rstd,
                      &tensors_.dy, &tensors_.dweight})
      memory_.emplace_back(*b, DeviceLayout{});
    forward_.op = c.op, forward_.weight = memory_[3].tensor(), forward_.bias = memory_[4].tensor();
    forward_.mean = memory_[5].tensor(), forward_.rstd = memory_[6].tensor();
    backward_ = forward_, backward_.backward = true, backward_.x = memory_[0].tensor(), backward_.dweight = memory_[8].tensor();
    backward_.dy = memory_[7].tensor(), backward_.dx = memory_[1].tensor();
    EXPECT_EQ(check::find_op(c.op)->backward_workspace(backward_, &backward_.workspace_size), KILTER_OK) << kilter_last_error();
    EXPECT_EQ(cudaMalloc(&backward_.workspace, backward_.workspace_size), cudaSuccess);
    EXPECT_EQ(cudaMemset(backward_.workspace, 0, backward_.workspace_size), cudaSuccess);
  }
  ~Chain() { cudaFree(backward_.workspace); }
  Chain(const Chain&) = delete;
  Chain& operator=(const Chain&) = delete;

  void queue(cudaStream_t stream, uint64_t flags) {
    const check::Op* const op = check::find_op(case_.op);
    forward_.stream = backward_.stream = stream, forward_.launch_flags = backward_.launch_flags = flags;
    for (int i = 0; i < 40; ++i) {
      forward_.x = memory_[i == 0 ? 0 : 1 + (i + 1) % 2].tensor(), forward_.y = memory_[1 + i % 2].tensor();
      ASSERT_EQ(op->forward(forward_), KILTER_OK) << kilter_last_error();
    }
    for (int i = 0; i < 10; ++i) {
      backward_.dy = memory_[i == 0 ? 7 : 1 + (i + 1) % 2].tensor(), backward_.dx = memory_[1 + i % 2].tensor();
      ASSERT_EQ(op->backward(backward_), KILTER_OK) << kilter_last_error();
    }
  }
  std::vector<char> results() {  // which are gone then
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    std::vector<char> all;
    for (const size_t i : {1, 2, 5, 6, 8}) {
      const kilter_tensor t = memory_[i].tensor();
      if (!t.data) continue;
      int64_t bytes = t.dtype.bits / 8;
      for (int d = 0; d < t.ndim; ++d) bytes *= t.shape[d];
      all.resize(all.size() + size_t(bytes));
      EXPECT_EQ(cudaMemcpy(all.data() + all.size() - bytes, t.data, size_t(bytes), cudaMemcpyDeviceToHost), cudaSuccess);
      EXPECT_EQ(cudaMemset(t.data, 0, size_t(bytes)), cudaSuccess);
    }
    return all;
  }

 private:
  Case case_;
  Tensors tensors_;
  std::deque<DeviceTensor> memory_;
  check::Call forward_, backward_;
};

TEST_P(Device, DependentLaunchesAreOrdered) {
  cudaStream_t stream;
  ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  const struct { int64_t rows, n; } shapes[] = {{1, 4096}, {1024, 768}, {128, 7168}, {700, 96}, {9, 65536}, {300, 4096}, {5, 4099}};
  for (const DType x : {DType::f32, DType::bf16})
    for (const auto& shape : shapes) {
      SCOPED_TRACE(std::to_string(shape.rows) + " x " + std::to_string(shape.n));
      Chain chain(plain(base(x, shape.rows, shape.n)));
      ASSERT_NO_FATAL_FAILURE(chain.queue(stream, 0));
      const std::vector<char> expected = chain.results();
      for (int i = 0; i < 3; ++i) {
        ASSERT_NO_FATAL_FAILURE(chain.queue(stream, KILTER_LAUNCH_DEPENDENT));
        EXPECT_EQ(chain.results(), expected) << "on a stream";
      }
      ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
      ASSERT_NO_FATAL_FAILURE(chain.queue(stream, KILTER_LAUNCH_DEPENDENT));
      cudaGraph_t graph;
      ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
      cudaGraphExec_t replay;
      ASSERT_EQ(cudaGraphInstantiate(&replay, graph, 0), cudaSuccess);
      for (int i = 0; i < 5; ++i) EXPECT_EQ(cudaGraphLaunch(replay, stream), cudaSuccess);
      EXPECT_EQ(chain.results(), expected) << "in a graph";
      cudaGraphExecDestroy(replay);
      cudaGraphDestroy(graph);
    }
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

INSTANTIATE_TEST_SUITE_P(Ops, Device, ::testing::ValuesIn(check::op_names()), op_name);

}  // namespace
}  // namespace kilter::test

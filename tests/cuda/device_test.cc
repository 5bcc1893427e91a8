// The CUDA implementations against the CPU: equal bits in y, mean, rstd, residual_out, dx, dresidual, dweight and dbias (ops whose
// backends differ: against float64), for
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
        c["weight"] = c["bias"] = c["dweight"] = c["dbias"] = second;
        c["residual"] = c["dresidual_out"] = c["dresidual"] = second;
        compare(c);
        c["post_residual"] = second, c.numbers["weight_offset"] = 1, c.backward = false;
        compare(c);
        c.numbers["rounding"] = KILTER_ROUND_THEN_MULTIPLY;
        compare(c);
        c["weight"] = c["bias"] = DType::none, c.numbers["weight_offset"] = 0;
        compare(c);
        Case b = base(x, 21, n);
        b.numbers["weight_offset"] = 1, b["dbias"] = DType::none;
        compare(b);
        b.types.erase("dbias"), b["dweight"] = b["dx"] = DType::none;
        compare(b);
        b["dbias"] = b["weight"] = DType::none, b.types.erase("dx"), b.numbers["weight_offset"] = 0;
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
  c.backward = false, c["weight"] = c["bias"] = DType::none;
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
  NecessaryCall k(c);
  cudaStream_t stream;
  ASSERT_EQ(cudaStreamCreate(&stream), cudaSuccess);
  ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  EXPECT_EQ(k->call(stream), KILTER_OK) << kilter_last_error();
  cudaGraph_t graph;
  ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  size_t nodes = 0;
  ASSERT_EQ(cudaGraphGetNodes(graph, nullptr, &nodes), cudaSuccess);
  EXPECT_EQ(nodes, has_planes() ? nodes : 1u);
  EXPECT_GE(nodes, 1u);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
}

// Each call reads what the one before it wrote: with the flag, while that one's kernel may still run.
class Chain {
 public:
  explicit Chain(const Case& c) : tensors_(check::make_tensors(c)), case_(c, {}, tensors_) {}

  void queue(cudaStream_t stream, uint64_t flags) {
    check::Arguments &forward = case_.forward(), &backward = case_.backward();
    for (check::Arguments* call : {&forward, &backward}) call->set(*check::field_of(call->schema(), "launch_flags"), double(flags));
    const kilter_tensor from[] = {case_["x"], case_["dy"]}, between[] = {case_["y"], case_["dx"]};
    for (int i = 0; i < 40; ++i) {
      forward["x"] = i == 0 ? from[0] : between[(i + 1) % 2], forward["y"] = between[i % 2];
      ASSERT_EQ(forward.call(stream), KILTER_OK) << kilter_last_error();
    }
    for (int i = 0; i < 10; ++i) {
      backward["dy"] = i == 0 ? from[1] : between[(i + 1) % 2], backward["dx"] = between[i % 2];
      ASSERT_EQ(backward.call(stream), KILTER_OK) << kilter_last_error();
    }
  }
  std::vector<char> results() {  // which are gone then
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    std::vector<char> all;
    for (const check::Arguments* call : {&case_.forward(), &case_.backward()})
      for (const Field& f : check::fields_of(&call->function())) {
        const kilter_tensor t = check::is_tensor(f) && f.output ? case_[f.name] : kilter_tensor();
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
  Tensors tensors_;
  DeviceCase case_;
};

TEST_P(Device, DependentLaunchesAreOrdered) {
  if (!check::field_of(*check::function_of(GetParam(), false)->schema, "y")) return;  // what it writes it cannot read
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
  NecessaryCall k(base(DType::f32, 3, 300));
  (void)cudaMemcpy(nullptr, k.data(), 4, cudaMemcpyDeviceToHost);  // leaves an error behind
  EXPECT_EQ(k->call(), KILTER_PENDING_DEVICE_ERROR);
  (void)cudaGetLastError();
  EXPECT_EQ(k->call(), KILTER_OK) << kilter_last_error();
}

TEST_P(Device, SmallWorkspacesAndOtherDevicesAreRefused) {
  const Case c = base(DType::f32, 30, 300);
  Tensors t = check::make_tensors(c);
  DeviceCase device(c, {}, t);
  check::Arguments &forward = device.forward(), &backward = device.backward();
  kilter_plan plan;
  ASSERT_EQ(backward.ask(&plan), KILTER_OK) << kilter_last_error();
  if (plan.workspace_size) {
    char memory;
    backward.set_workspace(&memory, plan.workspace_size - 1);
    EXPECT_EQ(backward.call(), KILTER_WORKSPACE_TOO_SMALL);
  }
  for (const Field& f : check::fields_of(&forward.function()))
    if (check::is_tensor(f) && f.output && forward.tensor(f).data) {
      forward.tensor(f).device.id = 99;
      EXPECT_EQ(forward.call(), KILTER_INVALID_ARGUMENT) << f.name;
      forward.tensor(f).device.id = 0;
    }
}

INSTANTIATE_TEST_SUITE_P(Ops, Device, ::testing::ValuesIn(device_ops()), op_name);

}  // namespace
}  // namespace kilter::test

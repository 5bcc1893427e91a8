#include "device.h"

#include <string>
#include <cxxabi.h>

#include <cstdlib>
#include <cstring>

namespace kilter::test {

using check::Buffer;
using check::Case;
using check::Tensors;

namespace {

constexpr int64_t kMargin = 64;
constexpr char kPattern = 0x5A;

}  // namespace

DeviceTensor::DeviceTensor(Buffer& from, const DeviceLayout& layout) : buffer_(&from) {
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

kilter_tensor DeviceTensor::tensor() {
  if (!device_) return {};
  return {device_ + first_, {KILTER_DEVICE_CUDA, 0}, ndim_, dlpack_of(buffer_->dtype()), shape_, strides_, 0};
}

void DeviceTensor::restore(cudaStream_t stream) {
  if (!device_) return;
  EXPECT_EQ(cudaMemcpyAsync(device_, host_.data(), host_.size(), cudaMemcpyHostToDevice, stream), cudaSuccess);
}

void DeviceTensor::fetch(Buffer* to) {
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

DeviceCase::DeviceCase(const Case& c, const DeviceLayout& layout, Tensors& t) : case_(c), layout_(layout), tensors_(t) {
  SCOPED_TRACE(check::command(c));
  check::Call& k = forward_;
  k.op = c.op, k.eps = c.eps, k.weight_offset = c.weight_offset;
  k.rounding = c.round_then_multiply ? KILTER_ROUND_THEN_MULTIPLY : KILTER_ROUND_ONCE;
  DeviceTensor& x = place(t.x);
  k.x = x.tensor(), k.weight = place(t.weight).tensor(), k.bias = place(t.bias).tensor();
  k.residual = place(t.residual).tensor(), k.residual_out = place(t.residual_out).tensor();
  k.post_residual = place(t.post_residual).tensor(), k.mean = place(t.mean).tensor(), k.rstd = place(t.rstd).tensor();
  if (layout.in_place && !c.backward) y_in_x_ = &x;
  k.y = y_in_x_ ? k.x : place(t.y).tensor();
  EXPECT_EQ(std::string(check::implementation(k)).substr(0, 5), "cuda:");  // whichever kernels take it
  if (!c.backward) return;
  check::Call& b = backward_;
  b = k, b.backward = true;
  if (t.residual_out.present()) b.x = k.residual_out;
  DeviceTensor& dy = place(t.dy);
  if (layout.in_place && t.dx.present()) dx_in_dy_ = &dy;
  b.dy = dy.tensor(), b.dresidual_out = place(t.dresidual_out).tensor(), b.dx = dx_in_dy_ ? b.dy : place(t.dx).tensor();
  b.dresidual = place(t.dresidual).tensor(), b.dweight = place(t.dweight).tensor(), b.dbias = place(t.dbias).tensor();
  EXPECT_EQ(check::find_op(c.op)->backward_workspace(b, &b.workspace_size), KILTER_OK) << kilter_last_error();
  if (b.workspace_size) {
    EXPECT_EQ(cudaMalloc(reinterpret_cast<void**>(&workspace_), b.workspace_size), cudaSuccess);
    EXPECT_EQ(cudaMemset(workspace_, 0, b.workspace_size), cudaSuccess);
  }
  b.workspace = workspace_;
}

void DeviceCase::run(cudaStream_t stream) {
  SCOPED_TRACE(check::command(case_));
  const check::Op* const op = check::find_op(case_.op);
  forward_.stream = backward_.stream = stream;
  ASSERT_EQ(op->forward(forward_), KILTER_OK) << kilter_last_error();
  if (!case_.backward) return;
  ASSERT_EQ(op->backward(backward_), KILTER_OK) << kilter_last_error();
}

void DeviceCase::restore(cudaStream_t stream) {
  for (DeviceTensor& m : memory_) m.restore(stream);
}

void DeviceCase::fetch() {
  SCOPED_TRACE(check::command(case_));
  for (DeviceTensor& m : memory_)
    if (&m == y_in_x_)
      m.fetch(&tensors_.y);
    else if (&m == dx_in_dy_)
      m.fetch(&tensors_.dx);
    else
      m.fetch();
}

std::vector<Launch> DeviceCase::launches() {
  std::vector<Launch> list;
  cudaStream_t stream = nullptr;
  cudaGraph_t graph = nullptr;
  EXPECT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  EXPECT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  run(stream);
  EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  size_t count = 0;
  EXPECT_EQ(cudaGraphGetNodes(graph, nullptr, &count), cudaSuccess);
  std::vector<cudaGraphNode_t> nodes(count);
  EXPECT_EQ(cudaGraphGetNodes(graph, nodes.data(), &count), cudaSuccess);
  for (cudaGraphNode_t node : nodes) {
    cudaGraphNodeType type;
    cudaKernelNodeParams params = {};
    const char* name = nullptr;
    if (cudaGraphNodeGetType(node, &type) != cudaSuccess || type != cudaGraphNodeTypeKernel) continue;
    EXPECT_EQ(cudaGraphKernelNodeGetParams(node, &params), cudaSuccess);
    EXPECT_EQ(cudaFuncGetName(&name, params.func), cudaSuccess);
    char* const readable = name ? abi::__cxa_demangle(name, nullptr, nullptr, nullptr) : nullptr;
    list.push_back({readable ? readable : name ? name : "", params.gridDim, params.blockDim});
    std::free(readable);
  }
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
  return list;
}

void call_on_device(const Case& c, const DeviceLayout& layout, Tensors& t) {
  DeviceCase device(c, layout, t);
  ASSERT_NO_FATAL_FAILURE(device.run(nullptr));
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess) << check::command(c);
  device.fetch();
}

}  // namespace kilter::test

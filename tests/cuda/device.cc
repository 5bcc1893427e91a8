#include "device.h"

#include <cxxabi.h>

#include <cstdlib>
#include <cstring>
#include <string>

namespace kilter::test {

using check::Buffer;
using check::Case;
using check::Tensors;

namespace {

constexpr int64_t kMargin = 64;  // elements before a tensor, and behind one that is laid out in some way: else an emulator sees its end
constexpr char kPattern = 0x5A;

}  // namespace

DeviceTensor::DeviceTensor(Buffer& from, const DeviceLayout& layout) : buffer_(&from) {
  if (!from.present()) return;
  const kilter_tensor t = from.tensor();
  ndim_ = t.ndim;
  // A number for each row, of rows in several dimensions, is a vector.
  const bool has_rows = ndim_ >= 2 && (from.row_length() > 1 || t.shape[ndim_ - 1] == 1);
  rows_ = has_rows ? from.row_count() : 1;
  n_ = has_rows ? from.row_length() : from.row_count() * from.row_length();
  item_ = item_size(from.dtype());
  stride_ = n_ + (has_rows ? layout.gap : 0);
  const int64_t shift = layout.only_rows && !has_rows ? 0 : layout.shift;
  first_ = (kMargin + shift) * item_;
  const int64_t behind = !layout.only_rows && (layout.gap || layout.shift) ? kMargin : 0;
  host_.assign(size_t(kMargin + shift + rows_ * stride_ + behind) * size_t(item_), kPattern);
  for (int64_t r = 0; r < rows_; ++r) std::memcpy(host_row(r), from.data() + r * n_ * item_, size_t(n_ * item_));
  EXPECT_EQ(cudaMalloc(reinterpret_cast<void**>(&device_), host_.size()), cudaSuccess);
  EXPECT_EQ(cudaMemcpy(device_, host_.data(), host_.size(), cudaMemcpyHostToDevice), cudaSuccess);
  shape_.assign(t.shape, t.shape + ndim_), strides_.assign(size_t(ndim_), 1);
  // Rows are `stride_` apart: those of a tensor of rows, of several dimensions or one, or the samples of planes.
  int64_t inside = ndim_ > 0 ? shape_.back() : 1;
  for (int d = ndim_ - 2; d >= 0; --d) {
    const size_t at = size_t(d);
    strides_[at] = has_rows && inside == n_ ? stride_ : strides_[at + 1] * shape_[at + 1];
    inside = inside == n_ ? 0 : inside * shape_[at];  // 0: rows are behind
  }
  if (t.strides) strides_.assign(t.strides, t.strides + ndim_), strides_[0] = stride_;
}

kilter_tensor DeviceTensor::tensor() {
  if (!device_) return {};
  return {device_ + first_, {KILTER_DEVICE_CUDA, 0}, ndim_, dlpack_of(buffer_->dtype()), shape_.data(), strides_.data(), 0};
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

DeviceCase::DeviceCase(const Case& c, const DeviceLayout& layout, Tensors& t)
    : case_(c), layout_(layout), tensors_(t), forward_(check::arguments(case_, false, t)), backward_(check::arguments(case_, true, t)) {
  SCOPED_TRACE(check::command(c));
  const char* const input = c.backward ? "dy" : "x";  // and the output that may lie in its place
  const char* const output = c.backward ? "dx" : "y";
  const bool in_place = layout.in_place && t[output].present();
  for (check::Arguments* call : {&forward_, &backward_}) {
    const bool backward = call == &backward_;
    if (backward && !c.backward) break;
    for (const Field& f : check::fields_of(&call->function())) {
      if (!check::is_tensor(f) || !t[f.name].present() || (in_place && f.name == std::string(output))) continue;
      if (!placed_.count(f.name)) placed_[f.name] = &place(t[f.name]);
      call->tensor(f) = placed_[f.name]->tensor();
    }
    if (in_place && backward == c.backward) (*call)[output] = (*call)[input];
    if (backward && placed_.count("residual_out")) (*call)["x"] = placed_["residual_out"]->tensor();
    kilter_plan plan;
    EXPECT_EQ(call->ask(&plan), KILTER_OK) << kilter_last_error();
    EXPECT_EQ(std::string(plan.impl ? plan.impl : "").substr(0, 5), "cuda:");  // whichever kernels take it
    if (plan.workspace_size) {
      char*& workspace = workspaces_[backward];
      EXPECT_EQ(cudaMalloc(reinterpret_cast<void**>(&workspace), plan.workspace_size), cudaSuccess);
      EXPECT_EQ(cudaMemset(workspace, 0, plan.workspace_size), cudaSuccess);
      call->set_workspace(workspace, plan.workspace_size);
    }
  }
  if (in_place) (c.backward ? dx_in_dy_ : y_in_x_) = placed_[input];
}

kilter_tensor DeviceCase::operator[](const std::string& name) {
  const auto found = placed_.find(name);
  return found == placed_.end() ? kilter_tensor() : found->second->tensor();
}

void DeviceCase::run(cudaStream_t stream) {
  SCOPED_TRACE(check::command(case_));
  ASSERT_EQ(forward_.call(stream), KILTER_OK) << kilter_last_error();
  if (!case_.backward) return;
  ASSERT_EQ(backward_.call(stream), KILTER_OK) << kilter_last_error();
}

void DeviceCase::restore(cudaStream_t stream) {
  for (DeviceTensor& m : memory_) m.restore(stream);
}

void DeviceCase::fetch() {
  SCOPED_TRACE(check::command(case_));
  for (DeviceTensor& m : memory_)
    if (&m == y_in_x_)
      m.fetch(&tensors_["y"]);
    else if (&m == dx_in_dy_)
      m.fetch(&tensors_["dx"]);
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

// A check::Case run in device memory, and the fixture of the tests that compare it with the CPU.
#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "check/check.h"
#include "harness/run.h"

namespace kilter::test {

inline constexpr DType kTypes[] = {DType::f32, DType::bf16, DType::f16, DType::f64};

struct DeviceLayout {
  int64_t gap = 0;    // elements between rows
  int64_t shift = 0;  // elements by which the tensor is moved off its alignment
  bool in_place = false;
  bool only_rows = false;  // weights stay aligned
};

// A buffer's tensor in device memory, with a pattern around it and between its rows that must survive.
class DeviceTensor {
 public:
  DeviceTensor(check::Buffer& from, const DeviceLayout& layout);
  ~DeviceTensor() { cudaFree(device_); }
  DeviceTensor(const DeviceTensor&) = delete;
  DeviceTensor& operator=(const DeviceTensor&) = delete;

  kilter_tensor tensor();
  void restore(cudaStream_t stream);        // what the constructor placed
  void fetch(check::Buffer* to = nullptr);  // null: the buffer it came from.  After whatever writes the tensor has ended

 private:
  char* host_row(int64_t r) { return host_.data() + first_ + r * stride_ * item_; }

  check::Buffer* buffer_;
  int32_t ndim_ = 0;
  int64_t rows_ = 0, n_ = 0, stride_ = 0, item_ = 1, first_ = 0;
  std::vector<int64_t> shape_, strides_;
  std::vector<char> host_;
  char* device_ = nullptr;
};

struct Launch {
  std::string kernel;  // as the source spells it
  dim3 grid, block;
};

// The calls of a case with all their memory on the device, to be made any number of times.
class DeviceCase {
 public:
  DeviceCase(const check::Case& c, const DeviceLayout& layout, check::Tensors& t);
  ~DeviceCase() { cudaFree(workspaces_[0]), cudaFree(workspaces_[1]); }
  DeviceCase(const DeviceCase&) = delete;
  DeviceCase& operator=(const DeviceCase&) = delete;

  void run(cudaStream_t stream);      // forward, then backward if the case asks for it
  void restore(cudaStream_t stream);  // every tensor as it was before the first run
  void fetch();                       // results into the case's tensors
  std::vector<Launch> launches();     // what run launches; runs nothing

  check::Arguments& forward() { return forward_; }
  check::Arguments& backward() { return backward_; }
  kilter_tensor operator[](const std::string& name);  // absent where the case has none

 private:
  DeviceTensor& place(check::Buffer& b) { return memory_.emplace_back(b, layout_); }

  check::Case case_;
  DeviceLayout layout_;
  check::Tensors& tensors_;
  std::deque<DeviceTensor> memory_;
  std::map<std::string, DeviceTensor*> placed_;
  check::Arguments forward_, backward_;
  DeviceTensor *y_in_x_ = nullptr, *dx_in_dy_ = nullptr;
  char* workspaces_[2] = {};
};

// All of it once: place, run, fetch.
void call_on_device(const check::Case& c, const DeviceLayout& layout, check::Tensors& t);

// Makes plans as for a device of so many multiprocessors.
class AssumedMultiprocessors {
 public:
  explicit AssumedMultiprocessors(int count) { setenv("KILTER_TEST_SMS", std::to_string(count).c_str(), 1); }
  ~AssumedMultiprocessors() { unsetenv("KILTER_TEST_SMS"); }
  AssumedMultiprocessors(const AssumedMultiprocessors&) = delete;
  AssumedMultiprocessors& operator=(const AssumedMultiprocessors&) = delete;
};

inline bool has_device() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}

// Which statistics the case's norm uses, where it may use running ones.
inline void use_own_statistics(check::Case* c) {
  if (check::field_of(*check::function_of(c->op, false)->schema, "training")) c->numbers["training"] = 1;
}

class Device : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (!has_device()) GTEST_SKIP() << "no CUDA device";
  }
  void TearDown() override { RecordProperty("compared", compared); }

  check::Case base(DType x, int64_t rows, int64_t n, check::Fill fill = check::Fill::normal) {
    check::Case c;
    c.op = GetParam(), c.x = check::type_of_t(c.op, x), c.rows = rows, c.n = n, c.fill = fill, c.seed = 11;
    c["weight"] = c["bias"] = DType::f32, c.backward = true;
    if (has_planes()) {  // samples of about n elements, in every layout
      c.sizes = {{"batch", std::min<int64_t>(rows, 3)}, {"channels", 12}, {"spatial", std::min<int64_t>(n, 16384) / 12}, {"groups", 3}};
      c.layout = n / 12 % 2 ? kChannelsLast : kChannelsFirst;
    }
    use_own_statistics(&c);
    if (c.op == "rms_norm") c["dbias"] = DType::none;  // whose kernel for aligned rows has none
    if (c.op == "adaptive_layer_norm") c["weight"] = c["bias"] = c["dweight"] = c["dbias"] = DType::none;  // as for these
    return c;
  }
  bool has_planes() const {
    const Schema& s = *check::function_of(GetParam(), false)->schema;
    return s.fields[s.t].shapes[0].is_planes();
  }
  // Of a table of rows, whose plans follow from the device as well.
  bool has_rows() const {
    const Schema& s = *check::function_of(GetParam(), false)->schema;
    return !has_planes() && s.fields[s.t].name == std::string("x");
  }
  // What the plainest kernels take: weights of the rows' type, LayerNorm's bias.
  static check::Case plain(check::Case c) {
    c["weight"] = c["dweight"] = c.x, c["bias"] = c.op == "rms_norm" ? DType::none : c.x;
    if (c.types.count("dbias") == 0) c["dbias"] = c.x;
    return c;
  }
  // Devices add the squares of planes in fp64 as they are: up to 2^500 those hold them.
  bool is_in_range(const check::Case& c, const check::Tensors& t) const {
    if (c.x != DType::f64 || !has_planes()) return true;
    const check::Buffer& x = t["x"];
    for (int64_t r = 0; r < x.row_count(); ++r)
      for (int64_t i = 0; i < x.row_length(); ++i)
        if (const double v = std::abs(x.at(r, i)); std::isfinite(v) && v > 0x1p500) return false;
    return true;
  }
  // Sums by modulation, whose rows devices cut as they like.
  static bool is_sum_of_its_own(const Field& f) { return f.output && check::is_shared(f); }
  static bool has_sums_of_its_own(const check::Case& c) {
    for (const Field& f : check::fields_of(check::function_of(c.op, true)))
      if (is_sum_of_its_own(f)) return true;
    return false;
  }
  // The CPU's bits, but for such sums: theirs are within the bounds.
  static ::testing::AssertionResult has_cpu_bits(const check::Case& c, check::Tensors& got) {
    check::Tensors want = call_plain(c);
    if (!has_sums_of_its_own(c)) return same_bits(c, want, got);
    for (const Field& f : check::fields_of(check::function_of(c.op, true)))
      if (check::Buffer& sum = got[f.name]; is_sum_of_its_own(f) && sum.present())
        std::memcpy(want[f.name].data(), sum.data(), size_t(sum.row_count() * sum.row_length() * item_size(sum.dtype())));
    const ::testing::AssertionResult same = same_bits(c, want, got);
    return same && c.backward ? within(c, want) : same;
  }
  // With the CPU's bits, or where backends differ with float64.
  void compare(const check::Case& c, const DeviceLayout& layout = {}) {
    check::Tensors got = check::make_tensors(c);
    if (!is_in_range(c, got)) return;
    ++compared;
    ASSERT_NO_FATAL_FAILURE(call_on_device(c, layout, got));
    EXPECT_TRUE(check::find_op(c.op)->same_bits ? has_cpu_bits(c, got) : within(c, got))
        << "gap " << layout.gap << ", shift " << layout.shift << (layout.in_place ? ", in place" : "");
  }
  // What every run on the device gives, to the bit: the CPU's bits, or where backends differ those of a run that is within the bounds.
  static check::Tensors expected(const check::Case& c) {
    if (check::find_op(c.op)->same_bits && !has_sums_of_its_own(c)) return call_plain(c);
    check::Tensors first = check::make_tensors(c);
    call_on_device(c, {}, first);
    EXPECT_TRUE(check::find_op(c.op)->same_bits ? has_cpu_bits(c, first) : within(c, first));
    return first;
  }
  int compared = 0;

 protected:
  static ::testing::AssertionResult within(const check::Case& c, const check::Tensors& got) {
    check::Report r;
    check::find_op(c.op)->judge(c, got, &r);
    r.passed = r.problems.empty();
    for (const check::Measure& m : r.outputs) r.passed = r.passed && m.passed();
    return r.passed ? ::testing::AssertionSuccess() : ::testing::AssertionFailure() << check::describe(c, r);
  }
};

// A forward call in device memory that has what it must have.
class NecessaryCall {
 public:
  explicit NecessaryCall(const check::Case& c) : tensors_(check::make_tensors(c)), call_(check::arguments(c, false, tensors_)) {
    for (const Field& f : check::fields_of(&call_.function()))
      if (check::is_tensor(f))
        call_.tensor(f) = f.required ? memory_.emplace_back(tensors_[f.name], DeviceLayout{}).tensor() : kilter_tensor();
    kilter_plan plan = {};
    EXPECT_EQ(call_.ask(&plan), KILTER_OK) << kilter_last_error();
    EXPECT_EQ(cudaMalloc(&workspace_, plan.workspace_size + 1), cudaSuccess);
    EXPECT_EQ(cudaMemset(workspace_, 0, plan.workspace_size), cudaSuccess);
    call_.set_workspace(workspace_, plan.workspace_size);
  }
  ~NecessaryCall() { cudaFree(workspace_); }
  NecessaryCall(const NecessaryCall&) = delete;
  NecessaryCall& operator=(const NecessaryCall&) = delete;

  check::Arguments& operator*() { return call_; }
  check::Arguments* operator->() { return &call_; }
  void* data() { return memory_.front().tensor().data; }

 private:
  check::Tensors tensors_;
  std::deque<DeviceTensor> memory_;
  check::Arguments call_;
  void* workspace_ = nullptr;
};

// Those that have kernels for devices.
inline std::vector<std::string> device_ops() {
  std::vector<std::string> ops;
  for (const std::string& op : check::op_names()) {
    check::Case c;
    c.op = op, c.x = check::types_of_t(op)[0];
    use_own_statistics(&c);
    check::Tensors t = check::make_tensors(c);
    std::vector<kilter_candidate> list;
    if (check::arguments(c, false, t).explain(&list) != KILTER_OK) continue;
    const auto is_cuda = [](const kilter_candidate& k) { return std::string(k.impl).substr(0, 5) == "cuda:"; };
    if (std::any_of(list.begin(), list.end(), is_cuda)) ops.push_back(op);
  }
  return ops;
}

inline std::string op_name(const ::testing::TestParamInfo<std::string>& op) { return op.param; }

}  // namespace kilter::test

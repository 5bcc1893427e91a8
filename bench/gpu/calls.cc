#include "calls.h"

#include <stdexcept>

#include "floors.h"

namespace kilter::bench {
namespace {

constexpr size_t kAlignment = 512;

check::Arguments arguments_of(const Row& row) {
  const Function* const function = check::function_of(row.op.op, row.op.backward);
  if (!function) throw std::runtime_error(row.name() + ": the library has no such function");
  return check::Arguments(*function);
}

// Of [batch, channels, ...], a sample's channels side by side.
std::vector<int64_t> channels_last(const std::vector<int64_t>& shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  int64_t stride = shape[1];
  for (size_t d = shape.size() - 1; d > 1; --d) strides[d] = stride, stride *= shape[d];
  strides[0] = stride;
  return strides;
}

}  // namespace

size_t Tensor::elements() const {
  size_t count = 1;
  for (const int64_t size : shape) count *= size_t(size);
  return count;
}

Call::Call(const Row& row) : row_(row), arguments_(arguments_of(row)) {
  (void)cudaGetDevice(&device_);
  const Schema& schema = arguments_.schema();
  const Field& t = schema.fields[schema.t];
  check::Sizes sizes(schema);
  sizes.bind(t, row.shape);
  if (row.op.per_sample) {
    std::vector<int64_t> shape = row.shape;
    shape.at(shape.size() - 2) = 1;
    for (const Field& f : check::fields_of(&arguments_.function()))
      if (check::is_shared(f)) sizes.bind(f, shape);
  }
  for (const auto& [name, value] : row.op.numbers) {
    const Field* const f = check::field_of(schema, name);
    if (!f) throw std::runtime_error(row.name() + ": the op has no " + name);
    if (f->kind == Kind::count) sizes.set(schema.sizes[f->size], int64_t(value));
    if (f->kind == Kind::axis) sizes.dim = int64_t(value);
  }
  for (const std::string& name : row.op.tensors) {
    const Field* const f = check::field_of(schema, name);
    if (!f || !check::is_tensor(*f)) throw std::runtime_error(row.name() + ": the op has no tensor " + name);
    tensors_.push_back({f, sizes.shape_of(*f), {}, DType::none, 0, std::string_view(f->shape_text) == t.shape_text});
    if (row.channels_last && f->shapes[0].is_planes()) tensors_.back().strides = channels_last(tensors_.back().shape);
  }
  // A type may be that of another tensor: T's first, then in the table's order.
  arguments_.tensor(t).dtype = dlpack_of(row.type);
  for (const Field& f : check::fields_of(&arguments_.function()))
    for (Tensor& tensor : tensors_) {
      if (tensor.field != &f) continue;
      tensor.type = &f == &t ? row.type : arguments_.type_named(check::words_of(f.types_text, '|')[0]);
      arguments_.tensor(f) = tensor_of(tensor, nullptr);
    }
  for (Tensor& tensor : tensors_) {
    tensor.at = footprint_;
    footprint_ += (tensor.bytes() + kAlignment - 1) / kAlignment * kAlignment;
  }
  set_numbers(&arguments_);
}

void Call::set_numbers(check::Arguments* arguments) const {
  for (const auto& [name, value] : row_.op.numbers)
    if (const Field* const f = check::field_of(arguments->schema(), name)) arguments->set(*f, value);
  check::Sizes sizes(arguments->schema());
  for (int i = 0; i < arguments->schema().count; ++i)
    if (const Field& f = arguments->schema().fields[i]; f.kind == Kind::count)
      sizes.set(arguments->schema().sizes[f.size], int64_t(row_.op.numbers.at(f.name)));
  arguments->set_counts(sizes);
}

int Call::large(bool outputs) const {
  int count = 0;
  for (const Tensor& tensor : tensors_) count += tensor.large && tensor.field->output == outputs;
  return count;
}

size_t Call::bytes() const {
  size_t bytes = 0;
  for (const Tensor& tensor : tensors_) bytes += tensor.bytes();
  return bytes;
}

Set Call::set_at(char* base) const {
  Set set;
  for (const Tensor& tensor : tensors_) set.push_back(base + tensor.at);
  return set;
}

size_t Call::index(const std::string& name) const {
  for (size_t i = 0; i < tensors_.size(); ++i)
    if (name == tensors_[i].field->name) return i;
  throw std::runtime_error(row_.name() + " has no tensor " + name);
}

kilter_tensor Call::tensor_of(const Tensor& tensor, char* data) const {
  return {data,
          {KILTER_DEVICE_CUDA, device_},
          int32_t(tensor.shape.size()),
          dlpack_of(tensor.type),
          const_cast<int64_t*>(tensor.shape.data()),
          tensor.strides.empty() ? nullptr : const_cast<int64_t*>(tensor.strides.data()),
          0};
}

kilter_status Call::workspace_bytes(size_t* bytes) {
  kilter_plan plan;
  const kilter_status status = arguments_.ask(&plan);
  *bytes = status == KILTER_OK ? plan.workspace_size : 0;
  return status;
}

kilter_status Call::run(const Set& set, void* workspace, size_t workspace_size, cudaStream_t stream) {
  for (size_t i = 0; i < tensors_.size(); ++i) arguments_.tensor(*tensors_[i].field).data = set[i];
  arguments_.set_workspace(workspace, workspace_size);
  return arguments_.call(stream);
}

kilter_status Call::fill(const Set& set, unsigned seed, cudaStream_t stream) const {
  uint64_t next = uint64_t(seed) << 40;
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const Tensor& tensor = tensors_[i];
    if (tensor.field->output) continue;
    const auto values = all_rows().fills.find(tensor.field->name);
    const Values v = values == all_rows().fills.end() ? Values() : values->second;
    (void)fill_normal(set[i], tensor.elements(), tensor.type, v.mean, v.deviation, next, stream);
    next += tensor.elements();
  }
  return row_.op.backward ? run_forward(set, stream) : KILTER_OK;
}

// On tensors of the same names; its y, which nobody reads, goes where dx will be.
kilter_status Call::run_forward(const Set& set, cudaStream_t stream) const {
  const Function* const forward = check::function_of(row_.op.op, false);
  if (!forward) return KILTER_OK;
  check::Arguments arguments(*forward);
  set_numbers(&arguments);
  bool needed = false;
  for (const Field& f : check::fields_of(forward)) {
    if (!check::is_tensor(f)) continue;
    for (size_t i = 0; i < tensors_.size(); ++i) {
      const Field& own = *tensors_[i].field;
      const bool same = std::string_view(own.name) == f.name;
      if (same || (f.output && f.required && own.output && tensors_[i].large)) {
        arguments.tensor(f) = tensor_of(tensors_[i], set[i]);
        needed = needed || (same && f.output);
        break;
      }
    }
  }
  kilter_plan plan;
  if (!needed) return KILTER_OK;
  KILTER_RETURN_IF_ERROR(arguments.ask(&plan));
  void* workspace = nullptr;
  if (cudaMalloc(&workspace, plan.workspace_size + 1) != cudaSuccess) return KILTER_DEVICE_ERROR;
  (void)cudaMemsetAsync(workspace, 0, plan.workspace_size, stream);
  arguments.set_workspace(workspace, plan.workspace_size);
  const kilter_status status = arguments.call(stream);
  (void)cudaStreamSynchronize(stream);
  (void)cudaFree(workspace);
  return status;
}

}  // namespace kilter::bench

#include "core/tensor.h"

#include <cinttypes>
#include <cstdio>

namespace kilter {
namespace {

constexpr const char* kAnyDType = "fp64, fp32, fp16, bf16 or uint8";

bool multiply(int64_t a, int64_t b, int64_t* out) { return !__builtin_mul_overflow(a, b, out); }

bool same_device(const kilter_device& a, const kilter_device& b) { return a.type == b.type && a.id == b.id; }

int64_t stride_of(const kilter_tensor& t, int d) {
  if (t.strides) return t.strides[d];
  int64_t stride = 1;
  for (int i = d + 1; i < t.ndim; ++i) stride *= t.shape[i];
  return stride;
}

// The map over dimensions 0 .. leading - 1, neighbours merged where one stride continues the other.
// false: too many are left.
bool coalesce(const kilter_tensor& t, int leading, RowMap* out) {
  RowMap& map = *out;
  map.ndim = 0;
  for (int d = leading - 1; d >= 0; --d) {
    if (t.shape[d] == 1) continue;
    const int64_t stride = stride_of(t, d);
    if (map.ndim > 0 && stride == map.stride[map.ndim - 1] * map.size[map.ndim - 1]) {
      map.size[map.ndim - 1] *= t.shape[d];
    } else if (map.ndim == kMaxRowDims) {
      return false;
    } else {
      map.size[map.ndim] = t.shape[d];
      map.stride[map.ndim++] = stride;
    }
  }
  return true;
}

}  // namespace

uint8_t layouts_of(const kilter_tensor& t) {
  uint8_t layouts = kChannelsFirst | kChannelsLast;
  for (int d = 0; d < t.ndim; ++d)
    if (t.shape[d] == 0) return layouts;  // whatever its strides
  int64_t first = 1, last = t.shape[1];   // strides that the dimension has if dense
  for (int d = t.ndim - 1; d >= 1; --d) {
    const int64_t stride = stride_of(t, d);
    if (t.shape[d] != 1 && stride != first) layouts &= uint8_t(~kChannelsFirst);
    if (t.shape[d] != 1 && stride != (d == 1 ? 1 : last)) layouts &= uint8_t(~kChannelsLast);
    first *= t.shape[d], last *= t.shape[d];
  }
  return layouts;
}

ShapeText::ShapeText(const int64_t* shape, int ndim) {
  size_t used = size_t(std::snprintf(text, sizeof text, "["));
  for (int d = 0; d < ndim && used < sizeof text - 32; ++d)
    used += size_t(std::snprintf(text + used, sizeof text - used, "%s%" PRId64, d ? ", " : "", shape[d]));
  std::snprintf(text + used, sizeof text - used, "]");
}

kilter_device device_for(kilter_device d) {
  switch (d.type) {
    case KILTER_DEVICE_CUDA_HOST:
    case KILTER_DEVICE_ROCM_HOST:
    case KILTER_DEVICE_CUDA_MANAGED:
      return {KILTER_DEVICE_CPU, 0};
    default:
      return d;
  }
}

kilter_status check_alone(const char* op, const char* name, const kilter_tensor& t, const char* first, const kilter_device& device,
                          int contiguous_from, bool may_lack_memory, Checked* out) {
  if (t.ndim < 0) return fail(KILTER_INVALID_ARGUMENT, op, "%s.ndim: expected 0 to %d, got %d", name, KILTER_MAX_RANK, int(t.ndim));
  if (t.ndim > KILTER_MAX_RANK)
    return fail(KILTER_UNSUPPORTED, op, "%s.ndim: expected at most %d, got %d", name, KILTER_MAX_RANK, int(t.ndim));
  if (t.ndim > 0 && !t.shape) return fail(KILTER_INVALID_ARGUMENT, op, "%s.shape: expected %d sizes, got null", name, int(t.ndim));
  if (t.dtype.lanes != 1) return fail(KILTER_INVALID_ARGUMENT, op, "%s.dtype.lanes: expected 1, got %u", name, unsigned(t.dtype.lanes));
  out->dtype = dtype_of(t.dtype);
  if (out->dtype == DType::none)
    return fail(KILTER_UNSUPPORTED, op, "%s.dtype: expected %s, got code %u with %u bits", name, kAnyDType, unsigned(t.dtype.code),
                unsigned(t.dtype.bits));
  for (int d = 0; d < t.ndim; ++d)
    if (t.shape[d] < 0) return fail(KILTER_INVALID_ARGUMENT, op, "%s.shape[%d]: expected a size >= 0, got %" PRId64, name, d, t.shape[d]);
  const int item = item_size(out->dtype);
  int64_t bytes = item;
  for (int d = 0; d < t.ndim; ++d) {
    if (t.shape[d] == 0) out->elements = 0;
  }
  for (int d = 0; d < t.ndim && out->elements; ++d)
    if (!multiply(bytes, t.shape[d], &bytes))
      return fail(KILTER_INVALID_ARGUMENT, op, "%s.shape: expected at most 2^63 bytes, got %s of %s", name, ShapeText(t.shape, t.ndim).text,
                  dtype_name(out->dtype));
  if (out->elements) out->elements = bytes / item;
  if (out->elements && !t.data && !may_lack_memory)
    return fail(KILTER_INVALID_ARGUMENT, op, "%s.data: expected memory for %" PRId64 " elements, got null", name, out->elements);
  if (!same_device(device_for(t.device), device))
    return fail(KILTER_INVALID_ARGUMENT, op, "%s.device: expected %s's (type %d, id %d), got type %d, id %d", name, first, int(device.type),
                int(device.id), int(t.device.type), int(t.device.id));
  if (!out->elements) return KILTER_OK;
  if (t.strides) {
    int64_t span = 0;
    for (int d = 0; d < t.ndim; ++d) {
      int64_t reach = 0;
      if (t.shape[d] > 1 && d >= contiguous_from && t.strides[d] != 1)
        return fail(KILTER_UNSUPPORTED, op, "%s.strides[%d]: expected 1 (the last dimension is contiguous), got %" PRId64, name, d,
                    t.strides[d]);
      const int64_t magnitude = t.strides[d] < 0 ? (t.strides[d] == INT64_MIN ? INT64_MAX : -t.strides[d]) : t.strides[d];
      if (t.shape[d] > 1 && (!multiply(magnitude, t.shape[d] - 1, &reach) || !multiply(reach, item, &reach) ||
                             __builtin_add_overflow(span, reach, &span) || span > INT64_MAX / 4))
        return fail(KILTER_INVALID_ARGUMENT, op,
                    "%s.strides[%d]: expected offsets below 2^61 bytes, got stride %" PRId64 " for size %" PRId64, name, d, t.strides[d],
                    t.shape[d]);
    }
  }
  const uintptr_t address = reinterpret_cast<uintptr_t>(t.data) + t.byte_offset;
  if (t.data && address % uintptr_t(item) != 0)
    return fail(KILTER_INVALID_ARGUMENT, op, "%s: expected an address that is a multiple of %d bytes (%s), got remainder %d", name, item,
                dtype_name(out->dtype), int(address % uintptr_t(item)));
  return KILTER_OK;
}

kilter_status fill_view(const char* op, const char* name, const kilter_tensor& t, const Checked& checked, int leading, View* out) {
  out->dtype = checked.dtype;
  if (!checked.elements) return KILTER_OK;  // nothing can be read or written
  char* const placeholder = reinterpret_cast<char*>(uintptr_t(1) << 20);
  out->data = (t.data ? static_cast<char*>(t.data) : placeholder) + t.byte_offset;
  if (coalesce(t, leading, &out->map)) return KILTER_OK;
  return fail(KILTER_UNSUPPORTED, op, "%s.strides: expected at most %d leading dimensions that do not continue each other, got %s", name,
              kMaxRowDims, ShapeText(t.strides, t.ndim).text);
}

}  // namespace kilter

#include "core/tensor.h"

#include <cinttypes>
#include <cstdio>
#include <cstring>

namespace kilter {
namespace {

constexpr const char* kAnyDType = "fp64, fp32, fp16 or bf16";

bool multiply(int64_t a, int64_t b, int64_t* out) { return !__builtin_mul_overflow(a, b, out); }

// "[2, 3, 4]"
struct ShapeText {
  char text[160];
  ShapeText(const int64_t* shape, int ndim) {
    size_t used = size_t(std::snprintf(text, sizeof text, "["));
    for (int d = 0; d < ndim && used < sizeof text - 32; ++d)
      used += size_t(std::snprintf(text + used, sizeof text - used, "%s%" PRId64, d ? ", " : "", shape[d]));
    std::snprintf(text + used, sizeof text - used, "]");
  }
};

struct Checked {
  DType dtype = DType::none;
  int64_t elements = 1;
};

// What a caller who forgets a tensor passes: a struct of zeros.
bool forgotten(const kilter_tensor& t) { return !t.data && !t.shape && t.ndim == 0 && t.dtype.bits == 0 && t.dtype.lanes == 0; }

bool same_device(const kilter_device& a, const kilter_device& b) { return a.type == b.type && a.id == b.id; }

// Everything that does not depend on the other tensors' shapes: type, rank, sizes, device, address arithmetic.
kilter_status check_alone(const char* op, const char* name, const kilter_tensor& t, const kilter_device& device, int contiguous_from,
                          Checked* out) {
  if (forgotten(t)) return fail(KILTER_INVALID_ARGUMENT, op, "%s: expected a tensor, got none: it is required", name);
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
  if (out->elements && !t.data)
    return fail(KILTER_INVALID_ARGUMENT, op, "%s.data: expected memory for %" PRId64 " elements, got null", name, out->elements);
  if (!same_device(device_for(t.device), device))
    return fail(KILTER_INVALID_ARGUMENT, op, "%s.device: expected x's (type %d, id %d), got type %d, id %d", name, int(device.type),
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
  if (address % uintptr_t(item) != 0)
    return fail(KILTER_INVALID_ARGUMENT, op, "%s: expected an address that is a multiple of %d bytes (%s), got remainder %d", name, item,
                dtype_name(out->dtype), int(address % uintptr_t(item)));
  return KILTER_OK;
}

int64_t stride_of(const kilter_tensor& t, int d) {
  if (t.strides) return t.strides[d];
  int64_t stride = 1;
  for (int i = d + 1; i < t.ndim; ++i) stride *= t.shape[i];
  return stride;
}

// The map over dimensions 0 .. leading - 1, neighbours merged where one stride continues the other.
void coalesce(const kilter_tensor& t, int leading, RowMap* out) {
  RowMap& map = *out;
  map.ndim = 0;
  for (int d = leading - 1; d >= 0; --d) {
    if (t.shape[d] == 1) continue;
    const int64_t stride = stride_of(t, d);
    if (map.ndim > 0 && stride == map.stride[map.ndim - 1] * map.size[map.ndim - 1]) {
      map.size[map.ndim - 1] *= t.shape[d];
    } else {
      map.size[map.ndim] = t.shape[d];
      map.stride[map.ndim++] = stride;
    }
  }
}

void fill_view(const kilter_tensor& t, DType dtype, int64_t elements, int leading, View* out) {
  out->dtype = dtype;
  if (!elements) return;  // stays absent: nothing can be read or written
  out->data = static_cast<char*>(t.data) + t.byte_offset;
  coalesce(t, leading, &out->map);
}

kilter_status wrong_shape(const char* op, const char* name, const kilter_tensor& t, const char* expected) {
  return fail(KILTER_INVALID_ARGUMENT, op, "%s.shape: expected %s, got %s", name, expected, ShapeText(t.shape, t.ndim).text);
}

bool absent(const kilter_tensor& t, Need need) { return need == Need::optional && !t.data; }

}  // namespace

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

kilter_status read_first(const char* op, const char* name, const kilter_tensor& t, Rows* rows, View* out) {
  if (t.ndim < 1 && !forgotten(t))
    return fail(KILTER_INVALID_ARGUMENT, op, "%s.ndim: expected 1 to %d, got %d", name, KILTER_MAX_RANK, int(t.ndim));
  Checked checked;
  KILTER_RETURN_IF_ERROR(check_alone(op, name, t, device_for(t.device), t.ndim > 0 ? t.ndim - 1 : 0, &checked));
  rows->device = device_for(t.device);
  rows->ndim = t.ndim;
  rows->shape = t.shape;
  rows->n = t.shape[t.ndim - 1];
  rows->rows = 1;
  for (int d = 0; d < t.ndim - 1; ++d)
    if (t.shape[d] == 0) rows->rows = 0;
  for (int d = 0; d < t.ndim - 1 && rows->rows; ++d)
    if (!multiply(rows->rows, t.shape[d], &rows->rows))
      return fail(KILTER_INVALID_ARGUMENT, op, "%s.shape: expected at most 2^63 rows, got %s", name, ShapeText(t.shape, t.ndim).text);
  fill_view(t, checked.dtype, checked.elements, t.ndim - 1, out);
  return KILTER_OK;
}

kilter_status read_any(const char* op, const char* name, const kilter_tensor& t, Need need, const Rows& rows, View* out) {
  if (absent(t, need)) return KILTER_OK;
  Checked checked;
  KILTER_RETURN_IF_ERROR(check_alone(op, name, t, rows.device, t.ndim > 0 ? t.ndim - 1 : 0, &checked));
  fill_view(t, checked.dtype, checked.elements, t.ndim > 0 ? t.ndim - 1 : 0, out);
  return KILTER_OK;
}

kilter_status read_rows(const char* op, const char* name, const kilter_tensor& t, Need need, const Rows& rows, View* out) {
  if (absent(t, need)) return KILTER_OK;
  KILTER_RETURN_IF_ERROR(read_any(op, name, t, need, rows, out));
  if (t.ndim == rows.ndim && std::memcmp(t.shape, rows.shape, sizeof(int64_t) * size_t(rows.ndim)) == 0) return KILTER_OK;
  char expected[200];
  std::snprintf(expected, sizeof expected, "x's shape %s", ShapeText(rows.shape, rows.ndim).text);
  return wrong_shape(op, name, t, expected);
}

kilter_status read_vector(const char* op, const char* name, const kilter_tensor& t, Need need, const Rows& rows, View* out) {
  if (absent(t, need)) return KILTER_OK;
  Checked checked;
  KILTER_RETURN_IF_ERROR(check_alone(op, name, t, rows.device, 0, &checked));
  if (t.ndim != 1 || t.shape[0] != rows.n) {
    char expected[64];
    std::snprintf(expected, sizeof expected, "[%" PRId64 "] (x.shape[-1])", rows.n);
    return wrong_shape(op, name, t, expected);
  }
  fill_view(t, checked.dtype, checked.elements, 0, out);
  return KILTER_OK;
}

kilter_status read_per_row(const char* op, const char* name, const kilter_tensor& t, Need need, const Rows& rows, View* out) {
  if (absent(t, need)) return KILTER_OK;
  Checked checked;
  KILTER_RETURN_IF_ERROR(check_alone(op, name, t, rows.device, t.ndim, &checked));
  const int leading = rows.ndim - 1;
  const bool same = t.ndim >= leading && (leading == 0 || std::memcmp(t.shape, rows.shape, sizeof(int64_t) * size_t(leading)) == 0);
  if (!same || t.ndim > rows.ndim || (t.ndim == rows.ndim && t.shape[leading] != 1)) {
    char expected[240];
    std::snprintf(expected, sizeof expected, "%s (one value per row), or that with a last dimension of 1",
                  ShapeText(rows.shape, leading).text);
    return wrong_shape(op, name, t, expected);
  }
  fill_view(t, checked.dtype, checked.elements, leading, out);
  return KILTER_OK;
}

kilter_status check_struct(const char* op, const char* name, const void* args, size_t minimum, size_t known) {
  if (!args) return fail(KILTER_INVALID_ARGUMENT, op, "%s: expected a struct, got null", name);
  size_t size = 0;
  std::memcpy(&size, args, sizeof size);
  if (size < minimum) return fail(KILTER_INVALID_ARGUMENT, op, "%s.struct_size: expected at least %zu, got %zu", name, minimum, size);
  if (size > known + 4096) return fail(KILTER_INVALID_ARGUMENT, op, "%s.struct_size: expected about %zu, got %zu", name, known, size);
  for (size_t i = known; i < size; ++i)
    if (static_cast<const unsigned char*>(args)[i])
      return fail(KILTER_UNSUPPORTED, op, "%s.struct_size: expected %zu, got %zu with fields that this version does not know", name, known,
                  size);
  return KILTER_OK;
}

}  // namespace kilter

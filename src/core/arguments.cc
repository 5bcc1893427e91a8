#include "core/arguments.h"

#include <cinttypes>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <new>

#include "core/bits.h"
#include "core/overlap.h"
#include "core/tensor.h"

namespace kilter {
namespace {

// Text that is cut where its buffer ends.
struct Text {
  char text[300] = "";
  size_t used = 0;
  [[gnu::format(printf, 2, 3)]] void add(const char* format, ...) {
    if (used >= sizeof text) return;
    va_list values;
    va_start(values, format);
    used += size_t(std::vsnprintf(text + used, sizeof text - used, format, values));
    va_end(values);
  }
  void separate(const char* by) {
    if (used) add("%s", by);
  }
};

class Reader {
 public:
  Reader(const Schema& schema, const void* args, Purpose purpose, void* problem)
      : s_(schema), args_(args), ask_(purpose == Purpose::kAsk), problem_(problem) {}

  kilter_status read() {
    for (int k = 0; k < s_.count; ++k)
      if (s_.fields[k].kind == Kind::count) KILTER_RETURN_IF_ERROR(read_count(s_.fields[k], k));
    for (int k = 0; k < s_.count; ++k)
      if (s_.fields[k].kind == Kind::tensor) KILTER_RETURN_IF_ERROR(read_tensor(s_.fields[k], k));
    for (int k = 0; k < s_.count; ++k)
      if (s_.fields[k].kind != Kind::tensor) KILTER_RETURN_IF_ERROR(read_scalar(s_.fields[k]));
    for (int k = 0; k < s_.count; ++k)
      if (s_.fields[k].needs >= 0) KILTER_RETURN_IF_ERROR(check_need(s_.fields[k]));
    KILTER_RETURN_IF_ERROR(check_type(s_.fields[s_.t]));  // first: others may have its type
    for (int k = 0; k < s_.count; ++k)
      if (s_.fields[k].kind == Kind::tensor) KILTER_RETURN_IF_ERROR(check_type(s_.fields[k]));
    for (int k = 0; k < s_.count; ++k)
      if (is_planes(s_.fields[k])) view(s_.fields[k]).layout = layouts_;
    for (int k = 0; k < s_.count; ++k)
      if (is_bits(s_.fields[k])) KILTER_RETURN_IF_ERROR(check_bits(s_.fields[k]));
    KILTER_RETURN_IF_ERROR(check_overlaps());
    for (int i = 0; i < s_.size_count; ++i) member<int64_t>(problem_, s_.sizes[i].to) = s_.sizes[i].product ? product_ : value_of(i);
    return KILTER_OK;
  }

 private:
  // What a size was found to be, and by which tensor.
  struct Bound {
    int64_t value = 0;
    int field = -1, dim = 0;  // dim: from the end, -1 the last; in front of "...": from 0
  };

  View& view(const Field& f) { return member<View>(problem_, f.to); }
  DType type_of(int field) { return view(s_.fields[field]).dtype; }
  template <class T>
  const T& given(const Field& f) const {
    return member<T>(args_, f.at);
  }

  kilter_status read_tensor(const Field& f, int index) {
    const kilter_tensor& t = given<kilter_tensor>(f);
    const bool typed = t.dtype.code || t.dtype.bits || t.dtype.lanes;
    if (!typed && (t.data || t.device.type || t.device.id || t.ndim || t.shape || t.strides || t.byte_offset))
      return fail(KILTER_INVALID_ARGUMENT, s_.op, "%s.dtype: expected a type, or zeros everywhere for an absent tensor, got no type",
                  f.name);
    if (!typed && f.required) return fail(KILTER_INVALID_ARGUMENT, s_.op, "%s: expected a tensor, got none: it is required", f.name);
    if (!typed) return KILTER_OK;
    if (first_ < 0) first_ = index, member<kilter_device>(problem_, s_.device) = device_for(t.device);
    const Shape* shape = nullptr;
    for (int a = 0; a < f.shape_count && !shape; ++a)
      if (holds(f, f.shapes[a]) && matches(f.shapes[a], t)) shape = &f.shapes[a];
    if (f.like >= 0 && shape && !same_shape(t, given<kilter_tensor>(s_.fields[f.like]))) shape = nullptr;
    const int leading = shape ? row_dims(*shape, t) : 0;
    Checked checked;
    KILTER_RETURN_IF_ERROR(check_alone(s_.op, f.name, t, s_.fields[first_].name, member<kilter_device>(problem_, s_.device),
                                       shape && !shape->is_planes() ? leading : KILTER_MAX_RANK, ask_, &checked));
    if (!shape) return wrong_shape(f, t);
    if (shape->is_planes()) KILTER_RETURN_IF_ERROR(check_layout(f, t));
    KILTER_RETURN_IF_ERROR(bind(f, index, *shape, t));
    return fill_view(s_.op, f.name, t, checked, leading, &view(f));
  }

  // Dimensions that "..." stands for; 0 without one, negative if there are too few.
  static int any_of(const Shape& shape, const kilter_tensor& t) { return shape.any < 0 ? 0 : t.ndim - (shape.count - 1); }
  // Those whose places are rows.
  static int row_dims(const Shape& shape, const kilter_tensor& t) {
    return shape.is_planes() ? 1 : shape.any < 0 ? shape.count - 1 : any_of(shape, t);
  }
  static bool is_bits(const Field& f) { return f.kind == Kind::tensor && f.shapes[0].is_bits(); }
  static bool is_planes(const Field& f) { return f.kind == Kind::tensor && f.shapes[0].is_planes(); }

  // All tensors of planes lie alike.
  kilter_status check_layout(const Field& f, const kilter_tensor& t) {
    const uint8_t layouts = layouts_of(t);
    if (!layouts)
      return fail(KILTER_UNSUPPORTED, s_.op, "%s.strides: expected channels first or channels last, dense in each sample, got %s", f.name,
                  ShapeText(t.strides, t.ndim).text);
    if (!(layouts & layouts_))
      return fail(KILTER_UNSUPPORTED, s_.op, "%s.strides: expected channels %s, as of %s, got channels %s", f.name,
                  layouts_ & kChannelsFirst ? "first" : "last", s_.fields[first_].name, layouts & kChannelsFirst ? "first" : "last");
    layouts_ &= layouts;
    return KILTER_OK;
  }

  // Size of the shape's i-th dimension, which is not "...".  Lengths that are none give -1.
  static int64_t size_at(const Shape& shape, int i, const kilter_tensor& t) {
    const int64_t size = t.shape[shape.any >= 0 && i > shape.any ? t.ndim - shape.count + i : i];
    return i != shape.more ? size : size < 1 ? -1 : size - 1;
  }
  // What it is found to be.
  int64_t value_of(int size) const { return s_.sizes[size].shared && bound_[size].field < 0 ? shared_ : bound_[size].value; }

  // Of a field that has an alternative by a tensor of lengths: that one where the tensor is there, else the others.
  bool holds(const Field& f, const Shape& shape) const {
    for (int a = 0; a < f.shape_count; ++a)
      if (const int8_t by = f.shapes[a].by; by >= 0) return (bound_[by].field >= 0) == (shape.by >= 0);
    return true;
  }
  static bool same_shape(const kilter_tensor& a, const kilter_tensor& b) {
    return a.ndim == b.ndim && (!a.ndim || std::memcmp(a.shape, b.shape, sizeof(int64_t) * size_t(a.ndim)) == 0);
  }
  // Whether the first dimensions are those of "...", the last of them perhaps 1.
  bool shares(const kilter_tensor& t, int any) const {
    bool one = false;
    for (int d = 0; d < any; ++d) {
      if (t.shape[d] != any_[d] ? t.shape[d] != 1 : one && any_[d] != 1) return false;
      one |= t.shape[d] != any_[d];
    }
    return any == any_count_;
  }

  bool matches(const Shape& shape, const kilter_tensor& t) const {
    if (t.ndim < 0 || t.ndim > KILTER_MAX_RANK || (t.ndim > 0 && !t.shape)) return false;
    const int any = any_of(shape, t);
    if (any < 0) return false;
    if (shape.any < 0 && t.ndim != shape.count) return false;
    if (shape.is_shared() && !shares(t, any)) return false;
    if (shape.any >= 0 && any_bound_ && !shape.is_shared() &&
        (any != any_count_ || (any && std::memcmp(t.shape + shape.any, any_, sizeof(int64_t) * size_t(any)) != 0)))
      return false;
    for (int i = 0; i < shape.count; ++i) {
      if (i == shape.any || shape.dims[i] == kBits) continue;
      const int64_t size = size_at(shape, i, t);
      if (i == shape.more && size < 0) return false;
      if (shape.dims[i] == kKept) {
        if (size != axis_.kept) return false;
        continue;
      }
      if (shape.dims[i] == kOne ? size != 1 : bound_[shape.dims[i]].field >= 0 && bound_[shape.dims[i]].value != size) return false;
    }
    return true;
  }

  kilter_status bind(const Field& f, int index, const Shape& shape, const kilter_tensor& t) {
    for (int i = 0; i < shape.count; ++i)
      if (i != shape.any && shape.dims[i] >= 0 && bound_[shape.dims[i]].field < 0)
        bound_[shape.dims[i]] = {size_at(shape, i, t), index, i < shape.any ? i : i - shape.count};
    if (shape.is_shared() && f.like < 0) {
      shared_ = 1;
      for (int d = 0; d < any_count_; ++d) shared_ = t.shape[d] == 0 ? 0 : shared_ * t.shape[d];
    }
    if (shape.any < 0 || any_bound_) return KILTER_OK;
    any_bound_ = true, any_ = t.shape + shape.any, any_count_ = any_of(shape, t);
    product_ = 1;
    for (int d = 0; d < any_count_; ++d)
      if (any_[d] == 0) product_ = 0;
    for (int d = 0; d < any_count_ && product_; ++d)
      if (__builtin_mul_overflow(product_, any_[d], &product_))
        return fail(KILTER_INVALID_ARGUMENT, s_.op, "%s.shape: expected at most 2^63 %s, got %s", f.name,
                    shape.is_planes() ? "places" : "rows", ShapeText(t.shape, t.ndim).text);
    for (int k = 0; k < s_.count; ++k)
      if (s_.fields[k].kind == Kind::axis) return read_axis(s_.fields[k], f, t);
    return KILTER_OK;
  }

  // By the first tensor with a "...", before those whose shape it says.
  kilter_status read_axis(const Field& f, const Field& of, const kilter_tensor& t) {
    const int64_t dim = given<int64_t>(f), from_start = dim < 0 ? dim + t.ndim : dim;
    if (dim != KILTER_DIM_NONE && (from_start < 0 || from_start >= t.ndim))
      return fail(KILTER_INVALID_ARGUMENT, s_.op, "%s: expected %d to %d, or KILTER_DIM_NONE (%s has %d dimensions), got %" PRId64, f.name,
                  -int(t.ndim), int(t.ndim) - 1, of.name, int(t.ndim), dim);
    kept_dim_ = dim == KILTER_DIM_NONE ? -1 : int(from_start);
    member<Axis>(problem_, f.to) = axis_ = Axis(t.shape, t.ndim, kept_dim_);
    return KILTER_OK;
  }

  // Of a sample of planes, of which the first tensor is; a tensor of them tells the layout only after all others were read.
  int64_t bits() const { return bytes_of_bits(bound_[s_.fields[s_.t].shapes[0].dims[1]].value, product_, layouts_); }
  kilter_status check_bits(const Field& f) {
    const kilter_tensor& t = given<kilter_tensor>(f);
    if (type_of(int(&f - s_.fields)) == DType::none || t.shape[0] == 0 || t.shape[1] == bits()) return KILTER_OK;
    return wrong_shape(f, t);
  }

  kilter_status wrong_shape(const Field& f, const kilter_tensor& t) {
    Text expected;
    for (int a = 0; a < f.shape_count; ++a) {
      const Shape& shape = f.shapes[a];
      if (!holds(f, shape)) continue;
      expected.add("%s[", expected.used ? " or " : "");
      Text sizes;
      const Bound* binder = nullptr;
      for (int i = 0; i < shape.count; ++i) {
        if (shape.dims[i] == kShared) {
          for (int d = 0; d < any_count_; ++d) sizes.separate(", "), sizes.add("%" PRId64 "%s", any_[d], any_[d] == 1 ? "" : " or 1");
          continue;
        }
        if (shape.dims[i] == kAny && any_bound_) {
          for (int d = 0; d < any_count_; ++d) sizes.separate(", "), sizes.add("%" PRId64, any_[d]);
          continue;
        }
        sizes.separate(", ");
        if (shape.dims[i] == kAny)
          sizes.add("...");
        else if (shape.dims[i] == kOne)
          sizes.add("1");
        else if (shape.dims[i] == kBits)
          sizes.add("%" PRId64, bits());
        else if (shape.dims[i] == kKept)
          sizes.add("%" PRId64, axis_.kept);
        else if (bound_[shape.dims[i]].field >= 0)
          binder = &bound_[shape.dims[i]], sizes.add("%" PRId64, binder->value + (i == shape.more));
        else
          sizes.add("%s%s", s_.sizes[shape.dims[i]].name, i == shape.more ? " + 1" : "");
      }
      expected.add("%s]", sizes.text);
      if (binder && shape.count == 1 && s_.fields[binder->field].kind == Kind::tensor)
        expected.add(" (%s.shape[%d])", s_.fields[binder->field].name, binder->dim);
      if (shape.dims[0] == kKept && kept_dim_ >= 0) expected.add(" (%s.shape[%d])", s_.fields[first_].name, kept_dim_);
      if (shape.dims[0] == kKept && kept_dim_ < 0) expected.add(" (all of %s is one)", s_.fields[first_].name);
      if (shape.any >= 0 && any_bound_ && a + 1 == f.shape_count) expected.add(", as of %s", s_.fields[first_].name);
    }
    if (f.like >= 0) {
      const kilter_tensor& other = given<kilter_tensor>(s_.fields[f.like]);
      expected = {};
      expected.add("%s's (%s)", s_.fields[f.like].name, ShapeText(other.shape, other.ndim).text);
    }
    return fail(KILTER_INVALID_ARGUMENT, s_.op, "%s.shape: expected %s, got %s", f.name, expected.text, ShapeText(t.shape, t.ndim).text);
  }

  kilter_status read_count(const Field& f, int index) {
    const int64_t v = given<int64_t>(f);
    if (v < 1) return fail(KILTER_INVALID_ARGUMENT, s_.op, "%s: expected at least 1, got %" PRId64, f.name, v);
    bound_[f.size] = {v, index, 0};
    return KILTER_OK;
  }

  kilter_status check_divides(const Field& f) {
    const int64_t v = given<int64_t>(f), whole = bound_[f.divides].value;
    if (whole % v == 0) return KILTER_OK;
    return fail(KILTER_INVALID_ARGUMENT, s_.op, "%s: expected a divisor of %s (%" PRId64 "), got %" PRId64, f.name, f.shape_text, whole, v);
  }

  kilter_status check_need(const Field& f) {
    if (type_of(f.needs) != DType::none) return KILTER_OK;
    const char* const needed = s_.fields[f.needs].name;
    if (f.kind == Kind::tensor && view(f).dtype != DType::none)
      return fail(KILTER_INVALID_ARGUMENT, s_.op, "%s: expected none without a %s, got %s", f.name, needed, dtype_name(view(f).dtype));
    if (f.kind == Kind::real && given<double>(f) != 0)
      return fail(KILTER_INVALID_ARGUMENT, s_.op, "%s: expected 0 without a %s, got %g", f.name, needed, given<double>(f));
    return KILTER_OK;
  }

  kilter_status check_type(const Field& f) {
    const DType got = view(f).dtype, t = type_of(s_.t);
    if (got == DType::none) return KILTER_OK;
    const Types& types = f.types;
    const DType stat = t == DType::f64 ? DType::f64 : DType::f32;
    const int of = types.of >= 0 && type_of(types.of) == DType::none ? s_.t : types.of;  // -1: no field's
    if ((types.fixed >> int(got) & 1) || (types.t && got == t) || (types.stat && got == stat) || (of >= 0 && got == type_of(of)))
      return KILTER_OK;
    Text expected;
    if (types.t) expected.add("%s's type (%s)", s_.fields[s_.t].name, dtype_name(t));
    if (types.stat) expected.separate(" or "), expected.add("the statistics' type (%s)", dtype_name(stat));
    if (of >= 0) expected.separate(" or "), expected.add("%s's type (%s)", s_.fields[of].name, dtype_name(type_of(of)));
    for (const DType d : {DType::f64, DType::f32, DType::f16, DType::bf16, DType::u8, DType::i32, DType::i64})
      if (types.fixed >> int(d) & 1) expected.separate(" or "), expected.add("%s", dtype_name(d));
    return fail(KILTER_UNSUPPORTED, s_.op, "%s.dtype: expected %s, got %s", f.name, expected.text, dtype_name(got));
  }

  kilter_status read_scalar(const Field& f) {
    switch (f.kind) {
      case Kind::real: {
        const double v = given<double>(f);
        if (!std::isfinite(v)) return fail(KILTER_INVALID_ARGUMENT, s_.op, "%s: expected a finite number, got %g", f.name, v);
        member<double>(problem_, f.to) = v;
        break;
      }
      case Kind::choice: {
        const int32_t v = given<int32_t>(f);
        if (v < 0 || v > f.most)
          return fail(KILTER_INVALID_ARGUMENT, s_.op, "%s: expected 0 to %d (%s), got %d", f.name, int(f.most), f.words, int(v));
        member<int32_t>(problem_, f.to) = v;
        break;
      }
      case Kind::flags: {
        const uint64_t v = given<uint64_t>(f);
        if (v & ~uint64_t(f.most))
          return fail(KILTER_INVALID_ARGUMENT, s_.op, "%s: expected bits of 0x%x (%s), got 0x%" PRIx64, f.name, unsigned(f.most), f.words,
                      v);
        member<uint64_t>(problem_, f.to) = v;
        break;
      }
      case Kind::bytes:
        member<size_t>(problem_, f.to) = given<size_t>(f);
        break;
      case Kind::text:
      case Kind::memory:
        member<void*>(problem_, f.to) = given<void*>(f);
        break;
      case Kind::integer: {
        const int64_t v = given<int64_t>(f);
        if (v < 0) return fail(KILTER_INVALID_ARGUMENT, s_.op, "%s: expected a number >= 0, got %" PRId64, f.name, v);
        member<int64_t>(problem_, f.to) = v;
        break;
      }
      case Kind::reserved:
        if (const int32_t v = given<int32_t>(f)) return fail(KILTER_INVALID_ARGUMENT, s_.op, "%s: expected 0, got %d", f.name, int(v));
        break;
      case Kind::count:
        return check_divides(f);
      case Kind::axis:
      case Kind::tensor:
        break;
    }
    return KILTER_OK;
  }

  Extent extent_of(const Field& f) {
    const Shape& shape = f.shapes[0];
    int64_t rows = 1, n = 1;
    for (int i = 0; i < shape.count; ++i) {
      const bool of_rows = shape.is_planes() ? i == 0 : shape.any < 0 ? i + 1 < shape.count : i == shape.any;
      (of_rows ? rows : n) *= shape.is_shared() && i == 0 ? shared_rows()
                              : i == shape.any            ? product_
                              : shape.dims[i] == kBits    ? bits()
                              : shape.dims[i] == kKept    ? axis_.kept
                              : shape.dims[i] == kOne     ? 1
                                                          : value_of(shape.dims[i]) + (i == shape.more);
    }
    return {&view(f), rows, n};
  }

  int64_t shared_rows() const {
    for (int i = 0; i < s_.size_count; ++i)
      if (s_.sizes[i].shared) return value_of(i);
    return shared_;
  }

  // Outputs lie apart from all else, but for the inputs that they may be exactly.
  kilter_status check_overlaps() {
    int fields[kMaxFields], count = 0;
    for (int k = 0; k < s_.count; ++k)
      if (s_.fields[k].kind == Kind::tensor && view(s_.fields[k]).present() && given<kilter_tensor>(s_.fields[k]).data) fields[count++] = k;
    alignas(Extent) char memory[kMaxFields][sizeof(Extent)];
    const auto extent = [&](int i) -> const Extent& { return *reinterpret_cast<const Extent*>(memory[i]); };
    for (int i = 0; i < count; ++i) new (memory[i]) Extent(extent_of(s_.fields[fields[i]]));
    for (int o = 0; o < count; ++o) {
      const Field& out = s_.fields[fields[o]];
      if (!out.output) continue;
      if (rows_overlap(extent(o)))
        return fail(KILTER_OVERLAP, s_.op, "%s.strides: expected %s that share no element, got some that overlap", out.name,
                    is_planes(out) ? "samples" : "rows");
      for (int i = 0; i < count; ++i) {
        const Field& other = s_.fields[fields[i]];
        if (i == o || (other.output && i > o)) continue;
        const bool allowed = out.may_be >> fields[i] & 1;
        const Overlap overlap = overlap_of(extent(o), extent(i));
        if (overlap == Overlap::none || (overlap == Overlap::exact && allowed)) continue;
        return fail(KILTER_OVERLAP, s_.op, "%s: expected memory %s, got memory that shares elements with %s", out.name,
                    allowed ? "that is exactly another tensor's or separate" : "of its own", other.name);
      }
    }
    return KILTER_OK;
  }

  const Schema& s_;
  const void* args_;
  const bool ask_;
  void* problem_;
  int first_ = -1;  // the first tensor that is there
  Bound bound_[kMaxSizes];
  bool any_bound_ = false;
  const int64_t* any_ = nullptr;  // what "..." stands for
  int any_count_ = 0;
  int64_t product_ = 1;
  int64_t shared_ = 1;  // rows of a tensor of "...?"
  Axis axis_;
  int kept_dim_ = -1;                                 // -1: none
  uint8_t layouts_ = kChannelsFirst | kChannelsLast;  // of the tensors so far
};

}  // namespace

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

kilter_status read_arguments(const Schema& schema, const void* args, Purpose purpose, void* problem) {
  KILTER_RETURN_IF_ERROR(check_struct(schema.op, "args", args, schema.args_size, schema.args_size));
  return Reader(schema, args, purpose, problem).read();
}

}  // namespace kilter

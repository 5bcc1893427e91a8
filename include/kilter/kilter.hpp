/* kilter for C++20: kilter.h with types.  Header only; everything is a thin layer over the C functions, which document
 * shapes, types, aliasing and errors.  What this header adds:
 *
 *   - tensors that carry their shape, made from a pointer, a span or a vector;
 *   - argument structs with default values, for designated initializers;
 *   - a failing call throws kilter::error.
 *
 *   kilter::layer_norm_forward({.x = {x, {rows, n}}, .weight = {w, {n}}, .y = {y, {rows, n}}, .eps = 1e-12});
 *
 * Nothing here allocates, except that throwing an error copies its text. */
#ifndef KILTER_KILTER_HPP_
#define KILTER_KILTER_HPP_

#if defined(_MSVC_LANG) ? _MSVC_LANG < 202002L : __cplusplus < 202002L
#error "kilter.hpp needs C++20 (-std=c++20); kilter.h works with any C or C++"
#endif

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#if __has_include(<stdfloat>)
#include <stdfloat>
#endif

#include "kilter/kilter.h"

namespace kilter {

// ---------------------------------------------------------------- errors

// What a failed call said: kilter_last_error() as what(), which names op, argument, expected and got.  The constructors of
// tensors throw it too, before any call.
class error : public std::runtime_error {
 public:
  error(kilter_status status, const std::string& text) : std::runtime_error(text), status_(status) {}
  [[nodiscard]] kilter_status status() const noexcept { return status_; }

 private:
  kilter_status status_;
};

// Throws unless KILTER_OK.
inline void check(kilter_status status) {
  if (status != KILTER_OK) throw error(status, kilter_last_error());
}

// ---------------------------------------------------------------- element types

// Storage of the two 16-bit types, for memory that has no better type.  They do not compute.
struct half {
  uint16_t bits;
};
struct bfloat16 {
  uint16_t bits;
};

// element<T>::dtype says what a T in memory is.  Specialize it for your own 16-bit types:
//   template <> struct kilter::element<my_bf16> { static constexpr kilter_dtype dtype = {KILTER_BFLOAT, 16, 1}; };
template <class T>
struct element {};
template <>
struct element<double> {
  static constexpr kilter_dtype dtype = {KILTER_FLOAT, 64, 1};
};
template <>
struct element<float> {
  static constexpr kilter_dtype dtype = {KILTER_FLOAT, 32, 1};
};
template <>
struct element<half> {
  static constexpr kilter_dtype dtype = {KILTER_FLOAT, 16, 1};
};
template <>
struct element<bfloat16> {
  static constexpr kilter_dtype dtype = {KILTER_BFLOAT, 16, 1};
};
#ifdef __STDCPP_FLOAT16_T__
template <>
struct element<std::float16_t> : element<half> {};
#endif
#ifdef __STDCPP_BFLOAT16_T__
template <>
struct element<std::bfloat16_t> : element<bfloat16> {};
#endif

template <class T>
concept element_type = sizeof(T) * 8 == element<std::remove_const_t<T>>::dtype.bits;

// A range that lies in memory as an array of elements: std::vector, std::array, std::span ...
template <class R>
concept element_range = std::ranges::contiguous_range<R> && std::ranges::sized_range<R> && element_type<std::ranges::range_value_t<R>>;

template <class R>
concept mutable_element_range = element_range<R> && !std::is_const_v<std::remove_reference_t<std::ranges::range_reference_t<R>>>;

template <class T>
concept mutable_element_type = element_type<T> && !std::is_const_v<T>;

template <class R>
concept index_range = std::ranges::contiguous_range<R> && std::same_as<std::ranges::range_value_t<R>, int64_t>;

// ---------------------------------------------------------------- tensors

// The numbers of a shape or of strides: {rows, n}, or a vector or span of int64_t.  For arguments only: it is a view.
class sizes {
 public:
  sizes() = default;
  sizes(std::initializer_list<int64_t> list) : values_(list.begin(), list.size()) {}
  template <index_range R>
  sizes(const R& range) : values_(std::ranges::data(range), std::ranges::size(range)) {}
  [[nodiscard]] size_t size() const noexcept { return values_.size(); }
  [[nodiscard]] int64_t operator[](size_t i) const { return values_[i]; }

 private:
  std::span<const int64_t> values_;
};

// A view of memory that is only read.  It owns its shape and strides, not the elements.  Default: absent.
class const_tensor {
 public:
  const_tensor() = default;

  // strides count elements; without them the tensor is row-major.
  template <element_type T>
  const_tensor(const T* data, sizes shape, sizes strides = {}) : const_tensor(data, element<T>::dtype, shape, strides) {}

  // All of a range, as one row of elements.  An empty range is not absent: as a weight it fails, unless rows have no elements.
  template <element_range R>
  const_tensor(R&& range) : const_tensor(or_nothing(std::ranges::data(range)), {int64_t(std::ranges::size(range))}) {}

  // A range with a shape; throws KILTER_INVALID_ARGUMENT if an element would lie outside.
  template <element_range R>
  const_tensor(R&& range, sizes shape, sizes strides = {}) : const_tensor(or_nothing(std::ranges::data(range)), shape, strides) {
    check_inside(std::ranges::size(range));
  }

  const_tensor(const const_tensor& other) noexcept { *this = other; }
  const_tensor& operator=(const const_tensor& other) noexcept {
    if (this == &other) return *this;
    data_ = other.data_;
    dtype_ = other.dtype_;
    ndim_ = other.ndim_;
    strided_ = other.strided_;
    std::copy_n(other.shape_, ndim_, shape_);  // what lies behind has no value yet
    if (strided_) std::copy_n(other.strides_, ndim_, strides_);
    return *this;
  }
  ~const_tensor() = default;

  [[nodiscard]] bool absent() const noexcept { return dtype_.bits == 0; }

  // The C view; it points into this object.
  [[nodiscard]] kilter_tensor c() const noexcept {
    kilter_tensor t = {};
    if (absent()) return t;
    t.data = const_cast<void*>(data_);
    t.device = {KILTER_DEVICE_CPU, 0};
    t.ndim = ndim_;
    t.dtype = dtype_;
    t.shape = const_cast<int64_t*>(shape_);
    t.strides = strided_ ? const_cast<int64_t*>(strides_) : nullptr;
    return t;
  }

 private:
  const_tensor(const void* data, kilter_dtype dtype, sizes shape, sizes strides)
      : data_(data), dtype_(dtype), strided_(strides.size() != 0) {
    if (shape.size() > KILTER_MAX_RANK)
      fail("shape: expected at most " + std::to_string(int(KILTER_MAX_RANK)) + " dimensions", shape.size());
    if (strided_ && strides.size() != shape.size()) fail("strides: expected one per dimension", strides.size());
    ndim_ = int32_t(shape.size());
    for (size_t i = 0; i < shape.size(); ++i) {
      shape_[i] = shape[i];
      if (strided_) strides_[i] = strides[i];
    }
  }

  // Never null, which the C functions take for an absent tensor.
  template <class T>
  [[nodiscard]] static const T* or_nothing(const T* data) noexcept {
    alignas(T) static constexpr char nothing[sizeof(T)] = {};
    return data ? data : reinterpret_cast<const T*>(nothing);
  }

  void check_inside(size_t size) const {
    // The last element's offset is size - 1 at most: what is left of that bounds every dimension's stride, without overflow.
    for (int d = 0; d < ndim_; ++d)
      if (shape_[d] <= 0) return;  // no elements; a negative size is reported by the C function
    int64_t left = int64_t(size) - 1, row_major = 1;
    bool inside = size != 0;
    for (int d = ndim_ - 1; d >= 0 && inside; --d) {
      const int64_t stride = strided_ ? strides_[d] : row_major, steps = shape_[d] - 1;
      if (steps == 0) continue;
      inside = stride >= 0 && stride <= left / steps;
      if (!inside) break;
      left -= steps * stride;
      row_major *= shape_[d];
    }
    if (!inside) fail("shape: expected a tensor inside its range of elements", size);
  }

  [[noreturn]] static void fail(const std::string& text, size_t got) {
    throw error(KILTER_INVALID_ARGUMENT, "tensor: " + text + ", got " + std::to_string(got));
  }

  const void* data_ = nullptr;
  kilter_dtype dtype_ = {0, 0, 0};
  int32_t ndim_ = 0;
  bool strided_ = false;
  int64_t shape_[KILTER_MAX_RANK];
  int64_t strides_[KILTER_MAX_RANK];
};

// A view of memory that a call may write.
class tensor : public const_tensor {
 public:
  tensor() = default;

  template <mutable_element_type T>
  tensor(T* data, sizes shape, sizes strides = {}) : const_tensor(data, shape, strides) {}

  template <mutable_element_range R>
  tensor(R&& range) : const_tensor(range) {}

  template <mutable_element_range R>
  tensor(R&& range, sizes shape, sizes strides = {}) : const_tensor(range, shape, strides) {}
};

// ---------------------------------------------------------------- arguments

enum class rounding_order : int32_t { once = KILTER_ROUND_ONCE, then_multiply = KILTER_ROUND_THEN_MULTIPLY };

enum class activation_kind : int32_t {
  none = KILTER_ACTIVATION_NONE,
  silu = KILTER_ACTIVATION_SILU,
  gelu = KILTER_ACTIVATION_GELU,
  gelu_tanh = KILTER_ACTIVATION_GELU_TANH
};

enum class output_kind : int32_t {
  plain = KILTER_OUTPUT_PLAIN,
  fp8_e4m3 = KILTER_OUTPUT_FP8_E4M3,
  fp8_e5m2 = KILTER_OUTPUT_FP8_E5M2,
  int8 = KILTER_OUTPUT_INT8
};

// The members are kilter.h's, those of prologue, epilogue and quantization among them; order as there.
struct layer_norm_forward_args {
  const_tensor x = {};
  const_tensor weight = {};
  const_tensor bias = {};
  tensor y = {};
  tensor mean = {};
  tensor rstd = {};
  double eps = 1e-5;
  double weight_offset = 0;
  rounding_order rounding = rounding_order::once;
  const_tensor residual = {};
  tensor residual_out = {};
  const_tensor gate = {};
  activation_kind activation = activation_kind::none;
  const_tensor post_residual = {};
  output_kind output = output_kind::plain;
  bool from_fp32 = false;
  tensor scale = {};
  const char* impl = nullptr;
  uint64_t launch_flags = 0;  // KILTER_LAUNCH_...
};

struct layer_norm_backward_args {
  const_tensor x = {};
  const_tensor weight = {};
  const_tensor mean = {};
  const_tensor rstd = {};
  const_tensor dy = {};
  const_tensor dresidual_out = {};
  tensor dx = {};
  tensor dresidual = {};
  tensor dweight = {};
  tensor dbias = {};
  double weight_offset = 0;
  std::span<std::byte> workspace = {};
  const char* impl = nullptr;
  uint64_t launch_flags = 0;  // KILTER_LAUNCH_...
};

struct rms_norm_forward_args {
  const_tensor x = {};
  const_tensor weight = {};
  const_tensor bias = {};
  tensor y = {};
  tensor rstd = {};
  double eps = 1e-5;
  double weight_offset = 0;
  rounding_order rounding = rounding_order::once;
  const_tensor residual = {};
  tensor residual_out = {};
  const_tensor gate = {};
  activation_kind activation = activation_kind::none;
  const_tensor post_residual = {};
  output_kind output = output_kind::plain;
  bool from_fp32 = false;
  tensor scale = {};
  const char* impl = nullptr;
  uint64_t launch_flags = 0;  // KILTER_LAUNCH_...
};

struct rms_norm_backward_args {
  const_tensor x = {};
  const_tensor weight = {};
  const_tensor rstd = {};
  const_tensor dy = {};
  const_tensor dresidual_out = {};
  tensor dx = {};
  tensor dresidual = {};
  tensor dweight = {};
  tensor dbias = {};
  double weight_offset = 0;
  std::span<std::byte> workspace = {};
  const char* impl = nullptr;
  uint64_t launch_flags = 0;  // KILTER_LAUNCH_...
};

namespace detail {

// A forward call's C struct together with the structs that it points to.
template <class C>
class forward_call {
 public:
  template <class Args>
  explicit forward_call(const Args& a) {
    c_.struct_size = sizeof c_;
    c_.x = a.x.c();
    c_.weight = a.weight.c();
    c_.bias = a.bias.c();
    c_.y = a.y.c();
    if constexpr (requires { a.mean; }) c_.mean = a.mean.c();
    c_.rstd = a.rstd.c();
    c_.eps = a.eps;
    c_.weight_offset = a.weight_offset;
    c_.rounding = int32_t(a.rounding);
    c_.impl = a.impl;
    c_.launch_flags = a.launch_flags;
    if (!a.residual.absent() || !a.residual_out.absent() || !a.gate.absent()) {
      prologue_ = {sizeof prologue_, a.residual.c(), a.residual_out.c(), a.gate.c()};
      c_.prologue = &prologue_;
    }
    if (a.activation != activation_kind::none || !a.post_residual.absent()) {
      epilogue_ = {sizeof epilogue_, int32_t(a.activation), a.post_residual.c()};
      c_.epilogue = &epilogue_;
    }
    if (a.output != output_kind::plain || a.from_fp32 || !a.scale.absent()) {
      quantization_ = {sizeof quantization_, int32_t(a.output), a.from_fp32, a.scale.c()};
      c_.quantization = &quantization_;
    }
  }
  forward_call(const forward_call&) = delete;
  forward_call& operator=(const forward_call&) = delete;
  [[nodiscard]] const C* get() const noexcept { return &c_; }

 private:
  kilter_prologue prologue_ = {};
  kilter_epilogue epilogue_ = {};
  kilter_quantization quantization_ = {};
  C c_ = {};
};

template <class C, class Args>
[[nodiscard]] C backward_call(const Args& a) noexcept {
  C c = {};
  c.struct_size = sizeof c;
  c.x = a.x.c();
  c.weight = a.weight.c();
  if constexpr (requires { a.mean; }) c.mean = a.mean.c();
  c.rstd = a.rstd.c();
  c.dy = a.dy.c();
  c.dresidual_out = a.dresidual_out.c();
  c.dx = a.dx.c();
  c.dresidual = a.dresidual.c();
  c.dweight = a.dweight.c();
  c.dbias = a.dbias.c();
  c.weight_offset = a.weight_offset;
  c.workspace = a.workspace.data();
  c.workspace_size = a.workspace.size();
  c.impl = a.impl;
  c.launch_flags = a.launch_flags;
  return c;
}

}  // namespace detail

// ---------------------------------------------------------------- calls; each throws kilter::error if it fails

inline void layer_norm_forward(const layer_norm_forward_args& args, kilter_stream stream = nullptr) {
  check(kilter_layer_norm_forward(detail::forward_call<kilter_layer_norm_forward_args>(args).get(), stream));
}

inline void layer_norm_backward(const layer_norm_backward_args& args, kilter_stream stream = nullptr) {
  const auto call = detail::backward_call<kilter_layer_norm_backward_args>(args);
  check(kilter_layer_norm_backward(&call, stream));
}

// Bytes of workspace for layer_norm_backward with these arguments (their workspace is not looked at).
[[nodiscard]] inline size_t layer_norm_backward_workspace(const layer_norm_backward_args& args) {
  const auto call = detail::backward_call<kilter_layer_norm_backward_args>(args);
  size_t bytes = 0;
  check(kilter_layer_norm_backward_workspace(&call, &bytes));
  return bytes;
}

inline void rms_norm_forward(const rms_norm_forward_args& args, kilter_stream stream = nullptr) {
  check(kilter_rms_norm_forward(detail::forward_call<kilter_rms_norm_forward_args>(args).get(), stream));
}

inline void rms_norm_backward(const rms_norm_backward_args& args, kilter_stream stream = nullptr) {
  const auto call = detail::backward_call<kilter_rms_norm_backward_args>(args);
  check(kilter_rms_norm_backward(&call, stream));
}

[[nodiscard]] inline size_t rms_norm_backward_workspace(const rms_norm_backward_args& args) {
  const auto call = detail::backward_call<kilter_rms_norm_backward_args>(args);
  size_t bytes = 0;
  check(kilter_rms_norm_backward_workspace(&call, &bytes));
  return bytes;
}

// Threads that later calls from this thread may use; 0: what OpenMP would take.
inline void set_num_threads(int threads) { check(kilter_set_num_threads(threads)); }

}  // namespace kilter

#endif  // KILTER_KILTER_HPP_

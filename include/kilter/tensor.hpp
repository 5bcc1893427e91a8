/* Tensors for kilter.hpp, which includes this: memory with a type and a shape. */
#ifndef KILTER_TENSOR_HPP_
#define KILTER_TENSOR_HPP_

#if defined(_MSVC_LANG) ? _MSVC_LANG < 202002L : __cplusplus < 202002L
#error "kilter.hpp needs C++20 (-std=c++20); kilter.h works with any C from C99 on and any C++"
#endif

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <ranges>
#include <stdexcept>
#include <string>
#include <type_traits>
#if __has_include(<stdfloat>)
#include <stdfloat>
#endif

#include "kilter/kilter.h"

namespace kilter {

// ---------------------------------------------------------------- errors

// What a failed call said: kilter_last_error() as what(), which names op, argument, expected and got.  A tensor that its
// memory cannot hold throws it too, before the C function is called.
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
template <>
struct element<uint8_t> {
  static constexpr kilter_dtype dtype = {KILTER_UINT, 8, 1};
};
template <>
struct element<int32_t> {
  static constexpr kilter_dtype dtype = {KILTER_INT, 32, 1};
};
template <>
struct element<int64_t> {
  static constexpr kilter_dtype dtype = {KILTER_INT, 64, 1};
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

// A number of a shape: any integer, or an enumerator.
template <class T>
concept size_value = (std::integral<T> && sizeof(T) <= sizeof(int64_t) && !std::same_as<T, bool>) ||
                     (std::is_enum_v<T> && std::convertible_to<T, int64_t>);

template <class R>
concept size_range = std::ranges::sized_range<const R> && size_value<std::ranges::range_value_t<const R>>;

// ---------------------------------------------------------------- shapes

// The numbers of a shape or of strides: {rows, n} of any integers, or a vector, array or span of them.  It owns them.  One that
// int64_t cannot hold throws; more than KILTER_MAX_RANK are for the call to refuse.
class sizes {
 public:
  struct value {  // lets a list mix types, without narrowing
    template <size_value T>
    constexpr value(T from) : number(int64_t(from)) {
      if constexpr (std::unsigned_integral<T> && sizeof(T) >= sizeof(int64_t))
        if (from > T(std::numeric_limits<int64_t>::max()))
          throw error(KILTER_INVALID_ARGUMENT,
                      "sizes: expected numbers up to 9223372036854775807, got " + std::to_string(static_cast<unsigned long long>(from)));
    }
    int64_t number;
  };

  sizes() noexcept = default;
  sizes(std::initializer_list<value> list) noexcept {
    for (const value& v : list) append(v);
  }
  template <size_range R>
  sizes(const R& range) {
    for (const auto& v : range) append(v);
  }
  sizes(const sizes& other) noexcept { *this = other; }
  sizes& operator=(const sizes& other) noexcept {
    if (this == &other) return *this;
    count_ = other.count_;
    std::copy_n(other.values_, kept(), values_);  // what lies behind has no value yet
    return *this;
  }
  ~sizes() = default;

  [[nodiscard]] size_t size() const noexcept { return count_; }
  [[nodiscard]] const int64_t* data() const noexcept { return values_; }
  [[nodiscard]] int64_t operator[](size_t i) const noexcept { return values_[i]; }

 private:
  [[nodiscard]] size_t kept() const noexcept { return std::min<size_t>(count_, KILTER_MAX_RANK); }
  void append(value v) noexcept {
    if (count_ < KILTER_MAX_RANK) values_[count_] = v.number;
    ++count_;
  }

  size_t count_ = 0;
  int64_t values_[KILTER_MAX_RANK];
};

// ---------------------------------------------------------------- tensors

// A view of memory that is only read.  It owns its shape and strides, not the elements.  Default: absent.
class const_tensor {
 public:
  const_tensor() = default;

  // strides count elements; without them the tensor is row-major.
  template <element_type T>
  const_tensor(const T* data, const sizes& shape, const sizes& strides = {})
      : data_(data), dtype_(element<T>::dtype), shape_(shape), strides_(strides) {}

  // A range with a shape; a call refuses it if an element would lie outside.
  template <element_range R>
  const_tensor(R&& range, const sizes& shape, const sizes& strides = {}) : const_tensor(std::ranges::data(range), shape, strides) {
    held_ = int64_t(std::ranges::size(range));
  }

  // A batch taken for one long row would give plausible numbers.  Where a vector is meant, const_vector_tensor goes without.
  template <element_range R>
  const_tensor(R&& range) = delete;  // the shape is missing: {x, {rows, n}}

  [[nodiscard]] bool absent() const noexcept { return dtype_.bits == 0; }

  // The C view; it points into this object.  Throws, naming op and tensor, if the range is too small or the strides are not one
  // per dimension; the C functions check the rest.
  [[nodiscard]] kilter_tensor c(const char* op = "kilter", const char* name = "tensor") const {
    kilter_tensor t = {};
    if (absent()) return t;
    check(op, name);
    t.data = const_cast<void*>(data_);
    t.device = {KILTER_DEVICE_CPU, 0};
    t.ndim = int32_t(std::min<size_t>(shape_.size(), std::numeric_limits<int32_t>::max()));
    t.dtype = dtype_;
    t.shape = const_cast<int64_t*>(shape_.data());
    t.strides = strides_.size() ? const_cast<int64_t*>(strides_.data()) : nullptr;
    return t;
  }

 private:
  void check(const char* op, const char* name) const {
    const size_t rank = shape_.size();
    if (rank > KILTER_MAX_RANK) return;  // nothing is read
    const auto fail = [&](const std::string& text) { throw error(KILTER_INVALID_ARGUMENT, std::string(op) + ": " + name + text); };
    if (strides_.size() && strides_.size() != rank)
      fail(".strides: expected " + std::to_string(rank) + ", one per dimension, got " + std::to_string(strides_.size()));
    if (held_ < 0) return;
    for (size_t d = 0; d < rank; ++d)
      if (shape_[d] <= 0) return;  // no elements; a negative size is the C function's to refuse
    constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
    int64_t last = 0, row_major = 1;  // the last element's offset; both stop at kMost
    for (size_t d = rank; d-- > 0;) {
      const int64_t stride = strides_.size() ? strides_[d] : row_major, steps = shape_[d] - 1;
      if (stride < 0 && steps > 0) fail(".strides: expected strides >= 0, as a range begins with the first element, got " + text(strides_));
      last = stride > 0 && steps > (kMost - last) / stride ? kMost : last + steps * stride;
      row_major = row_major > kMost / shape_[d] ? kMost : row_major * shape_[d];
    }
    if (last < held_) return;
    fail(": expected memory of at least " + (last == kMost ? "2^63" : std::to_string(last + 1)) + " elements for shape " + text(shape_) +
         (strides_.size() ? " and strides " + text(strides_) : "") + ", got " + std::to_string(held_));
  }

  [[nodiscard]] static std::string text(const sizes& s) {
    std::string list;
    for (size_t i = 0; i < s.size(); ++i) list += (i ? ", " : "") + std::to_string(s[i]);
    return "[" + list + "]";
  }

  const void* data_ = nullptr;
  kilter_dtype dtype_ = {0, 0, 0};
  int64_t held_ = -1;  // elements of the range; -1: a pointer, which says nothing of them
  sizes shape_, strides_;
};

// A view of memory that a call may write.
class tensor : public const_tensor {
 public:
  tensor() = default;

  template <mutable_element_type T>
  tensor(T* data, const sizes& shape, const sizes& strides = {}) : const_tensor(data, shape, strides) {}

  template <mutable_element_range R>
  tensor(R&& range, const sizes& shape, const sizes& strides = {}) : const_tensor(range, shape, strides) {}

  template <element_range R>
  tensor(R&& range) = delete;  // the shape is missing: {y, {rows, n}}
};

// What is a vector in most calls: weight and bias, mean and rstd, their gradients.  A range without a shape is one dimension.
// An empty range is not absent: as a weight it fails, unless rows have no elements.
class const_vector_tensor : public const_tensor {
 public:
  using const_tensor::const_tensor;
  const_vector_tensor() = default;
  const_vector_tensor(const const_tensor& other) : const_tensor(other) {}
  template <element_range R>
  const_vector_tensor(R&& range) : const_tensor(range, {std::ranges::size(range)}) {}
};

class vector_tensor : public tensor {
 public:
  using tensor::tensor;
  vector_tensor() = default;
  vector_tensor(const tensor& other) : tensor(other) {}
  template <mutable_element_range R>
  vector_tensor(R&& range) : tensor(range, {std::ranges::size(range)}) {}
};

}  // namespace kilter

#endif  // KILTER_TENSOR_HPP_

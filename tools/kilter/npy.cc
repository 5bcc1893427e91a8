#include "kilter/npy.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "kilter/error.h"
#include "kilter/text.h"

namespace kilter::cli {
namespace {

constexpr int64_t kMaxHeader = 65536;

struct Header {
  std::string descr;
  bool fortran = false;
  std::vector<int64_t> shape;
};

// The header is a Python dict literal; this reads the part of that language that the format allows.
class HeaderParser {
 public:
  HeaderParser(const Source& source, const std::string& text) : source_(source), text_(text) {}

  Header parse() {
    Header h;
    bool descr = false, fortran = false, shape = false;
    expect('{');
    while (!accept('}')) {
      const std::string key = string("a key");
      expect(':');
      if (key == "descr" && !std::exchange(descr, true)) {
        if (peek() != '\'' && peek() != '"') fail("descr: expected a plain type such as '<f4' (no structured types)");
        h.descr = string("descr");
      } else if (key == "fortran_order" && !std::exchange(fortran, true)) {
        h.fortran = boolean();
      } else if (key == "shape" && !std::exchange(shape, true)) {
        h.shape = tuple();
      } else {
        fail(fmt::format("expected the keys descr, fortran_order and shape, each once, got '{}'", escaped(key, 40)));
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    for (const auto& [seen, name] : {std::pair{descr, "descr"}, {fortran, "fortran_order"}, {shape, "shape"}})
      if (!seen) fail(fmt::format("expected the key {}, got none", name));
    // Padding is spaces; the end is one newline.
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
    if (at_ + 1 != text_.size() || text_[at_] != '\n') fail("expected spaces and a newline after the dict");
    return h;
  }

 private:
  [[noreturn]] void fail(const std::string& why) const {
    source_.bad(fmt::format("header, byte {}: {}, near '{}'", at_, why, escaped(text_.substr(std::min(at_, text_.size()), 24), 24)));
  }
  char peek() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t')) ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool accept(char c) {
    if (peek() != c || at_ >= text_.size()) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) fail(fmt::format("expected '{}'", c));
  }
  std::string string(const char* what) {
    const char quote = peek();
    if (quote != '\'' && quote != '"') fail(fmt::format("expected {} in quotes", what));
    const size_t end = text_.find(quote, at_ + 1);
    if (end == std::string::npos) fail("expected a closing quote");
    std::string value = text_.substr(at_ + 1, end - at_ - 1);
    if (value.find_first_of("\\\n\r") != std::string::npos) fail("expected a string without escapes");
    at_ = end + 1;
    return value;
  }
  bool boolean() {
    peek();
    for (const auto& [word, value] : {std::pair{"True", true}, {"False", false}})
      if (text_.compare(at_, std::strlen(word), word) == 0) {
        at_ += std::strlen(word);
        return value;
      }
    fail("fortran_order: expected True or False");
  }
  std::vector<int64_t> tuple() {
    std::vector<int64_t> sizes;
    expect('(');
    bool comma = true;
    while (!accept(')')) {
      if (!comma) fail("shape: expected ',' or ')'");
      if (sizes.size() == KILTER_MAX_RANK) fail(fmt::format("shape: expected at most {} dimensions, got more", int(KILTER_MAX_RANK)));
      sizes.push_back(size());
      comma = accept(',');
    }
    if (sizes.size() == 1 && !comma) fail("shape: expected a tuple such as (3,), got a number in brackets");
    return sizes;
  }
  int64_t size() {
    peek();
    const size_t start = at_;
    int64_t value = 0;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') {
      if (__builtin_mul_overflow(value, int64_t(10), &value) || __builtin_add_overflow(value, int64_t(text_[at_] - '0'), &value))
        fail("shape: expected sizes below 2^63, got a larger one");
      ++at_;
    }
    if (at_ == start) fail("shape: expected a decimal number >= 0");
    if (text_[start] == '0' && at_ - start > 1) fail("shape: expected a number without leading zeros");
    return value;
  }

  const Source& source_;
  const std::string& text_;
  size_t at_ = 0;
};

struct Type {
  DType dtype;
  bool swapped;  // the other order of bytes
};

// NumPy knows no bf16: its words come as uint16, as int16, or, saved by the types of JAX, as two bytes of void.
Type type_of(const Source& source, const std::string& descr, Numbers numbers) {
  static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);
  const bool swapped = !descr.empty() && descr[0] == '>';
  const std::string kind = descr.size() == 3 && (swapped || descr[0] == '<' || descr == "|V2") ? descr.substr(1) : "";
  const bool words = kind == "u2" || kind == "i2" || kind == "V2";
  if (descr == "|u1") return {DType::u8, false};
  if (numbers == Numbers::lengths) {
    if (kind == "i4") return {DType::i32, swapped};
    if (kind == "i8") return {DType::i64, swapped};
    source.bad(fmt::format("descr: expected '<i4' or '<i8', got '{}'", escaped(descr, 40)));
  }
  if (kind == "f8") return {DType::f64, swapped};
  if (kind == "f4") return {DType::f32, swapped};
  if (kind == "f2") return {DType::f16, swapped};
  if (words && numbers == Numbers::bf16) return {DType::bf16, swapped};
  const std::string got =
      fmt::format("descr: expected '<f4', '<f2', '<f8', '|u1', or '<u2', '<i2' or '<V2' for bf16, got '{}'", escaped(descr, 40));
  if (words) source.bad(got + ": give --x-dtype bf16 if these are bf16 words");
  if (descr.find('O') != std::string::npos) source.bad(got + ": object arrays are not read");
  source.bad(got);
}

int64_t header_size(Source& source) {
  unsigned char start[8], size[4];
  source.expect(10, "at least");
  source.read(reinterpret_cast<char*>(start), 8);
  if (std::memcmp(start, "\x93NUMPY", 6) != 0)
    source.bad(
        fmt::format("expected a .npy file (first bytes \\x93NUMPY), got '{}'", escaped(std::string(reinterpret_cast<char*>(start), 6), 6)));
  const int major = start[6], minor = start[7];
  if (major < 1 || major > 3 || minor != 0) source.bad(fmt::format("expected .npy version 1.0, 2.0 or 3.0, got {}.{}", major, minor));
  const int width = major == 1 ? 2 : 4;
  source.read(reinterpret_cast<char*>(size), width);
  int64_t length = 0;
  for (int i = width - 1; i >= 0; --i) length = length * 256 + size[i];
  if (length > kMaxHeader) source.bad(fmt::format("expected a header of at most {} bytes, got {}", kMaxHeader, length));
  source.expect(length, "of header");
  return length;
}

template <class T>
void swap_bytes(T* data, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    if constexpr (sizeof(T) == 2) data[i] = __builtin_bswap16(data[i]);
    if constexpr (sizeof(T) == 4) data[i] = __builtin_bswap32(data[i]);
    if constexpr (sizeof(T) == 8) data[i] = __builtin_bswap64(data[i]);
  }
}

// From the order in which the first index runs fastest to that in which the last one does.
template <class T>
void reorder(const T* from, T* to, const std::vector<int64_t>& shape) {
  const size_t rank = shape.size();
  std::vector<int64_t> index(rank), stride(rank);
  int64_t count = 1;
  for (size_t d = 0; d < rank; ++d) stride[d] = count, count *= shape[d];
  for (int64_t i = 0, at = 0; i < count; ++i) {
    to[i] = from[at];
    for (size_t d = rank; d-- > 0;) {
      at += stride[d];
      if (++index[d] < shape[d]) break;
      at -= stride[d] * shape[d];
      index[d] = 0;
    }
  }
}

// The data behind a header, as this machine and the library take them.
template <class T>
void read_data(Source& source, bool swapped, bool fortran, Array* a) {
  T* const data = reinterpret_cast<T*>(a->data.get());
  Array other;  // as the file has them, where the order differs
  if (fortran) other = make_array(source.tensor(), a->dtype, a->shape);
  T* const there = fortran ? reinterpret_cast<T*>(other.data.get()) : data;
  source.read(reinterpret_cast<char*>(there), a->bytes);
  source.expect_end(a->bytes);
  if (swapped) swap_bytes(there, a->bytes / int64_t(sizeof(T)));
  if (fortran) reorder(there, data, a->shape);
}

const char* descr_of(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return "<f8";
    case DType::f32:
      return "<f4";
    case DType::f16:
      return "<f2";
    case DType::u8:
      return "|u1";
    default:
      return "<u2";
  }
}

}  // namespace

int64_t array_bytes(DType dtype, const std::vector<int64_t>& shape) {
  int64_t bytes = item_size(dtype);
  for (int64_t size : shape)
    if (size == 0) return 0;
  for (int64_t size : shape)
    if (__builtin_mul_overflow(bytes, size, &bytes)) return -1;
  return bytes;
}

Array make_array(const std::string& what, DType dtype, std::vector<int64_t> shape) {
  Array a;
  a.dtype = dtype;
  a.bytes = array_bytes(dtype, shape);
  a.shape = std::move(shape);
  require_memory(a.bytes, what);
  // Never null, so that a tensor without elements is still present; rounded up as aligned_alloc asks.
  a.data.reset(static_cast<char*>(std::aligned_alloc(64, (size_t(a.bytes) + 127) / 64 * 64)));
  if (!a.data) throw Error(kExitIo, KILTER_OUT_OF_MEMORY, fmt::format("{}: expected {} bytes of memory, got none", what, a.bytes));
  return a;
}

Array read_npy(const std::string& tensor, const std::string& path, Numbers numbers, FileId* id) {
  Source source(tensor, path);
  *id = source.id();
  std::string text(size_t(header_size(source)), '\0');
  source.read(text.data(), int64_t(text.size()));
  Header header = HeaderParser(source, text).parse();
  const Type type = type_of(source, header.descr, numbers);
  const int64_t bytes = array_bytes(type.dtype, header.shape);
  if (bytes < 0) source.bad("shape: expected less than 2^63 bytes, got more");
  source.expect(bytes, "of data for its shape");
  const bool fortran = header.fortran && header.shape.size() > 1;
  Array a = make_array(tensor, type.dtype, std::move(header.shape));
  switch (item_size(type.dtype)) {
    case 8:
      read_data<uint64_t>(source, type.swapped, fortran, &a);
      break;
    case 4:
      read_data<uint32_t>(source, type.swapped, fortran, &a);
      break;
    case 1:
      read_data<uint8_t>(source, false, fortran, &a);
      break;
    default:
      read_data<uint16_t>(source, type.swapped, fortran, &a);
  }
  return a;
}

std::string npy_header(DType dtype, const std::vector<int64_t>& shape) {
  std::string dims;
  for (size_t i = 0; i < shape.size(); ++i) dims += (i ? ", " : "") + std::to_string(shape[i]);
  if (shape.size() == 1) dims += ",";
  std::string dict = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", descr_of(dtype), dims);
  const size_t total = (10 + dict.size() + 1 + 63) / 64 * 64;
  dict.resize(total - 11, ' ');
  dict += '\n';
  std::string header("\x93NUMPY\x01\x00", 8);
  header += char(dict.size() & 0xFF);
  header += char(dict.size() >> 8);
  return header + dict;
}

}  // namespace kilter::cli

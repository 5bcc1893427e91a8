// What a function of the library takes, as data: one table per function, from which its arguments are read and checked, and from
// which tools, tests and bindings know it.
//
// Shapes are written as in einsum: names of sizes, "..." for any number of dimensions, "1"; "|" between alternatives.  The first
// tensor that has a name gives it its value (a count's own field does before), the others must agree.  "...?" are the dimensions of
// "..." again, the last of which may be 1 instead: such a tensor's row is shared by consecutive rows.  A name with "+1" is of a tensor of
// cumulative lengths: where it is there, the alternative with its size holds, else the others.  A tensor's name is its shape.  The last
// dimension is contiguous and the others are rows of it; in "batch channels ..." a sample is a row, dense, its channels first or last;
// "batch bits" are the bytes of a bit for each of its elements (core/bits.h); "kept" is the size of that dimension of the first tensor with
// a "..." which the axis says.  Types: "T"
// (the type of the field that is marked so), "stat" (fp64 where T is, else fp32), a field's name (its type; T where it is absent) or
// fixed ones; "|" between alternatives.  What is misspelled, or a field of the struct that is forgotten, does not compile: the
// compiler shows the sentence behind `throw`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "core/view.h"

namespace kilter {

// What several tables say.
constexpr const char* kFloats = "fp64|fp32|fp16|bf16";
constexpr const char* kActivations = "none silu gelu gelu_tanh relu";

constexpr int kMaxFields = 32, kMaxSizes = 4, kMaxDims = 4, kMaxShapes = 2;

enum class Kind : uint8_t { tensor, real, integer, axis, count, choice, flags, text, memory, bytes, reserved };

// One alternative of a shape.  dims: index of a size, kOne, kAny, kBits, kShared ("...?") or kKept.
constexpr int8_t kOne = -1, kAny = -2, kBits = -3, kShared = -4, kKept = -5;
struct Shape {
  int8_t dims[kMaxDims] = {};
  int8_t count = 0;
  int8_t any = -1;   // where "..." or "...?" stands, -1: nowhere
  int8_t more = -1;  // the dimension that has one more than its size
  int8_t by = -1;    // the size that a tensor of lengths gives
  constexpr bool is_shared() const { return any == 0 && dims[0] == kShared; }
  constexpr bool is_planes() const { return any > 0; }
  constexpr bool is_bits() const { return count == 2 && dims[1] == kBits; }
};

struct Types {
  uint16_t fixed = 0;  // bits: 1 << DType
  bool t = false, stat = false;
  int8_t of = -1;  // a field's
};

struct Field {
  const char* name = "";
  const char* help = "";
  Kind kind = Kind::tensor;
  uint16_t at = 0, to = 0;  // offsets: in the C struct, in the problem
  // A tensor's.
  bool output = false, required = false;
  const char *shape_text = "", *types_text = "", *may_be_text = "";
  Shape shapes[kMaxShapes] = {};
  int8_t shape_count = 0;
  int8_t like = -1;  // the field whose shape it has
  Types types = {};
  uint32_t may_be = 0;      // bits: inputs whose memory an output may be exactly
  int8_t gradient_of = -1;  // the field whose gradient an output is
  int8_t needs = -1;        // a field without which this one must be absent, or zero
  // A scalar's.
  double fallback = 0;
  const char* words = "";          // of a choice from 0 on, of flags from bit 0 on
  int32_t most = 0;                // a choice's largest value, all bits of flags
  int8_t size = -1, divides = -1;  // of a count: the size that it gives, and that which it divides
};

struct Size {
  const char* name = "";
  uint16_t to = 0;       // int64_t in the problem
  bool product = false;  // of the dimensions that "..." stands for
  bool shared = false;   // of those that "...?" does, where no tensor of lengths gives it
};

namespace schema {

constexpr bool next_word(std::string_view& text, std::string_view* word, char separator = ' ') {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  if (text.empty()) return false;
  size_t end = text.find(separator);
  if (end == text.npos) end = text.size();
  *word = text.substr(0, end);
  text.remove_prefix(end < text.size() ? end + 1 : end);
  while (!word->empty() && word->back() == ' ') word->remove_suffix(1);
  return true;
}

// The kinds, as bits, that a member of the C struct or of the problem can be.
template <class T>
constexpr unsigned kinds_of() {
  const auto bit = [](Kind kind) { return 1u << unsigned(kind); };
  unsigned kinds = 0;
  if (std::is_same_v<T, kilter_tensor> || std::is_same_v<T, View>) kinds |= bit(Kind::tensor);
  if (std::is_same_v<T, double>) kinds |= bit(Kind::real);
  if (std::is_same_v<T, int64_t>) kinds |= bit(Kind::count) | bit(Kind::integer) | bit(Kind::axis);
  if (std::is_same_v<T, Axis>) kinds |= bit(Kind::axis);
  if (std::is_same_v<T, int32_t>) kinds |= bit(Kind::choice);
  if (std::is_same_v<T, uint64_t>) kinds |= bit(Kind::flags);
  if (std::is_same_v<T, const char*>) kinds |= bit(Kind::text);
  if (std::is_same_v<T, void*> || std::is_same_v<T, char*>) kinds |= bit(Kind::memory);
  if (std::is_same_v<T, size_t>) kinds |= bit(Kind::bytes);
  return kinds;
}

struct Name {
  const char* name;
  size_t at, to;
  unsigned kinds;  // that both members can be
};

}  // namespace schema

// A field by its name, which is the same in the C struct (Args) and in the problem (Problem).
#define KILTER_NAME(field)                                                                                               \
  ::kilter::schema::Name {                                                                                               \
#field, offsetof(Args, field), offsetof(Problem, field),                                                             \
        ::kilter::schema::kinds_of < decltype(Args::field)>() & ::kilter::schema::kinds_of < decltype(Problem::field)>() \
  }

class Schema {
 public:
  const char* op = "";
  int32_t function = 0, direction = 0;
  Field fields[kMaxFields] = {};
  int count = 0;
  Size sizes[kMaxSizes] = {};
  int size_count = 0;
  int t = -1;            // the field whose type T is
  size_t args_size = 0;  // of the C struct
  size_t device = 0;     // offset in the problem

  constexpr Schema(const char* op_name, int32_t number, int32_t which, size_t device_to)
      : op(op_name), function(number), direction(which), device(device_to) {}

  // Sizes that the problem wants to know.
  constexpr void size(const char* name, size_t to) { sizes[size_count++] = {name, uint16_t(to), false}; }
  constexpr void shared(const char* name, size_t to) { sizes[size_count++] = {name, uint16_t(to), false, true}; }  // of "...?"
  constexpr void product(const char* name, size_t to) { sizes[size_count++] = {name, uint16_t(to), true}; }        // of "..."

  constexpr Schema& need(schema::Name n, const char* shape, const char* types, const char* help) {
    return tensor(n, shape, types, help, false, true);
  }
  constexpr Schema& in(schema::Name n, const char* shape, const char* types, const char* help) {
    return tensor(n, shape, types, help, false, false);
  }
  constexpr Schema& out(schema::Name n, const char* shape, const char* types, const char* may_be, const char* help) {
    tensor(n, shape, types, help, true, false);
    Field& f = fields[count - 1];
    f.may_be_text = may_be;
    std::string_view names = may_be;
    for (std::string_view word; schema::next_word(names, &word);) f.may_be |= 1u << find(word);
    return *this;
  }
  constexpr Schema& real(schema::Name n, double fallback, const char* help) {
    scalar(n, Kind::real, help).fallback = fallback;
    return *this;
  }
  constexpr Schema& integer(schema::Name n, const char* help) {
    scalar(n, Kind::integer, help);
    return *this;
  }
  // A dimension, from the end if negative, or KILTER_DIM_NONE.
  constexpr Schema& axis(schema::Name n, const char* help) {
    scalar(n, Kind::axis, help);
    return *this;
  }
  // One of the sizes, at least 1, by its own field instead of a tensor's shape, and what it divides.
  constexpr Schema& count_of(schema::Name n, const char* divided, const char* help) {
    Field& f = scalar(n, Kind::count, help);
    f.shape_text = divided, f.divides = dim(divided), f.size = dim(n.name);
    if (f.divides < 0 || sizes[f.size].to != n.to) throw "a count that is none of the sizes, or divides none";
    return *this;
  }
  constexpr Schema& choice(schema::Name n, const char* words, const char* help) {
    Field& f = scalar(n, Kind::choice, help);
    f.words = words, f.most = int32_t(words_in(words)) - 1;
    return *this;
  }
  constexpr Schema& flags(schema::Name n, const char* words, const char* help) {
    Field& f = scalar(n, Kind::flags, help);
    f.words = words, f.most = (1 << words_in(words)) - 1;
    return *this;
  }
  constexpr Schema& rest(schema::Name n, Kind kind, const char* help) {
    scalar(n, kind, help);
    return *this;
  }
  // An int32_t of the struct that must be 0: the other half of a choice's eight bytes.
  constexpr Schema& reserved(size_t at) {
    if (count == kMaxFields) throw "more fields than a table holds";
    Field& f = fields[count++];
    f.name = "reserved", f.kind = Kind::reserved, f.at = uint16_t(at), f.help = "0";
    return *this;
  }
  // Of the field before.
  constexpr Schema& is_t() { return t = count - 1, *this; }
  constexpr Schema& must() { return fields[count - 1].required = true, *this; }
  constexpr Schema& needs(std::string_view name) { return fields[count - 1].needs = int8_t(find(name)), *this; }
  constexpr Schema& of(std::string_view name) { return fields[count - 1].gradient_of = int8_t(find(name)), *this; }

  // Whether the fields are the struct, all of it.
  template <class Args>
  constexpr void covers() {
    args_size = sizeof(Args);
    if (t < 0) throw "no field says what T is";
    size_t at = sizeof(size_t);
    for (int k = 0; k < count; ++k) {
      size_t next = sizeof(Args) + 1;
      int which = -1;
      for (int i = 0; i < count; ++i)
        if (fields[i].at >= at && fields[i].at < next) next = fields[i].at, which = i;
      if (which < 0 || next != at) throw "a field of the struct is not in the table, or padding is (name it reserved)";
      at = next + bytes(fields[which].kind);
    }
    if (sizeof(Args) != at) throw "a field at the end of the struct is not in the table, or padding is (name it reserved)";
  }

 private:
  unsigned lengths_ = 0;  // bits: sizes that tensors of lengths give

  static constexpr size_t bytes(Kind kind) {
    return kind == Kind::tensor ? sizeof(kilter_tensor) : kind == Kind::choice || kind == Kind::reserved ? 4 : 8;
  }
  static constexpr int words_in(std::string_view text) {
    int words = 0;
    for (std::string_view word; schema::next_word(text, &word);) ++words;
    return words;
  }
  constexpr Field& begin(schema::Name n, Kind kind) {
    if (count == kMaxFields) throw "more fields than a table holds";
    if (!(n.kinds >> unsigned(kind) & 1)) throw "a member, of the struct or of the problem, has another type than its kind";
    return fields[count];
  }
  constexpr int find(std::string_view name) const {
    for (int i = 0; i < count; ++i)
      if (name == fields[i].name) return i;
    throw "no field of that name before this one";
  }
  constexpr int8_t dim(std::string_view word) const {
    if (word == "...") return kAny;
    if (word == "...?") return kShared;
    if (word == "1") return kOne;
    if (word == "bits") return kBits;
    if (word == "kept") return kKept;
    for (int i = 0; i < size_count; ++i)
      if (word == sizes[i].name && !sizes[i].product) return int8_t(i);
    throw "no size of that name";
  }
  constexpr void type(Types* types, std::string_view word) const {
    constexpr std::string_view kNames[] = {"", "fp64", "fp32", "fp16", "bf16", "uint8", "int32", "int64"};
    for (int i = 1; i < 8; ++i)
      if (word == kNames[i]) {
        types->fixed |= uint16_t(1 << i);
        return;
      }
    if (word == "T")
      types->t = true;
    else if (word == "stat")
      types->stat = true;
    else
      types->of = int8_t(find(word));
  }
  constexpr Schema& tensor(schema::Name n, const char* shape, const char* types, const char* help, bool output, bool required) {
    Field& f = begin(n, Kind::tensor);
    f.name = n.name, f.at = uint16_t(n.at), f.to = uint16_t(n.to), f.help = help, f.output = output, f.required = required;
    f.shape_text = shape, f.types_text = types;
    for (int i = 0; i < count; ++i)
      if (std::string_view(shape) == fields[i].name) f.like = int8_t(i);
    std::string_view alternatives = f.like < 0 ? shape : fields[f.like].shape_text;
    for (std::string_view one; schema::next_word(alternatives, &one, '|');) {
      Shape& s = f.shapes[f.shape_count++];
      for (std::string_view word; schema::next_word(one, &word);) {
        if (word == "..." || word == "...?") s.any = s.count;
        if (word.ends_with("+1")) s.more = s.count, word.remove_suffix(2);
        s.dims[s.count++] = dim(word);
      }
      for (int d = 0; d < s.count; ++d)
        if (s.dims[d] >= 0 && (lengths_ >> s.dims[d] & 1)) s.by = s.dims[d];
      if (s.more >= 0) lengths_ |= 1u << s.dims[s.more];
      if (s.any > 0 && (s.any != 2 || s.count != 3)) throw "... begins a shape, or follows a batch and its channels";
    }
    std::string_view words = types;
    for (std::string_view word; schema::next_word(words, &word, '|');) type(&f.types, word);
    ++count;
    return *this;
  }
  constexpr Field& scalar(schema::Name n, Kind kind, const char* help) {
    Field& f = begin(n, kind);
    ++count;
    f.name = n.name, f.kind = kind, f.at = uint16_t(n.at), f.to = uint16_t(n.to), f.help = help;
    return f;
  }
};

}  // namespace kilter

#include "check/arguments.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <stdexcept>

#include "core/bits.h"

namespace kilter::check {

std::vector<std::string> op_names() {
  std::vector<std::string> names;
  for (size_t i = 0; const Function* f = function_at(i); ++i)
    if (names.empty() || names.back() != f->schema->op) names.push_back(f->schema->op);
  return names;
}

const Function* function_of(std::string_view op, bool backward) {
  for (size_t i = 0; const Function* f = function_at(i); ++i)
    if (op == f->schema->op && backward == (f->schema->direction == KILTER_BACKWARD)) return f;
  return nullptr;
}

const Field* field_of(const Schema& schema, std::string_view name) {
  for (int i = 0; i < schema.count; ++i)
    if (name == schema.fields[i].name) return &schema.fields[i];
  return nullptr;
}

bool is_usual(const Field& f) {
  return f.output && !f.shapes[0].is_bits() &&
         (f.shapes[0].any < 0 || is_shared(f) || std::string_view(f.types_text).find('|') == std::string_view::npos);
}

double usual_number(const Field& f) { return std::string_view(f.name) == "training" ? 1 : f.fallback; }

std::vector<std::string> words_of(std::string_view text, char separator) {
  std::vector<std::string> words;
  for (std::string_view word; schema::next_word(text, &word, separator);) words.emplace_back(word);
  return words;
}

// ---------------------------------------------------------------- sizes

void Sizes::set(const Size& size, int64_t value) {
  if (size.product) {
    any_ = {value}, any_known_ = true;
    return;
  }
  const ptrdiff_t i = &size - schema_->sizes;
  values_[i] = value, known_[i] = true;
}

void Sizes::bind(const Field& field, const std::vector<int64_t>& shape) {
  for (int a = 0; a < field.shape_count; ++a) {
    const Shape& s = field.shapes[a];
    const int rank = int(shape.size()), leading = rank - (s.count - 1);  // dimensions of "..."
    if (s.any < 0 ? rank != s.count : leading < 0) continue;
    if (s.more >= 0) by_lengths_ = true;
    if (s.is_shared() && by_lengths_) continue;
    if (s.is_shared()) return shared_.assign(shape.begin(), shape.begin() + leading);
    for (int i = 0, d = 0; i < s.count; ++i) {
      if (i == s.any) {
        if (!any_known_) any_.assign(shape.begin() + d, shape.begin() + d + leading), any_known_ = true;
        d += leading;
        continue;
      }
      const int8_t size = s.dims[i];
      if (size >= 0 && !known_[size]) values_[size] = shape[size_t(d)] - (i == s.more), known_[size] = true;
      ++d;
    }
    return;
  }
}

std::vector<int64_t> Sizes::shape_of(const Field& field) const {
  std::vector<int64_t> shape;
  const Shape& s = field.shapes[is_shared(field) && by_lengths_ ? 1 : 0];
  for (int i = 0; i < s.count; ++i) {
    if (i == s.any) {
      const std::vector<int64_t> dims = s.is_shared() ? shared() : any();
      shape.insert(shape.end(), dims.begin(), dims.end());
    } else {
      shape.push_back(s.dims[i] == kOne    ? 1
                      : s.dims[i] == kBits ? bits()
                      : s.dims[i] == kKept ? axis().kept
                                           : values_[s.dims[i]] + (i == s.more));
    }
  }
  return shape;
}

Axis Sizes::axis() const {
  std::vector<int64_t> shape;
  const Field& t = schema_->fields[schema_->t];
  for (int i = 0; i < t.shapes[0].count; ++i)
    if (i == t.shapes[0].any)
      shape.insert(shape.end(), any_.begin(), any_.end());
    else
      shape.push_back(values_[t.shapes[0].dims[i]]);
  const int ndim = int(shape.size());
  return {shape.data(), ndim, dim == KILTER_DIM_NONE ? -1 : int(dim < 0 ? dim + ndim : dim)};
}

int64_t Sizes::bits() const {
  const int64_t channels = values_[schema_->fields[schema_->t].shapes[0].dims[1]];
  const int64_t places = std::accumulate(any_.begin(), any_.end(), int64_t(1), std::multiplies<>());
  return bytes_of_bits(channels, places, channels == 1 ? kChannelsFirst : layout);
}

// Rows as samples of equal length, where that is what the sizes say.
std::vector<int64_t> Sizes::any() const {
  if (any_.size() != 1 || by_lengths_) return any_;
  for (int i = 0; i < schema_->size_count; ++i)
    if (const int64_t samples = values_[i]; schema_->sizes[i].shared && samples > 0 && samples != any_[0] && any_[0] % samples == 0)
      return {samples, any_[0] / samples};
  return any_;
}

std::vector<int64_t> Sizes::shared() const {
  if (!shared_.empty()) return shared_;
  std::vector<int64_t> dims = any();
  if (dims.size() == 2 && any_.size() == 1) dims[1] = 1;
  return dims;
}

// ---------------------------------------------------------------- arguments

Arguments::Arguments(const Function& function) : function_(&function), memory_((function.schema->args_size + 7) / 8) {
  member<size_t>(memory_.data(), 0) = schema().args_size;
  for (int i = 0; i < schema().count; ++i)
    if (const Field& f = schema().fields[i]; is_number(f))
      set(f, usual_number(f));
    else if (f.kind == Kind::count)
      member<int64_t>(memory_.data(), f.at) = 1;  // divides every size
}

kilter_tensor& Arguments::operator[](std::string_view name) {
  const Field* const f = field_of(schema(), name);
  if (!f || !is_tensor(*f)) throw std::logic_error(std::string(schema().op) + " has no tensor " + std::string(name));
  return tensor(*f);
}

void Arguments::set(const Field& f, double value) {
  if (f.kind == Kind::real) member<double>(memory_.data(), f.at) = value;
  if (f.kind == Kind::integer || f.kind == Kind::axis) member<int64_t>(memory_.data(), f.at) = value < 0x1p63 ? int64_t(value) : INT64_MAX;
  if (f.kind == Kind::choice) member<int32_t>(memory_.data(), f.at) = int32_t(value);
  if (f.kind == Kind::flags) member<uint64_t>(memory_.data(), f.at) = uint64_t(value);
}

void Arguments::set_counts(const Sizes& sizes) {
  for (int i = 0; i < schema().count; ++i)
    if (const Field& f = schema().fields[i]; f.kind == Kind::count) member<int64_t>(memory_.data(), f.at) = sizes.count(f);
}

void Arguments::set_impl(const char* name) {
  for (int i = 0; i < schema().count; ++i)
    if (schema().fields[i].kind == Kind::text) member<const char*>(memory_.data(), schema().fields[i].at) = name;
}

void Arguments::set_workspace(void* data, size_t bytes) {
  for (int i = 0; i < schema().count; ++i) {
    const Field& f = schema().fields[i];
    if (f.kind == Kind::memory) member<void*>(memory_.data(), f.at) = data;
    if (f.kind == Kind::bytes) member<size_t>(memory_.data(), f.at) = bytes;
  }
}

DType Arguments::type_named(const std::string& word) const {
  constexpr std::pair<const char*, DType> kFixed[] = {{"fp64", DType::f64},  {"fp32", DType::f32}, {"fp16", DType::f16},
                                                      {"bf16", DType::bf16}, {"uint8", DType::u8}, {"int32", DType::i32},
                                                      {"int64", DType::i64}};
  for (const auto& [name, type] : kFixed)
    if (word == name) return type;
  const DType t = type_of(schema().fields[schema().t]);
  if (word == "stat") return t == DType::f64 ? DType::f64 : DType::f32;
  const Field* const of = field_of(schema(), word);
  return of && type_of(*of) != DType::none ? type_of(*of) : t;
}

DType Arguments::usual_type(const Field& f) const {
  std::vector<DType> allowed;
  for (const std::string& word : words_of(f.types_text, '|')) allowed.push_back(type_named(word));
  for (const std::string& name : words_of(f.may_be_text)) {
    const DType there = type_of(*field_of(schema(), name));
    if (there != DType::none && std::find(allowed.begin(), allowed.end(), there) != allowed.end()) return there;
  }
  if (f.output && (f.shapes[0].any < 0 || is_shared(f)))
    return *std::max_element(allowed.begin(), allowed.end(), [](DType a, DType b) { return item_size(a) < item_size(b); });
  return allowed[0];
}

kilter_status Arguments::ask(kilter_plan* plan) const {
  *plan = {sizeof *plan, nullptr, 0};
  return function_->ask(memory_.data(), plan);
}

kilter_status Arguments::explain(std::vector<kilter_candidate>* list) const {
  size_t count = 0;
  KILTER_RETURN_IF_ERROR(function_->explain(memory_.data(), nullptr, 0, &count));
  list->resize(count);
  return function_->explain(memory_.data(), list->data(), count, &count);
}

}  // namespace kilter::check

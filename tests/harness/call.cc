#include "harness/call.h"

#include <algorithm>
#include <cstring>
#include <sstream>

namespace kilter::test {
namespace {

constexpr DType kTypes[] = {DType::f64, DType::f32, DType::f16, DType::bf16, DType::u8, DType::i32, DType::i64};
constexpr const char* kWords[] = {"fp64", "fp32", "fp16", "bf16", "uint8", "int32", "int64"};
constexpr int64_t kSegments = 4;  // of lengths
constexpr size_t kTail = 64;

std::vector<kilter_function_info> all_infos() {
  std::vector<kilter_function_info> all;
  kilter_function_info info{};
  info.struct_size = sizeof info;
  while (kilter_function_at(all.size(), &info) == KILTER_OK) all.push_back(info);
  return all;
}

}  // namespace

std::vector<std::string> words_of(const char* text, char separator) {
  std::vector<std::string> all;
  std::istringstream in(text);
  for (std::string word; std::getline(in, word, separator);)
    if (!word.empty()) all.push_back(word);
  return all;
}

std::string named(const kilter_field& field, const std::string& part) { return std::string(": ") + field.name + part; }

bool is_bits(const kilter_field& field) { return is_tensor(field) && words_of(field.shape).back() == "bits"; }
bool is_output(const kilter_field& field) { return std::strcmp(field.kind, "output") == 0; }
bool is_count(const kilter_field& field) { return std::strcmp(field.kind, "count") == 0; }
bool is_lengths(const kilter_field& field) { return is_tensor(field) && std::string(field.shape).ends_with("+1"); }
bool is_planes(const kilter_field& field) {
  const std::vector<std::string> words = words_of(field.shape);
  return is_tensor(field) && words.size() > 1 && words.back() == "...";
}
bool is_tensor(const kilter_field& field) { return is_output(field) || std::strcmp(field.kind, "input") == 0; }

std::vector<kilter_function> all_functions() {
  std::vector<kilter_function> all;
  for (const kilter_function_info& info : all_infos()) all.push_back(static_cast<kilter_function>(info.function));
  return all;
}

std::string function_name(const ::testing::TestParamInfo<kilter_function>& param) {
  for (const kilter_function_info& info : all_infos())
    if (info.function == int32_t(param.param)) return std::string(info.op) + (info.direction == KILTER_BACKWARD ? "_backward" : "_forward");
  return "unknown";
}

std::vector<bool> layouts_of(kilter_function function) {
  return Call(function).has_planes() ? std::vector<bool>{false, true} : std::vector<bool>{false};
}

std::vector<DType> types_of_t(kilter_function function) {
  std::vector<DType> all;
  for (const DType t : Call(function).allowed(Call(function).field(Call(function).t_field()))) all.push_back(t);
  return all;
}

Call::Call(kilter_function function, const Making& making) : making_(making) {
  for (const kilter_function_info& info : all_infos())
    if (info.function == int32_t(function)) info_ = {info, function};
  for (int32_t i = 0; i < info_.field_count; ++i) {
    kilter_field field{};
    field.struct_size = sizeof field;
    EXPECT_EQ(kilter_field_at(function, size_t(i), &field), KILTER_OK) << kilter_last_error();
    fields_.push_back(field);
  }
  t_field_ = fields_.at(size_t(info_.t)).name;
  // A mask is relu's.
  if (std::any_of(fields_.begin(), fields_.end(), is_bits)) making_.choices.try_emplace("activation", KILTER_ACTIVATION_RELU);
  const std::vector<std::string> types = words_of(field(t_field_).types, '|');
  if (std::find(types.begin(), types.end(), dtype_name(making_.t)) == types.end()) making_.t = type_named(types.front());
  args_.resize((info_.args_size + kTail) / sizeof(uint64_t));
  for (const kilter_field& f : fields_)
    if (is_tensor(f) && (f.required || (is_lengths(f) && making_.lengths))) give_memory(f);
  // By what is chosen more may be required: as one tensor and the one that it needs.
  for (const kilter_field& f : fields_)
    if (is_tensor(f) && !is_output(f) && !is_answered()) give_if(f);
  EXPECT_TRUE(is_answered()) << "the required tensors alone: " << kilter_last_error();
  // Twice: a tensor may need one that follows.
  for (int turn = 0; turn < 2; ++turn)
    for (const kilter_field& f : fields_) {
      if (is_tensor(f) && !making_.without.count(f.name)) give_if(f);
    }
  attach();
  workspace_ = std::make_unique<GuardedBuffer>(plan().workspace_size);
  attach();
}

bool Call::is_answered() {
  attach();
  kilter_plan answered{};
  answered.struct_size = sizeof answered;
  return ask(&answered) == KILTER_OK;
}

// With the tensor that it needs, unless the call is refused then.
void Call::give_if(const kilter_field& f) {
  std::vector<std::string> given;
  for (const std::string& name : {std::string(f.needs), std::string(f.name)}) {
    if (name.empty() || has(name)) continue;
    if (making_.without.count(name)) return;
    give_memory(field(name)), given.push_back(name);
  }
  if (!given.empty() && !is_answered())
    for (const std::string& name : given) memory_.erase(name);
}

const kilter_field& Call::field(const std::string& name) const {
  for (const kilter_field& f : fields_)
    if (name == f.name) return f;
  ADD_FAILURE() << op() << " has no " << name;
  return fields_.front();
}

kilter_tensor& Call::operator[](const std::string& name) {
  kilter_tensor& t = at<kilter_tensor>(name);
  if (!has(name) && t.dtype.bits == 0) {
    give_memory(field(name));
    lent_[name] = std::move(memory_.at(name));
    memory_.erase(name);
    t = lent_.at(name).tensor();
  }
  return t;
}

DType Call::type_named(const std::string& word) const {
  for (size_t i = 0; i < std::size(kTypes); ++i)
    if (word == kWords[i]) return kTypes[i];
  if (word == "T") return making_.t;
  if (word == "stat") return making_.t == DType::f64 ? DType::f64 : DType::f32;
  return type_of(word);
}

DType Call::type_of(const std::string& name) const {
  const auto at = memory_.find(name);
  return at == memory_.end() ? making_.t : at->second.dtype();
}

std::set<DType> Call::allowed(const kilter_field& field) const {
  std::set<DType> all;
  for (const std::string& word : words_of(field.types, '|')) all.insert(type_named(word));
  return all;
}

std::vector<int64_t> Call::shape_of(const kilter_field& field) const {
  for (const kilter_field& f : fields_)
    if (field.shape == std::string(f.name)) return shape_of(f);
  std::vector<int64_t> shape;
  for (std::string word : words_of(form_of(field).c_str())) {
    const bool more = word.ends_with("+1");
    if (more) word.resize(word.size() - 2);
    if (word == "..." || word == "...?")
      shape.insert(shape.end(), making_.any.begin(), making_.any.end());
    else
      shape.push_back(word == "1" ? 1 : word == "bits" ? bytes_of_bits() : word == "kept" ? kept() : size_named(word) + more);
  }
  return shape;
}

int64_t Call::bytes_of_bits() const {
  int64_t channels = size_named("channels"), places = 1;
  for (const int64_t size : making_.any) places *= size;
  const bool last = making_.channels_last && channels > 1;
  return last ? places * ((channels + 7) / 8) : (channels * places + 7) / 8;
}

std::string Call::form_of(const kilter_field& field) const {
  const std::vector<std::string> alternatives = words_of(field.shape, '|');
  if (alternatives.size() == 2 && alternatives[0].starts_with("...?")) return alternatives[making_.lengths];
  return alternatives.at(making_.shape % alternatives.size());
}

int64_t Call::kept() const {
  if (making_.dim == KILTER_DIM_NONE) return 1;
  const std::vector<int64_t> shape = shape_of(field(t_field_));
  return shape.at(size_t(making_.dim < 0 ? making_.dim + int64_t(shape.size()) : making_.dim));
}

bool Call::has_planes() const { return std::any_of(fields_.begin(), fields_.end(), is_planes); }

int64_t Call::size_named(const std::string& name) const {
  for (const kilter_field& f : fields_)
    if (is_count(f) && f.name == name) {
      if (const auto given = making_.counts.find(name); given != making_.counts.end()) return given->second;
      const int64_t whole = size_named(f.shape);
      int64_t divisor = 1;
      for (int64_t d = 1; d * d <= whole; ++d)
        if (whole % d == 0) divisor = d;
      return divisor;
    }
  // The others by the order in which tensors name them.
  std::map<std::string, int64_t> sizes;
  std::set<std::string> tensors;  // whose shape others have
  for (const kilter_field& f : fields_)
    if (is_tensor(f)) tensors.insert(f.name);
  int64_t next = making_.size;
  for (const kilter_field& f : fields_)
    for (const std::string& form : words_of(is_tensor(f) ? f.shape : "", '|'))
      for (const std::string& word : words_of(form.c_str())) {
        if (word.ends_with("+1")) sizes[word.substr(0, word.size() - 2)] = kSegments;
        if (word.ends_with("+1") || word == "...?" || (!sizes.count(word) && tensors.count(word))) continue;
        if (word == "..." || word == "1" || word == "bits" || word == "kept" || sizes.count(word)) continue;
        const bool batch = is_planes(f) && form.starts_with(word);
        sizes[word] = batch ? making_.batch : std::max<int64_t>(next--, 0);
      }
  return sizes.at(name);
}
bool Call::has_any_rows() const { return std::strstr(field(t_field_).shape, "..."); }

// Planes: dense strides behind that of the samples.
Placed Call::place_of(const kilter_field& f, const std::vector<int64_t>& shape) const {
  const auto where = making_.placed.find(f.name);
  Placed p = where != making_.placed.end() ? where->second : Placed();
  if (!is_planes(f)) return p;
  std::vector<int64_t> strides(shape.size());
  int64_t next = 1;
  if (making_.channels_last) strides[1] = 1, next = shape[1];
  for (size_t d = shape.size(); d-- > (making_.channels_last ? 2u : 1u); next *= shape[d]) strides[d] = next;
  strides[0] = !p.strides.empty() ? p.strides[0] : p.reversed ? -(next + p.pad) : next + p.pad;
  p.strides = strides, p.pad = 0, p.reversed = false;
  return p;
}

void Call::give_memory(const kilter_field& f) {
  const auto chosen = making_.types.find(f.name);
  const std::string word = chosen != making_.types.end() ? chosen->second : words_of(f.types, '|').front();
  const std::vector<int64_t> shape = shape_of(f);
  Matrix m(f.name == t_field_ ? making_.t : type_named(word), shape, place_of(f, shape));
  uint64_t seed = 1;
  for (const char* c = f.name; *c; ++c) seed = seed * 31 + uint64_t(*c);
  const bool around_one = std::strcmp(f.types, "stat") == 0 || words_of(f.shape).size() == 1;
  int64_t rows = 1;
  for (const int64_t size : making_.any) rows *= size;
  if (is_lengths(f))
    m.fill([&](int64_t, int64_t i) {
      const int64_t length = i * rows / kSegments;
      return double(length);
    });
  // A number by its place alone: the same in every layout and rank.
  if (!is_output(f) && !is_lengths(f))
    m.fill([&](int64_t r, int64_t i) {
      const double value = noise(seed, 0, r * m.n() + i);
      return around_one ? 1 + value / 8 : value + 0.25;
    });
  memory_[f.name] = std::move(m);
}

void Call::attach() {
  lent_.clear();
  std::memset(args_.data(), 0, args_.size() * sizeof args_[0]);
  struct_size() = info_.args_size;
  for (const kilter_field& f : fields_) {
    if (is_tensor(f) && has(f.name)) at<kilter_tensor>(f.name) = memory_.at(f.name).tensor();
    if (std::strcmp(f.kind, "real") == 0) at<double>(f.name) = f.fallback;
    if (is_count(f)) at<int64_t>(f.name) = size_named(f.name);
    if (std::strcmp(f.kind, "axis") == 0) at<int64_t>(f.name) = making_.dim;
    if (const auto chosen = making_.choices.find(f.name); chosen != making_.choices.end()) at<int32_t>(f.name) = chosen->second;
    if (std::strcmp(f.kind, "memory") == 0 && workspace_) {
      at<void*>(f.name) = workspace_->data();
      at<size_t>(f.name + std::string("_size")) = workspace_->size();
    }
    if (std::strcmp(f.name, "impl") == 0) at<const char*>(f.name) = making_.impl;
  }
}

::testing::AssertionResult same_outputs(Call& expected, Call& got) {
  for (const kilter_field& f : got.fields()) {
    if (!is_output(f) || !got.has(f.name)) continue;
    if (auto result = same(expected.memory(f.name), got.memory(f.name), f.name); !result) return result;
  }
  return ::testing::AssertionSuccess();
}

kilter_plan Call::plan() {
  kilter_plan p{};
  p.struct_size = sizeof p;
  EXPECT_EQ(ask(&p), KILTER_OK) << kilter_last_error();
  return p;
}

Snapshot Call::snapshot() const {
  Snapshot all;
  for (const auto* tensors : {&memory_, &lent_})
    for (const auto& [name, matrix] : *tensors) all.push_back(matrix.bytes());
  if (workspace_) all.push_back(workspace_->bytes());
  return all;
}

}  // namespace kilter::test

// kilter run: one call of the library, tensors from and to .npy files.
#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <memory>

#include "kilter/files.h"
#include "kilter/npy.h"
#include "kilter/op.h"
#include "kilter/text.h"

namespace kilter::cli {
namespace {

struct RunOptions {
  OpCall call;
  std::map<std::string, std::string> files;                        // by the tensor's name
  std::map<std::string, std::string> types;                        // of outputs: a type's name, or a tensor's whose type it is
  std::map<std::string, std::pair<CLI::Option*, int64_t>> counts;  // sizes that no tensor gives
  Layout layout = kChannelsFirst;
  DType x_dtype = DType::none;
  int threads = 0;
  bool json = false;
};

const std::string kStandard = "-";  // standard input or output

class Run {
 public:
  explicit Run(const RunOptions& o) : o_(o), args_(o.call.arguments()), sizes_(args_.schema()) {
    const Schema& s = args_.schema();
    sizes_.layout = o.layout, sizes_.dim = o.call.dim();
    for (int i = 0; i < s.count; ++i) {
      if (s.fields[i].kind != Kind::count) continue;
      const auto& [option, count] = o_.counts.at(s.fields[i].name);
      if (!option->count()) usage(fmt::format("--{}: expected a number, {} needs it", s.fields[i].name, o_.call.what()));
      sizes_.set(s.sizes[s.fields[i].size], count);
    }
    args_.set_counts(sizes_);
    for (int i = 0; i < s.count; ++i)
      if (check::is_tensor(s.fields[i])) (s.fields[i].output ? outputs_ : inputs_).push_back(&s.fields[i]);
    check_files();
    for (auto* list : {&inputs_, &outputs_})
      list->erase(std::remove_if(list->begin(), list->end(), [&](const Field* f) { return !has(f->name); }), list->end());
  }

  // Standard output is a tensor's: nothing else may be printed there.
  bool prints_tensor() const {
    return std::any_of(outputs_.begin(), outputs_.end(), [&](const Field* f) { return file(f->name) == kStandard; });
  }

  Json execute() {
    if (o_.call.backend != "cpu")
      throw Error(kExitUnsupported, KILTER_UNSUPPORTED,
                  fmt::format("backend: expected cpu, got {}: no such backend in this build", o_.call.backend));
    for (const Field* f : inputs_) read(*f);
    for (const Field* f : outputs_) files_.declare(f->name, file(f->name), ids_);
    for (const Field* f : outputs_) make_output(*f);
    require(kilter_set_num_threads(o_.threads));
    kilter_plan plan;
    require(args_.ask(&plan));
    require_memory(int64_t(plan.workspace_size), "workspace");
    const std::unique_ptr<char[]> workspace(new char[plan.workspace_size + 1]);
    args_.set_workspace(workspace.get(), plan.workspace_size);
    require(args_.call());
    size_t index = 0;
    for (const Field* f : outputs_) {
      const Array& a = arrays_.at(f->name);
      files_.write(index++, npy_header(a.dtype, a.shape), a.data.get(), size_t(a.bytes));
    }
    files_.commit();
    return report(plan.impl);
  }

 private:
  const std::string& file(const std::string& name) const { return o_.files.at(name); }
  bool has(const std::string& name) const { return o_.files.count(name) && !file(name).empty(); }

  void check_files() const {
    const Schema& s = args_.schema();
    for (const auto& [name, path] : o_.files)
      if (!path.empty() && !check::field_of(s, name))
        usage(fmt::format("--{}: expected a tensor of {}, which has none of that name", name, o_.call.what()));
    std::string listed;
    bool any = false;
    const char *read = nullptr, *written = nullptr;  // from and to standard input and output
    for (int i = 0; i < s.count; ++i) {
      const Field& f = s.fields[i];
      if (!check::is_tensor(f)) continue;
      if (!has(f.name) && f.required) usage(fmt::format("--{}: expected a file, {} needs it", f.name, o_.call.what()));
      if (f.output) listed += fmt::format("{}--{}", listed.empty() ? "" : ", ", f.name), any = any || has(f.name);
      if (!has(f.name)) continue;
      if (f.needs >= 0 && !has(s.fields[f.needs].name))
        usage(fmt::format("--{}: expected a --{} beside it, got none", f.name, s.fields[f.needs].name));
      if (file(f.name) != kStandard) continue;
      const char*& other = f.output ? written : read;
      if (other)
        usage(fmt::format("--{}: expected a file, got - (standard {}), which is {}'s", f.name, f.output ? "output" : "input", other));
      other = f.name;
    }
    if (written && o_.json) usage(fmt::format("--{}: expected a file, got - (standard output), which is --json's", written));
    if (!any) usage(fmt::format("expected at least one output, {}, got none", listed));
    for (const auto& [name, type] : o_.types)
      if (!type.empty() && !has(name)) usage(fmt::format("--{}_dtype: expected a --{} beside it, got none", name, name));
  }

  void read(const Field& f) {
    FileId id;
    Array& a = arrays_[f.name] = read_npy(f.name, file(f.name),
                                          f.shapes[0].more >= 0       ? Numbers::lengths
                                          : o_.x_dtype == DType::bf16 ? Numbers::bf16
                                                                      : Numbers::plain,
                                          &id);
    ids_.push_back(id);
    if (&f == &args_.schema().fields[args_.schema().t] && o_.x_dtype != DType::none && a.dtype != o_.x_dtype)
      throw Error(kExitInvalidArgument, KILTER_INVALID_ARGUMENT,
                  fmt::format("{}: {}: expected {} (--{}-dtype), got {}", f.name, shown_path(file(f.name)), dtype_name(o_.x_dtype),
                              t_name(o_.call.op), dtype_name(a.dtype)));
    sizes_.bind(f, place(f, &a));
  }

  DType type_of_output(const Field& f) const {
    const auto wanted = o_.types.find(f.name);
    if (wanted == o_.types.end() || wanted->second.empty()) return args_.usual_type(f);
    for (const DType t : kTypes)
      if (wanted->second == dtype_name(t)) return t;
    return args_.type_named(wanted->second);
  }

  void make_output(const Field& f) {
    std::vector<int64_t> shape = sizes_.shape_of(f);
    if (lies_otherwise(f, shape)) std::rotate(shape.begin() + 1, shape.begin() + 2, shape.end());
    place(f, &(arrays_[f.name] = make_array(f.name, type_of_output(f), shape)));
  }

  // A file is in C order: with channels last it is [batch, spatial..., channels], what its tensor is not.
  bool lies_otherwise(const Field& f, const std::vector<int64_t>& shape) const {
    return f.shapes[0].is_planes() && o_.layout == kChannelsLast && shape.size() > 2;
  }
  // Makes a file's array a tensor of the call, whose shape it returns.
  std::vector<int64_t> place(const Field& f, Array* a) {
    args_.tensor(f) = a->tensor();
    if (!lies_otherwise(f, a->shape)) return a->shape;
    std::vector<int64_t>& shape = shapes_.emplace_back(a->shape);
    std::rotate(shape.begin() + 1, shape.end() - 1, shape.end());
    args_.tensor(f).shape = shape.data(), args_.tensor(f).strides = shapes_.emplace_back(channels_last_strides(shape)).data();
    return shape;
  }

  Json report(const char* impl) const {
    Json json{
        {"op", o_.call.op}, {"direction", o_.call.backward ? "backward" : "forward"}, {"impl", impl}, {"target", kilter_cpu_target()}};
    for (const Field* f : outputs_) {
      const Array& a = arrays_.at(f->name);
      json["outputs"].push_back({{"name", f->name}, {"file", file(f->name)}, {"dtype", dtype_name(a.dtype)}, {"shape", a.shape}});
    }
    return json;
  }

  const RunOptions& o_;
  check::Arguments args_;
  check::Sizes sizes_;
  std::vector<const Field*> inputs_, outputs_;  // that have a file
  std::map<std::string, Array> arrays_;
  std::deque<std::vector<int64_t>> shapes_;  // and strides, of tensors that are no file's array as it is
  std::vector<FileId> ids_;
  OutputFiles files_;
};

constexpr char kFiles[] =
    "Files: .npy, versions 1 to 3, of fp64, fp32, fp16 (<f8, <f4, <f2), bytes (|u1) or, with --x-dtype bf16, bf16: its words as uint16 or "
    "int16\n"
    "  (<u2, <i2), or as NumPy saves the bfloat16 of JAX and ml_dtypes (<V2). Big-endian files and those in Fortran order are read too.\n"
    "  Written: little-endian, C order, bf16 as <u2: numpy.load(file).view(ml_dtypes.bfloat16).\n"
    "  - is standard input for one tensor and standard output for one; nothing else is printed there then, so not with --json.\n"
    "  Pipes are read. Outputs appear all or none; one that exists keeps its mode, a link is followed, a read-only file is refused.\n";

void run(const RunOptions& o, State* state) {
  Run run(o);
  const Json json = run.execute();
  if (run.prints_tensor()) return;
  if (state->json) return print_json(json);
  for (const Json& out : json["outputs"])
    fmt::print("{}: {} {} {} by {}\n", shown_path(out["file"].get<std::string>()), out["name"].get<std::string>(),
               out["dtype"].get<std::string>(), out["shape"].dump(), json["impl"].get<std::string>());
}

// Where the table has alternatives: --NAME-dtype.
void add_output_type(CLI::App* command, const OpField& f, std::string* out) {
  std::vector<std::string> allowed;
  for (const DType t : kTypes) allowed.push_back(dtype_name(t));
  for (const Field* field : f.in)
    for (const std::string& word : check::words_of(field && field->output ? field->types_text : "", '|'))
      if (check::field_of(*check::function_of(command->get_name(), field == f.in[1])->schema, word)) allowed.push_back(word);
  if (std::string_view(f.any().types_text).find('|') == std::string_view::npos) return;
  command->add_option(option_names(std::string(f.name) + "_dtype"), *out, fmt::format("Type of {}, where it has a choice", f.name))
      ->check(CLI::IsMember(allowed))
      ->type_name("TYPE");
}

void add_run_op(CLI::App* command, const std::string& op, State* state) {
  auto o = std::make_shared<RunOptions>();
  o->call.op = op, o->call.by_table = true;
  // A variable that a script left unset must not drop a tensor.
  const auto named = [](const std::string& file) { return std::string(file.empty() ? "expected a file name, got an empty one" : ""); };
  for (const OpField& f : fields_of(op)) {
    if (!check::is_tensor(f.any())) continue;
    command->add_option(option_names(f.name), o->files[f.name], f.help())
        ->type_name("FILE")
        ->check(named)
        ->group(f.is_output() ? "Tensors written" : "Tensors read");
    if (f.is_output()) add_output_type(command, f, &o->types[f.name]);
  }
  for (const OpField& f : fields_of(op)) {
    if (f.any().kind != Kind::count) continue;
    auto& [option, count] = o->counts[f.name];
    option = add_number(command, option_names(f.name), &count, f.help());
  }
  if (has_planes(op))
    add_layout(command, &o->layout)->description("nhwc: files of x's shape are [batch, spatial..., channels], channels last");
  add_op_call(command, &o->call);
  add_backend(command, &o->call);
  add_number(command, "--threads", &o->threads, "0: what OpenMP would take");
  add_dtype(command, fmt::format("--{}-dtype", t_name(op)), &o->x_dtype,
            fmt::format("bf16: words of 16 bits in any of the files are bf16; other types: what {} (backward: {}) must have", t_name(op),
                        t_name(op, true)));
  command->final_callback([o, state] {
    o->json = state->json;
    for (auto& [name, file] : o->files)
      if (file == "/dev/stdout") file = kStandard;  // no place for a temporary file beside it
    run(*o, state);
  });
}

}  // namespace

void add_run(CLI::App& app, State* state) {
  CLI::App* command =
      add_command(app, state, "run", "Run an op on .npy files",
                  "kilter run layer_norm --x x.npy --weight w.npy --bias b.npy --y y.npy --mean mean.npy --rstd rstd.npy\n"
                  "  kilter run layer_norm --backward --x x.npy --weight w.npy --mean mean.npy --rstd rstd.npy --dy dy.npy --dx dx.npy\n"
                  "  kilter run group_norm --x x.npy --weight w.npy --bias b.npy --groups 32 --activation silu --y y.npy\n"
                  "  cat x.npy | kilter run rms_norm --x - --y - > y.npy",
                  kFiles);
  add_ops(command, [state](CLI::App* sub, const std::string& op) { add_run_op(sub, op, state); });
}

}  // namespace kilter::cli

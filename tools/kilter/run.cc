// kilter run: one call of the library, tensors from and to .npy files.
#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <memory>

#include "check/call.h"
#include "kilter/command.h"
#include "kilter/files.h"
#include "kilter/npy.h"
#include "kilter/text.h"

namespace kilter::cli {
namespace {

using check::Call;

enum Use : unsigned { kNone = 0, kInput = 1, kOutput = 2, kRequired = 4 };

struct Slot {
  const char* name;
  kilter_tensor Call::*tensor;
  unsigned forward, backward;
  const char* help;
};

constexpr Slot kSlots[] = {
    {"x", &Call::x, kInput | kRequired, kInput | kRequired, "What is normalized (backward: residual_out if a residual was added)"},
    {"weight", &Call::weight, kInput, kInput, "[n]"},
    {"bias", &Call::bias, kInput, kNone, "[n]"},
    {"residual", &Call::residual, kInput, kNone, "Added to x before the norm"},
    {"residual_out", &Call::residual_out, kOutput, kNone, "x + residual"},
    {"post_residual", &Call::post_residual, kInput, kNone, "Added after the norm"},
    {"y", &Call::y, kOutput | kRequired, kNone, "The normalized rows"},
    {"mean", &Call::mean, kOutput, kInput | kRequired, "Per row: forward writes it, backward reads it (layer_norm)"},
    {"rstd", &Call::rstd, kOutput, kInput | kRequired, "Per row: forward writes it, backward reads it"},
    {"dy", &Call::dy, kNone, kInput | kRequired, "The gradient of y"},
    {"dresidual_out", &Call::dresidual_out, kNone, kInput, "The gradient of residual_out from elsewhere"},
    {"dx", &Call::dx, kNone, kOutput, "The gradient of x, in dy's type"},
    {"dresidual", &Call::dresidual, kNone, kOutput, "dx in x's type"},
    {"dweight", &Call::dweight, kNone, kOutput, "The gradient of weight"},
    {"dbias", &Call::dbias, kNone, kOutput, "The gradient of bias"},
};

struct RunOptions {
  OpOptions op;
  std::map<std::string, std::string> files;
  double eps = KILTER_DEFAULT_EPS, weight_offset = 0;
  std::string rounding = "once", backend = "cpu", impl, dweight_dtype;
  DType x_dtype = DType::none;
  int threads = 0;
  bool json = false;
};

const std::string kStandard = "-";  // standard input or output

[[noreturn]] void usage(const std::string& message) { throw Error(kExitUsage, KILTER_INVALID_ARGUMENT, message); }

class Run {
 public:
  explicit Run(const RunOptions& o) : o_(o), op_(*check::find_op(o.op.op)) {
    call_.op = o.op.op, call_.backward = o.op.backward;
    call_.eps = o.eps, call_.weight_offset = o.weight_offset;
    call_.rounding = o.rounding == "once" ? KILTER_ROUND_ONCE : KILTER_ROUND_THEN_MULTIPLY;
    call_.impl = o.impl.empty() ? nullptr : o.impl.c_str();
  }

  // Standard output is a tensor's: nothing else may be printed there.
  bool prints_tensor() const {
    return std::any_of(std::begin(kSlots), std::end(kSlots),
                       [&](const Slot& s) { return use(s) & kOutput && has(s) && o_.files.at(s.name) == kStandard; });
  }

  Json execute() {
    if (o_.backend != "cpu")
      throw Error(kExitUnsupported, KILTER_UNSUPPORTED,
                  fmt::format("backend: expected cpu, got {}: no such backend in this build", o_.backend));
    check_files();
    for (const Slot& s : kSlots)
      if (use(s) & kInput && has(s)) read(s);
    for (const Slot& s : kSlots)
      if (use(s) & kOutput && has(s)) files_.declare(s.name, o_.files.at(s.name), inputs_);
    for (const Slot& s : kSlots)
      if (use(s) & kOutput && has(s)) make_output(s);
    require(kilter_set_num_threads(o_.threads));
    run_op();
    size_t index = 0;
    for (const Slot* s : outputs_) {
      const Array& a = arrays_.at(s->name);
      files_.write(index++, npy_header(a.dtype, a.shape), a.data.get(), size_t(a.bytes));
    }
    files_.commit();
    return report();
  }

 private:
  unsigned use(const Slot& s) const {
    if (s.tensor == &Call::mean && !op_.centered) return kNone;
    return o_.op.backward ? s.backward : s.forward;
  }
  bool has(const Slot& s) const { return o_.files.count(s.name) && !o_.files.at(s.name).empty(); }

  void check_files() const {
    bool any = false;
    const char *read = nullptr, *written = nullptr;  // from and to standard input and output
    for (const Slot& s : kSlots) {
      const std::string what = fmt::format("{} {}", op_.name, o_.op.backward ? "backward" : "forward");
      if (has(s) && !use(s)) usage(fmt::format("--{}: expected a tensor of {}, which has none of that name", s.name, what));
      if (!has(s) && use(s) & kRequired) usage(fmt::format("--{}: expected a file, {} needs it", s.name, what));
      any = any || (has(s) && use(s) & kOutput);
      if (!has(s) || o_.files.at(s.name) != kStandard) continue;
      const char*& other = use(s) & kInput ? read : written;
      if (other)
        usage(
            fmt::format("--{}: expected a file, got - (standard {}), which is {}'s", s.name, use(s) & kInput ? "input" : "output", other));
      other = s.name;
    }
    if (written && o_.json) usage(fmt::format("--{}: expected a file, got - (standard output), which is --json's", written));
    if (!any) usage("expected at least one output, --dx, --dresidual, --dweight or --dbias, got none");
  }

  void read(const Slot& s) {
    FileId id;
    Array& a = arrays_[s.name] = read_npy(s.name, o_.files.at(s.name), o_.x_dtype == DType::bf16, &id);
    inputs_.push_back(id);
    const bool is_t = s.tensor == (o_.op.backward ? &Call::dy : &Call::x);
    if (is_t && o_.x_dtype != DType::none && a.dtype != o_.x_dtype)
      throw Error(kExitInvalidArgument, KILTER_INVALID_ARGUMENT,
                  fmt::format("{}: {}: expected {} (--x-dtype), got {}", s.name, shown_path(o_.files.at(s.name)), dtype_name(o_.x_dtype),
                              dtype_name(a.dtype)));
    call_.*s.tensor = a.tensor();
  }

  void make_output(const Slot& s) {
    const Array& x = arrays_.at("x");
    const DType t = o_.op.backward ? arrays_.at("dy").dtype : x.dtype;
    std::vector<int64_t> shape = x.shape;
    DType dtype = t;
    if (s.tensor == &Call::residual_out) {
      if (!arrays_.count("residual")) usage("--residual_out: expected a --residual beside it, got none");
      dtype = arrays_.at("residual").dtype;
    } else if (s.tensor == &Call::mean || s.tensor == &Call::rstd) {
      dtype = t == DType::f64 ? DType::f64 : DType::f32;
      if (!shape.empty()) shape.pop_back();
    } else if (s.tensor == &Call::dresidual) {
      dtype = x.dtype;
    } else if (s.tensor == &Call::dweight || s.tensor == &Call::dbias) {
      const DType weight = arrays_.count("weight") ? arrays_.at("weight").dtype : t;
      dtype = o_.dweight_dtype == "weight" || (o_.dweight_dtype.empty() && t == DType::f64) ? weight : DType::f32;
      if (!shape.empty()) shape = {shape.back()};
    }
    Array& a = arrays_[s.name] = make_array(s.name, dtype, std::move(shape));
    outputs_.push_back(&s);
    call_.*s.tensor = a.tensor();
  }

  void run_op() {
    if (!o_.op.backward) return require(op_.forward(call_));
    size_t bytes = 0;
    require(op_.backward_workspace(call_, &bytes));
    require_memory(int64_t(bytes), "workspace");
    const std::unique_ptr<char[]> workspace(new char[bytes + 1]);
    call_.workspace = workspace.get(), call_.workspace_size = bytes;
    require(op_.backward(call_));
  }

  Json report() {
    const char* impl = check::implementation(check::query_of(call_), call_.impl);
    Json json{{"op", op_.name},
              {"direction", o_.op.backward ? "backward" : "forward"},
              {"impl", impl ? impl : ""},
              {"target", kilter_cpu_target()}};
    for (const Slot* s : outputs_) {
      const Array& a = arrays_.at(s->name);
      json["outputs"].push_back({{"name", s->name}, {"file", o_.files.at(s->name)}, {"dtype", dtype_name(a.dtype)}, {"shape", a.shape}});
    }
    return json;
  }

  const RunOptions& o_;
  const check::Op& op_;
  Call call_;
  std::map<std::string, Array> arrays_;
  std::vector<FileId> inputs_;
  std::vector<const Slot*> outputs_;
  OutputFiles files_;
};

constexpr char kFiles[] =
    "Files: .npy, versions 1 to 3, of fp64, fp32, fp16 (<f8, <f4, <f2) or, with --x-dtype bf16, bf16: its words as uint16 or int16\n"
    "  (<u2, <i2), or as NumPy saves the bfloat16 of JAX and ml_dtypes (<V2). Big-endian files and those in Fortran order are read too.\n"
    "  Written: little-endian, C order, bf16 as <u2: numpy.load(file).view(ml_dtypes.bfloat16).\n"
    "  - is standard input for one tensor and standard output for one; nothing else is printed there then, so not with --json.\n"
    "  Pipes are read. Outputs appear all or none; one that exists keeps its mode, a link is followed, a read-only file is refused.\n";

}  // namespace

void add_run(CLI::App& app, State* state) {
  auto o = std::make_shared<RunOptions>();
  CLI::App* command =
      add_command(app, state, "run", "Run an op on .npy files",
                  "kilter run layer_norm --x x.npy --weight w.npy --bias b.npy --y y.npy --mean mean.npy --rstd rstd.npy\n"
                  "  kilter run layer_norm --backward --x x.npy --weight w.npy --mean mean.npy --rstd rstd.npy --dy dy.npy --dx dx.npy\n"
                  "  cat x.npy | kilter run rms_norm --x - --y - > y.npy",
                  kFiles);
  add_op(command, &o->op);
  // A variable that a script left unset must not drop a tensor.
  const auto named = [](const std::string& file) { return std::string(file.empty() ? "expected a file name, got an empty one" : ""); };
  for (const Slot& s : kSlots)
    command->add_option(option_names(s.name), o->files[s.name], s.help)
        ->type_name("FILE")
        ->check(named)
        ->group(s.forward & kOutput || s.backward & kOutput ? "Tensors written" : "Tensors read");
  add_number(command, "--eps", &o->eps, "Added to the variance");
  add_number(command, option_names("weight_offset"), &o->weight_offset, "Added to weight; 1 for models that store weight - 1");
  command->add_option("--rounding", o->rounding, "once: y = T(xhat * w + b); then-multiply: T(T(T(xhat) * w) + b)")
      ->capture_default_str()
      ->check(CLI::IsMember({"once", "then-multiply"}));
  command->add_option("--backend", o->backend, "Where to run")->capture_default_str()->check(CLI::IsMember({"cpu", "cuda", "metal"}));
  command->add_option("--impl", o->impl, "The implementation, by its name in kilter explain")->check(names_something);
  add_number(command, "--threads", &o->threads, "0: what OpenMP would take");
  add_dtype(command, "--x-dtype", &o->x_dtype,
            "bf16: words of 16 bits in any of the files are bf16; other types: what x (backward: dy) must have");
  command->add_option("--dweight-dtype", o->dweight_dtype, "Type of dweight and dbias [fp32; weight for fp64]")
      ->check(CLI::IsMember({"fp32", "weight"}));
  command->final_callback([o, state] {
    o->json = state->json;
    for (auto& [name, file] : o->files)
      if (file == "/dev/stdout") file = kStandard;  // no place for a temporary file beside it
    Run run(*o);
    const Json json = run.execute();
    if (run.prints_tensor()) return;
    if (state->json) return print_json(json);
    for (const Json& out : json["outputs"])
      fmt::print("{}: {} {} {} by {}\n", shown_path(out["file"].get<std::string>()), out["name"].get<std::string>(),
                 out["dtype"].get<std::string>(), out["shape"].dump(), json["impl"].get<std::string>());
  });
}

}  // namespace kilter::cli

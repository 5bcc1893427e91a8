// kilter bench: the op against a copy of the same bytes, in the same arrays, on the same threads, rep by rep.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>
#include <memory>
#include <numeric>
#include <random>

#include "check/check.h"
#include "kilter/bench_case.h"
#include "kilter/copy.h"
#include "kilter/machine.h"
#include "kilter/npy.h"
#include "kilter/op.h"
#include "kilter/progress.h"

namespace kilter::cli {
namespace {

struct BenchOptions {
  OpOptions op;
  BenchCase c;
  SizeGiven sizes;
  int reps = 40, threads = 0;
  std::string impl;
  bool suite = false;
};

using Samples = std::vector<double>;  // seconds

double best(const Samples& s) { return *std::min_element(s.begin(), s.end()); }

double median(Samples s) {
  std::sort(s.begin(), s.end());
  return s.size() % 2 ? s[s.size() / 2] : (s[s.size() / 2 - 1] + s[s.size() / 2]) / 2;
}

struct Result {
  BenchCase c;
  std::string impl;
  int64_t bytes = 0;  // useful ones: every activation once
  int threads = 1;
  Samples op;
  std::vector<std::pair<Copy, Samples>> copies;

  double copy_time() const {
    double time = 1e300;
    for (const auto& [copy, samples] : copies) time = std::min(time, best(samples));
    return time;
  }
  double fraction() const { return copy_time() / best(op); }
  double rate(double seconds) const { return double(bytes) / seconds * 1e-9; }
  std::string name() const { return fmt::format("{} {} {} {}", c.op, c.backward ? "backward" : "forward", dtype_name(c.x), c.shape()); }
};

template <class F>
double seconds(F&& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

class Bench {
 public:
  Bench(const BenchCase& c, const std::string& impl, int threads)
      : c_(c),
        threads_(threads),
        sizes_(c.schema()),
        forward_(*check::function_of(c.op, false)),
        backward_(*check::function_of(c.op, true)) {
    const Schema& s = c.schema();
    std::string what;
    for (int i = 0; i < s.size_count; ++i) {
      const int64_t size = c.sizes.at(s.sizes[i].name);
      sizes_.set(s.sizes[i], size), what += fmt::format("{}{} {}", i ? ", " : "", s.sizes[i].name, size);
    }
    sizes_.layout = c.layout;
    for (check::Arguments* call : {&forward_, &backward_}) call->set_counts(sizes_);
    const int64_t activations = c.backward ? 3 : 2;
    int64_t bytes = array_bytes(c.x, sizes_.shape_of(s.fields[s.t]));
    if (bytes < 0 || __builtin_mul_overflow(bytes, activations, &bytes_)) bytes_ = -1;
    require_memory(bytes_, what);
    require(kilter_set_num_threads(threads));
    prepare(forward_);
    if (c.backward) give_workspace(forward_), require(forward_.call()), prepare(backward_);
    if (!impl.empty()) timed().set_impl(impl.c_str());
    give_workspace(timed());
    require(timed().call());
  }

  Result measure(int reps, Progress* progress) {
    Result r;
    const check::Arguments& call = timed();
    r.c = c_, r.bytes = bytes_, r.threads = threads_;
    r.impl = impl_;
    for (const Copy& copy : copies(c_.backward)) r.copies.push_back({copy, {}});
    // Every round in an order of its own: what runs after a copy with plain stores pays for the lines that it left dirty.
    std::vector<size_t> order(r.copies.size() + 1);  // the last index: the op
    std::iota(order.begin(), order.end(), size_t(0));
    std::mt19937 random;
    for (int rep = -1; rep < reps; ++rep) {  // the first round warms up
      std::shuffle(order.begin(), order.end(), random);
      for (const size_t which : order) {
        const bool is_op = which == r.copies.size();
        kilter_status status = KILTER_OK;
        const double t = seconds([&] {
          if (is_op)
            status = call.call();
          else
            run_copy(r.copies[which].first, data("x"), c_.backward ? data("dy") : nullptr, data("y"), arrays_["y"].bytes, threads_);
        });
        require(status);
        if (rep >= 0) (is_op ? r.op : r.copies[which].second).push_back(t);
      }
      if (rep >= 0) progress->step(r.name());
    }
    return r;
  }

 private:
  void give_workspace(check::Arguments& call) {
    kilter_plan plan;
    require(call.ask(&plan));
    impl_ = plan.impl;
    workspace_ = make_array("workspace", DType::f64, {int64_t(plan.workspace_size / 8 + 1)});
    call.set_workspace(workspace_.data.get(), size_t(workspace_.bytes));
  }
  char* data(const std::string& name) { return arrays_[name].data.get(); }
  check::Arguments& timed() { return c_.backward ? backward_ : forward_; }

  // What a model's call has: what must be there, the op's usual parameters, and of the results those that have one type by the table
  // or sum over rows.
  bool has(const check::Arguments& call, const Field& f) const {
    const auto usual = [&](std::string_view name) {
      const std::vector<std::string> words = check::words_of(check::find_op(c_.op)->usual);
      return std::find(words.begin(), words.end(), name) != words.end();
    };
    const Field* const written = check::field_of(forward_.schema(), f.name);  // by forward, for backward
    if (!f.output && written && written->output) return arrays_.count(f.name) != 0;
    if (f.required || !f.output) return f.required || usual(f.name);
    if (f.needs >= 0 && call.type_of(call.schema().fields[f.needs]) == DType::none) return false;
    const std::string_view of = std::string_view(f.name).substr(1);  // the parameter whose gradient a sum is
    const Field* const parameter = f.shapes[0].any < 0 ? check::field_of(forward_.schema(), of) : nullptr;
    return std::string_view(f.name) == "dx" || (check::is_usual(f) && (!parameter || parameter->required || usual(of)));
  }
  void prepare(check::Arguments& call) {
    const Schema& s = call.schema();
    const auto add = [&](const Field& f) {
      const std::string name = std::string_view(f.name) == "dx" ? "y" : f.name;  // y was written when dx is
      Array& a = arrays_[name];
      if (!a.data) a = make(f, name, &f == &s.fields[s.t] ? c_.x : call.usual_type(f));
      call.tensor(f) = a.tensor();
      if (f.shapes[0].is_planes() && c_.layout == kChannelsLast)
        call.tensor(f).strides = strides_.emplace_back(channels_last_strides(a.shape)).data();
    };
    add(s.fields[s.t]);
    for (int i = 0; i < s.count; ++i)
      if (const Field& f = s.fields[i]; check::is_tensor(f) && i != s.t && has(call, f)) add(f);
  }
  Array make(const Field& f, const std::string& name, DType type) {
    const check::Moderate m = check::moderate(name);
    const std::vector<int64_t> shape = sizes_.shape_of(f);
    Array a = make_array(name, type, shape);
    if (f.shapes[0].any < 0) {
      check::fill_moderate(name, 0, 0, type, a.bytes / item_size(type), m.center, m.spread, a.data.get());
      return a;
    }
    if (!check::like_x(f) && !check::is_shared(f)) return a;
    touch(a.data.get(), a.bytes, threads_);
    if (f.output) return a;
    const int64_t n = shape.back(), rows = n ? a.bytes / item_size(type) / n : 0, stride = n * item_size(type);
#ifdef _OPENMP
#pragma omp parallel for num_threads(threads_) schedule(static)
#endif
    for (int64_t r = 0; r < rows; ++r) check::fill_moderate(name, 0, r, type, n, m.center, m.spread, a.data.get() + r * stride);
    return a;
  }

  BenchCase c_;
  int threads_;
  int64_t bytes_ = 0;
  std::string impl_;
  check::Sizes sizes_;
  std::map<std::string, Array> arrays_;
  std::deque<std::vector<int64_t>> strides_;
  Array workspace_;
  check::Arguments forward_, backward_;
};

Json milliseconds(const Samples& s) {
  Json json = Json::array();
  for (double v : s) json.push_back(v * 1e3);
  return json;
}

Json to_json(const Result& r) {
  Json json{{"op", r.c.op}, {"direction", r.c.backward ? "backward" : "forward"}, {"x_dtype", dtype_name(r.c.x)}};
  for (int i = 0; i < r.c.schema().size_count; ++i) json[r.c.schema().sizes[i].name] = r.c.sizes.at(r.c.schema().sizes[i].name);
  if (r.c.planes()) json["layout"] = r.c.layout == kChannelsLast ? "nhwc" : "nchw";
  json.update({{"impl", r.impl},
               {"threads", r.threads},
               {"bytes", r.bytes},
               {"fraction", r.fraction()},
               {"op_min_ms", best(r.op) * 1e3},
               {"op_median_ms", median(r.op) * 1e3},
               {"op_gb_s", r.rate(best(r.op))},
               {"copy_min_ms", r.copy_time() * 1e3},
               {"copy_gb_s", r.rate(r.copy_time())},
               {"fits_in_cache", r.bytes <= last_level_cache()}});
  json["op_samples_ms"] = milliseconds(r.op);
  for (const auto& [copy, samples] : r.copies)
    json["copies"].push_back({{"name", copy.name},
                              {"min_ms", best(samples) * 1e3},
                              {"median_ms", median(samples) * 1e3},
                              {"gb_s", r.rate(best(samples))},
                              {"samples_ms", milliseconds(samples)}});
  return json;
}

void print(const Result& r) {
  fmt::print("{:<42} {:>5.3f}   op {:.3f} ms (median {:.3f}, {:.1f} GB/s)  copy {:.3f} ms ({:.1f} GB/s)", r.name(), r.fraction(),
             best(r.op) * 1e3, median(r.op) * 1e3, r.rate(best(r.op)), r.copy_time() * 1e3, r.rate(r.copy_time()));
  for (const auto& [copy, samples] : r.copies)
    fmt::print("  {} {:.1f} (median {:.1f})", copy.name, r.rate(best(samples)), r.rate(median(samples)));
  fmt::print("\n");
}

void run_bench(const BenchOptions& o, State* state) {
  BenchCase base = o.c;
  base.op = o.op.op, base.backward = o.op.backward;
  check_sizes(o.sizes, base);
  if (!check::field_of(base.schema(), "x"))
    usage(fmt::format("{}: expected an op that reads x, whose copy its time is compared with", base.op));
  const std::vector<BenchCase> cases = o.suite ? suite(base) : std::vector<BenchCase>{base};
  require(kilter_set_num_threads(o.threads));
  const int threads = kilter_get_num_threads();
  const std::string target = kilter_cpu_target();
  if (!state->json)
    fmt::print("kilter {} on {}, {} thread(s), {}; fraction = best copy time / best op time, {} reps\n", version_text(), cpu_model(),
               threads, target, o.reps);
  Json json{{"version", version_text()},
            {"machine", {{"cpu", cpu_model()}, {"threads", threads}, {"target", target}, {"last_level_cache_bytes", last_level_cache()}}},
            {"reps", o.reps}};
  bool fits = false;
  for (const BenchCase& c : cases) {
    Progress progress{size_t(o.reps)};
    const Result r = Bench(c, o.impl, threads).measure(o.reps, &progress);
    fits = fits || r.bytes <= last_level_cache();
    if (state->json)
      json["results"].push_back(to_json(r));
    else
      print(r);
  }
  if (state->json) return print_json(json);
  if (fits)
    fmt::print("note: arrays fit in the last-level cache as reported ({} MiB): the copy may run from cache\n", last_level_cache() >> 20);
}

}  // namespace

void add_bench(CLI::App& app, State* state) {
  auto o = std::make_shared<BenchOptions>();
  CLI::App* command = add_command(app, state, "bench", "Time an op against a copy of the same bytes",
                                  "kilter bench layer_norm --rows 4096 --n 4096 --x-dtype bf16\n"
                                  "  kilter bench group_norm --batch 32 --channels 256 --spatial 3136 --groups 32 --layout nhwc\n"
                                  "  kilter bench rms_norm --suite --json");
  add_op(command, &o->op);
  const auto at_least_one = CLI::Range(int64_t(1), std::numeric_limits<int64_t>::max());
  for (const auto& [name, help] : {std::pair{"rows", "Rows"},
                                   {"n", "Row length"},
                                   {"batch", "Of planes: samples"},
                                   {"channels", "Their channels"},
                                   {"spatial", "Places of a channel"},
                                   {"groups", "How many groups the channels are in"},
                                   {"segments", "Of adaptive_layer_norm: rows of scale, a divisor of rows"}})
    o->sizes[name] = add_number(command, fmt::format("--{}", name), &o->c.sizes[name], help)->check(at_least_one);
  o->sizes["layout"] = add_layout(command, &o->c.layout);
  add_dtype(command, "--x-dtype", &o->c.x, "Type of all activations and the weights [fp32]");
  add_number(command, "--reps", &o->reps, "Repetitions, copies and op in turn")->check(CLI::Range(1, 1000000));
  add_number(command, "--threads", &o->threads, "0: what OpenMP would take");
  command->add_option("--impl", o->impl, "The implementation, by its name in kilter explain")->check(names_something);
  command->add_flag("--suite", o->suite,
                    "The six standard rows: fp32 and bf16 4096x4096, fp32 65536x384, both directions; of planes, ten of models");
  for (const char* name : {"--backward", "--rows", "--n", "--batch", "--channels", "--spatial", "--groups", "--segments", "--x-dtype"})
    command->get_option(name)->excludes("--suite");
  command->final_callback([o, state] { run_bench(*o, state); });
}

}  // namespace kilter::cli

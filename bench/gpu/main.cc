// gpu_bench: kilter's ops on an NVIDIA GPU beside the floors, and a JSON report of every sample.
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include "gpu_bench_stamp.h"
#include "measure.h"

namespace kilter::bench {
namespace {

constexpr const char* kUsage = R"(gpu_bench: kilter's ops beside the floor, the fastest kernel that only moves the same bytes
  --filter REGEX   rows whose name ("rms.fwd 8192x4096 bf16") has a match
  --ops LIST       rows of these ops, such as rms_norm,dyt; a run of all their rows is complete
  --list           name them and their bytes; needs no GPU
  --json FILE      write every sample there, after each row
  --replays N      of each graph, kilter's and the floor's in turns (15)
  --repeat K       measure the whole list K times: K runs in the report
  --quick          5 replays of short graphs, to see that everything runs
  --dependent      the chained rows with programmatic dependent launch as well
)";

struct Options {
  std::string filter, ops, json;
  bool list = false, dependent = false, quick = false;
  int repeat = 1;
  Settings settings;
};

[[noreturn]] void usage(const std::string& problem) {
  std::fprintf(problem.empty() ? stdout : stderr, "%s%s%s", problem.c_str(), problem.empty() ? "" : "\n", kUsage);
  std::exit(problem.empty() ? 0 : 2);
}

Options parsed(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; ++i) {
    const std::string a = argv[i];
    const auto value = [&]() -> std::string { return i + 1 < argc ? argv[++i] : (usage(a + " needs a value"), ""); };
    const auto number = [&] {
      const int n = std::atoi(value().c_str());
      return n > 0 ? n : (usage(a + " needs a number above 0"), 0);
    };
    if (a == "--filter")
      o.filter = value();
    else if (a == "--ops")
      o.ops = value();
    else if (a == "--json")
      o.json = value();
    else if (a == "--replays")
      o.settings.replays = number();
    else if (a == "--repeat")
      o.repeat = number();
    else if (a == "--list")
      o.list = true;
    else if (a == "--quick")
      o.quick = true, o.settings.replays = 5, o.settings.graph_us = 500;
    else if (a == "--dependent")
      o.dependent = true;
    else if (a == "--help" || a == "-h")
      usage("");
    else
      usage("what is " + a + "?");
  }
  return o;
}

std::string today() {
  const std::time_t now = std::time(nullptr);
  char text[16] = "";
  std::strftime(text, sizeof text, "%Y-%m-%d", std::gmtime(&now));
  return text;
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < 32 ? ' ' : c;
  }
  return out + "\"";
}

std::string list_of(const std::vector<float>& values) {
  std::string out = "[";
  char text[32];
  for (size_t i = 0; i < values.size(); ++i) std::snprintf(text, sizeof text, "%s%.4f", i ? "," : "", double(values[i])), out += text;
  return out + "]";
}

std::string record(const Call& call, const Result& r) {
  const Row& row = call.row();
  std::ostringstream out;
  out << R"({"op":")" << row.op.name << R"(","shape":")" << row.shape_text() << R"(","dtype":")" << dtype_name(row.type) << R"(","bytes":)"
      << call.bytes() << R"(,"reads":)" << call.reads() << R"(,"writes":)" << call.writes();
  if (!r.error.empty()) {
    out << R"(,"error":)" << quoted(r.error) << '}';
    return out.str();
  }
  out << R"(,"workspace":)" << r.workspace << R"(,"sets":)" << r.sets << R"(,"calls":)" << r.calls << R"(,"floor_shape":)" << r.floor_shape
      << R"(,"samples":)" << list_of(r.us) << R"(,"floor_samples":)" << list_of(r.floor_us) << '}';
  return out.str();
}

// What only the driver's tool knows, while the GPU is still warm; "" where there is none.
std::string driver_says() {
  std::string text;
  if (FILE* pipe = popen("nvidia-smi -i 0 --query-gpu=driver_version,clocks.sm,clocks.mem,clocks.max.sm,power.limit,ecc.mode.current,"
                         "temperature.gpu --format=csv,noheader 2>/dev/null",
                         "r")) {
    char line[256];
    if (std::fgets(line, sizeof line, pipe)) text = line;
    pclose(pipe);
  }
  return text.substr(0, text.find('\n'));
}

class Report {
 public:
  Report(const Options& options, Bench& bench) : path_(options.json) {
    int runtime = 0, driver = 0;
    cudaRuntimeGetVersion(&runtime);
    cudaDriverGetVersion(&driver);
    const cudaDeviceProp& d = bench.device();
    std::ostringstream out;
    out << R"({"gpu":)" << quoted(d.name) << R"(,"date":")" << today() << R"(","complete":)"
        << (options.filter.empty() && !options.quick ? "true" : "false") << R"(,"ops":)" << quoted(options.ops) << R"(,"sms":)"
        << d.multiProcessorCount << R"(,"l2":)" << d.l2CacheSize << R"(,"commit":")" << KILTER_BENCH_COMMIT << R"(","cuda_sources":")"
        << KILTER_BENCH_CUDA_SOURCES << R"(","version":)" << kilter_version() << R"(,"cuda_runtime":)" << runtime << R"(,"cuda_driver":)"
        << driver << R"(,"pool_bytes":)" << bench.pool_bytes() << R"(,"replays":)" << options.settings.replays << R"(,"empty_us":)"
        << bench.empty_us();
    head_ = out.str();
  }
  void start_run() { rows_ += rows_.empty() ? "\n{\"rows\":[" : "]},\n{\"rows\":[", first_ = true; }
  void add(const std::string& row) {
    rows_ += (first_ ? "\n" : ",\n") + row, first_ = false;
    write();
  }
  void write(const std::string& driver = "") const {
    if (path_.empty()) return;
    std::ofstream(path_) << head_ << R"(,"nvidia_smi":)" << quoted(driver) << R"(,"runs":[)" << rows_ << "]}]}\n";
  }

 private:
  std::string path_, head_, rows_;
  bool first_ = true;
};

void print(const Call& call, const Result& r) {
  const std::string name = call.row().name();
  if (!r.error.empty()) {
    std::printf("%-32s %s\n", name.c_str(), r.error.c_str());
  } else {
    const double us = median(r.us), floor = median(r.floor_us);
    std::printf("%-32s %9.2f us  (p10 %.2f, p90 %.2f)  floor %9.2f us  fraction %.3f  %6.0f GB/s  workspace %zu B  %zu sets\n",
                name.c_str(), us, percentile(r.us, 0.1), percentile(r.us, 0.9), floor, floor / us, double(call.bytes()) / us / 1e3,
                r.workspace, r.sets);
  }
  std::fflush(stdout);
}

// The rows that are asked for; says which ops the library lacks.
std::vector<Row> chosen(const Options& options) {
  std::vector<Row> rows;
  std::set<std::string> lacking;
  const std::regex filter(options.filter);
  for (const Row& row : all_rows().rows) {
    if (!row.op.is_of(options.ops) || (row.op.dependent() && !options.dependent) || !std::regex_search(row.name(), filter)) continue;
    if (Call::exists(row))
      rows.push_back(row);
    else if (lacking.insert(row.op.name).second)
      std::printf("left out: %s, the library has no %s %s\n", row.op.name.c_str(), row.op.op.c_str(),
                  row.op.backward ? "backward" : "forward");
  }
  return rows;
}

int run(const Options& options) {
  const std::vector<Row> rows = chosen(options);
  if (options.list) {
    for (const Row& row : rows) {
      const Call call(row);
      std::printf("%-32s %12zu bytes, %d reads, %d writes\n", row.name().c_str(), call.bytes(), call.reads(), call.writes());
    }
    return 0;
  }
  Bench bench(options.settings);
  bench.warm_up();
  Report report(options, bench);
  int failed = 0;
  for (int k = 0; k < options.repeat; ++k) {
    report.start_run();
    for (const Row& row : rows) {
      Call call(row);
      const Result r = bench.measure(call);
      failed += !r.error.empty();
      print(call, r);
      report.add(record(call, r));
    }
  }
  report.write(driver_says());
  if (failed) std::printf("%d rows gave an error\n", failed);
  return failed ? 1 : 0;
}

}  // namespace
}  // namespace kilter::bench

int main(int argc, char** argv) {
  try {
    return kilter::bench::run(kilter::bench::parsed(argc, argv));
  } catch (const std::exception& e) {
    std::fprintf(stderr, "gpu_bench: %s\n", e.what());
    return 1;
  }
}

#include "measure.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <stdexcept>

#include "floors.h"

namespace kilter::bench {
namespace {

void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(status));
}

std::string failure(kilter_status status) { return std::string(kilter_status_name(status)) + ": " + kilter_last_error(); }

constexpr size_t kChain = 200;  // calls

// A captured sequence of calls.
class Graph {
 public:
  // launch(i) queues call i on the stream and says whether it could.
  Graph(cudaStream_t stream, size_t calls, const std::function<bool(size_t)>& launch) : stream_(stream), calls_(calls) {
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
    bool queued = true;
    for (size_t i = 0; i < calls && queued; ++i) queued = launch(i);
    cudaGraph_t graph = nullptr;
    const cudaError_t ended = cudaStreamEndCapture(stream, &graph);
    if (queued && ended == cudaSuccess) check(cudaGraphInstantiate(&exec_, graph, 0), "graph");
    if (graph) cudaGraphDestroy(graph);
    if (!exec_) (void)cudaGetLastError();
  }
  ~Graph() {
    if (exec_) cudaGraphExecDestroy(exec_);
  }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  bool captured() const { return exec_ != nullptr; }
  size_t calls() const { return calls_; }
  void launch() const { check(cudaGraphLaunch(exec_, stream_), "replay"); }

 private:
  cudaStream_t stream_;
  size_t calls_;
  cudaGraphExec_t exec_ = nullptr;
};

// Microseconds per call of each graph, replayed one after another without a pause between them.
std::vector<float> timed(cudaStream_t stream, const std::vector<const Graph*>& sequence) {
  std::vector<cudaEvent_t> events(sequence.size() + 1);
  for (cudaEvent_t& e : events) check(cudaEventCreate(&e), "event");
  check(cudaEventRecord(events[0], stream), "event");
  for (size_t i = 0; i < sequence.size(); ++i) {
    sequence[i]->launch();
    check(cudaEventRecord(events[i + 1], stream), "event");
  }
  check(cudaStreamSynchronize(stream), "replay");
  std::vector<float> us;
  for (size_t i = 0; i < sequence.size(); ++i) {
    float ms = 0;
    check(cudaEventElapsedTime(&ms, events[i], events[i + 1]), "event");
    us.push_back(ms * 1e3f / float(sequence[i]->calls()));
  }
  for (const cudaEvent_t e : events) cudaEventDestroy(e);
  return us;
}

size_t calls_for(const Call& call, size_t sets, double graph_us) {
  const double call_us = 1.5 + double(call.bytes()) / 3e6;
  const size_t rounds = std::max<size_t>(1, size_t(graph_us / (call_us * double(sets)) + 0.5));
  return rounds * sets;
}

}  // namespace

Bench::Bench(const Settings& settings) : settings_(settings) {
  check(cudaGetDeviceProperties(&device_, 0), "device");
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "stream");
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "memory");
  half_ = std::min<size_t>(size_t{9} << 30, free / 10 * 9) / 2 / 512 * 512;
  check(cudaMalloc(reinterpret_cast<void**>(&pool_), 2 * half_), "pool");
}

Bench::~Bench() {
  cudaFree(pool_);
  cudaStreamDestroy(stream_);
}

// Sets that together are three times the L2, two at least; a chain is warm by nature.
size_t Bench::rotation(const Call& call, size_t footprint, size_t room) const {
  if (call.row().op.chained()) return 1;
  const size_t wanted = (3 * size_t(device_.l2CacheSize) + call.bytes() - 1) / call.bytes();
  return std::min(std::max<size_t>(2, wanted), room / footprint);
}

float Bench::empty_us() {
  const Graph graph(stream_, 1000, [&](size_t) { return launch_empty(stream_) == cudaSuccess; });
  return float(median(timed(stream_, std::vector<const Graph*>(size_t(settings_.replays), &graph))));
}

void Bench::warm_up() {
  const size_t bytes = std::min<size_t>(size_t{1} << 30, half_);
  for (int i = 0; i < 1000; ++i) check(launch_floor(0, 1, 1, bytes, pool_, stream_), "warming up");
  check(cudaStreamSynchronize(stream_), "warming up");
}

Result Bench::measure(Call& call) {
  const Op& op = call.row().op;
  Result r;
  const size_t footprint = call.footprint();
  kilter_status status = call.workspace_bytes(&r.workspace);
  if (status != KILTER_OK) return r.error = failure(status), r;
  const size_t reserved = (r.workspace + 511) / 512 * 512;
  const size_t room = half_ > reserved ? half_ - reserved : 0;
  r.sets = rotation(call, footprint, room);
  if (r.sets == 0 || (op.chained() && room < 3 * footprint)) return r.error = "the device's memory is too small", r;

  char* const first = pool_ + reserved;
  check(cudaMemsetAsync(pool_, 0, reserved, stream_), "workspace");
  const size_t filled = op.chained() ? 3 : r.sets;
  std::vector<Set> sets;
  for (size_t s = 0; s < filled; ++s) {
    sets.push_back(call.set_at(first + s * footprint));
    if ((status = call.fill(sets.back(), unsigned(s + 1), stream_)) != KILTER_OK) return r.error = failure(status), r;
  }
  const size_t from = op.chained() ? call.index(op.chain_from) : 0, to = op.chained() ? call.index(op.chain_to) : 0;
  const auto launch = [&](size_t i) {
    Set set = sets[op.chained() ? 0 : i % r.sets];
    if (op.chained()) {
      if (i % kChain) set[to] = sets[1 + (i + 1) % 2][from];
      set[from] = sets[1 + i % 2][from];
    }
    status = call.run(set, pool_, r.workspace, stream_);
    return status == KILTER_OK;
  };
  if (!launch(0)) return r.error = failure(status), r;  // outside a capture first: the modules load
  check(cudaStreamSynchronize(stream_), call.row().name().c_str());

  r.calls = op.chained() ? kChain : calls_for(call, r.sets, settings_.graph_us);
  const Graph graph(stream_, r.calls, launch);
  if (!graph.captured()) return r.error = status == KILTER_OK ? "the capture failed" : failure(status), r;

  const size_t floor_set = floor_footprint(call.reads(), call.writes(), call.bytes());
  const size_t floor_sets = rotation(call, floor_set, half_),
               floor_calls = op.chained() ? kChain : calls_for(call, floor_sets, settings_.graph_us);
  if (floor_sets == 0) return r.error = "the device's memory is too small", r;
  check(cudaMemcpyAsync(pool_ + half_, pool_ + reserved, std::min(room, floor_set * floor_sets), cudaMemcpyDeviceToDevice, stream_),
        "floor");
  std::vector<std::unique_ptr<Graph>> floors;
  std::vector<const Graph*> trial;
  for (int shape = 0; shape < kFloorShapes; ++shape) {
    floors.push_back(std::make_unique<Graph>(stream_, floor_calls, [&](size_t i) {
      return launch_floor(shape, call.reads(), call.writes(), call.bytes(), pool_ + half_ + i % floor_sets * floor_set, stream_) ==
             cudaSuccess;
    }));
    if (!floors.back()->captured()) throw std::runtime_error("floor: the capture failed");
    trial.insert(trial.end(), 4, floors.back().get());
  }
  std::vector<float> best;
  for (std::vector<float> us = timed(stream_, trial); best.size() < kFloorShapes;) {
    const auto first_try = us.begin() + std::ptrdiff_t(4 * best.size());
    best.push_back(*std::min_element(first_try + 1, first_try + 4));  // the first warms up
  }
  r.floor_shape = int(std::min_element(best.begin(), best.end()) - best.begin());
  const Graph* const floor = floors[size_t(r.floor_shape)].get();
  std::vector<const Graph*> turns = {&graph, &graph, floor};
  for (int i = 0; i < settings_.replays; ++i) turns.insert(turns.end(), {&graph, floor});
  const std::vector<float> us = timed(stream_, turns);
  for (size_t i = 2; i < us.size(); ++i) (i % 2 ? r.us : r.floor_us).push_back(us[i]);
  return r;
}

double percentile(std::vector<float> values, double fraction) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const double at = fraction * double(values.size() - 1);
  const size_t low = size_t(at), high = std::min(low + 1, values.size() - 1);
  return values[low] + (at - double(low)) * (values[high] - values[low]);
}

}  // namespace kilter::bench

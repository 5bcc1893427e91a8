#!/usr/bin/env python3
"""Times kilter and its peers on the row norms in one process: kilter, peer, kilter, peer.

    ./dev bench --gpu --peers                                  builds what is needed and runs this
    python3 bench/gpu/peers.py --library libkilter.so --json FILE [--filter REGEX] [--peers torch,liger] [--seconds 500] [--jobs 8]

Each contestant is a CUDA graph that visits sets of inputs in turn, together at least three times the L2, each set with outputs of its
own.  kilter writes into given memory and takes its workspace once; a peer allocates inside the graph, as its users would.  Before it
is timed, what it returns is held against kilter's.  A library that is not installed is left out, and the table shows what
recorded.json has of it.  peak: bytes that one call allocates beyond its inputs; extra: beyond its outputs as well.

--jobs: peers that compile at run time do so first, in as many processes at once; nothing is timed then, and what tunes itself by
timing does so later.
"""
import argparse
import datetime
import importlib.metadata
import json
import os
import pathlib
import re
import subprocess
import sys
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(pathlib.Path(__file__).resolve().parent.parent)]
import abi  # noqa: E402
import results  # noqa: E402
import torch  # noqa: E402
from contestants import EPS, PEERS, Missing  # noqa: E402

DEVICE = "cuda"
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
PACKAGES = ("torch", "triton", "liger-kernel", "quack-kernels", "nvidia-cutlass-dsl", "nvidia-cudnn-frontend", "nvidia-cudnn-cu13")
GRAPH_US = 3000
COMPILED = ("torch.compile", "liger", "quack")
FP32_TOLERANCE, TOLERANCE = 1e-4, 1e-2


class Row:
    def __init__(self, op, shape, dtype):
        self.op, self.shape, self.dtype = op, shape, dtype
        self.norm, self.direction = ("ln" if op.startswith("ln") else "rms"), op.split(".")[1]
        self.added = op.startswith("add")
        self.rows, self.n = map(int, shape.split("x"))
        self.streams = {"fwd": 2, "bwd": 3}[self.direction] + {True: 2 if self.direction == "fwd" else 1, False: 0}[self.added]
        size, centered = DTYPES[dtype].itemsize, self.norm == "ln"
        weights = {("fwd", False): 1, ("fwd", True): 2, ("bwd", False): 2, ("bwd", True): 3}[self.direction, centered]
        self.bytes = self.streams * self.rows * self.n * size + weights * self.n * size + (2 if centered else 1) * self.rows * 4

    def make(self):
        """The tensors of one set: inputs, and kilter's outputs."""
        def normal(*shape, mean=0, deviation=1):
            return torch.empty(*shape, device=DEVICE, dtype=DTYPES[self.dtype]).normal_(mean, deviation)
        t = {"x": normal(self.rows, self.n), "weight": normal(self.n, mean=1, deviation=0.02)}
        statistics = {"rstd": torch.empty(self.rows, device=DEVICE)}
        if self.norm == "ln":
            statistics["mean"], t["bias"] = torch.empty(self.rows, device=DEVICE), normal(self.n, deviation=0.02)
        if self.direction == "fwd":
            t.update(statistics, y=torch.empty_like(t["x"]))
            if self.added:
                t.update(residual=normal(self.rows, self.n), residual_out=torch.empty_like(t["x"]))
            return t
        x = t["x"].to(torch.float32, copy=True)
        if self.norm == "ln":
            torch.mean(x, 1, out=statistics["mean"])
            x -= statistics["mean"].view(-1, 1)
        statistics["rstd"].copy_((x.square_().mean(1) + EPS).rsqrt())
        t.update(statistics, dy=normal(self.rows, self.n), dx=torch.empty_like(t["x"]), dweight=torch.empty_like(t["weight"]))
        if self.norm == "ln":
            t["dbias"] = torch.empty_like(t["weight"])
        if self.added:
            t["dresidual_out"] = normal(self.rows, self.n)
        return t

    def outputs(self, t):
        """In the order in which contestants return them."""
        names = ["y", "residual_out"] if self.direction == "fwd" else ["dx", "dweight", "dbias"]
        return [t[name] for name in names if name in t]

    def output_bytes(self, t):
        names = "y residual_out rstd mean" if self.direction == "fwd" else "dx dweight dbias"
        return sum(t[name].numel() * t[name].itemsize for name in names.split() if name in t)


def kilter_contestant(library, row, first):
    """prepare and run, and the bytes of workspace, which all calls share."""
    names = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}

    def call(t):
        taken = {k: v for k, v in t.items() if not (row.direction == "bwd" and k == "bias")}
        return abi.Call(library, row.norm, row.direction, {k: abi.tensor(v.data_ptr(), list(v.shape), names[v.dtype], (abi.CUDA if v.is_cuda else abi.CPU, 0)) for k, v in taken.items()}, EPS)

    size = call(first).workspace_size()
    workspace = torch.zeros(max(size, 1), device=DEVICE, dtype=torch.uint8)

    def prepare(t):
        made = call(t)
        if row.direction == "bwd":
            made.set_workspace(workspace.data_ptr(), size)
        return made, t

    def run(made, t):
        made(torch.cuda.current_stream().cuda_stream)
        return row.outputs(t)
    return prepare, run, size


def capture(run, arguments, calls):
    """A graph that visits every set; a set's outputs live until its next turn, so that all sets have their own."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):
            run(*arguments[0])
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph, alive = torch.cuda.CUDAGraph(), [None] * len(arguments)
    with torch.cuda.graph(graph):
        for i in range(calls):
            alive[i % len(arguments)] = None
            alive[i % len(arguments)] = run(*arguments[i % len(arguments)])
    return graph, alive


def in_turns(graphs, replays, calls):
    """Microseconds per call: a list for each graph."""
    turns = [g for _ in range(2) for g in graphs] + [g for _ in range(replays) for g in graphs]
    events = [torch.cuda.Event(enable_timing=True) for _ in range(len(turns) + 1)]
    events[0].record()
    for graph, event in zip(turns, events[1:]):
        graph.replay()
        event.record()
    torch.cuda.synchronize()
    us = [a.elapsed_time(b) * 1e3 / calls for a, b in zip(events, events[1:])][2 * len(graphs):]
    return [us[i::len(graphs)] for i in range(len(graphs))]


def differs(row, got, expected):
    """The first output that is not kilter's, or None."""
    for i, (a, b) in enumerate(zip(got, expected)):
        a, b = a.reshape(-1), b.reshape(-1)
        step = max(1, a.numel() >> 24)  # a sample of the largest
        a, b = a[::step].float(), b[::step].float()
        error = (torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(b).clamp(min=1e-30)).item()
        if not error < (FP32_TOLERANCE if row.dtype == "fp32" else TOLERANCE):
            return f"output {i} differs from kilter's: relative error {error:.3g}"
    return None


def peak(run, arguments):
    run(*arguments)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    kept = run(*arguments)
    torch.cuda.synchronize()
    del kept
    return torch.cuda.max_memory_allocated() - before


def measure(library, row, peers, replays, absent):
    """Yields a record for each peer; absent takes why a peer could not be imported."""
    l2 = torch.cuda.get_device_properties(0).L2_cache_size
    count = max(2, -(-3 * l2 // row.bytes))
    calls = count * max(1, round(GRAPH_US / ((1.5 + row.bytes / 3e6) * count)))
    sets = [row.make() for _ in range(count)]
    prepare, run, workspace = kilter_contestant(library, row, sets[0])
    own = [prepare(t) for t in sets]
    run(*own[0])
    torch.cuda.synchronize()
    graph, _ = capture(run, own, calls)
    expected = [o.clone() for o in row.outputs(sets[0])]
    for who in peers:
        record = {"op": row.op, "shape": row.shape, "dtype": row.dtype, "who": who}
        alive, arguments, started = None, None, time.monotonic()
        try:
            prepare_peer, run_peer = PEERS[who](row.op, row.n)
            arguments = [prepare_peer(t) for t in sets]
            got = run_peer(*arguments[0])
            torch.cuda.synchronize()
            wrong = differs(row, [got] if torch.is_tensor(got) else relevant(row, got), expected)
            del got
            if wrong:
                raise RuntimeError(wrong)
            taken = peak(run_peer, arguments[0])
            peer_graph, alive = capture(run_peer, arguments, calls)
            kilter_us, us = in_turns([graph, peer_graph], replays, calls)
            record.update(samples=us, kilter_samples=kilter_us, sets=count, calls=calls, peak_bytes=taken,
                          extra_bytes=max(0, taken - row.output_bytes(sets[0])), kilter_workspace=workspace)
            peer_graph.reset()
        except Missing:
            continue
        except ImportError as error:
            absent.setdefault(who, error)
            continue
        except Exception as error:
            record["error"] = (str(error).splitlines() or [type(error).__name__])[0][:200]
        del alive, arguments
        torch.cuda.synchronize()  # what lost the device ends the program here
        torch.cuda.empty_cache()
        record["seconds"] = time.monotonic() - started
        yield record


def compile_peers(row, peers):
    """One call of each: what it compiles stays in its cache on disk."""
    t = row.make()
    for who in peers:
        try:
            prepare, run = PEERS[who](row.op, row.n)
            run(*prepare(t))
        except Exception:  # told when it is to be measured
            continue
    torch.cuda.synchronize()


def compile_ahead(options):
    command = [sys.executable, __file__, "--library", options.library, "--json", os.devnull, "--filter", options.filter,
               "--peers", ",".join(who for who in COMPILED if who in options.peers.split(","))]
    alone = dict(os.environ, TORCHINDUCTOR_COMPILE_THREADS="1", OMP_NUM_THREADS="1")
    jobs = [subprocess.Popen(command + ["--compile", f"{i}/{options.jobs}"], env=alone, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for i in range(options.jobs)]
    for job in jobs:
        job.wait()


def relevant(row, got):
    """Outputs that kilter has as well: of a forward without a residual, y alone."""
    if row.direction == "fwd":
        return got[:2] if row.added else got[:1]
    return [g for g in got if torch.is_tensor(g)]


def installed():
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            pass
    return found


def line(r):
    name = f"{r['op']:<11} {r['shape']:<12} {r['dtype']:<4} {r['who']:<14}"
    if "error" in r:
        return f"{name} {r['error']}"
    us, own = (sorted(r[k])[len(r[k]) // 2] for k in ("samples", "kilter_samples"))
    return (f"{name} {us:9.2f} us, kilter {own:9.2f} us, {us / own:5.2f}x; extra memory {r['extra_bytes'] / 2**20:.2f} MiB, "
            f"kilter {r['kilter_workspace'] / 2**20:.2f} MiB; took {r['seconds']:.1f} s")


def nvidia_smi():
    query = ["nvidia-smi", "-i", "0", "--query-gpu=driver_version,clocks.sm,clocks.mem,clocks.max.sm,power.limit,ecc.mode.current,temperature.gpu",
             "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", required=True, help="libkilter.so with the CUDA backend")
    parser.add_argument("--json", required=True)
    parser.add_argument("--filter", default="")
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--replays", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=1e9, help="start no row after as many")
    parser.add_argument("--jobs", type=int, default=0)
    parser.add_argument("--compile", metavar="I/JOBS", help="of --jobs: compile this part of the rows")
    options = parser.parse_args()
    torch.manual_seed(1)
    torch.set_grad_enabled(False)
    os.environ["TORCHINDUCTOR_AUTOTUNE_LOCAL_CACHE"] = "0"  # what was timed beside other processes says nothing
    started, library = time.monotonic(), abi.Library(options.library)
    recorded = json.loads((pathlib.Path(__file__).resolve().parent / "recorded.json").read_text())
    names = [name for name in dict.fromkeys((p["op"], p["shape"], p["dtype"]) for p in recorded["peers"]) if re.search(options.filter, " ".join(name))]
    if options.compile:
        part, jobs = map(int, options.compile.split("/"))
        for name in names[part::jobs]:
            compile_peers(Row(*name), options.peers.split(","))
        return
    if options.jobs:
        compile_ahead(options)
        print(f"compiled in {time.monotonic() - started:.0f} s", flush=True)
    report = {"gpu": torch.cuda.get_device_name(0),
              "peers": {"date": datetime.date.today().isoformat(), **results.built(options.library), "nvidia_smi": nvidia_smi(), "versions": installed(), "rows": []}}
    absent = {}
    for name in names:
        if time.monotonic() - started > options.seconds:
            print("out of time: " + " ".join(name))
            continue
        try:
            for record in measure(library, Row(*name), options.peers.split(","), options.replays, absent):
                report["peers"]["rows"].append(record)
                print(line(record), flush=True)
        except RuntimeError as error:
            print(" ".join(name) + f": {error}", flush=True)
        torch.cuda.empty_cache()
        pathlib.Path(options.json).write_text(results.written(report))
    for who, error in absent.items():
        print(f"not installed: {who}: {error}")
    print(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()

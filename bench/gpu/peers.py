#!/usr/bin/env python3
"""Times kilter and its peers on the rows of rows.txt in one process: kilter, peer, kilter, peer.

    ./dev bench --gpu --peers                                  builds what is needed and runs this
    python3 bench/gpu/peers.py --library libkilter.so --json FILE [--ops dyt,derf] [--filter REGEX]
                                [--peers torch,liger] [--seconds 500] [--jobs 8]

Each contestant is a CUDA graph that visits sets of inputs in turn, together at least three times the L2, each set with outputs of its
own.  kilter writes into given memory and takes its workspace once; a peer allocates inside the graph, as its users would.  Before they
are timed, what they return is held against float64 (reference.py).  A library that is not installed is left out, and the table shows
what recorded.json has of it.  peak: bytes that one call allocates beyond its inputs; extra: beyond its outputs as well.

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
import kilter_abi as abi  # noqa: E402
import results  # noqa: E402
import rows  # noqa: E402
import torch  # noqa: E402
from contestants import Missing  # noqa: E402
from sets import PEERS, Row, differs, expected, kilter_contestant  # noqa: E402

PACKAGES = ("torch", "triton", "liger-kernel", "quack-kernels", "nvidia-cutlass-dsl", "nvidia-cudnn-frontend", "nvidia-cudnn-cu13")
GRAPH_US = 3000
COMPILED = ("torch.compile", "torch.compile(formula)", "liger", "quack")


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


def peak(run, arguments):
    run(*arguments)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    kept = run(*arguments)
    torch.cuda.synchronize()
    del kept
    return torch.cuda.max_memory_allocated() - before


def measure(row, peers, replays, absent):
    """Yields a record for each peer; absent takes why a peer could not be imported."""
    l2 = torch.cuda.get_device_properties(0).L2_cache_size
    count = max(2, -(-3 * l2 // row.bytes))
    calls = count * max(1, round(GRAPH_US / ((1.5 + row.bytes / 3e6) * count)))
    sets = [row.make() for _ in range(count)]
    prepare, run, workspace = kilter_contestant(row, sets[0])
    own = [prepare(t) for t in sets]
    wanted = expected(row, sets[0])
    wrong = differs(row, run(*own[0]), wanted)
    if wrong:
        raise RuntimeError(f"kilter: {wrong}")
    graph, _ = capture(run, own, calls)
    for who in peers:
        record = {"op": row.op, "shape": row.row["shape"], "dtype": row.dtype, "who": who}
        alive, arguments, started = None, None, time.monotonic()
        try:
            prepare_peer, run_peer = row.peer(who)
            arguments = [prepare_peer(t) for t in sets]
            got = run_peer(*arguments[0])
            torch.cuda.synchronize()
            wrong = differs(row, row.returned(got), wanted)
            del got
            if wrong:
                raise RuntimeError(wrong)
            taken = peak(run_peer, arguments[0])
            peer_graph, alive = capture(run_peer, arguments, calls)
            kilter_us, us = in_turns([graph, peer_graph], replays, calls)
            record.update(samples=us, kilter_samples=kilter_us, sets=count, calls=calls, peak_bytes=taken,
                          extra_bytes=max(0, taken - sum(t.bytes for t in row.outputs)), kilter_workspace=workspace)
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
            prepare, run = row.peer(who)
            run(*prepare(t))
        except Exception:  # told when it is to be measured
            continue
    torch.cuda.synchronize()


def compile_ahead(options):
    command = [sys.executable, __file__, "--library", options.library, "--json", os.devnull, "--filter", options.filter, "--ops", options.ops,
               "--peers", ",".join(who for who in COMPILED if who in options.peers.split(","))]
    alone = dict(os.environ, TORCHINDUCTOR_COMPILE_THREADS="1", OMP_NUM_THREADS="1")
    jobs = [subprocess.Popen(command + ["--compile", f"{i}/{options.jobs}"], env=alone, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for i in range(options.jobs)]
    for job in jobs:
        job.wait()


def installed():
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            pass
    return found


def line(r):
    name = f"{r['op']:<11} {r['shape']:<18} {r['dtype']:<4} {r['who']:<14}"
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


def name_of(row):
    return f"{row['op']} {row['shape']} {row['dtype']}"


def chosen_rows(library, options):
    """The rows that are asked for, chains left out; the ops among them that the library lacks."""
    ops = options.ops.split(",") if options.ops else []
    asked = [row for row in rows.ROWS if not row["chain"] and rows.is_of(row, ops) and re.search(options.filter, name_of(row))]
    return ([row for row in asked if row["function"] in library.functions],
            list(dict.fromkeys(row["op"] for row in asked if row["function"] not in library.functions)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", required=True, help="libkilter.so with the CUDA backend")
    parser.add_argument("--json", required=True)
    parser.add_argument("--filter", default="")
    parser.add_argument("--ops", default="", help="rows of these ops, such as rms_norm,dyt")
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
    chosen, lacking = chosen_rows(library, options)
    if options.compile:
        part, jobs = map(int, options.compile.split("/"))
        for row in chosen[part::jobs]:
            compile_peers(Row(library, row), options.peers.split(","))
        return
    if options.jobs:
        compile_ahead(options)
        print(f"compiled in {time.monotonic() - started:.0f} s", flush=True)
    report = {"gpu": torch.cuda.get_device_name(0),
              "peers": {"date": datetime.date.today().isoformat(), **results.built(options.library), "nvidia_smi": nvidia_smi(), "versions": installed(), "rows": []}}
    absent, written = {}, pathlib.Path(options.json)
    written.write_text(results.written(report))
    for op in lacking:
        print(f"left out: {op}, which the library lacks")
    for row in chosen:
        name = name_of(row)
        if time.monotonic() - started > options.seconds:
            print(f"out of time: {name}")
            continue
        try:
            for record in measure(Row(library, row), options.peers.split(","), options.replays, absent):
                report["peers"]["rows"].append(record)
                print(line(record), flush=True)
        except RuntimeError as error:
            print(f"{name}: {error}", flush=True)
        torch.cuda.empty_cache()
        written.write_text(results.written(report))
    for who, error in absent.items():
        print(f"not installed: {who}: {error}")
    print(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""The row norms at widths, places and types that are not a multiple of 16 bytes, against their neighbour that is, and PyTorch.

    ./dev bench --gpu --widths         builds what is needed, runs this, keeps bench/results/GPU/widths.json and a picture: time over width
    python3 bench/gpu/widths.py --library libkilter.so --json FILE [--filter REGEX] [--seconds 300] [--check]

Each case moves as many bytes as its neighbour: the plain call of the nearest multiple of eight elements (at least eight), contiguous, of
one type.  kilter, the neighbour and PyTorch's eager function run in turns in one process, each as a CUDA graph over sets of tensors that
the L2 does not hold.  A cliff is a case that takes more than 1.5 times its neighbour's time; with --check the exit status is 1 if there
is one.
"""
import argparse
import datetime
import json
import pathlib
import re
import sys
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(pathlib.Path(__file__).resolve().parent.parent)]
CLIFF = 1.5
BYTES = 64 << 20
WIDTHS = (1, 2, 3, 5, 7, 9, 12, 15, 17, 31, 33, 50, 63, 65, 100, 127, 129, 200, 255, 257, 400, 511, 513, 777, 1001, 1023, 1025, 1500, 2047, 2049,
          3000, 3001, 4095, 4097, 4100, 5001, 6145, 8191, 8193, 12001, 16383, 16385, 32769, 50257, 65537, 151936, 262145)


def cases():
    """{what: (norm, direction, n, options)}; options: dtype, weight, residual (its type), bias, offset (elements), strides (a second one)."""
    for norm in ("rms", "ln"):
        for direction in ("fwd", "bwd"):
            for n in WIDTHS:
                yield norm, direction, n, {}
            for options in ({"weight": "fp32"}, {"offset": 1}, {"offset": 4}, {"residual": "fp32"}, {"strides": True}, {"dtype": "fp32", "offset": 1}):
                yield norm, direction, 4096, options
            yield norm, direction, 4097, {"dtype": "fp32"}
            if norm == "rms":
                yield norm, direction, 4096, {"bias": True}


def name_of(case):
    norm, direction, n, options = case
    return f"{norm}.{direction} {n}" + "".join(f" {k}={v}" for k, v in options.items())


def neighbour(case):
    norm, direction, n, options = case
    return norm, direction, max(8, round(n / 8) * 8), {k: v for k, v in options.items() if k == "dtype"}


def make(library, case):
    """kilter's call and PyTorch's on tensors of their own; PyTorch's is None where it has none."""
    import abi
    import torch
    import torch.nn.functional as F
    types = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
    norm, direction, n, options = case
    dtype, offset = options.get("dtype", "bf16"), options.get("offset", 0)
    own = {"weight": options.get("weight", dtype), "bias": options.get("weight", dtype), "residual": options.get("residual", dtype)}
    item = 4 if dtype == "fp32" else 2
    with_residual = "residual" in options
    row_bytes = n * item * (2 if direction == "fwd" else 3) + (n * 8 if with_residual else 0)
    count = max(8, BYTES // row_bytes) // 8 * 8

    def tensor(rows, kind):
        if options.get("strides"):  # one of two tensors that are packed: two strides
            return torch.randn(rows // 8, 2, 8, n, device="cuda").to(types[kind])[:, 0]
        return torch.randn(rows * n + offset, device="cuda").to(types[kind])[offset:].view(rows, n)
    bias = norm == "ln" or options.get("bias")
    made = {"x": tensor(count, dtype), "weight": torch.ones(n, device="cuda", dtype=types[own["weight"]])}
    shape = made["x"].shape[:-1]
    made["rstd"] = torch.ones(*shape, device="cuda")
    if norm == "ln":
        made["mean"] = torch.zeros(*shape, device="cuda")
    if direction == "fwd":
        made["y"] = torch.empty_like(made["x"])
        if bias:
            made["bias"] = torch.zeros(n, device="cuda", dtype=types[own["bias"]])
        if with_residual:
            made["residual"] = tensor(count, own["residual"])
            made["residual_out"] = torch.empty_like(made["residual"])
    else:
        made["dy"], made["dx"] = tensor(count, dtype), tensor(count, dtype)
        if with_residual:
            made["x"], made["dresidual_out"] = tensor(count, own["residual"]), tensor(count, own["residual"])
        made["dweight"] = torch.zeros(n, device="cuda")
        if bias:
            made["dbias"] = torch.zeros(n, device="cuda")
    names = {v: k for k, v in types.items()}
    values = {k: abi.tensor(v.data_ptr(), list(v.shape), names[v.dtype], (abi.CUDA, 0), v.stride()) for k, v in made.items()}
    call = abi.Call(library, norm, direction, values)
    size = call.workspace_size() if direction == "bwd" else 0
    if size:
        made["workspace"] = torch.empty(size, dtype=torch.uint8, device="cuda")
        call.set_workspace(made["workspace"].data_ptr(), size)
    eager = None
    if not options and direction == "fwd":
        if norm == "ln":
            eager = lambda: F.layer_norm(made["x"], (n,), made["weight"], made["bias"], 1e-5)  # noqa: E731
        else:
            eager = lambda: F.rms_norm(made["x"], (n,), made["weight"], 1e-5)  # noqa: E731
    if not options and direction == "bwd" and norm == "ln":
        stats = [t.view(count, 1) for t in (made["mean"], made["rstd"])]
        zero = torch.zeros(n, device="cuda", dtype=types[dtype])
        eager = lambda: torch.ops.aten.native_layer_norm_backward(made["dy"], made["x"], (n,), *stats, made["weight"], zero, [True] * 3)  # noqa: E731
    moved = sum(v.numel() * v.element_size() for k, v in made.items() if k in ("x", "y", "dy", "dx", "residual", "residual_out", "dresidual_out"))
    return (lambda: (call(torch.cuda.current_stream().cuda_stream), made)[1]), eager, moved


def timed(functions, replays):
    """Median microseconds of each list of calls, in turns."""
    import torch
    from peers import in_turns
    graphs = []
    for calls in functions:
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for f in calls:
                f()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for f in calls:
                f()
        graphs.append(graph)
    return [sorted(us)[len(us) // 2] for us in in_turns(graphs, replays, len(functions[0]))]


def measure(library, case, replays):
    import torch
    sets = max(2, 3 * torch.cuda.get_device_properties(0).L2_cache_size // BYTES + 1)
    own, near = ([make(library, c) for _ in range(sets)] for c in (case, neighbour(case)))
    functions = [[f for f, _, _ in own], [f for f, _, _ in near]]
    if own[0][1]:
        functions.append([f for _, f, _ in own])
    us = timed(functions, replays)
    scaled = us[1] * own[0][2] / near[0][2]  # rows do not divide evenly
    return {"case": name_of(case), "n": case[2], "us": us[0], "bytes": own[0][2], "neighbour_us": scaled, "ratio": us[0] / scaled,
            "torch_us": us[2] if len(us) > 2 else None}


def line(r):
    torch_us = f", PyTorch {r['torch_us']:8.1f} us ({r['torch_us'] / r['us']:5.2f}x)" if r["torch_us"] else ""
    return (f"{r['case']:<28} {r['us']:8.1f} us {r['bytes'] / r['us'] / 1e6:5.2f} TB/s, neighbour {r['neighbour_us']:8.1f} us, ratio {r['ratio']:5.2f}"
            f"{torch_us}{'  CLIFF' if r['ratio'] > CLIFF else ''}")


def draw(report, path):
    """Time per byte over the width, as a picture; False without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    kinds = [f"{norm}.{direction}" for norm in ("rms", "ln") for direction in ("fwd", "bwd")]
    figure, axes = plt.subplots(2, 2, figsize=(11, 7), sharex=True)
    for kind, ax in zip(kinds, axes.flat):
        rows = sorted((r for r in report["widths"] if re.fullmatch(re.escape(kind) + r" \d+", r["case"]) and "us" in r), key=lambda r: r["n"])
        for name, label in (("us", "kilter"), ("neighbour_us", "its aligned neighbour"), ("torch_us", "PyTorch")):
            points = [(r["n"], r[name] / r["bytes"] * 1e6) for r in rows if r[name]]
            ax.plot([n for n, _ in points], [t for _, t in points], marker=".", label=label)
        ax.set(title=kind, xscale="log", yscale="log", xlabel="elements of a row", ylabel="µs per MB moved")
        ax.legend()
    figure.suptitle(f"bf16, {report['gpu']}")
    figure.tight_layout()
    figure.savefig(path)
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", required=True, help="libkilter.so with the CUDA backend")
    parser.add_argument("--json", required=True)
    parser.add_argument("--filter", default="")
    parser.add_argument("--replays", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1e9, help="start no case after as many")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    import abi
    import results
    import torch
    library, started, rows, skipped = abi.Library(options.library), time.monotonic(), [], ""
    for case in cases():
        if not re.search(options.filter, name_of(case)):
            continue
        if time.monotonic() - started > options.seconds:
            skipped = "the first cases"
            continue
        try:
            rows.append(measure(library, case, options.replays))
            print(line(rows[-1]), flush=True)
        except (RuntimeError, ValueError) as error:
            rows.append({"case": name_of(case), "error": str(error).splitlines()[0][:200]})
            print(f"{name_of(case):<28} {rows[-1]['error']}", flush=True)
        torch.cuda.empty_cache()
    report = {"date": datetime.datetime.now().isoformat(timespec="seconds"), "gpu": torch.cuda.get_device_name(), "filter": options.filter or skipped,
              **results.built(options.library), "widths": rows}
    pathlib.Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
    cliffs = [r for r in rows if r.get("ratio", 0) > CLIFF]
    print(f"{len(cliffs)} cliffs of {len(rows)} cases")
    return 1 if options.check and cliffs else 0


if __name__ == "__main__":
    sys.exit(main())

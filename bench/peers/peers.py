#!/usr/bin/env python3
"""Times kilter, oneDNN and PyTorch on the same arrays, in turns, beside the copies that ./dev bench compares with.

    ./dev bench --peers           builds contestants.cc and planes.cc and runs this
    ./dev bench --peers --docs    also writes the tables of docs/performance.md

All arrays belong to PyTorch; kilter, oneDNN and the copies work on them by pointer, in place of outputs of their own.
PyTorch returns new tensors: of the calls that give what the others give, its best counts, and the C library's heap keeps
freed memory, so that no call pays for fresh pages.  Between two contestants all threads rest, since one's idle threads
may still be spinning.  backward gives dx, dweight and (but for RMSNorm) dbias.  planes.py has the norms of planes.
"""
import argparse
import ctypes
import datetime
import os
import pathlib
import sys

import planes
import torch
from contest import Contestants, take_turns

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import results  # noqa: E402

EPS = 1e-5
SUFFIX = {"rows": "", "planes": "-planes"}  # of the files
SUITE = [("float32", 4096, 4096), ("bfloat16", 4096, 4096), ("float32", 65536, 384)]


def cpu_model():
    names = [line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    return names[0] if names else "unknown"


class Problem(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int32) for name in ("rms", "backward", "bf16", "threads")]
    _fields_ += [(name, ctypes.c_int64) for name in ("rows", "n")]
    _fields_ += [(name, ctypes.c_void_p) for name in "x dy out weight bias mean rstd variance dweight dbias".split()]


def torch_calls(rms, backward, t):
    """PyTorch's calls for one problem: name, function."""
    n, functional, aten = [t["x"].shape[1]], torch.nn.functional, torch.ops.aten
    x, dy = t["x"], t["dy"]
    if rms:
        weight = t["weight"].to(x.dtype)  # of x's type: another one would give an fp32 y
        if not backward:
            return [("torch rms_norm", lambda: functional.rms_norm(x, n, weight, EPS))]
        leaves = [x.detach().requires_grad_(), weight.detach().requires_grad_()]
        with torch.enable_grad():
            y = functional.rms_norm(leaves[0], n, leaves[1], EPS)
        return [("torch rms_norm", lambda: torch.autograd.grad(y, leaves, dy, retain_graph=True))]
    weight, bias = t["weight"], t["bias"]
    _, mean, rstd = torch.native_layer_norm(x, n, weight, bias, EPS)
    if not backward:
        out = dict(out0=t["out"], out1=torch.empty_like(mean), out2=torch.empty_like(rstd))
        return [("torch native_layer_norm", lambda: torch.native_layer_norm(x, n, weight, bias, EPS)),
                ("torch native_layer_norm.out", lambda: aten.native_layer_norm.out(x, n, weight, bias, EPS, **out))]
    out = dict(out0=t["out"], out1=torch.empty_like(weight), out2=torch.empty_like(bias))
    three = [True] * 3
    return [("torch native_layer_norm_backward", lambda: aten.native_layer_norm_backward(dy, x, n, mean, rstd, weight, bias, three)),
            ("torch native_layer_norm_backward.out",
             lambda: aten.native_layer_norm_backward.out(dy, x, n, mean, rstd, weight, bias, three, **out))]


def check(rms, backward, t, contestants):
    """Every contestant must compute the same thing: a peer that does less would be no peer."""
    expected = None
    for name, run in contestants:
        if name.startswith("copy"):
            continue
        t["out"].zero_()
        returned = run()
        got = t["out"] if returned is None else (returned if torch.is_tensor(returned) else returned[0])
        got = got[:: max(1, len(got) // 64)].double()
        expected = got if expected is None else expected
        worst = (got - expected).abs().max().item() / expected.abs().max().item()
        if not worst < 0.02:
            sys.exit(f"{name} differs from {contestants[0][0]} by {worst:.2g} of the largest value: rms {rms}, backward {backward}")


def measure(library, rms, backward, dtype, rows, n, options):
    torch.manual_seed(1)
    dtype = getattr(torch, dtype)
    t = {name: torch.randn(rows, n).to(dtype) for name in ("x", "dy", "out")}
    t |= {name: torch.randn(n) for name in ("weight", "bias", "dweight", "dbias")}
    t |= {name: torch.zeros(rows) for name in ("mean", "rstd", "variance")}
    x = t["x"].float()
    moment = (x * x).mean(1) if rms else x.var(1, unbiased=False)
    t["mean"].copy_(x.mean(1)), t["variance"].copy_(moment), t["rstd"].copy_((moment + EPS).rsqrt())
    del x, moment
    problem = Problem(rms=rms, backward=backward, bf16=dtype == torch.bfloat16, threads=options.threads, rows=rows, n=n,
                      **{name: tensor.data_ptr() for name, tensor in t.items()})
    made = library.create("contestant_create", problem) + torch_calls(rms, backward, t)
    check(rms, backward, t, made)
    return {"op": "rms_norm" if rms else "layer_norm", "direction": "backward" if backward else "forward",
            "x_dtype": "bf16" if dtype == torch.bfloat16 else "fp32", "rows": rows, "n": n,
            "contestants": take_turns(made, options.reps)}


def row_results(library, options):
    for rms in (False, True):
        for backward in (False, True):
            for dtype, rows, n in SUITE:
                yield measure(library, rms, backward, dtype, rows, n, options)


def main():
    parser = argparse.ArgumentParser(prog="./dev bench --peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", required=True, help="contestants.cc and planes.cc as a shared library")
    parser.add_argument("--output", help="folder for the JSON file")
    parser.add_argument("--reps", type=int, default=40)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", choices=SUFFIX, help="one family's rows")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)
    library = Contestants(options.library)
    head = {"date": datetime.date.today().isoformat(), "kernel_sources": results.kernel_hash(), "cpu": cpu_model(), "reps": options.reps,
            "threads": options.threads, "versions": {"torch": torch.__version__, "onednn": library.lib.onednn_version().decode()}}
    for name, family in (("rows", row_results), ("planes", planes.results)):
        if options.only not in (None, name):
            continue
        report = head | {"results": []}
        for r in family(library, options):
            report["results"].append(r)
            what = " ".join(str(value) for key, value in r.items() if key != "contestants")
            print(f"{what}  " + "  ".join(f"{k} {v['min_ms']:.2f}" for k, v in r["contestants"].items()), "(ms)", flush=True)
        if options.output:
            path = pathlib.Path(options.output) / f"{results.file_name(report['cpu'])}-{options.threads}t-peers{SUFFIX[name]}.json"
            path.write_text(results.written(report))


if __name__ == "__main__":
    main()

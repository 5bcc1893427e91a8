#!/usr/bin/env python3
"""Errors of kilter and PyTorch on the row norms, forward and backward, against float64 from the same bytes.

    ./dev bench --gpu --accuracy                               builds what is needed, runs this, keeps bench/results/GPU/accuracy.json
    python3 bench/gpu/accuracy.py --library libkilter.so --json FILE [--filter REGEX]

PyTorch's are torch.nn.functional.layer_norm and rms_norm and their gradients; its mean and rstd, which these keep to themselves, are
those of the op below them.  Weight and bias have x's type.  Units: errors.py.
"""
import argparse
import contextlib
import datetime
import json
import pathlib
import re
import sys
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(pathlib.Path(__file__).resolve().parent.parent)]
import abi  # noqa: E402
import errors  # noqa: E402
import numpy as np  # noqa: E402
import results  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from peers import installed, nvidia_smi  # noqa: E402
from sets import DTYPES  # noqa: E402

EPS = 1e-5
LENGTHS = (256, 4096, 5001, 16384)
ELEMENTS = 1 << 23
CHUNK = 1 << 25  # elements that are held in float64 at a time
CONSTANTS = (1.0, 0.1, 1e4 / 3, -1e4 / 3, 7.0)
SCALES = {"huge": {"fp16": 1e4}, "tiny": {"fp16": 1e-6}}
ONLY = {"offset4": ("fp32",), "tiny0": ("fp32", "bf16")}  # in the other types such a row is constant, or dx beyond the range
MANY = {"rows17": 1 << 17, "rows20": 1 << 20}


def cases():
    for norm in errors.NORMS:
        for dtype in DTYPES:
            for fill in errors.FILLS:
                if dtype in ONLY.get(fill, DTYPES):
                    for n in LENGTHS[:1] if fill in MANY else LENGTHS:
                        yield norm, dtype, fill, MANY.get(fill, ELEMENTS // n), n


def filled(fill, dtype, rows, n, device):
    """x, rounded to its type."""
    x = torch.empty(rows, n, device=device).normal_()

    def column(values):
        return values.to(device=device, dtype=torch.float32).view(-1, 1)

    if fill == "normal" or fill in MANY:
        x = x.mul_(column(torch.rand(rows) * 1.5 + 0.5)).add_(column(torch.rand(rows) * 2 - 1))
    elif fill.startswith("offset"):
        x = x.add_(10.0 ** int(fill[-1]))
    elif fill == "near":
        base = torch.tensor(CONSTANTS).to(DTYPES[dtype]).double()
        off = base - torch.from_numpy(errors.ulp(base.numpy(), dtype))
        x = column(base.repeat(rows)[:rows]).repeat(1, n)
        x.scatter_(1, torch.randint(n, (rows, 1), device=device), column(off.repeat(rows)[:rows]))
    elif fill == "outlier":
        x.scatter_(1, torch.randint(n, (rows, 1), device=device), 3e4 if dtype == "fp16" else 1e6)
    else:
        x = x.mul_(SCALES.get(fill, {}).get(dtype, 1e30 if fill == "huge" else 1e-30))
    return x.to(DTYPES[dtype])


def kilter_outputs(library, norm, t, eps):
    x, centered = t["x"], norm == "ln"
    got = {"y": torch.empty_like(x), "rstd": torch.empty(len(x), device=x.device), "dx": torch.empty_like(x), "dweight": torch.empty_like(t["weight"])}
    if centered:
        got.update(mean=torch.empty_like(got["rstd"]), dbias=torch.empty_like(t["bias"]))
    names, where = {v: k for k, v in DTYPES.items()}, (abi.CUDA if x.is_cuda else abi.CPU, 0)

    def call(direction, wanted):
        known = {**t, **got}
        tensors = {k: abi.tensor(known[k].data_ptr(), list(known[k].shape), names[known[k].dtype], where) for k in wanted.split() if k in known}
        made = abi.Call(library, norm, direction, tensors, eps)
        size = made.workspace_size()
        scratch = torch.zeros(max(size, 1), device=x.device, dtype=torch.uint8)
        if size:
            made.set_workspace(scratch.data_ptr(), size)
        made(torch.cuda.current_stream().cuda_stream if x.is_cuda else None)

    call("fwd", "x weight bias y mean rstd" if centered else "x weight y rstd")
    call("bwd", "x weight mean rstd dy dx dweight dbias" if centered else "x weight rstd dy dx dweight")
    return got


def torch_outputs(norm, t, eps):
    n, centered = t["x"].shape[1], norm == "ln"
    inputs = [t[name].detach().requires_grad_() for name in ("x", "weight", "bias") if name in t]
    with torch.enable_grad():
        y = F.layer_norm(inputs[0], [n], inputs[1], inputs[2], eps) if centered else F.rms_norm(inputs[0], [n], inputs[1], eps)
        gradients = torch.autograd.grad(y, inputs, t["dy"])
    got = dict(zip(("dx", "dweight", "dbias"), gradients), y=y.detach())
    with contextlib.suppress(NotImplementedError):
        if centered:
            got["mean"], got["rstd"] = torch.ops.aten.native_layer_norm(t["x"], [n], t["weight"], t["bias"], eps)[1:]
        else:
            got["rstd"] = torch.ops.aten._fused_rms_norm(t["x"], [n], t["weight"], eps)[1]
    return got


class Reference:
    """Some rows in float64: what each output should be, and the size whose ulp is the error's unit."""

    def __init__(self, norm, t, rows, eps):
        x, dy, weight = t["x"][rows].double(), t["dy"][rows].double(), t["weight"].double()
        centered, wanted = norm == "ln", {}
        mean = x.mean(1, keepdim=True) if centered else torch.zeros_like(x[:, :1])
        d = x - mean
        if centered:  # once more: d is exact, and what is left of the mean's rounding is far below fp32
            lo = d.mean(1, keepdim=True)
            mean, d = mean + lo, d - lo
        std = d.square().mean(1, keepdim=True).sqrt()
        rstd = 1 / (std.square() + float(np.float32(eps))).sqrt()
        xhat, g = d * rstd, dy * weight
        bias = t["bias"].double() if centered else torch.zeros_like(weight)
        wanted["y"] = xhat * weight + bias, ((xhat * weight).abs() + bias.abs()).amax(1)
        wanted["rstd"] = rstd[:, 0], rstd[:, 0]
        c1, c2 = (g * xhat).mean(1, keepdim=True), g.mean(1, keepdim=True) if centered else 0 * rstd
        wanted["dx"] = (g - c2 - xhat * c1) * rstd, (rstd * (g.abs() + c2.abs() + (xhat * c1).abs())).amax(1)
        self.terms = {"dweight": (dy * xhat, dy * (xhat.abs().maximum(std * rstd) if centered else xhat))}
        if centered:
            wanted["mean"] = mean[:, 0], torch.maximum(mean.abs(), std)[:, 0]
            self.terms["dbias"] = dy, dy
        self.wanted = wanted


def difference(got, want):
    """Absolute errors, and how many values are not finite and should be."""
    got = got.double().reshape(want.shape)
    lost = want.isfinite() & ~got.isfinite()
    return torch.where(lost, 0, got - want).abs(), int(lost.sum())


def compare(norm, dtype, t, contestants, eps):
    """By output and contestant: the errors."""
    rows, n = t["x"].shape
    step = max(1, CHUNK // n)
    found, sums = {}, {}
    for begin in range(0, rows, step):
        part = slice(begin, begin + step)
        reference = Reference(norm, t, part, eps)
        for output, (want, size) in reference.wanted.items():
            for who, outputs in contestants.items():
                if output in outputs:
                    error, lost = difference(outputs[output][part], want)
                    error = error.reshape(len(want), -1)
                    pieces = found.setdefault((output, who), ([], [], [], []))
                    for piece, value in zip(pieces, (size, error.amax(1), error.mean(1), lost)):
                        piece.append(value)
        for output, (term, least) in reference.terms.items():
            total = sums.setdefault(output, [0, 0])
            total[0] += term.sum(0)
            total[1] += least.square().sum(0)
        del reference
    for output, (want, squares) in sums.items():
        for who, outputs in contestants.items():
            error, lost = difference(outputs[output], want)
            found[output, who] = [torch.maximum(want.abs(), squares.sqrt())], [error], [error], [lost]
    by_output = {}
    for (output, who), (size, largest, average, lost) in found.items():
        arrays = [torch.cat(pieces).cpu().numpy() for pieces in (size, largest, average)]
        by_output.setdefault(output, {})[who] = errors.measured("fp32" if output in ("mean", "rstd") else dtype, *arrays, sum(lost))
    return {output: by for output, by in by_output.items() if len(by) == len(contestants)}


def measure(library, device, norm, dtype, fill, rows, n):
    torch.manual_seed(n)
    eps = 0.0 if fill == "tiny0" else EPS

    def normal(*shape, mean=0.0, deviation=1.0):
        return torch.empty(*shape, device=device).normal_(mean, deviation).to(DTYPES[dtype])
    t = {"x": filled(fill, dtype, rows, n, device), "dy": normal(rows, n), "weight": normal(n, mean=1, deviation=0.25)}
    if norm == "ln":
        t["bias"] = normal(n, deviation=0.25)
    contestants = {"kilter": kilter_outputs(library, norm, t, eps), "torch": torch_outputs(norm, t, eps)}
    return {"op": norm, "dtype": dtype, "fill": fill, "shape": f"{rows}x{n}", "errors": compare(norm, dtype, t, contestants, eps)}


def line(r):
    cells = [f"{output} {errors.cell([r], output, errors.TYPES)}" for output in r["errors"]]
    return f"{r['op']:<3} {r['dtype']:<4} {r['fill']:<8} {r['shape']:<12} " + ", ".join(cells)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", required=True, help="libkilter.so with the CUDA backend")
    parser.add_argument("--json", required=True)
    parser.add_argument("--filter", default="", help="cases whose name has a match, such as 'ln fp32 huge'")
    parser.add_argument("--device", default="cuda", help="cpu: only to try this script")
    options = parser.parse_args()
    torch.set_grad_enabled(False)
    started, library = time.monotonic(), abi.Library(options.library)
    report = {"gpu": torch.cuda.get_device_name(0) if options.device == "cuda" else "CPU", "date": datetime.date.today().isoformat(),
              **results.built(options.library), "nvidia_smi": nvidia_smi(), "versions": installed(), "filter": options.filter, "rows": []}
    for case in cases():
        if re.search(options.filter, "{} {} {} {}x{}".format(*case)):
            report["rows"].append(measure(library, options.device, *case))
            print(line(report["rows"][-1]), flush=True)
    pathlib.Path(options.json).write_text(results.written(report))
    print(errors.text_of(json.loads(pathlib.Path(options.json).read_text())))
    print(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()

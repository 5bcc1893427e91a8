#!/usr/bin/env python3
"""Errors of kilter and PyTorch in the units of docs/numerics.md, and their tables: what accuracy.py measured, printed as Markdown."""
import json
import math
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import results  # noqa: E402

FORMATS = {"fp32": (24, -126, 127), "fp16": (11, -14, 15), "bf16": (8, -126, 127)}  # bits of the significand, exponents of normal numbers
NORMS = {"ln": "`layer_norm`", "rms": "`rms_norm`"}
FILLS = {
    "normal": "normal, deviation 0.5 to 2, mean within 1",
    "offset3": "mean 10³ deviations",
    "offset4": "mean 10⁴ deviations",
    "near": "constant but for one element, one ulp off",
    "outlier": "normal, one element 10⁶ (fp16: 3·10⁴)",
    "huge": "normal times 10³⁰ (fp16: 10⁴)",
    "tiny": "normal times 10⁻³⁰ (fp16: 10⁻⁶)",
    "tiny0": "normal times 10⁻³⁰, eps = 0",
    "rows17": "normal, 2¹⁷ rows",
    "rows20": "normal, 2²⁰ rows",
}
TYPES = ("fp32", "fp16", "bf16")
FORWARD = [("y", (t,)) for t in TYPES] + [("mean", TYPES), ("rstd", TYPES)]
BACKWARD = [(output, types) for output in ("dx", "dweight", "dbias") for types in (("fp32",), ("fp16", "bf16"))]


def ulp(values, dtype):
    """The distance of neighbours at |v|: never below the smallest subnormal; beyond the type's range, as if its exponent went on."""
    import numpy as np  # the tables need none
    precision, lowest, highest = FORMATS[dtype]
    values = np.abs(np.asarray(values, dtype=np.float64))
    exponent = np.where(values == 0, lowest, np.frexp(values)[1] - 1)
    exponent = np.where(np.isnan(values), lowest, np.where(np.isinf(values), highest, exponent))
    return np.ldexp(1.0, np.maximum(exponent, lowest) - (precision - 1))


def measured(dtype, size, largest, average, lost):
    """The worst and the mean error in units of ulp(size), all by row or column; how many values are not finite and should be."""
    unit = ulp(size, dtype)
    return {"worst": float((largest / unit).max()), "mean": float((average / unit).mean()), "lost": int(lost)}


# ---------------------------------------------------------------- tables

def number(value):
    if value >= 999.5:
        exponent = math.floor(math.log10(value) + 1e-9)
        if round(value / 10**exponent, 1) >= 10:
            exponent += 1
        return f"{value / 10**exponent:.1f}e{exponent}"
    return f"{value:.0f}" if value >= 9.995 else f"{value:.2f}"


def cell(rows, output, types):
    """The worst of some rows, kilter / PyTorch; a dash if nothing was measured."""
    found = [row["errors"][output] for row in rows if row["dtype"] in types and output in row["errors"]]
    if not found:
        return "–"
    return " / ".join("lost" if any(f[who]["lost"] for f in found) else number(max(f[who]["worst"] for f in found)) for who in ("kilter", "torch"))


def table(rows, columns):
    heads = [output + {1: f", {types[0]}", 2: ", 16-bit", 3: ""}[len(types)] for output, types in columns]
    text = "| op | x | " + " | ".join(heads) + " |\n" + "| --- " * (len(heads) + 2) + "|\n"
    for norm, name in NORMS.items():
        for fill, what in FILLS.items():
            here = [row for row in rows if row["op"] == norm and row["fill"] == fill]
            cells = [cell(here, *column) for column in columns]
            if any(c != "–" for c in cells):
                text += f"| {name} | {what} | " + " | ".join(cells) + " |\n"
    return text


def lengths(rows):
    return ", ".join(str(n) for n in sorted({int(row["shape"].split("x")[1]) for row in rows}))


def text_of(report):
    rows = report["rows"]
    few, many = ([row for row in rows if row["fill"].startswith("rows") == big] for big in (False, True))
    text = f"**{report['gpu']}**, driver {report['nvidia_smi'].split(',')[0]}, PyTorch {report['versions']['torch']}; {report['date']}, commit {report['commit']}, "
    text += f"CUDA sources `{report['cuda_sources']}`. Rows of {lengths(few)} elements" + (f", 2¹⁷ and 2²⁰ rows of {lengths(many)}" if many else "")
    return text + ". kilter / PyTorch:\n\n" + table(few, FORWARD) + "\n" + table(rows, BACKWARD)


def main():
    found = [text_of(json.loads(path.read_text())) for path in sorted(results.GPU_RESULTS.glob("*/accuracy.json"))]
    print("\n".join(found) or "No result is kept yet.\n", end="")


if __name__ == "__main__":
    main()

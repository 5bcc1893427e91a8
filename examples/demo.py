#!/usr/bin/env python3
"""What ./dev demo shows: the sample of a real model through the command line, beside float64, and this machine's speed."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATA = ROOT / "tests/data"
KILTER = os.environ.get("KILTER", str(ROOT / "build/bin/kilter"))
EPS = 1e-12
COLOR = (sys.stdout.isatty() and "NO_COLOR" not in os.environ) or "FORCE_COLOR" in os.environ
WIDTH = max(60, min(shutil.get_terminal_size((100, 0)).columns, 120))
SHADES = " .:-=+*#%@"


def style(text, code):
    return f"\x1b[{code}m{text}\x1b[0m" if COLOR else text


def bold(text):
    return style(text, "1")


def dim(text):
    return style(text, "2")


def mark(good):
    return style("yes", "32") if good else style("NO", "31")


def kilter(*arguments, **environment):
    done = subprocess.run([KILTER, *map(str, arguments)], env={**os.environ, **environment}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"kilter {' '.join(map(str, arguments))}\n{done.stderr or done.stdout}")
    return done.stdout


# ---------------------------------------------------------------- numbers


def bf16_to_float64(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def layer_norm(x, weight, bias):
    """float64, as in a textbook; also the largest |xhat * weight| + |bias| of each row, whose last place is the unit of error."""
    centered = x - x.mean(1, keepdims=True)
    xhat = centered / np.sqrt((centered**2).mean(1, keepdims=True) + EPS)
    return xhat * weight + bias, (np.abs(xhat * weight) + np.abs(bias)).max(1, keepdims=True)


def unit_in_last_place(size, bits):
    return 2.0**(np.floor(np.log2(size)) - (bits - 1))


# ---------------------------------------------------------------- pictures


def cell(value, limit):
    """One value as a coloured block: blue below zero, red above, dark at zero."""
    strength = min(abs(value) / limit, 1.0)**0.6
    if not COLOR:
        return SHADES[round(strength * (len(SHADES) - 1))]
    level = round(35 + 220 * strength)
    rest = round(35 + 45 * strength)
    red, blue = (level, rest) if value > 0 else (rest, level)
    return f"\x1b[48;2;{red};{rest};{blue}m \x1b[0m"


def strip(row, columns, limit):
    """The first values of a row, one cell each."""
    return "".join(cell(value, limit) for value in row[:columns])


def bar(fraction, columns):
    eighths = round(min(fraction, 1.0) * columns * 8)
    filled = "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
    return style(filled, "36") + dim("·" * (columns - len(filled)))


def show_sentences(x, y, count):
    rows = [line.split("\t") for line in (DATA / "tokens.txt").read_text().splitlines()]
    sentences = (DATA / "sentences.txt").read_text().splitlines()
    columns = (WIDTH - 19) // 2
    for number in range(1, count + 1):
        print(f"  {bold(sentences[number - 1])}")
        print(dim(f"  {'':12} {'embedding sum':<{columns}}   {'after LayerNorm':<{columns}}"))
        for i, (sentence, token) in enumerate(rows):
            if sentence == str(number):
                print(f"  {token:>12} {strip(x[i], columns, 0.25)}   {strip(y[i], columns, 1.5)}")
        print()


def show_values(y, reference, token, row):
    picks = (0, 100, 200, 300, 383)
    print(f"  {'kilter, fp32':>20}  " + "  ".join(f"{y[row, i]:>13.9f}" for i in picks) + dim(f'   "{token}", values {", ".join(map(str, picks))}'))
    print(f"  {'NumPy, float64':>20}  " + "  ".join(f"{reference[row, i]:>13.9f}" for i in picks))


def show_accuracy(folder):
    weight, bias = (np.load(DATA / f"{name}.npy") for name in ("weight", "bias"))
    x = np.load(DATA / "x.npy")
    x16 = np.load(DATA / "x_bf16.npy")
    common = ["--weight", DATA / "weight.npy", "--bias", DATA / "bias.npy", "--eps", EPS]
    kilter("run", "layer_norm", "--x", DATA / "x.npy", *common, "--y", folder / "y.npy")
    kilter("run", "layer_norm", "--x", DATA / "x_bf16.npy", "--x-dtype", "bf16", "--weight", DATA / "weight.npy", "--bias", DATA / "bias.npy",
           "--eps", EPS, "--y", folder / "y16.npy")
    y, y16 = np.load(folder / "y.npy"), np.load(folder / "y16.npy")
    print(bold("LayerNorm on a real model's embeddings") + f"   MiniLM, {x.shape[0]} tokens x {x.shape[1]} values, eps {EPS:g}\n")
    show_sentences(x, y, 2)

    weight, bias = weight.astype(np.float64), bias.astype(np.float64)
    reference, size = layer_norm(x.astype(np.float64), weight, bias)
    show_values(y, reference, "call", 1)
    print()
    reference16, size16 = layer_norm(bf16_to_float64(x16), weight, bias)
    good = True
    for name, result, exact, scale, bits, bound in (("fp32", y.astype(np.float64), reference, size, 24, 5.0),
                                                    ("bf16", bf16_to_float64(y16), reference16, size16, 8, 0.51)):
        error = (np.abs(result - exact) / unit_in_last_place(scale, bits)).max()
        good = good and error <= bound
        shown = bold(f"{error:.3f}")
        print(f"  {name}: largest error of {result.size} values {shown} units in the last place, promised {bound:g}: {mark(error <= bound)}")
    return show_bits(folder, common) and good


def show_bits(folder, common):
    """The same call on every SIMD target and several thread counts: the same file, byte for byte."""
    wanted = (folder / "y.npy").read_bytes()
    targets = json.loads(kilter("info", "--json"))["targets"]
    runs = [(name, {"KILTER_CPU_TARGET": name}, ()) for name in targets] + [(f"{n} threads", {}, ("--threads", n)) for n in (2, 3, 8)]
    words, good = [], True
    for name, environment, arguments in runs:
        kilter("run", "layer_norm", "--x", DATA / "x.npy", *common, "--y", folder / "again.npy", *arguments, **environment)
        same = (folder / "again.npy").read_bytes() == wanted
        good = good and same
        words.append(f"{name} {mark(same)}")
    print("  same bits:  " + "   ".join(words) + "\n")
    return good


# ---------------------------------------------------------------- speed


def show_speed():
    info = json.loads(kilter("info", "--json"))
    print(bold("Speed") + f"   {info['cpu']}, {info['threads']} threads, {info['target']}")
    print(dim("  A full bar is this machine's best copy of the same bytes, measured in turn with the op: the memory's own speed.\n"))
    columns = max(WIDTH - 64, 10)
    for op in ("layer_norm", "rms_norm"):
        for r in json.loads(kilter("bench", op, "--suite", "--reps", 30, "--json"))["results"]:
            label = f"{op:<10} {r['direction']:<8} {r['x_dtype']:<4} {r['rows']}x{r['n']}"
            rates = f"{r['op_gb_s']:5.1f} of {r['copy_gb_s']:5.1f} GB/s"
            print(f"  {label:<34} {bar(r['fraction'], columns)}  {rates}  " + bold(f"{r['fraction']:4.0%}"), flush=True)
    print()


def main():
    with tempfile.TemporaryDirectory() as folder:
        good = show_accuracy(pathlib.Path(folder))
    show_speed()
    print(dim("  ./dev test proves it; ./dev bench measures longer; README.md shows how to call it from C and C++."))
    return 0 if good else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:
        sys.exit(0)

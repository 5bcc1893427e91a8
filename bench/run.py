#!/usr/bin/env python3
"""Times the ops against a copy of the same bytes and keeps the result.

    ./dev bench                   both ops, the standard rows; writes bench/results/cpu/<cpu>.json
    ./dev bench --docs            also writes the table of docs/performance.md, from all results that are kept
    ./dev bench --docs --no-run   only the table
"""
import argparse
import datetime
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench/results/cpu"
DOCUMENT = ROOT / "docs/performance.md"
OPS = ("layer_norm", "rms_norm")


def kernel_hash():
    """Of everything that decides the kernels' speed: the sources without references and texts, and their flags."""
    digest = hashlib.sha256()
    sources = [p for p in (ROOT / "src").rglob("*") if p.suffix in (".h", ".cc", ".def") and "reference" not in p.name]
    for path in sorted(sources) + [ROOT / "cmake/targets.cmake"]:
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def bench(kilter, op, options):
    command = [kilter, "bench", op, "--suite", "--json", "--reps", str(options.reps)]
    if options.threads:
        command += ["--threads", str(options.threads)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.stdout or done.returncode)
    return json.loads(done.stdout)


def rounded(value):
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    return [rounded(v) for v in value] if isinstance(value, list) else value


def line(r):
    name = f"{r['op']:<10} {r['direction']:<8} {r['x_dtype']:<4} {r['rows']}x{r['n']}"
    return f"{name:<36} {r['op_min_ms']:8.3f} ms  {r['op_gb_s']:6.1f} GB/s  copy {r['copy_gb_s']:6.1f} GB/s  fraction {r['fraction']:.3f}"


def measure(options):
    kilter = os.environ.get("KILTER", str(ROOT / "build/bin/kilter"))
    result = {"date": datetime.date.today().isoformat(), "kernel_sources": kernel_hash(), "results": []}
    for op in OPS:
        report = bench(kilter, op, options)
        result.update({key: report[key] for key in ("version", "machine", "reps")})
        result["results"] += report["results"]
        for r in report["results"]:
            print(line(r), flush=True)
    name = re.sub(r"[^a-z0-9]+", "-", result["machine"]["cpu"].lower()).strip("-")
    path = RESULTS / f"{name}-{result['machine']['threads']}t.json"
    if not options.discard:
        RESULTS.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(rounded(result), separators=(",", ":")).replace('{"op":', '\n{"op":') + "\n")
        print(f"written: {path.relative_to(ROOT)}")


def table():
    text = ""
    for path in sorted(RESULTS.glob("*.json")):
        data = json.loads(path.read_text())
        machine = data["machine"]
        text += f"**{machine['cpu']}**, {machine['threads']} threads, {machine['target']}; {data['date']}, best of {data['reps']}, "
        text += f"kernel sources `{data['kernel_sources']}`"
        text += "" if data["kernel_sources"] == kernel_hash() else " (older than the sources beside this page)"
        text += "\n\n| op | direction | type | rows × n | ms | GB/s | copy GB/s | fraction |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n"
        for r in data["results"]:
            text += f"| `{r['op']}` | {r['direction']} | {r['x_dtype']} | {r['rows']} × {r['n']} | {r['op_min_ms']:.2f} | "
            text += f"{r['op_gb_s']:.1f} | {r['copy_gb_s']:.1f} | {r['fraction']:.2f} |\n"
        text += "\n"
    return text.rstrip("\n") + "\n" if text else "No result is kept yet.\n"


def main():
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reps", type=int, default=40)
    parser.add_argument("--threads", type=int, default=0, help="0: what OpenMP would take")
    parser.add_argument("--discard", action="store_true", help="print only, keep nothing")
    parser.add_argument("--docs", action="store_true", help="write the table of docs/performance.md")
    parser.add_argument("--no-run", action="store_true", help="measure nothing")
    options = parser.parse_args()
    if not options.no_run:
        measure(options)
    if options.docs:
        parts = re.split(r"(<!-- table -->\n|<!-- table end -->)", DOCUMENT.read_text())
        parts[2] = table()
        DOCUMENT.write_text("".join(parts))
        print(f"written: {DOCUMENT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()

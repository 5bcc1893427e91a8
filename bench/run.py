#!/usr/bin/env python3
"""Times the ops against a copy of the same bytes and keeps the result.

    ./dev bench                   every op, the standard rows; writes bench/results/cpu/<cpu>.json
    ./dev bench --peers           oneDNN and PyTorch as well, on the same arrays, in turns (bench/peers/peers.py); their
                                  Python packages, 6 GB, are installed into .venv-peers/ at first
    ./dev bench --only planes     only batch_norm, group_norm and instance_norm beside the peers; or only rows
    ./dev bench --docs            also writes the tables of docs/performance.md, from all results that are kept
    ./dev bench --docs --no-run   only the tables
    ./dev bench --gpu             the GPU's rows instead; with its own options, see ./dev bench --gpu --help
"""
import argparse
import datetime
import json
import os
import pathlib
import re
import subprocess
import sys

from results import RESULTS, ROOT, file_name, kernel_hash, written

DOCUMENT = ROOT / "docs/performance.md"
PEERS = ROOT / ".venv-peers"
PEER_PACKAGES = ("numpy", "torch==2.11.0", "onednn-devel==2026.1.0")


def ops(kilter):
    listed = json.loads(subprocess.run([kilter, "schema", "--json"], stdout=subprocess.PIPE, text=True, check=True).stdout)["functions"]
    return list(dict.fromkeys(f["op"] for f in listed))


def bench(kilter, op, options):
    command = [kilter, "bench", op, "--suite", "--json", "--reps", str(options.reps)]
    if options.threads:
        command += ["--threads", str(options.threads)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.stdout or done.returncode)
    return json.loads(done.stdout)


def shape(r, by):  # of rows, or of planes
    if "rows" in r:
        return f"{r['rows']}{by}{r['n']}"
    return f"{r['batch']}{by}{r['channels']}{by}{r['spatial']}" + (f" in {r['groups']} groups" if "groups" in r else "")


def line(r):
    name = f"{r['op']:<10} {r['direction']:<8} {r['x_dtype']:<4} {shape(r, 'x')}"
    return f"{name:<36} {r['op_min_ms']:8.3f} ms  {r['op_gb_s']:6.1f} GB/s  copy {r['copy_gb_s']:6.1f} GB/s  fraction {r['fraction']:.3f}"


def measure(options):
    kilter = os.environ.get("KILTER", str(ROOT / "build/bin/kilter"))
    result = {"date": datetime.date.today().isoformat(), "kernel_sources": kernel_hash(), "results": []}
    for op in ops(kilter):
        report = bench(kilter, op, options)
        result.update({key: report[key] for key in ("version", "machine", "reps")})
        result["results"] += report["results"]
        for r in report["results"]:
            print(line(r), flush=True)
    path = RESULTS / f"{file_name(result['machine']['cpu'])}-{result['machine']['threads']}t.json"
    if not options.discard:
        RESULTS.mkdir(parents=True, exist_ok=True)
        path.write_text(written(result))
        print(f"written: {path.relative_to(ROOT)}")


def freshness(data):
    return f"kernel sources `{data['kernel_sources']}`" + ("" if data["kernel_sources"] == kernel_hash() else " (older than the sources beside this page)")


def table():
    text = ""
    for path in sorted(RESULTS.glob("*[0-9]t.json")):
        data = json.loads(path.read_text())
        machine = data["machine"]
        text += f"**{machine['cpu']}**, {machine['threads']} threads, {machine['target']}; {data['date']}, best of {data['reps']}, {freshness(data)}\n\n"
        text += "| op | direction | type | rows × n | ms | GB/s | copy GB/s | fraction |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n"
        for r in data["results"]:
            text += f"| `{r['op']}` | {r['direction']} | {r['x_dtype']} | {shape(r, ' × ')} | {r['op_min_ms']:.2f} | "
            text += f"{r['op_gb_s']:.1f} | {r['copy_gb_s']:.1f} | {r['fraction']:.2f} |\n"
        text += "\n"
    return text.rstrip("\n") + "\n" if text else "No result is kept yet.\n"


def peers_head(data):
    return (f"**{data['cpu']}**, {data['threads']} threads; {data['date']}, best of {data['reps']}, oneDNN {data['versions']['onednn']}, "
            f"PyTorch {data['versions']['torch']}, {freshness(data)}; ms\n\n")


def best_times(r):
    """Of the best copy, kilter, oneDNN and PyTorch, as text; the fastest of the three in bold."""
    best = {}
    for name, times in r["contestants"].items():
        kind = name.split()[0]
        best[kind] = min(times["min_ms"], best.get(kind, times["min_ms"]))
    fastest = min(time for kind, time in best.items() if kind != "copy")
    text = {kind: f"**{time:.2f}**" if time == fastest else f"{time:.2f}" for kind, time in best.items()}
    return " | ".join(text.get(kind, "–") for kind in ("copy", "kilter", "onednn", "torch"))


def peers_table():
    text = ""
    for path in sorted(RESULTS.glob("*-peers.json")):
        data = json.loads(path.read_text())
        text += peers_head(data)
        text += "| op | direction | type | rows × n | best copy | kilter | oneDNN | PyTorch |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n"
        for r in data["results"]:
            text += f"| `{r['op']}` | {r['direction']} | {r['x_dtype']} | {shape(r, ' × ')} | {best_times(r)} |\n"
        text += "\n"
    return text.rstrip("\n") + "\n" if text else "No result is kept yet.\n"


def planes_table():
    """A line for both layouts."""
    text = ""
    for path in sorted(RESULTS.glob("*-peers-planes.json")):
        data = json.loads(path.read_text())
        lines = {}
        for r in data["results"]:
            name = f"| `{r['op']}` | {r['direction']} | {r['x_dtype']} | {r['batch']} × {r['channels']} × {r['spatial']}"
            lines.setdefault(name, {})[r["layout"]] = best_times(r)
        text += peers_head(data)
        text += "| op | direction | type | shape | first: best copy | kilter | oneDNN | PyTorch | last: best copy | kilter | oneDNN | PyTorch |\n"
        text += "|" + " --- |" * 12 + "\n"
        text += "".join(f"{line} | {best['channels first']} | {best['channels last']} |\n" for line, best in lines.items()) + "\n"
    return text.rstrip("\n") + "\n" if text else "No result is kept yet.\n"


def peers(options):
    """Builds contestants.cc and planes.cc against oneDNN and runs peers.py with PyTorch, both from Python packages."""
    python, library = PEERS / "bin/python", PEERS / "libcontestants.so"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", PEERS], check=True)
    print("packages: " + " ".join(PEER_PACKAGES), flush=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PEER_PACKAGES], check=True)
    build = pathlib.Path(os.environ.get("KILTER", ROOT / "build/bin/kilter")).resolve().parent.parent
    includes = [f"-I{p}" for p in (ROOT / "include", ROOT / "tools", build / "generated", build / "include", PEERS / "include")]
    subprocess.run(["g++", "-std=c++20", "-O3", "-fopenmp", "-fPIC", "-shared", *includes, ROOT / "bench/peers/contestants.cc",
                    ROOT / "bench/peers/planes.cc", ROOT / "tools/kilter/copy.cc", f"-L{build}", "-lkilter", PEERS / "lib/libdnnl.so.3",
                    "-Wl,--allow-shlib-undefined", f"-Wl,-rpath,{build}:{PEERS}/lib", "-o", library], check=True)
    environment = dict(os.environ, LD_LIBRARY_PATH=f"{PEERS}/lib", OCL_ICD_FILENAMES=f"{PEERS}/lib/libintelocl.so", ONEDNN_VERBOSE="0",
                       MALLOC_MMAP_THRESHOLD_=str(4 << 30), MALLOC_TRIM_THRESHOLD_=str(8 << 30), MALLOC_TOP_PAD_=str(1 << 30))
    command = [python, ROOT / "bench/peers/peers.py", "--library", library, "--reps", str(options.reps)]
    if options.threads:
        command += ["--threads", str(options.threads)]
    if options.only:
        command += ["--only", options.only]
    if not options.discard:
        RESULTS.mkdir(parents=True, exist_ok=True)
        command += ["--output", RESULTS]
    subprocess.run(command, check=True, env=environment)


def main():
    if "--gpu" in sys.argv:
        sys.path.insert(0, str(ROOT / "bench/gpu"))
        import table as gpu_table
        return gpu_table.main([a for a in sys.argv[1:] if a != "--gpu"])
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reps", type=int, default=40)
    parser.add_argument("--threads", type=int, default=0, help="0: what OpenMP would take")
    parser.add_argument("--discard", action="store_true", help="print only, keep nothing")
    parser.add_argument("--peers", action="store_true", help="oneDNN and PyTorch as well")
    parser.add_argument("--only", choices=("rows", "planes"), help="the peers of one family, and nothing else")
    parser.add_argument("--docs", action="store_true", help="write the table of docs/performance.md")
    parser.add_argument("--no-run", action="store_true", help="measure nothing")
    options = parser.parse_args()
    if not options.no_run and not options.only:
        measure(options)
    if (options.peers or options.only) and not options.no_run:
        peers(options)
    if options.docs:
        text = DOCUMENT.read_text()
        for name, content in (("table", table()), ("peers", peers_table()), ("planes", planes_table())):
            text = re.sub(f"(<!-- {name} -->\n).*?(<!-- {name} end -->)", lambda m: m[1] + content + m[2], text, flags=re.DOTALL)
        DOCUMENT.write_text(text)
        print(f"written: {DOCUMENT.relative_to(ROOT)}")
    return None


if __name__ == "__main__":
    main()

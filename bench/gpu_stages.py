#!/usr/bin/env python3
"""The tests that need a GPU, in stages whose results are kept with the sources they are of: gpu_stages.py [STAGE...] [options]

  test      device_test: bits against the CPU's, determinism
  sanitize  every kernel on a few rows, counted, then under compute-sanitizer's four tools
  large     large_test: tensors of more than 2^32 elements

Without a stage: what there is.  A stage writes bench/results/GPU/STAGE.json after each of its parts; a part that passed for the
CUDA sources at hand is not run again, so a stage that was cut off goes on where it stopped.
KILTER_GPU_BINARIES: a folder with device_test and large_test, made by `./dev gpu pack`.  KILTER_SANITIZER: compute-sanitizer's path.
"""
import argparse
import concurrent.futures
import datetime
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "tests/cuda")]
import kernels  # noqa: E402
import results  # noqa: E402

TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
STAGES = {"test": ("device_test",), "sanitize": ("launches", *TOOLS), "large": ("large_test",)}
LIMITS = {"test": 420, "sanitize": 500, "large": 280}  # seconds, of all parts of a stage
SMALL = "Ops/Small.*"


def nvidia_smi(*fields):
    """{field: text} of the first GPU, {} without one."""
    try:
        out = subprocess.run(["nvidia-smi", "--query-gpu=" + ",".join(fields), "--format=csv,noheader"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    values = [v.strip() for v in out.stdout.splitlines()[0].split(",")] if out.returncode == 0 and out.stdout.strip() else []
    return dict(zip(fields, values)) if len(values) == len(fields) else {}


def clocks():
    return nvidia_smi("clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem", "power.limit")


def sanitizer():
    found = [os.environ.get("KILTER_SANITIZER"), shutil.which("compute-sanitizer"), "/usr/local/cuda/bin/compute-sanitizer",
             "/usr/local/cuda/compute-sanitizer/compute-sanitizer"]
    return next((f for f in found if f and os.path.isfile(f) and os.access(f, os.X_OK)), None)


# ---- running

def tests_of(log):
    """[{test, result, seconds}] of GoogleTest's output; one that began and did not end is "cut off"."""
    tests = {}
    for line in log.splitlines():
        if found := re.match(r"\[ RUN      \] (\S+)", line):
            tests[found[1]] = {"test": found[1], "result": "cut off", "seconds": 0.0}
        elif found := re.match(r"\[ +(OK|FAILED|SKIPPED) +\] ([^\s,]+).*\((\d+) ms\)", line):
            result = {"OK": "passed", "FAILED": "failed", "SKIPPED": "skipped"}[found[1]]
            tests[found[2]] = {"test": found[2], "result": result, "seconds": int(found[3]) / 1000}
    return list(tests.values())


def sanitizer_complaints(log):
    """Why a run under a tool is not clean; empty if it is."""
    summaries = re.findall(r"========= (?:ERROR|RACECHECK) SUMMARY: (.*)", log)
    if not summaries:
        return "no summary"
    return "; ".join(s for s in summaries if any(int(n) for n in re.findall(r"\d+", s)))


def run(commands, limit):
    """Runs [(command, environment)] side by side.  (their output, whether all ended well, whether they were stopped)"""
    logs = [tempfile.TemporaryFile("w+", errors="replace") for _ in commands]
    started = [subprocess.Popen(c, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **e}, start_new_session=True)
               for (c, e), log in zip(commands, logs)]
    end, stopped = time.monotonic() + limit, False
    for process in started:
        try:
            process.wait(max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            stopped = True
            os.killpg(process.pid, signal.SIGKILL)  # compute-sanitizer's child too
            process.wait()
    text = ""
    for log in logs:
        with log:
            log.seek(0)
            text += log.read()
    return text, all(p.returncode == 0 for p in started), stopped


def shards(program, jobs):
    cpus = os.cpu_count() or 1
    threads = {"OMP_NUM_THREADS": str(max(1, cpus // jobs))} if jobs > 1 else {}
    return [([program], {"GTEST_TOTAL_SHARDS": str(jobs), "GTEST_SHARD_INDEX": str(i), **threads}) for i in range(jobs)]


def run_part(name, binaries, limit, jobs):
    """(output, complaint, more for the report)"""
    device, more, complaint = str(binaries / "device_test"), {}, ""
    small = [device, f"--gtest_filter={SMALL}"]
    if name in TOOLS:
        tool = sanitizer()
        if not tool:
            return "", "no compute-sanitizer: it comes with the CUDA toolkit; KILTER_SANITIZER names it elsewhere", {}
        log, good, stopped = run([([tool, "--tool", name, "--error-exitcode", "97", *small], {})], limit)
        complaint = sanitizer_complaints(log)
    elif name == "launches":
        with tempfile.TemporaryDirectory() as folder:
            names = pathlib.Path(folder) / "names"
            log, good, stopped = run([(small, {"KILTER_LAUNCHED": str(names)})], limit)
            launched = {kernels.short_name(n) for n in names.read_text().splitlines()} if names.exists() else set()
        table, _ = kernels.read_table(kernels.TABLE.read_text())
        missing = sorted({k.kernel for k in table} - launched)
        complaint = "not launched: " + ", ".join(missing) if missing else ""
        more = {"launched": len(launched), "not_launched": missing}
    elif name == "device_test":
        log, good, stopped = run(shards(device, jobs), limit)
    else:
        log, good, stopped = run([([str(binaries / name)], {})], limit)
    if stopped:
        complaint = f"stopped after {limit:.0f} s"
    return log, complaint or ("" if good else "a program failed"), more


# ---- results

def load(path):
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def fresh_parts(stage, report, sources):
    """The report's parts that passed for these sources, by name."""
    return {p["name"]: p for p in report.get("parts", []) if p["cuda_sources"] == sources and p["passed"] and p["name"] in STAGES[stage]}


def is_fresh(stage, report, sources):
    return set(fresh_parts(stage, report, sources)) == set(STAGES[stage])


def write(path, report):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, separators=(",", ":")).replace('{"name":', '\n{"name":').replace('{"test":', '\n{"test":')
    path.write_text(text + "\n")


def run_stage(stage, gpu, binaries, built, options):
    name = results.file_name(gpu["name"])
    path = options.out / name / f"{stage}.json"
    parts = {}
    if not options.again:
        for folder in (results.GPU_RESULTS, options.out):
            parts.update(fresh_parts(stage, load(folder / name / f"{stage}.json"), built["cuda_sources"]))
    end, lock = time.monotonic() + LIMITS[stage], threading.Lock()

    def measure(part):
        left, start = end - time.monotonic(), time.monotonic()
        log, complaint, more = run_part(part, binaries, left, options.jobs) if left > 5 else ("", "no time left", {})
        tests = tests_of(log)
        count = {kind: sum(t["result"] == kind for t in tests) for kind in ("passed", "failed", "skipped", "cut off")}
        if not complaint and count["passed"] == 0:
            complaint = "no test ran"
        with lock:
            parts[part] = {"name": part, "passed": not complaint, **built, "date": datetime.datetime.now().isoformat(timespec="seconds"),
                           "seconds": round(time.monotonic() - start, 1), "complaint": complaint, "count": count, **more, "tests": tests}
            options.logs.mkdir(parents=True, exist_ok=True)
            (options.logs / f"{stage}-{part}.log").write_text(log)
            if complaint:
                print("\n".join(log.splitlines()[-60:]))
            print(f"{stage}, {part}: {complaint or 'passed'}, {count['passed']} passed, {count['failed'] + count['cut off']} failed, {count['skipped']} skipped, "
                  f"{parts[part]['seconds']} s", flush=True)
            write(path, {"stage": stage, **built, "gpu": gpu["name"], "driver": gpu["driver_version"], "clocks": clocks(),
                         "date": parts[part]["date"], "parts": [parts[p] for p in STAGES[stage] if p in parts]})

    for part in parts:
        print(f"{stage}, {part}: passed for these sources on {parts[part]['date']}", flush=True)
    with concurrent.futures.ThreadPoolExecutor(len(TOOLS) if options.jobs > 1 else 1) as pool:  # a sanitizer's tool uses one processor
        list(pool.map(measure, [part for part in STAGES[stage] if part not in parts]))
    return all(p["passed"] for p in parts.values())


def status(folder, sources):
    """Lines about every stage of every GPU, and whether all are there for these sources."""
    lines, good = [], True
    kept = (*STAGES, "bench", "accuracy")
    gpus = sorted({p.parent for stage in kept for p in folder.glob(f"*/{stage}.json") if p.parent.name != "cpu"})
    for gpu in gpus:
        for stage in kept:
            report = load(gpu / f"{stage}.json")
            newest = report["runs"][-1] if report.get("runs") else report  # bench keeps several runs
            if not report:
                state = "no results"
            elif newest.get("cuda_sources") != sources:
                state = f"STALE, of commit {newest.get('commit')}: the CUDA sources have changed since"
            elif stage in STAGES and not is_fresh(stage, report, sources):
                state = "FAILED: " + ("; ".join(f"{p['name']}: {p['complaint']}" for p in report["parts"] if not p["passed"]) or "parts are missing")
            else:
                state = f"fresh, {str(newest.get('date'))[:10]}, commit {newest.get('commit')}"
            good = good and state.startswith("fresh")
            lines.append(f"  {gpu.name:<24} {stage:<9} {state}")
    return lines or ["  no stage has results yet"], good and bool(gpus)


def show():
    gpu = nvidia_smi("name", "driver_version")
    nvcc = shutil.which("nvcc")
    version = re.search(r"release ([\d.]+)", subprocess.run([nvcc, "--version"], capture_output=True, text=True).stdout) if nvcc else None
    print("The CUDA backend, an option of the build (-DKILTER_ENABLE_CUDA=ON).")
    print("  nvcc              " + (version[1] if version else "missing (CUDA toolkit 12.8 or newer)"))
    print("  GPU, driver       " + (", ".join(gpu.values()) if gpu else "missing"))
    print("  compute-sanitizer " + (sanitizer() or "missing"))
    print("  cuobjdump         " + (kernels.cuobjdump() or "missing"))
    sources = results.cuda_hash()
    lines, good = status(results.GPU_RESULTS, sources)
    print(f"Results for the CUDA sources at hand, {sources}:", *lines, sep="\n")
    if not good:
        print("WARNING: on a GPU, run ./dev gpu test, sanitize, large and bench, and ./dev bench --gpu --accuracy")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="*", metavar="STAGE", help="of " + ", ".join(STAGES))
    parser.add_argument("--again", action="store_true", help="also what passed for these sources")
    parser.add_argument("--out", type=pathlib.Path, help="write GPU/STAGE.json and logs below this folder")
    parser.add_argument("--jobs", type=int, default=4 if (os.cpu_count() or 1) >= 8 else 1, help="processes that share device_test's tests; more than one: the sanitizer's tools side by side as well")
    parser.add_argument("--binaries", type=pathlib.Path, default=os.environ.get("KILTER_GPU_BINARIES"))
    options = parser.parse_args()
    if not options.stages:
        show()
        return 0
    for stage in options.stages:
        if stage not in STAGES:
            parser.error(f"expected a stage of {', '.join(STAGES)}, got {stage}")
    options.logs = options.out / "logs" if options.out else ROOT / ".cache/gpu"
    options.out = options.out or results.GPU_RESULTS
    gpu = nvidia_smi("name", "driver_version")
    if not gpu:
        print("SKIPPED: no NVIDIA GPU here")
        return 0
    if not options.binaries:
        parser.error("expected KILTER_GPU_BINARIES or --binaries")
    binaries = pathlib.Path(options.binaries).resolve()
    built = load(binaries / "build.json") or {"commit": results.commit(), "cuda_sources": results.cuda_hash()}
    good = [run_stage(stage, gpu, binaries, built, options) for stage in options.stages]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Times the row norms on the GPU at hand beside the floor and the peers, keeps the samples, and prints one table.

    ./dev bench --gpu                      builds gpu_bench, runs it, keeps its samples in bench/results/GPU/bench.json, prints the table;
                                           without a GPU or nvcc: the table of what is kept
    ./dev bench --gpu --repeat 3           three runs; the median of the last three of the same sources counts
    ./dev bench --gpu --peers              then bench/gpu/peers.py: PyTorch, torch.compile, Liger, QuACK, cuDNN, whichever is installed
    ./dev bench --gpu --accuracy           bench/gpu/accuracy.py instead: errors beside PyTorch's, for docs/numerics.md (docs/sync.py)
    ./dev bench --gpu --widths             bench/gpu/widths.py instead: the row norms at odd widths and places, as a table and a picture
    ./dev bench --gpu --ops dyt,derf       rows of these ops alone, of both programs
    ./dev bench --gpu --add FILE...        keeps reports that gpu_bench, peers.py, accuracy.py or widths.py wrote elsewhere (--json), then the table
    ./dev bench --gpu --compare OLD NEW    two such files, or two bench.json, row by row

The floor is the fastest kernel of the same bytes and the same mix of reads and writes, measured in turns with the op; fraction is
its time over the op's.  bench/results/GPU/recorded.json has floors and peers measured before on such a GPU: a run whose floors are more
than 3 % slower is void, and a peer that was not measured here stands with its recorded time, marked r.  ratio: the fastest peer's time
over kilter's.  KiB: memory that a call takes beyond inputs and outputs, its workspace; in brackets PyTorch's, where it was measured.

KILTER_GPU_BINARIES: a folder with gpu_bench and libkilter.so, made by `./dev gpu pack`.

--compare: SAME if the medians differ by less than 1 %; else UNSURE if the intervals p10..p90 of all raw samples overlap; else FASTER or
SLOWER.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(pathlib.Path(__file__).resolve().parent.parent)]
import errors  # noqa: E402
import figures as fig  # noqa: E402
import rows  # noqa: E402
import widths  # noqa: E402
from results import GPU_RESULTS, ROOT, commit, cuda_hash, file_name, written  # noqa: E402

LIMITS = {"fraction": ">= {:.2f}", "of_peer": "<= {:.2f} of peer"}


def stored(gpu):
    path = GPU_RESULTS / file_name(gpu) / "bench.json"
    return path, json.loads(path.read_text()) if path.exists() else {"gpu": gpu, "runs": []}


def kept_files():
    return sorted(GPU_RESULTS.glob("*/bench.json"))


def verdict(what, gate, met, goal, reached):
    parts = [] if gate is None else [f"{LIMITS[what].format(gate)} {'pass' if met else 'MISS'}"]
    return ", ".join(parts + ([] if goal is None else [f"goal {goal:g} {'pass' if reached else 'MISS'}"]))


def extra_memory(row, torch_bytes):
    """KiB beyond inputs and outputs: kilter's workspace, and PyTorch's where it was measured."""
    text = f"{row.get('workspace', 0) / 1024:.0f}"
    return text if torch_bytes is None else f"{text} ({torch_bytes / 1024:.0f})"


def row_text(entry, peers, gates, torch_bytes):
    """A row of the table, and (gates met, gates, goals met, goals)."""
    row, best = entry["row"], peers[0] if peers else None
    name = f"{row['op']:<13} {row['shape']:<18} {row['dtype']:<4}"
    if entry["error"] or entry["us"] is None:
        due = [gate for rule in gates["rows"] if fig.applies(rule, row) for gate in (rule.get("fraction") or rule["of_peer"])[:1]]
        return f"{name} {entry['error']}", (0, sum(gate is not None for gate in due), 0, len(due))
    text = f"{name} {entry['us']:9.2f} {entry['p10']:9.2f} {entry['p90']:9.2f} {entry['floor_us']:9.2f} {entry['fraction']:8.3f} {extra_memory(row, torch_bytes):>14}  "
    if best:
        mark = "r" if best[3] == "recorded" else " "
        lost = " LOSS" if best[0] < 1 else ""
        text += f"{best[1]:9.2f}{mark} {best[2][:20]:<20} {best[0]:5.2f}x{lost:<5}  "
    else:
        text += f"{'':44}  "
    found = fig.verdicts(entry, best, gates)
    text += ";  ".join(verdict(*v) for v in found)
    gated, goals = [v[2] for v in found if v[1] is not None], [v[4] for v in found if v[3] is not None]
    return text.rstrip(), (sum(gated), len(gated), sum(goals), len(goals))


def table(data, recorded, gates, ops=()):
    wanted = {row["op"] for row in rows.ROWS if rows.is_of(row, ops)}
    entries = {k: entry for k, entry in fig.figures(data["runs"]).items() if not ops or k[0] in wanted}
    peers = fig.peers_of(data, recorded, entries)
    lines = [f"{'op':<13} {'shape':<18} {'type':<4} {'us':>9} {'p10':>9} {'p90':>9} {'floor':>9} {'fraction':>8} {'KiB (torch)':>14}  {'peer us':>9}  {'fastest peer':<20} {'ratio':<11}  gate"]
    counts = [0, 0, 0, 0]
    memory = {fig.key(r): r["extra_bytes"] for r in (data.get("peers") or {}).get("rows", []) if r["who"] == "torch" and "extra_bytes" in r}
    for k, entry in entries.items():
        text, found = row_text(entry, peers.get(k), gates, memory.get(k))
        lines.append(text)
        counts = [a + b for a, b in zip(counts, found)]
    measured = [e["fraction"] for e in entries.values() if e["us"]]
    if measured:
        lines.append(f"geometric mean of {len(measured)} fractions of the floor: {fig.geometric_mean(measured):.3f}")
    wanted, without = gates["geometric_mean"]["at_least"], gates["geometric_mean"]["except"]
    ratios = [peers[k][0][0] for k in entries if k in peers and k[1] not in without]
    if ratios:
        mean, every = fig.geometric_mean(ratios), [peers[k][0][0] for k in entries if k in peers]
        lines.append(f"geometric mean of {len(ratios)} ratios to the fastest peer: {mean:.3f}x, gate {wanted}: {'pass' if mean >= wanted else 'MISS'} "
                     f"(with {', '.join(without)}: {fig.geometric_mean(every):.3f}x); {sum(r < 1 for r in every)} of {len(every)} rows lost")
    lines.append(f"gates: {counts[0]} of {counts[1]} met; goals: {counts[2]} of {counts[3]} reached")
    if any(p[0][3] == "recorded" for p in peers.values()):
        lines.append(f"r: recorded, {recorded['when']}: {recorded['method']}")
    if not recorded:
        lines.append("nothing is recorded of this GPU: peers that were not measured are missing, and nothing says whether it ran at full speed")
    errors = sum(e["us"] is None for e in entries.values())
    if errors:
        lines.append(f"{errors} rows gave an error")
    return "\n".join(lines)


def heading(data, measured_now):
    newest = data["runs"][-1]
    fresh = "fresh: the CUDA sources are the ones here" if newest["cuda_sources"] == cuda_hash() else "STALE: the CUDA sources have changed since"
    state = "measured now" if measured_now else f"recorded {newest['date']}, nothing was measured now"
    return (f"{data['gpu']}, {len(data['runs'])} run(s), {state}; commit {newest['commit']}, CUDA sources {newest['cuda_sources']} ({fresh})\n"
            f"driver, clocks (SM, memory, SM at most), power limit, ECC, temperature: {newest.get('nvidia_smi') or 'unknown'}; "
            f"an empty graph node: {newest['empty_us']:.2f} us")


def show(data, ops, measured_now=False):
    if not data["runs"]:
        print(f"{data['gpu']}: no run is kept yet")
        return
    print(heading(data, measured_now))
    print(table(data, fig.recorded(data["gpu"]), fig.load("gates.json"), ops), flush=True)


def merged_peers(old, new):
    """A row measured again replaces the old one; rows beside other CUDA sources go."""
    if not old or old["cuda_sources"] != new["cuda_sources"]:
        return new
    again = {(fig.key(row), row["who"]) for row in new["rows"]}
    return dict(new, rows=[row for row in old["rows"] if (fig.key(row), row["who"]) not in again] + new["rows"])


def keep_alone(report, name, keep):
    """Writes a report that is not merged with others; its path, or None if it is not kept."""
    if not keep:
        return None
    if report["filter"]:
        print("not kept: some cases only")
        return None
    path = stored(report["gpu"])[0].with_name(f"{name}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(written(report))
    print(f"written: {os.path.relpath(path, ROOT)}")
    return path


def keep_accuracy(report, keep):
    print(errors.text_of(report))
    keep_alone(report, "accuracy", keep)


def keep_widths(report, keep):
    print(*(widths.line(row) if "us" in row else f"{row['case']:<28} {row['error']}" for row in report["widths"]), sep="\n")
    path = keep_alone(report, "widths", keep)
    if path and not widths.draw(report, path.with_suffix(".svg")):
        print("no picture: matplotlib is not installed")


def add(reports, keep=True):
    """Merges reports of gpu_bench and peers.py into what is kept, keeps those of accuracy.py and widths.py; returns what to show, by GPU."""
    found, shown = {}, {}
    for report in reports:
        gpu = report["gpu"]
        if "versions" in report:
            keep_accuracy(report, keep)
            continue
        if "widths" in report:
            keep_widths(report, keep)
            continue
        data = found.setdefault(gpu, stored(gpu)[1])
        if "peers" in report:
            data["peers"] = merged_peers(data.get("peers"), report["peers"])
            continue
        runs, valid = fig.runs_of(report), []
        for number, run in enumerate(runs, 1):
            reason = fig.is_void(run, fig.recorded(gpu)) or (None if run["complete"] else "some rows or short graphs only") or (None if run["rows"] else "no rows")
            if reason:
                print(f"run {number} is not kept: {reason}")
            else:
                valid.append(run)
        if valid:
            fig.add_runs(data, valid)
        else:
            shown[gpu] = runs
    for gpu, data in found.items():
        path = stored(gpu)[0]
        if keep and data["runs"]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(written(data))
            print(f"written: {os.path.relpath(path, ROOT)}")
        shown[gpu] = dict(data, runs=shown.get(gpu, data["runs"]))
    return shown


def opened(path):
    """Entries of a bench.json or a gpu_bench report."""
    data = json.loads(pathlib.Path(path).read_text())
    return fig.figures(data["runs"])


def compare(old, new):
    old, new = opened(old), opened(new)
    counts = {}
    for k, entry in new.items():
        before = old.get(k)
        name = f"{k[0]:<13} {k[1]:<12} {k[2]:<4}"
        if not before or before["us"] is None or entry["us"] is None:
            verdict, text = "MISSING", ""
        else:
            verdict = fig.compared(before, entry)
            text = (f"{before['us']:9.2f} ({before['p10']:.2f}..{before['p90']:.2f}) -> {entry['us']:9.2f} ({entry['p10']:.2f}..{entry['p90']:.2f}) us, "
                    f"{100 * (entry['us'] / before['us'] - 1):+.1f} %; floor {100 * (entry['floor_us'] / before['floor_us'] - 1):+.1f} %")
        counts[verdict] = counts.get(verdict, 0) + 1
        print(f"{name} {verdict:<7} {text}".rstrip())
    gone = [k for k in old if k not in new]
    print(", ".join(f"{n} {verdict}" for verdict, n in sorted(counts.items())) + (f"; {len(gone)} rows of the old one are not in the new" if gone else ""))


def run_beside(script, options, *more):
    """A script that calls libkilter.so and writes a report."""
    report = (options.out or pathlib.Path(options.library).parent) / f"gpu_{script}.json"
    command = [sys.executable, "-B", fig.FOLDER / f"{script}.py", "--library", options.library, "--json", report, *more]
    subprocess.run([str(c) for c in command + (["--filter", options.filter] if options.filter else [])], check=True)
    return json.loads(report.read_text())


def peers_report(options):
    more = ["--jobs", options.jobs, "--seconds", options.seconds]
    return run_beside("peers", options, *more, *(["--ops", options.ops] if options.ops else []))


def measure(options):
    binary = pathlib.Path(options.binary)
    report = (options.out or binary.parent) / "gpu_bench.json"
    report.unlink(missing_ok=True)
    command = [binary, "--json", report, "--repeat", options.repeat]
    for name in ("filter", "ops", "replays"):
        command += [f"--{name}", getattr(options, name)] if getattr(options, name) else []
    command += [f"--{name}" for name in ("quick", "dependent") if getattr(options, name)]
    subprocess.run([str(c) for c in command], check=False)  # rows that gave an error are in the report
    if not report.exists():
        sys.exit("gpu_bench wrote no report")
    data = json.loads(report.read_text())
    if data["commit"] == "unknown":
        data["commit"] = commit()
    return data


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="./dev bench --gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--add", nargs="+", metavar="FILE", help="reports written elsewhere")
    parser.add_argument("--compare", nargs=2, metavar=("OLD", "NEW"))
    binaries = os.environ.get("KILTER_GPU_BINARIES", "")
    parser.add_argument("--binary", default=os.environ.get("KILTER_GPU_BENCH") or (binaries and f"{binaries}/gpu_bench"), help="gpu_bench (what ./dev built)")
    parser.add_argument("--no-run", action="store_true", help="measure nothing")
    parser.add_argument("--discard", action="store_true", help="print only, keep nothing")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--accuracy", action="store_true")
    parser.add_argument("--widths", action="store_true")
    parser.add_argument("--library", default=os.environ.get("KILTER_LIBRARY") or (binaries and f"{binaries}/libkilter.so"), help="libkilter.so, for --peers, --accuracy and --widths (what ./dev built)")
    parser.add_argument("--filter", help="rows whose name has a match, such as 'ln.fwd 1024x768'; such a run is not kept")
    parser.add_argument("--ops", help="rows of these ops, such as rms_norm,dyt; such a run is kept")
    parser.add_argument("--out", type=pathlib.Path, help="the folder for the reports, to --add them elsewhere")
    parser.add_argument("--jobs", type=int, default=min(8, (os.cpu_count() or 1) // 2), help="of --peers: processes that compile ahead")
    parser.add_argument("--seconds", type=float, default=1e9, help="of --peers: start no row after as many")
    parser.add_argument("--replays", type=int)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="only to see that everything runs; not kept")
    parser.add_argument("--dependent", action="store_true", help="rows with programmatic dependent launch as well")
    options = parser.parse_args(arguments)
    ops = options.ops.split(",") if options.ops else []
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    if options.compare:
        return compare(*options.compare)
    if options.add:
        for data in add([json.loads(pathlib.Path(path).read_text()) for path in options.add], keep=not options.discard).values():
            show(data, ops)
        return None
    if options.accuracy:
        if options.library and not options.no_run:
            add([run_beside("accuracy", options)], keep=not options.discard)
        else:
            errors.main()
        return None
    if options.widths:
        if options.library and not options.no_run:
            add([run_beside("widths", options)], keep=not options.discard)
        for path in sorted(GPU_RESULTS.glob("*/widths.json")) if options.no_run or not options.library else ():
            keep_widths(json.loads(path.read_text()), keep=False)
        return None
    if options.binary and not options.no_run:
        reports = [measure(options)]
        if options.peers:
            reports.append(peers_report(options))
        for data in add(reports, keep=not options.discard).values():
            show(data, ops, measured_now=True)
        return None
    for path in kept_files():
        show(json.loads(path.read_text()), ops)
    if not kept_files():
        print("No GPU result is kept yet." + ("" if options.no_run else "  To measure, a GPU and nvcc are needed."))
    return None


if __name__ == "__main__":
    main()

"""What the samples of a GPU bench say: medians of runs, the floors' check, gates, peers, comparison.  Pure functions."""
import json
import math
import pathlib
import statistics

import rows
from results import GPU_RESULTS, file_name

FOLDER = pathlib.Path(__file__).resolve().parent
KEPT_RUNS = 3
SLOWER_FLOOR = 1.03  # beyond it a run is void
SAME = 0.01          # medians that differ by less are the same
BIG = 16 << 20       # bytes from which a floor says how fast the memory is, not how fast a launch


def load(name):
    return json.loads((FOLDER / name).read_text())


def recorded(gpu):
    """Floors and peers measured apart on such a GPU; None if there are none."""
    path = GPU_RESULTS / file_name(gpu) / "recorded.json"
    return json.loads(path.read_text()) if path.exists() else None


def key(row):
    return row["op"], row["shape"], row["dtype"]


def mib(row):
    """Of activations alone, as the gates count."""
    elements = math.prod(rows.sizes_of(row["shape"])[0])
    return (row["reads"] + row["writes"]) * elements * {"fp32": 4}.get(row["dtype"], 2) / 2**20


def percentile(values, fraction):
    values = sorted(values)
    at = fraction * (len(values) - 1)
    low = math.floor(at)
    high = min(low + 1, len(values) - 1)
    return values[low] + (at - low) * (values[high] - values[low])


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


# ---------------------------------------------------------------- runs

def runs_of(report):
    """A gpu_bench report as runs that stand alone."""
    head = {name: report.get(name) for name in ("date", "ops", "commit", "cuda_sources", "version", "nvidia_smi", "cuda_runtime", "cuda_driver",
                                                "pool_bytes", "replays", "empty_us")}
    return [dict(head, complete=report.get("complete", True), rows=run["rows"]) for run in report["runs"]]


def add_runs(data, runs):
    """Keeps the last KEPT_RUNS of the newest run's sources; those of some ops alone are counted apart."""
    kept = data.get("runs", []) + runs
    kept = [run for run in kept if run["cuda_sources"] == kept[-1]["cuda_sources"]]
    data["runs"] = [run for i, run in enumerate(kept) if sum((r.get("ops") or "") == (run.get("ops") or "") for r in kept[i + 1:]) < KEPT_RUNS]


def figures(runs):
    """By row, in the order of the newest run: the median of the runs' medians, the spread of all samples."""
    found = {}
    for run in reversed(runs):
        for row in run["rows"]:
            entry = found.setdefault(key(row), {"row": row, "us": [], "floor_us": [], "samples": [], "error": row.get("error")})
            if "samples" not in row:
                continue
            entry["error"] = None
            if "samples" not in entry["row"]:
                entry["row"] = row
            entry["us"].append(statistics.median(row["samples"]))
            entry["floor_us"].append(statistics.median(row["floor_samples"]))
            entry["samples"] += row["samples"]
    for entry in found.values():
        if entry["us"]:
            entry["us"], entry["floor_us"] = statistics.median(entry["us"]), statistics.median(entry["floor_us"])
            entry["p10"], entry["p90"] = percentile(entry["samples"], 0.1), percentile(entry["samples"], 0.9)
            entry["fraction"] = entry["floor_us"] / entry["us"]
        else:
            entry["us"] = entry["floor_us"] = None
    return found


# ---------------------------------------------------------------- floors

def recorded_floor(recorded, reads, writes, size, warm=False):
    """Between two recorded sizes on a straight line; None outside them."""
    points = sorted((f["bytes"], f["us"]) for f in recorded["floors"] if (f["reads"], f["writes"], f["warm"]) == (reads, writes, warm))
    for (b0, t0), (b1, t1) in zip(points, points[1:]):
        if b0 <= size <= b1:
            return t0 + (t1 - t0) * (size - b0) / (b1 - b0)
    if points and points[-1][0] < size <= points[-1][0] * 1.1:
        return points[-1][1] * size / points[-1][0]
    return None


def floor_ratio(run, recorded):
    """The run's floors over the recorded ones: the median of its large rows, of all if there is none; None without any."""
    large, small = [], []
    for row in run["rows"]:
        if "floor_samples" not in row or row["op"].endswith((".chain", ".dependent")):
            continue
        known = recorded_floor(recorded, row["reads"], row["writes"], row["bytes"])
        if known:
            (large if row["bytes"] >= BIG else small).append(statistics.median(row["floor_samples"]) / known)
    return statistics.median(large or small) if large or small else None


def is_void(run, recorded):
    """Says why a run does not count, or None."""
    ratio = floor_ratio(run, recorded) if recorded else None
    if ratio is not None and ratio > SLOWER_FLOOR:
        return f"void: its floors are {100 * (ratio - 1):.1f} % slower than the recorded ones; this GPU was not at full speed"
    return None


# ---------------------------------------------------------------- peers

def family(who):
    """The library behind a contestant's name: a measured one replaces all recorded ones of its family."""
    name = who.split("(")[0].strip()
    if name.endswith("cutedsl"):
        return "liger cutedsl"
    return name.split(" ")[0]


def peers_of(data, recorded, entries):
    """By row: (peer's time over kilter's, peer's us, who, measured here or recorded), the fastest peer first."""
    found, seen = {}, set()
    for row in (data.get("peers") or {}).get("rows", []):
        if "samples" in row:
            us, own = statistics.median(row["samples"]), statistics.median(row["kilter_samples"])
            found.setdefault(key(row), []).append((us / own, us, row["who"], "measured"))
            seen.add((key(row), family(row["who"])))
    for row in recorded["peers"] if recorded else []:
        entry = entries.get(key(row))
        if entry and entry["us"] and (key(row), family(row["who"])) not in seen:
            found.setdefault(key(row), []).append((row["us"] / entry["us"], row["us"], row["who"], "recorded"))
    return {k: sorted(peers) for k, peers in found.items()}


# ---------------------------------------------------------------- gates

def between(limits, value):
    return limits[0] <= value and (limits[1] is None or value < limits[1])


def applies(rule, row):
    if row["dtype"] not in rule.get("dtypes", ["bf16"]) or row["op"] not in rule["ops"]:
        return False
    if "shapes" in rule:
        return row["shape"] in rule["shapes"]
    n, (first, last) = rows.sizes_of(row["shape"])[0][-1], rule["n"]
    return first <= n and (last is None or n <= last) and between(rule["mib"], mib(row))


def verdicts(entry, best_peer, gates):
    """Of one row: (what, limit of the gate, met, limit of the goal, reached); a limit that is None is none."""
    row, out = entry["row"], []
    compared = 1 / best_peer[0] if best_peer else None
    for rule in gates["rows"]:
        if not applies(rule, row):
            continue
        for what, sign, value in (("fraction", -1, entry.get("fraction")), ("of_peer", 1, compared)):
            if what in rule and value is not None:
                gate, goal = rule[what]
                out.append((what, gate, gate is None or sign * value <= sign * gate, goal, sign * value <= sign * goal))
    if compared is not None and not any(v[0] == "of_peer" for v in out):
        for rule in gates["peers"]:
            if row["op"].split(".")[0] in rule["ops"] and between(rule["mib"], mib(row)):
                out.append(("of_peer", rule["of_peer"], compared <= rule["of_peer"], None, None))
                break
    return out


# ---------------------------------------------------------------- comparison

def compared(old, new):
    """SAME, FASTER, SLOWER or UNSURE, for two entries of figures()."""
    if abs(new["us"] / old["us"] - 1) < SAME:
        return "SAME"
    if new["p10"] <= old["p90"] and old["p10"] <= new["p90"]:
        return "UNSURE"
    return "FASTER" if new["us"] < old["us"] else "SLOWER"

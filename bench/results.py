"""What the bench scripts share: where results lie and how they are tied to the sources."""
import hashlib
import json
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench/results/cpu"
GPU_RESULTS = ROOT / "bench/results"  # a folder per GPU


def kernel_hash():
    """Of everything that decides the kernels' speed: the sources without references and texts, and their flags."""
    digest = hashlib.sha256()
    sources = [p for folder in ("src", "include/kilter/device") for p in (ROOT / folder).rglob("*") if p.suffix in (".h", ".cc", ".def") and "reference" not in p.name]
    for path in sorted(sources) + [ROOT / "cmake/targets.cmake"]:
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def cuda_files():
    """The CUDA kernels, the host code that plans and launches them, what both include of src/ and of include/kilter/device, and the flags."""
    src = ROOT / "src"
    waiting = [p for p in src.rglob("*") if p.suffix in (".cu", ".cuh") or p.parent.name == "cuda"]
    found = set()
    while waiting:
        path = waiting.pop()
        if path in found or not path.is_file():
            continue
        found.add(path)
        names = re.findall(r'^\s*#\s*include\s*"([^"]+)"', path.read_text(), re.MULTILINE)
        waiting += [folder / name for name in names for folder in (src, path.parent)]
        waiting += [ROOT / "include" / name for name in names if name.startswith("kilter/device/")]
    return sorted(p.relative_to(ROOT) for p in found) + [pathlib.Path("cmake/cuda.cmake")]


def cuda_hash():
    """Of everything that decides the speed of the CUDA kernels."""
    digest = hashlib.sha256()
    for path in cuda_files():
        digest.update(path.as_posix().encode() + b"\0" + (ROOT / path).read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def commit():
    """Of the checkout, with a + if files differ from it; "unknown" without git."""
    try:
        head = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain", "-uno"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if changed else "")


def built(program):
    """Commit and CUDA sources of a program: what a build.json beside it says (./dev gpu pack), or those here."""
    try:
        return json.loads((pathlib.Path(program).resolve().parent / "build.json").read_text())
    except OSError:
        return {"commit": commit(), "cuda_sources": cuda_hash()}


def rounded(value):
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    return [rounded(v) for v in value] if isinstance(value, list) else value


def file_name(cpu):
    return re.sub(r"[^a-z0-9]+", "-", cpu.lower()).strip("-")


def written(report):
    """A report as text, one result a line."""
    return json.dumps(rounded(report), separators=(",", ":")).replace('{"op":', '\n{"op":') + "\n"

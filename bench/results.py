"""What the bench scripts share: where results lie and how they are tied to the sources."""
import hashlib
import json
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench/results/cpu"


def kernel_hash():
    """Of everything that decides the kernels' speed: the sources without references and texts, and their flags."""
    digest = hashlib.sha256()
    sources = [p for p in (ROOT / "src").rglob("*") if p.suffix in (".h", ".cc", ".def") and "reference" not in p.name]
    for path in sorted(sources) + [ROOT / "cmake/targets.cmake"]:
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


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

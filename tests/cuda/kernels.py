#!/usr/bin/env python3
"""What the compiler made of every CUDA kernel, against the table beside this script: kernels.py OBJECT... [options]

Fails if a kernel is missing from the table or only there, takes more than 8 registers more than it says, or keeps anything in local
memory without a reason in the table's lines `allow PATTERN REASON`; if a family has more kernels than its quota; with --launches, if
the cases of small_test.cc leave a kernel out.  --write updates the table.  cuobjdump is that of the environment variable CUOBJDUMP, of the path, of the toolkit, or of .cache/cuda-tools.
"""
import argparse
import collections
import functools
import glob
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TABLE = ROOT / "tests/cuda/kernels.tsv"
MORE_REGISTERS = 8  # that a compiler of another version may take
QUOTA = {"rowwise": 210, "elementwise": 30, "planewise": 40, "weights": 24}  # kernels per architecture, of a family's ops together


@functools.lru_cache
def family_of(op):
    """The family of which the op's source includes something; or whose own the source is."""
    for own in (ROOT / "src/families").glob(f"*/cuda/{op}.cu"):
        return own.parent.parent.name
    source = ROOT / "src/ops" / op / f"{op}.cu"
    found = re.search(r'"families/(\w+)/cuda/', source.read_text()) if source.exists() else None
    return found[1] if found else op

SECONDS = 60  # of compilation per architecture

Kernel = collections.namedtuple("Kernel", "op kernel arch")
Use = collections.namedtuple("Use", "registers shared stack")


def cuobjdump():
    found = [os.environ.get("CUOBJDUMP"), shutil.which("cuobjdump"), "/usr/local/cuda/bin/cuobjdump",
             *glob.glob(str(ROOT / ".cache/cuda-tools/**/cuobjdump"), recursive=True)]
    return next((f for f in found if f and os.path.isfile(f) and os.access(f, os.X_OK)), None)


def short_name(demangled):
    """forward_kernel<Bf16, true, 8, 1> of `void kilter::cuda::forward_kernel<kilter::cuda::Bf16, true, 8, 1>(kilter::RowNormForward)`."""
    name, depth = demangled, 0
    for i, c in enumerate(demangled):  # the arguments begin at the first parenthesis outside the template's
        depth += (c == "<") - (c == ">")
        if c == "(" and depth == 0 and not demangled.startswith("(anonymous namespace)", i):
            name = demangled[:i]
            break
    name = re.sub(r"\(anonymous namespace\)::|kilter::|cuda::", "", name)
    return re.sub(r"^void ", "", re.sub(r"\((?:bool|int|unsigned int|long)\)", "", name)).strip()


def demangled(names):
    out = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True).stdout
    return dict(zip(names, out.splitlines()))


def parsed(text, op):
    """{Kernel: Use} of what cuobjdump --dump-resource-usage prints; the kernels' names still mangled."""
    uses, arch, kernel = {}, None, None
    for line in text.splitlines():
        if found := re.match(r"\s*arch = (\S+)", line):
            arch = found[1]
        elif found := re.match(r"\s*Function (\S+):$", line):
            kernel = Kernel(op, found[1], arch)
        elif kernel and "REG:" in line:
            field = {k: int(v) for k, v in re.findall(r"\b(REG|STACK|SHARED|LOCAL):(\d+)", line)}
            uses[kernel] = Use(field["REG"], field["SHARED"], field["STACK"] + field["LOCAL"])
            kernel = None
    return uses


def of_objects(objects, tool):
    uses = {}
    for path in objects:
        text = subprocess.run([tool, "--dump-resource-usage", path], capture_output=True, text=True, check=True).stdout
        uses.update(parsed(text, pathlib.Path(path).name.split(".")[0]))
    names = demangled(sorted({k.kernel for k in uses}))
    return {k._replace(kernel=short_name(names[k.kernel])): use for k, use in uses.items()}


def read_table(text):
    """({Kernel: Use}, [(pattern, reason)])"""
    uses, allowed = {}, []
    for line in text.splitlines():
        field = line.split("\t")
        if field[0] == "allow":
            allowed.append((field[1], field[2]))
        elif line and not line.startswith("#") and field[0] != "op":
            uses[Kernel(field[0], field[1], field[2])] = Use(*map(int, field[3:6]))
    return uses, allowed


def written_table(uses, allowed):
    lines = ["# Written by kernels.py --write, but for the lines that allow local memory to kernels whose name matches a pattern."]
    lines += [f"allow\t{pattern}\t{reason}" for pattern, reason in allowed]
    lines += ["op\tkernel\tarch\tregisters\tshared\tstack"]
    lines += ["\t".join(map(str, kernel + use)) for kernel, use in sorted(uses.items())]
    return "\n".join(lines) + "\n"


def problems(found, table, allowed):
    """A sentence for each thing that is wrong."""
    bad = []
    for kernel in sorted(found.keys() | table.keys()):
        name = f"{kernel.op}: {kernel.kernel} for {kernel.arch}"
        if kernel not in table:
            bad.append(f"{name} is not in the table")
            continue
        if kernel not in found:
            bad.append(f"{name} is in the table, but was not compiled")
            continue
        use, expected = found[kernel], table[kernel]
        if use.registers > expected.registers + MORE_REGISTERS:
            bad.append(f"{name} takes {use.registers} registers, {expected.registers} in the table")
        if use.stack and not any(reason and re.fullmatch(pattern, kernel.kernel) for pattern, reason in allowed):
            bad.append(f"{name} keeps {use.stack} bytes in local memory, without a reason in the table")
    for pattern, _ in allowed:
        if not any(use.stack and re.fullmatch(pattern, kernel.kernel) for kernel, use in found.items()):
            bad.append(f"no kernel that matches {pattern} keeps anything in local memory: the reason is in vain")
    for (family, arch), count in sorted(counts(found).items()):
        if count > QUOTA.get(family, 0):
            bad.append(f"{family}: {count} kernels for {arch}, at most {QUOTA.get(family, 0)}")
    return bad


def launched(program, **environment):
    """The names of the kernels that the cases of small_test.cc launch."""
    with tempfile.TemporaryDirectory() as folder:
        names = pathlib.Path(folder) / "names"
        subprocess.run([program, "--gtest_filter=Ops/Small.*"], env={**os.environ, "KILTER_LAUNCHED": str(names), **environment},
                       stdout=subprocess.DEVNULL, check=True)
        return {short_name(n) for n in names.read_text().splitlines()}


def counts(uses):
    return collections.Counter((family_of(k.op), k.arch) for k in uses)


def compile_seconds(texts):
    """{architecture: seconds} of nvcc --time tables, each source's last compilation; what the host's compiler takes is no one's."""
    seconds = collections.Counter()
    for text in texts:
        last = []
        for block in re.split(r"^.*nvcc \(driver\).*$", text, flags=re.MULTILINE):
            rows = [[f.strip() for f in line.split(" , ")] for line in block.splitlines()]
            rows = [r for r in rows if len(r) >= 7 and r[1] in ("cicc", "ptxas", "gcc (preprocessing 1)")]
            last = rows or last
        for row in last:
            seconds[row[4].replace("compute_", "sm_")] += float(re.findall(r"[\d.]+", " ".join(row[6:]).replace(",", " "))[0]) / 1000
    return dict(seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("objects", nargs="+")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--times", nargs="*", default=[], help="tables of nvcc --time")
    parser.add_argument("--launches", metavar="PROGRAM", help="launches_test")
    arguments = parser.parse_args()
    tool = cuobjdump()
    if not tool:
        print("SKIPPED kernels: no cuobjdump; ./dev need cuda installs one")
        return 77
    found = of_objects(arguments.objects, tool)
    table, allowed = read_table(TABLE.read_text()) if TABLE.exists() else ({}, [])
    if arguments.write:
        TABLE.write_text(written_table(found, allowed))
        table = found
    bad = problems(found, table, allowed)
    if arguments.launches:
        missing = sorted({k.kernel for k in found} - launched(arguments.launches, KILTER_LAUNCHES_ONLY="1"))
        bad += [f"{name} is launched by no case of small_test.cc" for name in missing]
    for line in bad:
        print(f"kernels: {line}")
    seconds = compile_seconds(pathlib.Path(t).read_text() for t in arguments.times)
    for (family, arch), count in sorted(counts(found).items()):
        most = max(u.registers for k, u in found.items() if k.arch == arch and family_of(k.op) == family)
        print(f"{family}, {arch}: {count} kernels of at most {QUOTA.get(family, 0)}, up to {most} registers")
    for arch, value in sorted(seconds.items()):
        print(f"compiled for {arch} in {value:.0f} s" + (f": WARNING, more than {SECONDS} s, if nothing else ran" if value > SECONDS else ""))
    if not seconds:
        print("compile time: not measured, the objects came from a cache")
    print(f"kernels: {max(len(found) - len(bad), 0)} passed, {len(bad)} failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

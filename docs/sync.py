#!/usr/bin/env python3
"""Keeps what the documents quote equal to what it is quoted from.

    docs/sync.py           rewrites the documents
    docs/sync.py --check   says what differs, and fails if anything does

In a Markdown file, the lines between `<!-- from SOURCE -->` and `<!-- end -->` are replaced, in a public header those between
`// from SOURCE` and `// end`.  SOURCE is a file, of which the
lines between `example-begin` and `example-end` are taken, or `kilter ARGUMENTS`, whose output is taken ($KILTER, or
build/bin/kilter, is run), or `python3 SCRIPT ARGUMENTS`, likewise.

Both also fail at what nothing would hold: a sample in a Markdown file that is quoted from nowhere, a link or the path of a file that
leads nowhere.
"""
import os
import pathlib
import re
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LANGUAGES = {".c": "c", ".cc": "cpp", ".cu": "cuda", ".sh": "sh", ".py": "python", ".txt": "cmake"}
BLOCK = {".md": re.compile(r"(<!-- from (.+?) -->\n)(.*?)(<!-- end -->)", re.DOTALL),
         ".hpp": re.compile(r"(^// from (kilter [^\n]+)\n)(.*?)(^// end$)", re.DOTALL | re.MULTILINE)}

SAMPLE = re.compile(r"^```(\w+)\n", re.MULTILINE)  # of a language: plain blocks are formulas and commands
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
FILE = re.compile(r"(?<![\w./<>{-])((?:[\w.-]+/)+[\w.-]+\.(?:c|cc|h|hpp|cu|cuh|def|md|py|sh|json|tsv|txt|cmake))\b")


def quoted(source):
    if source.startswith("kilter "):
        program = os.environ.get("KILTER", str(ROOT / "build/bin/kilter"))
        return subprocess.run([program] + shlex.split(source)[1:], check=True, capture_output=True, text=True).stdout
    if source.startswith("python3 "):
        return subprocess.run([sys.executable, "-B"] + shlex.split(source)[1:], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    lines = (ROOT / source).read_text().splitlines()
    begin = next(i for i, line in enumerate(lines) if "example-begin" in line)
    end = next(i for i, line in enumerate(lines) if "example-end" in line)
    return "\n".join([f"```{LANGUAGES[pathlib.Path(source).suffix]}"] + lines[begin + 1:end] + ["```\n"])


def unheld(path, text, files):
    """What a Markdown file says and nothing holds, a line each.  A file may be named by the end of its path: cpu/walk.h."""
    own = BLOCK[".md"].sub("", text)
    for language in SAMPLE.findall(own):
        yield f"a sample ({language}) that is not quoted from a file"
    for link in LINK.findall(own):
        if not (path.parent / link).exists():
            yield f"a link that leads nowhere: {link}"
    for name in set(FILE.findall(LINK.sub("", own))):
        if not any(f"/{file}".endswith(f"/{name}") for file in files):
            yield f"no such file: {name}"


def main():
    check = "--check" in sys.argv[1:]
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    files = sorted({name for name in listed.split() if (ROOT / name).exists()})
    differs = wrong = False
    for name in files:
        path = ROOT / name
        if path.suffix not in BLOCK:
            continue
        text = path.read_text()
        for what in unheld(path, text, files) if path.suffix == ".md" else ():
            wrong = True
            print(f"{name}: {what}")
        updated = BLOCK[path.suffix].sub(lambda m: m[1] + quoted(m[2]) + m[4], text)
        if updated == text:
            continue
        differs = True
        print(f"{name}: {'differs from what it quotes: run docs/sync.py' if check else 'updated'}")
        if not check:
            path.write_text(updated)
    return 1 if wrong or (check and differs) else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Keeps what the documents quote equal to what it is quoted from.

    docs/sync.py           rewrites the documents
    docs/sync.py --check   says what differs, and fails if anything does

In a Markdown file, the lines between `<!-- from SOURCE -->` and `<!-- end -->` are replaced, in a public header those between
`// from SOURCE` and `// end`.  SOURCE is a file, of which the
lines between `example-begin` and `example-end` are taken, or `kilter ARGUMENTS`, whose output is taken ($KILTER, or
build/bin/kilter, is run), or `python3 SCRIPT ARGUMENTS`, likewise.
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


def main():
    check = "--check" in sys.argv[1:]
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.md", "include/*.hpp"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    differs = False
    for name in sorted(set(files.split())):
        path = ROOT / name
        if not path.exists():
            continue
        text = path.read_text()
        updated = BLOCK[path.suffix].sub(lambda m: m[1] + quoted(m[2]) + m[4], text)
        if updated == text:
            continue
        differs = True
        print(f"{name}: {'differs from what it quotes: run docs/sync.py' if check else 'updated'}")
        if not check:
            path.write_text(updated)
    return 1 if check and differs else 0


if __name__ == "__main__":
    sys.exit(main())

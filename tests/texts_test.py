#!/usr/bin/env python3
"""Every text in the library's source that a call fails with says what was expected and what there was.

    texts_test.py SOURCE
"""
import pathlib
import re
import sys

STRING = r'"(?:[^"\\]|\\.)*"'
# fail(STATUS, op, "format" ...; adjacent strings with macros between them are one format.
FAIL = re.compile(rf"\bfail\(\s*KILTER_\w+,\s*[^,;]+,\s*((?:{STRING}|\w+\b(?!,)|\s)+)")
VAGUE = re.compile(r"got (another|one)\b")


def main():
    source = pathlib.Path(sys.argv[1])
    bad, texts = [], 0
    for path in sorted(p for p in (source / "src").rglob("*") if p.suffix in (".cc", ".h", ".cu", ".cuh")):
        code = path.read_text()
        calls = [m for m in re.finditer(r"\bfail\(\s*KILTER_", code)]
        found = list(FAIL.finditer(code))
        if len(calls) != len(found):
            bad.append(f"{path}: {len(calls)} calls of fail, {len(found)} of them understood")
        for m in found:
            texts += 1
            text = "".join(re.findall(STRING, m[1]))
            line = code.count("\n", 0, m.start()) + 1
            # Reasons, which choose() puts together, are looked at below.
            if "no implementation takes" not in text and not ("expected" in text and "got" in text):
                bad.append(f"{path}:{line}: no 'expected' and 'got': {text}")
            if VAGUE.search(text):
                bad.append(f"{path}:{line}: says that there was another, not which: {text}")
        for function in re.finditer(r"const char\* \w*refuse\w*\(const [\w ]+&(?: \w+)?\) \{\n(.*?)\n\}", code, re.DOTALL):
            for text in re.findall(STRING, function[1]):
                texts += 1
                if not re.match(r'"[\w.]+: expected ', text) or VAGUE.search(text):
                    bad.append(f"{path}: not 'field: expected ...', or vague: {text}")
    print("\n".join(bad + [f"{texts} texts, {len(bad)} wrong"]))
    return 1 if bad or texts < 50 else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""How long each op's quick tests take, and whether that is within its budget: budget.py RESULTS.xml [--budgets FILE]

RESULTS.xml is what `ctest --output-junit` wrote.  A test is an op's if its name ends in it: Ops/Bits.EveryTarget/dyt,
Every/Table.EveryShape/dyt_backward, Shapes.Empty<kilter::test::RmsNorm>.  tests/budgets.txt has lines "OP SECONDS", of a run on two cores;
the line "others" is for ops without one.
"""
import argparse
import pathlib
import re
import sys
import xml.etree.ElementTree


def snake(name):
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def seconds_of_ops(results, ops):
    seconds = dict.fromkeys(ops, 0.0)
    for case in xml.etree.ElementTree.parse(results).getroot().iter("testcase"):
        name = case.get("name")
        words = [snake(w) for w in re.findall(r"(?:/|::)([A-Za-z_]+?)(?:_forward|_backward)?(?:>|\s|$)", name)]
        for op in set(words) & set(ops):
            seconds[op] += float(case.get("time"))
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("--budgets", type=pathlib.Path, default=pathlib.Path(__file__).with_name("budgets.txt"))
    options = parser.parse_args()
    lines = [line.split() for line in options.budgets.read_text().splitlines() if line and not line.startswith("#")]
    budgets = {op: float(most) for op, most in lines}
    others = budgets.pop("others")
    ops = sorted(p.parent.name for p in (pathlib.Path(__file__).resolve().parent.parent / "src/ops").glob("*/reference.cc"))
    passed = failed = 0
    for op, spent in seconds_of_ops(options.results, ops).items():
        most = budgets.get(op, others)
        good = 0 < spent <= most
        print(f"{op}: {spent:.0f} s of {most:.0f}" + ("" if good else "  FAILED: over its budget, or without a test"))
        passed, failed = passed + good, failed + (not good)
    for op in sorted(set(budgets) - set(ops)):
        print(f"{op}: FAILED: a budget without an op")
        failed += 1
    print(f"budget: {passed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""gpu_bench and peers.py have the same rows, of the same bytes: rows_test.py LIBRARY GPU_BENCH."""
import pathlib
import re
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "bench/gpu"), str(ROOT / "bench")]
import kilter_abi  # noqa: E402
import rows  # noqa: E402

LIBRARY, GPU_BENCH = sys.argv.pop(1), sys.argv.pop(1)


def listed(*arguments):
    """What gpu_bench says of its rows: {name: (bytes, reads, writes)}; what it leaves out."""
    out = subprocess.run([GPU_BENCH, "--list", *arguments], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"^(\S+ \S+ \S+) +(\d+) bytes, (\d+) reads, (\d+) writes$", out, re.MULTILINE)
    return {name: tuple(map(int, numbers)) for name, *numbers in found}, set(re.findall(r"^left out: ([^,]+),", out, re.MULTILINE))


class Rows(unittest.TestCase):
    def test_both_have_the_same(self):
        library, expected, lacking = kilter_abi.Library(LIBRARY), {}, set()
        for row in rows.ROWS:
            if row["function"] in library.functions:
                tensors = rows.tensors_of(library, row).values()
                large = [t.output for t in tensors if t.large]
                expected[f"{row['op']} {row['shape']} {row['dtype']}"] = sum(t.bytes for t in tensors), large.count(False), large.count(True)
            else:
                lacking.add(row["op"])
        self.assertEqual(listed("--dependent"), (expected, lacking))

    def test_some_ops(self):
        found = listed("--ops", "addrms,layer_norm", "--filter", "1024x768")[0]
        self.assertEqual({name.split()[0] for name in found}, {"addrms.fwd", "addrms.bwd", "ln.fwd", "ln.bwd"})


if __name__ == "__main__":
    unittest.main()

"""What the tests of the command line share: .npy files written and read by hand, a folder per test, a run that checks
that failures leave nothing behind.  Python's standard library only."""
import contextlib
import json
import math
import os
import pathlib
import random
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

KILTER = None
OK, USAGE, BAD_FILE, UNSUPPORTED, CHECK_FAILED, INVALID, IO, INTERNAL = 0, 2, 3, 4, 5, 6, 7, 8
CODES = {"<f4": "f", "<f8": "d", "<f2": "e", "<u2": "H", "|u1": "B", "<i4": "i", "<i8": "q"}


def npy(values, shape, descr="<f4"):
    """Bytes of a .npy file, version 1.0."""
    dims = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
    return with_header(f"{{'descr': '{descr}', 'fortran_order': False, 'shape': ({dims}), }}", data(values, descr))


def data(values, descr="<f4"):
    return struct.pack(f"<{len(values)}{CODES[descr]}", *values)


def with_header(text, body, version=(1, 0), pad=True):
    raw = text.encode("latin-1") if isinstance(text, str) else text
    prefix = 10 if version[0] == 1 else 12
    if pad:
        raw += b" " * (-(prefix + len(raw) + 1) % 64) + b"\n"
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H" if version[0] == 1 else "<I", len(raw)) + raw + body


def load(path):
    raw = pathlib.Path(path).read_bytes()
    assert raw[:8] == b"\x93NUMPY\x01\x00", raw[:8]
    size = struct.unpack("<H", raw[8:10])[0]
    assert (10 + size) % 64 == 0
    header = eval(raw[10:10 + size].decode())  # our own file
    assert set(header) == {"descr", "fortran_order", "shape"} and header["fortran_order"] is False
    count = math.prod(header["shape"])
    return header["descr"], header["shape"], struct.unpack(f"<{count}{CODES[header['descr']]}", raw[10 + size:])


def bf16(v):
    u = struct.unpack("<I", struct.pack("<f", v))[0]
    return (u + 0x7FFF + (u >> 16 & 1)) >> 16


def from_bf16(h):
    return struct.unpack("<f", struct.pack("<I", h << 16))[0]


def layer_norm(row, w, b, eps=1e-5):
    mean = math.fsum(row) / len(row)
    rstd = 1 / math.sqrt(math.fsum((v - mean) ** 2 for v in row) / len(row) + eps)
    return [(v - mean) * rstd * g + c for v, g, c in zip(row, w, b)], mean, rstd


class CliTest(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="kilter_cli_"))
        os.chmod(self.dir, 0o755)
        self.addCleanup(shutil.rmtree, self.dir, True)
        rng = random.Random(1)
        self.rows, self.n = 3, 37
        self.x = self.floats(rng, self.rows * self.n)
        self.w, self.b = self.floats(rng, self.n), self.floats(rng, self.n)
        self.dy = self.floats(rng, self.rows * self.n)
        shape = (self.rows, self.n)
        self.put("x.npy", npy(self.x, shape))
        self.put("w.npy", npy(self.w, (self.n,)))
        self.put("b.npy", npy(self.b, (self.n,)))
        self.put("dy.npy", npy(self.dy, shape))

    @staticmethod
    def floats(rng, count):
        return [struct.unpack("<f", struct.pack("<f", rng.gauss(0, 1)))[0] for _ in range(count)]

    def put(self, name, raw):
        (self.dir / name).write_bytes(raw)
        return name

    def kilter(self, *args, expect=OK, **kwargs):
        """Runs the CLI in the test's folder; on failure nothing in the folder may have changed."""
        before = self.snapshot()
        kwargs = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | kwargs
        done = subprocess.run([KILTER, *map(str, args)], cwd=self.dir, timeout=60, **kwargs)
        done.out, done.err = (done.stdout or b"").decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
        self.assertEqual(done.returncode, expect, f"kilter {args}\n{done.out}\n{done.err}")
        if expect not in (OK, CHECK_FAILED):
            self.assertEqual(self.snapshot(), before, f"files changed although the exit code is {expect}")
            self.assertEqual(done.err.count("\n"), 1, f"expected one line of error, got {done.err!r}")
            self.assertTrue(done.err.isprintable() or done.err[:-1].isprintable(), done.err)
        return done

    def snapshot(self):
        found = {}
        for path in sorted(self.dir.rglob("*")):
            with contextlib.suppress(OSError):
                regular = path.is_file() and not path.is_symlink() and path.stat().st_size < 1 << 20
                found[str(path)] = path.read_bytes() if regular else os.lstat(path).st_mode
        return found

    def near(self, got, want, tolerance=1e-5):
        self.assertEqual(len(got), len(want))
        for g, v in zip(got, want):
            self.assertLessEqual(abs(g - v), tolerance * max(1, abs(v)))

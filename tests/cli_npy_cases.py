"""Hostile .npy files: every rule of the format, each refused with a message that says what was expected and got."""
import json
import os
import random
import struct
import subprocess

import cli_case
from cli_case import CliTest, npy, data, with_header, bf16, layer_norm, OK, BAD_FILE, UNSUPPORTED, INVALID, IO


class HostileNpyTest(CliTest):
    def refuse(self, raw, *words, status="KILTER_BAD_FORMAT", flags=()):
        self.put("bad.npy", raw)
        done = self.kilter("run", "layer_norm", "--x", "bad.npy", "--y", "y.npy", *flags, expect=BAD_FILE)
        for word in ("x: ", "bad.npy", *words):
            self.assertIn(word, done.err)
        error = json.loads(self.kilter("run", "layer_norm", "--x", "bad.npy", "--y", "y.npy", "--json", *flags, expect=BAD_FILE).out)["error"]
        self.assertEqual((error["exit_code"], error["status"]), (BAD_FILE, status))

    def header(self, text, body=b"\0" * 8, *words, **kwargs):
        self.refuse(with_header(text, body), *words, **kwargs)

    def test_magic_and_version(self):
        good = npy([1.0, 2.0], (1, 2))
        self.refuse(b"\x94" + good[1:], "NUMPY", "\\x94")
        self.refuse(b"PK\x03\x04" + good, "\\x03")
        for version in (b"\x00\x00", b"\x04\x00", b"\x01\x01", b"\xff\xff"):
            self.refuse(good[:6] + version + good[8:], "version")

    def test_truncated(self):
        good = npy([1.0, 2.0], (1, 2))
        for size in (0, 1, 6, 8, 9, 10, 40, len(good) - 8, len(good) - 1):
            self.refuse(good[:size], status="KILTER_TRUNCATED")
        self.refuse(with_header("", b"", (2, 0))[:11], status="KILTER_TRUNCATED")

    def test_longer(self):
        self.refuse(npy([1.0, 2.0], (1, 2)) + b"\0", "expected 8 bytes of data", "got 9")

    def test_header_length(self):
        text = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2)}" + " " * 70000
        self.refuse(with_header(text, data([1.0, 2.0]), (2, 0)), "65536")
        self.refuse(b"\x93NUMPY\x02\x00" + struct.pack("<I", 0xFFFFFFFF), "65536")
        self.refuse(b"\x93NUMPY\x01\x00" + struct.pack("<H", 60000) + b"{}", status="KILTER_TRUNCATED")

    def test_keys(self):
        self.header("{'descr': '<f4', 'fortran_order': False}", b"", "shape")
        self.header("{'descr': '<f4', 'shape': (2,)}", b"\0" * 8, "fortran_order")
        self.header("{'shape': (2,), 'fortran_order': False}", b"\0" * 8, "descr")
        self.header("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'more': 1}", b"\0" * 8, "more")
        self.header("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'shape': (2,)}", b"\0" * 8, "once")
        self.header("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", b"\0" * 8, "once")
        self.header("{}", b"", "descr")

    def test_syntax(self):
        for text in ("", "[]", "{", "{'descr'", "{'descr': '<f4'", "{'descr' '<f4'}", "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)",
                     "{'descr': '<f4', 'fortran_order': 0, 'shape': (2,)}", "{'descr': '<f4', 'fortran_order': False, 'shape': [2]}",
                     "{'descr': '<f4', 'fortran_order': False, 'shape': (2)}", "{'descr': '<f4', 'fortran_order': False, 'shape': 2}",
                     "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} or 1", "{'descr': '<f\\x34', 'fortran_order': False, 'shape': (2,)}",
                     "{,'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", "{'descr': '<f4',, 'fortran_order': False, 'shape': (2,)}",
                     "__import__('os').system('touch owned')"):
            self.header(text, b"\0" * 8, "header, byte")
        self.assertFalse((self.dir / "owned").exists())
        self.refuse(with_header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", b"\0" * 8, pad=False), "newline")
        self.header("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}\n", b"\0" * 8, "newline")

    def test_shape(self):
        for dims in ("-2,", "2.0,", "0x2,", "02,", "2L,", "1_0,", "+2,", "2 2", ",", "2,,", "'2',", "(2,),", "None,", "True,", "1e1,", "99999999999999999999,"):
            self.header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({dims})}}", b"\0" * 8, "header, byte")
        self.header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({'1, ' * 33})}}", b"\0" * 4, "32 dimensions")
        for dims in ("4611686018427387904, 4", "9223372036854775807,", "4294967296, 4294967296, 4"):
            self.header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({dims})}}", b"\0" * 8, "2^63")

    def test_claims_more_than_the_file_holds(self):
        self.header(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({1 << 40}, 1024)}}", b"\0" * 8, "got 8", status="KILTER_TRUNCATED")

    def test_types(self):
        for descr, word in (("|f4", "|f4"), (">i4", ">i4"), ("|u2", "|u2"), ("V2", "V2"), ("<V4", "<V4"), ("|O", "object"), ("<i4", "<i4"), ("<c8", "<c8"), ("|i1", "|i1"), ("<u1", "<u1"), ("<f16", "<f16"), ("<U4", "<U4"), ("", "descr"),
                            ("<f4\x1b[31m", "\\x1b[31m"), ("f4", "f4"), ("=f4", "=f4")):
            self.header(f"{{'descr': '{descr}', 'fortran_order': False, 'shape': (2,)}}", b"\0" * 8, word)
        self.header("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}", b"\0" * 8, "structured")
        for descr in ("<u2", ">u2", "<i2", "<V2", "|V2"):
            for flags in ([], ["--x-dtype", "fp16"]):
                self.header(f"{{'descr': '{descr}', 'fortran_order': False, 'shape': (4,)}}", b"\0" * 8, "give --x-dtype bf16", flags=flags)

    def test_not_regular(self):
        for path in (".", "/dev/zero"):
            self.assertIn("regular file", self.kilter("run", "layer_norm", "--x", path, "--y", "y.npy", expect=BAD_FILE).err)

    def test_pipes(self):
        """What a pipe holds is as hostile as a file, and does not tell its size."""
        good = npy([1.0, 2.0], (1, 2))
        huge = with_header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({1 << 40}, 1024)}}", b"")
        for raw, word, code in ((b"", "end of the file", BAD_FILE), (good[:9], "end of the file", BAD_FILE), (good[:-1], "end of the file", BAD_FILE),
                                (good + b"\0", "got more", BAD_FILE), (b"PK" + good, "NUMPY", BAD_FILE), (huge, "memory", IO)):
            for path in ("-", "/dev/stdin"):
                self.assertIn(word, self.kilter("run", "layer_norm", "--x", path, "--y", "y.npy", input=raw, expect=code).err)
        folder = os.open(self.dir, os.O_RDONLY)
        self.assertIn("folder", self.kilter("run", "layer_norm", "--x", "-", "--y", "y.npy", stdin=folder, expect=BAD_FILE).err)
        os.close(folder)

    def test_random_damage(self):
        good = npy(self.x, (self.rows, self.n))
        rng = random.Random(2)
        for _ in range(150):
            raw = bytearray(good)
            for _ in range(rng.randint(1, 4)):
                raw[rng.randrange(128)] = rng.randrange(256)
            self.put("bad.npy", bytes(raw))
            done = subprocess.run([cli_case.KILTER, "run", "layer_norm", "--x", "bad.npy", "--y", "y.npy"], cwd=self.dir, capture_output=True, timeout=60)
            self.assertIn(done.returncode, (OK, BAD_FILE, INVALID, UNSUPPORTED), done.stderr)

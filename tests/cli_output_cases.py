"""Outputs of the command line: in place whole or not at all, whatever stands in the way."""
import os
import resource
import shutil
import signal
import subprocess
import unittest

import cli_case
from cli_case import CliTest, npy, load, OK, INVALID, IO


class OutputTest(CliTest):
    def run_to(self, *outputs, expect, **kwargs):
        return self.kilter("run", "layer_norm", "--x", "x.npy", *outputs, expect=expect, **kwargs)

    def unprivileged(self):
        """Arguments that make a child respect permissions, and a copy of the program it may execute."""
        if os.geteuid() != 0:
            return {}
        program, cli_case.KILTER = cli_case.KILTER, str(self.dir / "kilter")
        shutil.copy(program, cli_case.KILTER)
        self.addCleanup(setattr, cli_case, "KILTER", program)
        return {"user": 65534, "group": 65534, "extra_groups": []}

    def test_replaces_a_file(self):
        self.put("y.npy", b"old")
        self.run_to("--y", "y.npy", expect=OK)
        self.assertEqual(load(self.dir / "y.npy")[1], (self.rows, self.n))
        self.assertEqual([p.name for p in self.dir.iterdir() if ".tmp" in p.name], [])

    def test_missing_folder(self):
        self.assertIn("missing/y.npy", self.run_to("--y", "missing/y.npy", expect=IO).err)
        self.run_to("--y", "x.npy/y.npy", expect=IO)
        for name in (".", "..", "sub/"):
            (self.dir / "sub").mkdir(exist_ok=True)
            self.run_to("--y", name, expect=IO)

    def test_read_only_folder(self):
        options = self.unprivileged()
        (self.dir / "locked").mkdir()
        self.put("locked/y.npy", b"old")
        os.chmod(self.dir / "locked", 0o555)
        self.run_to("--y", "locked/new.npy", expect=IO, **options)
        self.run_to("--y", "locked/y.npy", expect=IO, **options)  # cannot be replaced

    @unittest.skipIf(os.geteuid() != 0, "needs files of two users")
    def test_sticky_folder(self):
        options = self.unprivileged()
        for name in ("own", "sticky"):
            (self.dir / name).mkdir()
            self.put(f"{name}/y.npy", b"old")
            os.chmod(self.dir / name, 0o1777)
        os.chown(self.dir / "own/y.npy", 65534, 65534)
        self.run_to("--y", "own/y.npy", "--mean", "sticky/y.npy", expect=IO, **options)  # the first can be replaced, the second cannot
        self.run_to("--y", "own/y.npy", "--mean", "sticky/new.npy", expect=OK, **options)

    def test_second_output_fails(self):
        (self.dir / "folder").mkdir()
        self.put("y.npy", b"old")
        for bad in ("folder", "missing/m.npy"):
            self.run_to("--y", "y.npy", "--mean", bad, expect=IO)
            self.run_to("--y", "new.npy", "--mean", bad, expect=IO)

    def test_no_room(self):
        self.put("y.npy", b"old")
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (256, 256))
        for name in ("y.npy", "new.npy"):
            self.assertIn("room", self.run_to("--mean", "m.npy", "--y", name, expect=IO, preexec_fn=limit).err)

    def test_links_are_not_followed(self):
        self.put("target", b"old")
        os.symlink("target", self.dir / "link")
        os.symlink("nowhere", self.dir / "dangling")
        for name in ("link", "dangling"):
            self.assertIn("symbolic link", self.run_to("--y", name, expect=IO).err)
        os.symlink("loop", self.dir / "loop")
        self.run_to("--y", "loop", expect=IO)

    def test_not_a_regular_file(self):
        os.mkfifo(self.dir / "pipe")
        for name in ("pipe", "/dev/null", "/dev/full"):
            self.run_to("--y", name, expect=IO)

    def test_output_is_an_input(self):
        os.link(self.dir / "x.npy", self.dir / "hard.npy")
        for name in ("x.npy", "./x.npy", "hard.npy", str(self.dir / "x.npy")):
            self.assertIn("input file of x", self.run_to("--y", name, expect=INVALID).err)
        self.kilter("run", "layer_norm", "--x", "x.npy", "--weight", "w.npy", "--y", "w.npy", expect=INVALID)

    def test_two_outputs_in_one_file(self):
        self.run_to("--y", "y.npy", "--mean", "./y.npy", expect=INVALID)
        os.symlink(".", self.dir / "same")
        self.run_to("--y", "y.npy", "--mean", "same/y.npy", expect=INVALID)

    def test_failures_after_reading_leave_nothing(self):
        self.put("w4.npy", npy([1.0] * 4, (4,)))
        self.assertIn("weight", self.run_to("--weight", "w4.npy", "--y", "y.npy", expect=INVALID).err)
        self.run_to("--impl", "nonsense", "--y", "y.npy", expect=INVALID)
        self.run_to("--eps", "nan", "--y", "y.npy", expect=INVALID)

    def test_interrupts_leave_all_or_nothing(self):
        rows, n = 2048, 1024
        self.put("big.npy", npy([], (rows, n)) + bytes(4 * rows * n))
        outputs = [self.dir / "y.npy", self.dir / "s.npy"]
        for threads in (1, 4):  # several: whichever of them the signal reaches
            interrupted = 0
            for _ in range(10):
                child = subprocess.Popen([cli_case.KILTER, "run", "rms_norm", "--x", "big.npy", "--residual", "big.npy", "--y", "y.npy", "--residual_out", "s.npy",
                                          "--threads", str(threads)], cwd=self.dir, stdout=subprocess.DEVNULL)
                while child.poll() is None and not any(".tmp" in name for name in os.listdir(self.dir)):
                    pass
                child.terminate()
                interrupted += child.wait() == -signal.SIGTERM
                self.assertEqual([name for name in os.listdir(self.dir) if ".tmp" in name], [])
                there = [path.exists() for path in outputs]
                self.assertIn(there, ([True, True], [False, False]))
                for path in outputs:
                    path.unlink(missing_ok=True)
            self.assertGreater(interrupted, 0)

    def test_standard_output_is_full(self):
        for args in (("info",), ("support", "--tolerances"), ("support", "--tolerances", "--json"), ("check", "--help")):  # within a buffer and beyond
            with open("/dev/full", "w") as full:
                done = subprocess.run([cli_case.KILTER, *args], stdout=full, stderr=subprocess.PIPE, text=True)
            self.assertEqual(done.returncode, IO, done.stderr)
            self.assertRegex(done.stderr, r"^kilter \w+: stdout: expected room for the output, got: .*\n$")

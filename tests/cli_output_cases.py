"""Outputs of the command line: in place whole or not at all, whatever stands in the way."""
import json
import os
import resource
import shutil
import signal
import subprocess
import unittest

import cli_case
from cli_case import CliTest, npy, load, OK, USAGE, INVALID, IO


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

    def test_links_are_followed_and_stay(self):
        (self.dir / "sub").mkdir()
        self.put("sub/target", b"old")
        os.symlink("target", self.dir / "sub/second")  # relative to its own folder
        os.symlink("sub/second", self.dir / "link")
        os.symlink(self.dir / "sub/new.npy", self.dir / "dangling")
        for name, target in (("link", "sub/target"), ("dangling", "sub/new.npy")):
            self.run_to("--y", name, expect=OK)
            self.assertTrue((self.dir / name).is_symlink())
            self.assertEqual(load(self.dir / target)[1], (self.rows, self.n))
        self.assertTrue((self.dir / "sub/second").is_symlink())
        self.assertEqual(sorted(os.listdir(self.dir / "sub")), ["new.npy", "second", "target"])
        for name, target in (("loop", "loop"), ("to_folder", "sub"), ("nowhere", "missing/y.npy"), ("device", "/dev/null")):
            os.symlink(target, self.dir / name)
            self.run_to("--y", name, expect=IO)
        os.symlink("x.npy", self.dir / "input")
        self.assertIn("input file of x", self.run_to("--y", "input", expect=INVALID).err)
        self.assertIn("output file of y", self.run_to("--y", "sub/target", "--mean", "link", expect=INVALID).err)

    @unittest.skipIf(os.geteuid() != 0, "needs files of two users")
    def test_links_of_others_in_a_shared_folder(self):
        (self.dir / "shared").mkdir()
        os.symlink("../x.npy", self.dir / "shared/link")
        os.lchown(self.dir / "shared/link", 65534, 65534)
        os.chmod(self.dir / "shared", 0o1777)
        self.assertIn("another user", self.kilter("run", "layer_norm", "--x", "dy.npy", "--y", "shared/link", expect=IO).err)

    def mode(self, name):
        found = os.stat(self.dir / name)
        return found.st_mode & 0o7777, found.st_uid, found.st_gid

    def test_modes(self):
        mask = lambda: os.umask(0o027)
        self.run_to("--y", "new.npy", expect=OK, preexec_fn=mask)
        self.assertEqual(self.mode("new.npy")[0], 0o640)
        for mode in (0o600, 0o664, 0o777, 0o200):
            self.put("y.npy", b"old")
            os.chmod(self.dir / "y.npy", mode)
            before = self.mode("y.npy")
            self.run_to("--y", "y.npy", "--mean", "m.npy", expect=OK, preexec_fn=mask)
            self.assertEqual(self.mode("y.npy"), before)
        self.put("z.npy", b"old")
        os.symlink("z.npy", self.dir / "link")
        os.chmod(self.dir / "z.npy", 0o604)
        self.run_to("--y", "link", expect=OK)
        self.assertEqual(self.mode("z.npy")[0], 0o604)

    @unittest.skipIf(os.geteuid() != 0, "needs files of two users")
    def test_owners(self):
        self.put("y.npy", b"old")
        os.chown(self.dir / "y.npy", 65534, 12)
        os.chmod(self.dir / "y.npy", 0o660)
        self.run_to("--y", "y.npy", expect=OK)
        self.assertEqual(self.mode("y.npy"), (0o660, 65534, 12))
        # A group that the user is not in: the group that the file gets may no more than others.
        options = self.unprivileged()
        os.chmod(self.dir, 0o777)
        os.chmod(self.dir / "y.npy", 0o664)
        self.run_to("--y", "y.npy", expect=OK, **options)
        self.assertEqual(self.mode("y.npy"), (0o644, 65534, 65534))
        os.chown(self.dir / "y.npy", 0, 12)
        self.assertIn("can be written", self.run_to("--y", "y.npy", expect=IO, **options).err)
        os.chmod(self.dir / "y.npy", 0o664)
        self.run_to("--y", "y.npy", expect=OK, **(options | {"extra_groups": [12]}) if options else {})
        self.assertEqual(self.mode("y.npy"), (0o664, 65534, 12))

    def test_read_only_files(self):
        self.put("y.npy", b"old")
        os.symlink("y.npy", self.dir / "link")
        os.chmod(self.dir / "y.npy", 0o444)
        for name in ("y.npy", "link"):
            self.assertIn("got a read-only one (mode 0444)", self.run_to("--y", name, expect=IO).err)
            self.run_to("--y", "new.npy", "--mean", name, expect=IO)

    def test_an_output_that_cannot_be_replaced(self):
        """What no look at the file foresees."""
        bind = "mount --make-rprivate / && mount --bind volume m.npy && exec \"$0\" \"$@\""
        for name in ("y.npy", "m.npy", "volume"):
            self.put(name, b"old")
        if subprocess.run(["unshare", "-m", "sh", "-c", bind, "true"], cwd=self.dir, capture_output=True).returncode != 0:
            self.skipTest("no mounts for this user")
        for first in ("y.npy", "new.npy"):
            before = self.snapshot()
            done = subprocess.run(["unshare", "-m", "sh", "-c", bind, cli_case.KILTER, "run", "layer_norm", "--x", "x.npy", "--y", first, "--mean", "m.npy"],
                                  cwd=self.dir, capture_output=True, text=True)
            self.assertEqual(done.returncode, IO, done.stderr)
            self.assertIn("mean: m.npy: expected a file that can be replaced", done.stderr)
            self.assertEqual(self.snapshot(), before)

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

    def test_standard_input_and_output(self):
        want = load(self.run_to("--y", "y.npy", "--mean", "m.npy", expect=OK) and self.dir / "y.npy")
        raw, mean = (self.dir / "y.npy").read_bytes(), (self.dir / "m.npy").read_bytes()
        x = (self.dir / "x.npy").read_bytes()
        for source in ("-", "/dev/stdin"):
            for target in ("-", "/dev/stdout"):
                done = self.kilter("run", "layer_norm", "--x", source, "--y", target, "--mean", "m.npy", input=x)
                self.assertEqual((done.stdout, done.err), (raw, ""))  # and nothing else
                self.assertEqual((self.dir / "m.npy").read_bytes(), mean)
        with open(self.dir / "x.npy", "rb") as file:
            self.assertEqual(self.kilter("run", "layer_norm", "--x", "-", "--y", "-", stdin=file).stdout, raw)
        os.mkfifo(self.dir / "pipe")
        writer = subprocess.Popen(["sh", "-c", "sleep 0.1; cat x.npy > pipe"], cwd=self.dir)  # it is waited for
        self.assertEqual(self.kilter("run", "layer_norm", "--x", "pipe", "--y", "-").stdout, raw)
        writer.wait()
        self.assertEqual(want[1], (self.rows, self.n))
        self.assertFalse((self.dir / "-").exists())

    def test_standard_input_and_output_have_one_tensor(self):
        for args, word in ((("--x", "-", "--weight", "-", "--y", "y.npy"), "--weight: expected a file, got - (standard input), which is x's"),
                           (("--x", "x.npy", "--y", "-", "--mean", "-"), "--mean: expected a file, got - (standard output), which is y's"),
                           (("--x", "x.npy", "--y", "-", "--json"), "--y: expected a file, got - (standard output), which is --json's")):
            self.assertIn(word, self.kilter("run", "layer_norm", *args, input=b"", expect=USAGE).err)
        self.assertFalse((self.dir / "-").exists())

    def test_standard_output_that_fails_takes_the_files_back(self):
        for name in ("m.npy", None):
            if name:
                self.put(name, b"old")
            before = self.snapshot()
            with open("/dev/full", "wb") as full:
                self.kilter("run", "layer_norm", "--x", "x.npy", "--y", "-", "--mean", name or "new.npy", "--rstd", "r.npy", stdout=full, expect=IO)
            reader, writer = os.pipe()
            os.close(reader)
            self.kilter("run", "layer_norm", "--x", "x.npy", "--y", "-", "--mean", name or "new.npy", stdout=writer, expect=IO)  # not a signal
            os.close(writer)
            self.assertEqual(self.snapshot(), before)

    def test_names_are_shown_as_they_are(self):
        name = "données/模型 😀.npy"
        (self.dir / "données").mkdir()
        self.assertIn(name + ": y ", self.run_to("--y", name, expect=OK).out)
        out = self.run_to("--y", name, "--json", expect=OK).stdout
        self.assertIn(name.encode(), out)
        os.chmod(self.dir / name, 0o444)
        self.assertIn(name, self.run_to("--y", name, expect=IO).err)
        self.assertIn(name.encode(), self.run_to("--y", name, "--json", expect=IO).stdout)
        long = "é" * 120  # a name of 240 bytes
        deep = "/".join(["folder" * 10] * 20) + "/" + long + "/" + long
        self.assertIn("..." , self.run_to("--y", deep, expect=IO).err)
        self.assertIn("/" + long, self.run_to("--y", deep, expect=IO).err)
        for bad, shown in ((b"b\xff.npy", "b\\xff.npy"), (b"b\x1b[31m", "b\\x1b[31m"), (b"b\xc2\x9b", "b\\xc2\\x9b"), (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),
                           ("a\u202eb".encode(), "a\\xe2\\x80\\xaeb"), (b"\xc0\xaf", "\\xc0\\xaf"), (b"ab\xe2\x82", "ab\\xe2\\x82")):
            name = os.fsdecode(bad)
            self.assertIn(shown + ": y ", self.run_to("--y", name, expect=OK).out)
            for done in (self.run_to("--y", name, "--json", expect=OK), self.kilter("run", "layer_norm", "--x", os.fsdecode(b"no" + bad), "--y", "y.npy", "--json", expect=IO),
                         self.kilter("run", "layer_norm", os.fsdecode(bad), "--json", expect=USAGE)):
                json.loads(done.stdout.decode("utf-8"))

    def test_standard_output_is_full(self):
        for args in (("info",), ("support", "--tolerances"), ("support", "--tolerances", "--json"), ("check", "--help")):  # within a buffer and beyond
            with open("/dev/full", "w") as full:
                done = subprocess.run([cli_case.KILTER, *args], stdout=full, stderr=subprocess.PIPE, text=True)
            self.assertEqual(done.returncode, IO, done.stderr)
            self.assertRegex(done.stderr, r"^kilter \w+: stdout: expected room for the output, got: .*\n$")

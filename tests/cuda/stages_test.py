#!/usr/bin/env python3
"""Tests of bench/gpu_stages.py with programs that stand for the GPU's."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "tests/cuda")]
import gpu_stages  # noqa: E402
import kernels  # noqa: E402
import results  # noqa: E402

PASSING = """echo '[ RUN      ] Ops/Small.EveryLength/layer_norm'
echo '[       OK ] Ops/Small.EveryLength/layer_norm (1500 ms)'
[ -z "$KILTER_LAUNCHED" ] || cp "$FAKE_NAMES" "$KILTER_LAUNCHED"
"""
FAILING = """echo '[ RUN      ] Ops/Device.Layouts/rms_norm'
echo '[  FAILED  ] Ops/Device.Layouts/rms_norm, where GetParam() = "rms_norm" (20 ms)'
exit 1
"""
SANITIZER = 'echo "========= COMPUTE-SANITIZER"; while [ $# -gt 2 ]; do shift; done; "$@"; echo "========= ERROR SUMMARY: ${FAKE_ERRORS:-0} errors"\n'
SMI = 'case $1 in *=name*) echo "NVIDIA Fake 1, 580.1" ;; *) echo "1980 MHz, 2619 MHz, 1980 MHz, 2619 MHz, 700 W" ;; esac\n'


class Stages(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)
        self.environment = {**os.environ, "PATH": f"{self.folder / 'path'}:{os.environ['PATH']}", "FAKE_NAMES": str(self.folder / "names"),
                            "KILTER_SANITIZER": str(self.folder / "sanitizer"), "KILTER_GPU_BINARIES": str(self.folder / "bin")}
        table, _ = kernels.read_table(kernels.TABLE.read_text())
        self.names = sorted({f"void kilter::cuda::{k.kernel}(kilter::RowNormForward)" for k in table})
        (self.folder / "names").write_text("\n".join(self.names))
        self.script("path/nvidia-smi", SMI)
        self.script("sanitizer", SANITIZER)
        for program in ("device_test", "large_test"):
            self.script(f"bin/{program}", PASSING)

    def script(self, name, text):
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)

    def stage(self, *arguments, status=0, **environment):
        done = subprocess.run([sys.executable, "-B", str(ROOT / "bench/gpu_stages.py"), *arguments, "--out", str(self.folder / "out"), "--jobs", "1"],
                              capture_output=True, text=True, env={**self.environment, **environment})
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        path = self.folder / "out/nvidia-fake-1" / f"{arguments[0]}.json"
        return done.stdout, json.loads(path.read_text()) if path.exists() else None

    def test_a_stage_says_what_ran_and_is_not_run_again(self):
        out, report = self.stage("test")
        self.assertIn("test, device_test: passed, 1 passed, 0 failed, 0 skipped", out)
        self.assertEqual((report["gpu"], report["driver"], report["cuda_sources"]), ("NVIDIA Fake 1", "580.1", results.cuda_hash()))
        self.assertEqual(report["clocks"]["clocks.sm"], "1980 MHz")
        self.assertEqual(report["parts"][0]["tests"], [{"test": "Ops/Small.EveryLength/layer_norm", "result": "passed", "seconds": 1.5}])
        self.script("bin/device_test", FAILING)
        self.assertIn("passed for these sources", self.stage("test")[0])
        out, report = self.stage("test", "--again", status=1)
        self.assertIn("0 passed, 1 failed", out)
        self.assertFalse(report["parts"][0]["passed"])
        self.stage("test", status=1)  # a failure is run again

    def test_other_sources_are_run_again(self):
        self.stage("test")
        (self.folder / "bin/build.json").write_text('{"commit": "abc", "cuda_sources": "0"}')
        out, report = self.stage("test")
        self.assertNotIn("passed for these sources", out)
        self.assertEqual((report["commit"], report["cuda_sources"]), ("abc", "0"))

    def test_a_crash_is_a_failure(self):
        self.script("bin/device_test", "echo '[ RUN      ] Ops/Device.Layouts/rms_norm'\nkill -9 $$\n")
        out, report = self.stage("test", status=1)
        self.assertEqual(report["parts"][0]["tests"][0]["result"], "cut off")
        self.assertIn("0 passed, 1 failed", out)

    def test_nothing_run_is_a_failure(self):
        self.script("bin/large_test", "echo '[  SKIPPED ] Ops/Large.OneRow/rms_norm (0 ms)'\n")
        self.assertIn("no test ran", self.stage("large", status=1)[0])

    def test_sanitize_runs_every_tool_and_goes_on_where_it_failed(self):
        out, report = self.stage("sanitize", status=1, FAKE_ERRORS="3")
        self.assertEqual([(p["name"], p["passed"]) for p in report["parts"]],
                         [("launches", True), ("memcheck", False), ("racecheck", False), ("initcheck", False), ("synccheck", False)])
        self.assertIn("memcheck: 3 errors", out)
        out, report = self.stage("sanitize")
        self.assertIn("launches: passed for these sources", out)
        self.assertTrue(all(p["passed"] for p in report["parts"]))
        self.assertEqual(len(report["parts"]), 5)

    def test_every_kernel_must_have_been_launched(self):
        (self.folder / "names").write_text("\n".join(self.names[1:]))
        out, report = self.stage("sanitize", status=1)
        self.assertIn("not launched: " + kernels.short_name(self.names[0]), out)
        self.assertEqual(report["parts"][0]["not_launched"], [kernels.short_name(self.names[0])])

    def test_summaries(self):
        self.assertEqual(gpu_stages.sanitizer_complaints("========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)"), "")
        self.assertNotEqual(gpu_stages.sanitizer_complaints("========= RACECHECK SUMMARY: 1 hazard displayed (0 errors, 1 warning)"), "")
        self.assertEqual(gpu_stages.sanitizer_complaints("killed"), "no summary")

    def test_a_stage_has_a_limit(self):
        log, good, stopped = gpu_stages.run([(["sh", "-c", "echo begun; sleep 60"], {})], 0.3)
        self.assertEqual((log, good, stopped), ("begun\n", False, True))

    def test_status(self):
        self.stage("test")
        out = self.folder / "out"
        lines, good = gpu_stages.status(out, results.cuda_hash())
        self.assertFalse(good)
        self.assertIn("fresh", lines[0])
        self.assertIn("no results", lines[1])
        self.assertIn("STALE", gpu_stages.status(out, "other")[0][0])
        for stage in ("sanitize", "large"):
            self.stage(stage)
        (out / "nvidia-fake-1/bench.json").write_text(json.dumps({"runs": [{"cuda_sources": results.cuda_hash(), "date": "2026-11-25", "commit": "a"}]}))
        self.assertFalse(gpu_stages.status(out, results.cuda_hash())[1])
        (out / "nvidia-fake-1/accuracy.json").write_text(json.dumps({"cuda_sources": results.cuda_hash(), "date": "2026-11-25", "commit": "a"}))
        self.assertTrue(gpu_stages.status(out, results.cuda_hash())[1])

    def test_without_a_gpu_nothing_is_written(self):
        self.script("path/nvidia-smi", "exit 9\n")
        out, report = self.stage("test")
        self.assertIn("SKIPPED", out)
        self.assertIsNone(report)


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
"""The command line from outside: every command, every exit code, hostile .npy files, no partial outputs.

    python3 tests/cli_test.py build/bin/kilter

Needs nothing but Python's standard library."""
import json
import math
import os
import resource
import struct
import subprocess
import sys
import unittest

import cli_case
from cli_case import CliTest, npy, data, with_header, load, bf16, from_bf16, layer_norm, OK, USAGE, UNSUPPORTED, CHECK_FAILED, INVALID, IO
from cli_npy_cases import HostileNpyTest  # noqa: F401, found by unittest
from cli_output_cases import OutputTest  # noqa: F401


class RunTest(CliTest):
    def test_layer_norm_forward(self):
        self.kilter("run", "layer_norm", "--x", "x.npy", "--weight", "w.npy", "--bias", "b.npy", "--y", "y.npy", "--mean", "m.npy", "--rstd", "r.npy")
        descr, shape, y = load(self.dir / "y.npy")
        self.assertEqual((descr, shape), ("<f4", (self.rows, self.n)))
        self.assertEqual(load(self.dir / "m.npy")[:2], ("<f4", (self.rows,)))
        for r in range(self.rows):
            want, mean, rstd = layer_norm(self.x[r * self.n:(r + 1) * self.n], self.w, self.b)
            self.near(y[r * self.n:(r + 1) * self.n], want)
            self.near([load(self.dir / "m.npy")[2][r], load(self.dir / "r.npy")[2][r]], [mean, rstd])

    def forward(self, op="layer_norm"):
        mean = ["--mean", "m.npy"] if op == "layer_norm" else []
        self.kilter("run", op, "--x", "x.npy", "--weight", "w.npy", "--y", "y.npy", *mean, "--rstd", "r.npy")
        return mean

    def test_backward_of_both_ops(self):
        for op in ("layer_norm", "rms_norm"):
            mean = self.forward(op)
            done = self.kilter("run", op, "--backward", "--x", "x.npy", "--weight", "w.npy", *mean, "--rstd", "r.npy", "--dy", "dy.npy",
                               "--dx", "dx.npy", "--dweight", "dw.npy", "--dbias", "db.npy", "--json")
            self.assertEqual([o["name"] for o in json.loads(done.out)["outputs"]], ["dx", "dweight", "dbias"])
            self.near(load(self.dir / "db.npy")[2], [math.fsum(self.dy[i::self.n]) for i in range(self.n)])
            rstd = load(self.dir / "r.npy")[2]
            means = load(self.dir / "m.npy")[2] if mean else [0] * self.rows
            xhat = [(v - means[i // self.n]) * rstd[i // self.n] for i, v in enumerate(self.x)]
            dw = [math.fsum(self.dy[r * self.n + i] * xhat[r * self.n + i] for r in range(self.rows)) for i in range(self.n)]
            self.near(load(self.dir / "dw.npy")[2], dw)
            dx = load(self.dir / "dx.npy")[2]
            for r in range(self.rows):
                span = range(r * self.n, (r + 1) * self.n)
                g = [self.dy[i] * self.w[i % self.n] for i in span]
                c1 = math.fsum(a * xhat[i] for a, i in zip(g, span)) / self.n
                c2 = math.fsum(g) / self.n if mean else 0
                self.near(dx[r * self.n:(r + 1) * self.n], [rstd[r] * (a - c2 - xhat[i] * c1) for a, i in zip(g, span)])

    def test_residuals_and_dashes(self):
        self.kilter("run", "layer_norm", "--x", "x.npy", "--residual", "dy.npy", "--residual-out", "s.npy", "--post-residual", "x.npy", "--y", "y.npy")
        sums = [struct.unpack("<f", struct.pack("<f", a + b))[0] for a, b in zip(self.x, self.dy)]
        self.assertEqual(list(load(self.dir / "s.npy")[2]), sums)
        want = [v for r in range(self.rows) for v in layer_norm(sums[r * self.n:(r + 1) * self.n], [1] * self.n, [0] * self.n)[0]]
        self.near(load(self.dir / "y.npy")[2], [a + b for a, b in zip(want, self.x)])

    def test_types(self):
        for descr, flag, tolerance in (("<f8", [], 1e-12), ("<f2", [], 2e-3), ("<u2", ["--x-dtype", "bf16"], 1e-2)):
            values = [bf16(v) for v in self.x] if descr == "<u2" else self.x
            self.put("t.npy", npy(values, (self.rows, self.n), descr))
            x = [from_bf16(v) for v in values] if descr == "<u2" else load(self.dir / "t.npy")[2]
            self.kilter("run", "rms_norm", "--x", "t.npy", "--y", "y.npy", "--rstd", "r.npy", *flag)
            got, shape, y = load(self.dir / "y.npy")
            self.assertEqual((got, shape), (descr, (self.rows, self.n)))
            self.assertEqual(load(self.dir / "r.npy")[0], "<f8" if descr == "<f8" else "<f4")
            y = [from_bf16(v) for v in y] if descr == "<u2" else y
            for r in range(self.rows):
                row = x[r * self.n:(r + 1) * self.n]
                rstd = 1 / math.sqrt(math.fsum(v * v for v in row) / self.n + 1e-5)
                self.near(y[r * self.n:(r + 1) * self.n], [v * rstd for v in row], tolerance)

    def test_options_reach_the_op(self):
        self.kilter("run", "rms_norm", "--x", "x.npy", "--y", "y1.npy", "--eps", "1", "--threads", "2", "--impl", "reference:f64", "--backend", "cpu")
        self.kilter("run", "rms_norm", "--x", "x.npy", "--y", "y2.npy")
        self.assertNotEqual(load(self.dir / "y1.npy")[2], load(self.dir / "y2.npy")[2])
        self.put("w0.npy", npy([0.0] * self.n, (self.n,)))
        self.kilter("run", "rms_norm", "--x", "x.npy", "--y", "y3.npy", "--weight", "w0.npy", "--weight_offset", "1")
        self.assertEqual(load(self.dir / "y3.npy")[2], load(self.dir / "y2.npy")[2])
        half = [bf16(v) for v in self.x]
        self.put("h.npy", npy(half, (self.rows, self.n), "<u2"))
        y = []
        for rounding in ("once", "then-multiply"):
            self.kilter("run", "rms_norm", "--x", "h.npy", "--x-dtype", "bf16", "--weight", "w.npy", "--y", "y.npy", "--rounding", rounding)
            y.append(load(self.dir / "y.npy")[2])
        self.assertNotEqual(*y)

    def test_ranks_and_empty_arrays(self):
        for shape, stats in (((5,), ()), ((2, 3, 4), (2, 3)), ((0, 4), (0,)), ((3, 0), (3,)), ((1, 1, 1, 6), (1, 1, 1))):
            self.put("t.npy", npy([1.0] * math.prod(shape), shape))
            self.kilter("run", "layer_norm", "--x", "t.npy", "--y", "y.npy", "--mean", "m.npy")
            self.assertEqual(load(self.dir / "y.npy")[1], shape)
            self.assertEqual(load(self.dir / "m.npy")[1], stats)

    def test_dweight_dtype(self):
        half = npy([bf16(v) for v in self.x], (self.rows, self.n), "<u2")
        self.put("h.npy", half)
        self.put("hw.npy", npy([bf16(v) for v in self.w], (self.n,), "<u2"))
        flags = ["--x-dtype", "bf16"]
        self.kilter("run", "rms_norm", "--x", "h.npy", "--weight", "hw.npy", "--y", "y.npy", "--rstd", "r.npy", *flags)
        for name, descr in (("fp32", "<f4"), ("weight", "<u2")):
            self.kilter("run", "rms_norm", "--backward", "--x", "h.npy", "--weight", "hw.npy", "--rstd", "r.npy", "--dy", "h.npy", "--dweight", "dw.npy",
                        "--dweight-dtype", name, *flags)
            self.assertEqual(load(self.dir / "dw.npy")[0], descr)

    def test_fp32_residual_stream(self):
        self.put("h.npy", npy([bf16(v) for v in self.x], (self.rows, self.n), "<u2"))
        self.kilter("run", "rms_norm", "--x", "h.npy", "--residual", "dy.npy", "--residual_out", "s.npy", "--y", "y.npy", "--rstd", "r.npy", "--x-dtype", "bf16")
        self.kilter("run", "rms_norm", "--backward", "--x", "s.npy", "--rstd", "r.npy", "--dy", "h.npy", "--dx", "dx.npy", "--dresidual", "dr.npy",
                    "--x-dtype", "bf16")
        self.assertEqual((load(self.dir / "dx.npy")[0], load(self.dir / "dr.npy")[0]), ("<u2", "<f4"))

    def test_versions_two_and_three(self):
        text = "{\"descr\": \"<f4\", 'shape': (1, 2), 'fortran_order': False}"
        for version in ((1, 0), (2, 0), (3, 0)):
            self.put("v.npy", with_header(text, data([1.0, 3.0]), version))
            self.kilter("run", "layer_norm", "--x", "v.npy", "--y", "y.npy")
            self.near(load(self.dir / "y.npy")[2], [-1, 1])
        self.put("v.npy", with_header("{'descr': '<f4', 'fortran_order': True, 'shape': (2,)}", data([1.0, 3.0])))
        self.kilter("run", "layer_norm", "--x", "v.npy", "--y", "y.npy")  # one dimension has one order


class ExitCodeTest(CliTest):
    def test_usage(self):
        for args in ((), ("nonsense",), ("run",), ("run", "nonsense"), ("run", "layer_norm", "--nonsense"), ("run", "layer_norm"),
                     ("run", "layer_norm", "--x", "x.npy"), ("run", "layer_norm", "--x", "x.npy", "--y"), ("check", "layer_norm", "--rows", "many"),
                     ("check", "layer_norm", "--fill", "nonsense"), ("check", "layer_norm", "--x-dtype", "fp8"), ("bench", "layer_norm", "--reps", "0"),
                     ("explain", "group_nonsense"), ("run", "layer_norm", "--x", "x.npy", "--y", "y.npy", "--rounding", "twice"),
                     ("run", "layer_norm", "--x", "x.npy", "--y", "y.npy", "--dy", "dy.npy"), ("run", "rms_norm", "--x", "x.npy", "--y", "y.npy", "--mean", "m.npy"),
                     ("run", "layer_norm", "--backward", "--x", "x.npy", "--y", "y.npy"), ("run", "layer_norm", "--x", "x.npy", "--y", "y.npy", "--residual_out", "s.npy"),
                     ("run", "rms_norm", "--backward", "--x", "x.npy", "--rstd", "w.npy", "--dy", "dy.npy")):
            self.kilter(*args, expect=USAGE)
        for name in ("x", "y", "weight", "mean"):
            files = {"x": "x.npy", "y": "y.npy"} | {name: ""}
            done = self.kilter("run", "layer_norm", *(word for k, v in files.items() for word in (f"--{k}", v)), expect=USAGE)
            self.assertIn(f"--{name}: expected a file name, got an empty one", done.err)
        error = json.loads(self.kilter("run", "nonsense", "--json", expect=USAGE).out)["error"]
        self.assertEqual(error["exit_code"], USAGE)

    def test_numbers_beyond_64_bits(self):
        for args in (("check", "layer_norm", "--rows", 1 << 63), ("check", "layer_norm", "--n", -(1 << 70)), ("check", "layer_norm", "--first-row", 1 << 63),
                     ("check", "layer_norm", "--seed", 1 << 64), ("bench", "layer_norm", "--rows", 1 << 63), ("bench", "layer_norm", "--n", 1 << 70),
                     ("explain", "layer_norm", "--rows", 1 << 63), ("explain", "layer_norm", "--n", 1 << 70)):
            self.assertIn(f"{args[2]}: expected a number that fits 64 bits, got {args[3]}", self.kilter(*args[:2], f"{args[2]}={args[3]}", expect=USAGE).err)
        self.kilter("check", "layer_norm", "--rows", 1, "--n", 3, "--seed", (1 << 64) - 1)

    def test_errors_name_their_command(self):
        cases = [(("run", "nonsense"), USAGE), (("run", "layer_norm", "--x", "none.npy", "--y", "y.npy"), IO), (("check", "layer_norm", "--rows", "many"), USAGE),
                 (("check", "layer_norm", "--rows", -1), INVALID), (("bench", "rms_norm", "--reps", 0), USAGE), (("bench",), USAGE),
                 (("explain", "layer_norm", "--features", "weight_offset"), INVALID), (("support", "--nonsense"), USAGE), (("info", "nonsense"), USAGE)]
        for args, code in cases:
            for order in ((*args, "--json"), (args[0], "--json", *args[1:])):  # also where parsing ends before it
                done = self.kilter(*order, expect=code)
                error = json.loads(done.out)["error"]
                self.assertEqual(set(error), {"command", "status", "exit_code", "message"})
                self.assertEqual((error["command"], error["exit_code"]), (args[0], code))
                self.assertEqual(done.err, f"kilter {args[0]}: {error['message']}\n")
        for args in (("nonsense", "--json"), ("--json",)):  # there is none
            self.assertIsNone(json.loads(self.kilter(*args, expect=USAGE).out)["error"]["command"])

    def test_options_that_would_be_ignored(self):
        backward = (("--dweight-dtype", "fp32"), ("--dresidual_out", "fp32"), ("--dresidual", "fp32"), ("--no-dx",), ("--no-dweight",), ("--no-dbias",))
        for option in backward:
            self.assertIn("--backward", self.kilter("check", "layer_norm", "--rows", 2, "--n", 3, *option, expect=USAGE).err)
            self.kilter("check", "layer_norm", "--rows", 2, "--n", 3, *option, "--backward")
        case = (("--backward",), ("--rows", 2), ("--n", 3), ("--x-dtype", "fp32"))
        for option in (*case, ("--fill", "normal")):
            self.assertIn("--all", self.kilter("check", "layer_norm", *option, "--all", expect=USAGE).err)
        for option in case:
            self.assertIn("--suite", self.kilter("bench", "layer_norm", *option, "--suite", expect=USAGE).err)

    def test_dispatch_is_logged_once_a_call(self):
        env = {**os.environ, "KILTER_LOG": "dispatch"}
        done = subprocess.run([cli_case.KILTER, "run", "rms_norm", "--x", "x.npy", "--y", "y.npy", "--rstd", "r.npy"], cwd=self.dir, env=env, capture_output=True, text=True)
        self.assertRegex(done.stderr, r"^kilter: rms_norm forward rows=3 n=37 x=fp32: cpu:rowwise \[\w+\]\n$")
        done = subprocess.run([cli_case.KILTER, "run", "rms_norm", "--backward", "--x", "x.npy", "--rstd", "r.npy", "--dy", "dy.npy", "--dweight", "dw.npy", "--impl",
                               "reference:f64"], cwd=self.dir, env=env, capture_output=True, text=True)
        self.assertEqual(done.stderr, "kilter: rms_norm backward rows=3 n=37 x=fp32: reference:f64\n")

    def test_missing_input_file(self):
        self.assertIn("none.npy", self.kilter("run", "layer_norm", "--x", "none.npy", "--y", "y.npy", expect=IO).err)
        self.kilter("run", "layer_norm", "--x", "no\x1bne.npy", "--y", "y.npy", expect=IO)

    def test_unsupported(self):
        self.kilter("run", "layer_norm", "--x", "x.npy", "--y", "y.npy", "--backend", "cuda", expect=UNSUPPORTED)
        self.put("h.npy", npy([0.5] * self.n, (self.n,), "<f2"))
        self.assertIn("weight", self.kilter("run", "layer_norm", "--x", "x.npy", "--weight", "h.npy", "--y", "y.npy", expect=UNSUPPORTED).err)
        self.kilter("explain", "layer_norm", "--output-kind", "int8", expect=UNSUPPORTED)
        self.kilter("check", "layer_norm", "--x-dtype", "bf16", "--weight-dtype", "fp16", expect=UNSUPPORTED)

    def test_invalid_argument(self):
        self.kilter("run", "layer_norm", "--x", "x.npy", "--y", "y.npy", "--weight_offset", "1", expect=INVALID)
        self.kilter("run", "layer_norm", "--x", "x.npy", "--y", "y.npy", "--threads", "-1", expect=INVALID)
        self.kilter("run", "layer_norm", "--x", "x.npy", "--y", "y.npy", "--x-dtype", "bf16", expect=INVALID)
        self.put("zero.npy", npy([1.0], ()))
        self.assertIn("x.ndim", self.kilter("run", "layer_norm", "--x", "zero.npy", "--y", "y.npy", expect=INVALID).err)
        self.kilter("check", "layer_norm", "--rows", "-1", expect=INVALID)
        self.kilter("check", "layer_norm", "--impl", "nonsense", expect=INVALID)
        self.kilter("check", "layer_norm", "--target", "nonsense", expect=INVALID)
        self.kilter("run", "layer_norm", "--x", "x.npy", "--y", "y.npy", env={**os.environ, "KILTER_CPU_TARGET": "nonsense"}, expect=INVALID)

    def test_memory(self):
        for args in (("check", "layer_norm", "--rows", 1 << 40, "--n", 1 << 20), ("check", "layer_norm", "--rows", 1 << 62, "--n", 1 << 62),
                     ("bench", "layer_norm", "--rows", 1 << 40, "--n", 1 << 20), ("bench", "layer_norm", "--rows", 1 << 62, "--n", 1 << 62)):
            self.assertIn("memory", self.kilter(*args, expect=IO).err)
        limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        if subprocess.run([cli_case.KILTER, "info"], capture_output=True, preexec_fn=limit).returncode == OK:  # a sanitizer cannot start there
            self.kilter("check", "layer_norm", "--rows", 20000, "--n", 10000, expect=IO, preexec_fn=limit)

    def test_huge_honest_file(self):
        count = 1 << 38  # a sparse terabyte that is really there
        raw = with_header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({count // 1024}, 1024)}}", b"")
        self.put("huge.npy", raw)
        try:
            os.truncate(self.dir / "huge.npy", len(raw) + 4 * count)
        except OSError:
            self.skipTest("this file system has no sparse terabyte")
        self.assertIn("memory", self.kilter("run", "layer_norm", "--x", "huge.npy", "--y", "y.npy", expect=IO).err)

    def test_check_failed(self):
        # A negative eps that leaves 1e-5 of the moment multiplies its rounding by as much: no implementation keeps the bounds.
        args = ("check", "rms_norm", "--rows", 1, "--n", 64, "--json")
        rstd = next(o for o in json.loads(self.kilter(*args, "--eps", 0).out)["outputs"] if o["name"] == "rstd")["expected"]
        done = self.kilter(*args, f"--eps={-(1 - 1e-5) / rstd**2!r}", expect=CHECK_FAILED)
        report = json.loads(done.out)
        self.assertFalse(report["passed"])
        self.assertTrue(any(o["error"] > o["bound"] and not o["passed"] for o in report["outputs"]))
        text = self.kilter(*report["command"].split()[1:], expect=CHECK_FAILED).out
        for word in ("MISSED  rstd", "FAILED", "repeat: " + report["command"]):
            self.assertIn(word, text)

    def test_all_codes_are_documented(self):
        text = self.kilter("--help").out
        for word in ("0 ok", "2 usage", "3 bad input file", "4 unsupported", "5 check failed", "6 invalid argument", "7 I/O", "8 internal"):
            self.assertIn(word, text)


class CommandTest(CliTest):
    def test_help_has_examples(self):
        for command in ("run", "check", "bench", "support", "explain", "info"):
            text = self.kilter(command, "--help").out
            self.assertIn("Example:", text)
            self.assertIn(f"kilter {command}", text)
            self.assertIn("--json", text)
        self.assertRegex(self.kilter("--version").out, r"kilter \d+\.\d+\.\d+")

    def test_check(self):
        for fill in ("exact", "normal", "lognormal", "offset", "outlier", "special", "denormal"):
            for x in ("fp32", "bf16", "fp16", "fp64"):
                args = ("check", "rms_norm", "--rows", 9, "--n", 129, "--x-dtype", x, "--fill", fill, "--seed", 5)
                report = json.loads(self.kilter(*args, "--json").out)
                self.assertTrue(report["passed"])
                self.assertEqual(report["seed"], 5)
                self.assertIn("y", [o["name"] for o in report["outputs"]])
        text = self.kilter("check", "layer_norm", "--rows", 7, "--n", 33, "--weight-dtype", "fp32", "--bias", "--residual", "fp32", "--x-dtype", "bf16",
                           "--post-residual", "bf16", "--weight-offset", 1, "--seed", 3).out
        for word in ("error", "bound", "row", "seed 3", "repeat: kilter check layer_norm --rows 7 --n 33", "residual_out", "passed"):
            self.assertIn(word, text)

    def test_check_repeats_itself(self):
        first = json.loads(self.kilter("check", "rms_norm", "--rows", 20, "--n", 65, "--fill", "offset", "--seed", 11, "--json").out)
        again = json.loads(self.kilter(*first["command"].split()[1:], "--json").out)
        self.assertEqual(first, again)
        # A row by itself has the numbers that it had among others.
        y = first["outputs"][0]
        alone = json.loads(self.kilter("check", "rms_norm", "--rows", 1, "--n", 65, "--fill", "offset", "--seed", 11, "--first-row", y["row"], "--json").out)
        self.assertEqual({k: alone["outputs"][0][k] for k in ("row", "element", "error", "got")}, {k: y[k] for k in ("row", "element", "error", "got")})

    def test_check_every_target_and_implementation(self):
        for target in json.loads(self.kilter("info", "--json").out)["targets"]:
            report = json.loads(self.kilter("check", "rms_norm", "--rows", 5, "--n", 300, "--target", target, "--json").out)
            self.assertEqual(report["target"], target)
        for step in json.loads(self.kilter("explain", "rms_norm", "--json").out)["walk"]:
            report = json.loads(self.kilter("check", "rms_norm", "--rows", 5, "--n", 300, "--impl", step["impl"], "--json").out)
            self.assertEqual(report["impl"], step["impl"])

    def test_bench(self):
        for direction in ([], ["--backward"]):
            result = json.loads(self.kilter("bench", "layer_norm", "--rows", 64, "--n", 128, "--reps", 3, "--threads", 1, *direction, "--json").out)
            self.assertIn("cpu", result["machine"])
            row = result["results"][0]
            self.assertEqual(len(row["op_samples_ms"]), 3)
            for copy in row["copies"]:
                self.assertEqual(len(copy["samples_ms"]), 3)
            self.assertEqual(row["bytes"], 64 * 128 * 4 * (3 if direction else 2))
            best = min(c["min_ms"] for c in row["copies"])
            self.assertAlmostEqual(row["fraction"], best / row["op_min_ms"], places=6)
        self.assertIn("fraction", self.kilter("bench", "rms_norm", "--rows", 10, "--n", 10, "--reps", 2).out)

    def test_check_reads_a_narrower_stream(self):
        for op in ("layer_norm", "rms_norm"):
            for x in ("fp64", "bf16", "fp16"):  # backward: x in fp32, dy and dx in another type
                for n in (64, 3001, 9000):
                    self.kilter("check", op, "--backward", "--rows", 9, "--n", n, "--x-dtype", x, "--residual", "fp32", "--weight-dtype", "fp32")

    def test_support_and_explain(self):
        support = json.loads(self.kilter("support", "--json").out)["support"]
        cpu = [r for r in support if r["backend"] == "cpu"]
        self.assertEqual({(r["op"], r["direction"]) for r in cpu}, {(o, d) for o in ("layer_norm", "rms_norm") for d in ("forward", "backward")})
        self.assertTrue(all(set(r["types"]) == {"fp64", "fp32", "fp16", "bf16"} for r in cpu))
        self.assertIn("| `layer_norm` | forward | cpu |", self.kilter("support", "--markdown").out)
        self.assertIn("| dx, dresidual | bf16 |", self.kilter("support", "--tolerances").out)
        walk = json.loads(self.kilter("explain", "layer_norm", "--activation", "silu", "--json", expect=UNSUPPORTED).out)
        self.assertIsNone(walk["chosen"])
        self.assertTrue(all(step["reason"] for step in walk["walk"]))
        self.assertIn("runs", self.kilter("explain", "layer_norm", "--backward", "--x-dtype", "bf16", "--rows", 7, "--n", 9).out)

    def test_explain_asks_about_each_tensor(self):
        forward, backward = ("bias", "residual", "gate", "post-residual"), ("dy", "dresidual-out", "dresidual", "dweight", "dbias")
        for name in ("weight",) + forward + backward:
            flags = ["--backward"] if name in backward else []
            text = self.kilter("explain", "layer_norm", *flags, "--x-dtype", "bf16", f"--{name}-dtype", "fp16", expect=UNSUPPORTED).err
            self.assertIn(name.replace("-", "_") if name != "dy" else "x.dtype: expected dy's type", text)
            if name != "gate":
                self.kilter("explain", "layer_norm", *flags, f"--{name.replace('-', '_')}_dtype", "fp32")
        for name in backward:
            self.kilter("explain", "layer_norm", f"--{name}-dtype", "fp32", expect=USAGE)
        for name in forward:
            self.kilter("explain", "layer_norm", "--backward", f"--{name}-dtype", "fp32", expect=USAGE)
        self.assertIn("weight", self.kilter("explain", "layer_norm", "--features", "weight_offset", expect=INVALID).err)
        self.kilter("explain", "layer_norm", "--features", "weight_offset,round_then_multiply", "--weight-dtype", "fp32")

    def test_info(self):
        info = json.loads(self.kilter("info", "--json").out)
        for key in ("version", "build_type", "openmp", "target", "targets", "threads", "cpu"):
            self.assertIn(key, info)
        self.assertIn("SIMD target", self.kilter("info").out)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    cli_case.KILTER = os.path.abspath(sys.argv.pop(1))
    result = unittest.main(exit=False, verbosity=1).result
    failed = len(result.failures) + len(result.errors)
    print(f"cli_test: {result.testsRun} tests, {failed} failed, {len(result.skipped)} skipped")
    sys.exit(failed > 0)

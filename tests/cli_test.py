#!/usr/bin/env python3
"""The command line from outside: every command, every exit code, hostile .npy files, no partial outputs.

    python3 tests/cli_test.py build/bin/kilter

Needs nothing but Python's standard library."""
import pathlib
import json
import math
import os
import re
import resource
import subprocess
import sys
import unittest

import cli_case
from cli_case import CliTest, npy, with_header, OK, USAGE, UNSUPPORTED, CHECK_FAILED, INVALID, IO
from cli_npy_cases import HostileNpyTest  # noqa: F401, found by unittest
from cli_output_cases import OutputTest  # noqa: F401
from cli_run_cases import RunTest  # noqa: F401


class ExitCodeTest(CliTest):
    def test_usage(self):
        for args in ((), ("nonsense",), ("run",), ("run", "nonsense"), ("run", "layer_norm", "--nonsense"), ("run", "layer_norm"),
                     ("run", "layer_norm", "--x", "x.npy"), ("run", "layer_norm", "--x", "x.npy", "--y"), ("check", "layer_norm", "--rows", "many"),
                     ("check", "layer_norm", "--fill", "nonsense"), ("check", "layer_norm", "--x-dtype", "fp8"), ("bench", "layer_norm", "--reps", "0"),
                     ("explain", "group_nonsense"), ("run", "layer_norm", "--x", "x.npy", "--y", "y.npy", "--rounding", "twice"),
                     ("run", "layer_norm", "--x", "x.npy", "--y", "y.npy", "--dy", "dy.npy"), ("run", "rms_norm", "--x", "x.npy", "--y", "y.npy", "--mean", "m.npy"),
                     ("run", "layer_norm", "--backward", "--x", "x.npy", "--y", "y.npy"), ("run", "layer_norm", "--x", "x.npy", "--y", "y.npy", "--residual_out", "s.npy"),
                     ("run", "rms_norm", "--backward", "--x", "x.npy", "--rstd", "w.npy", "--dy", "dy.npy"),
                     ("run", "rms_norm", "--backward", "--x", "x.npy", "--rstd", "w.npy", "--dy", "dy.npy", "--dx", "dx.npy", "--eps", "1"),
                     ("run", "rms_norm", "--x", "x.npy", "--y", "y.npy", "--dweight-dtype", "fp32"),
                     ("explain", "rms_norm", "--backward", "--output-kind", "int8"), ("explain", "rms_norm", "--backward", "--features", "silu")):
            self.kilter(*args, expect=USAGE)
        for name in ("x", "y", "weight", "mean"):
            files = {"x": "x.npy", "y": "y.npy"} | {name: ""}
            done = self.kilter("run", "layer_norm", *(word for k, v in files.items() for word in (f"--{k}", v)), expect=USAGE)
            self.assertIn(f"--{name}: expected a file name, got an empty one", done.err)
        error = json.loads(self.kilter("run", "nonsense", "--json", expect=USAGE).out)["error"]
        self.assertEqual(error["exit_code"], USAGE)

    def test_numbers(self):
        """The whole text is the number, in its type's range; no option takes nothing for zero."""
        run = ("run", "layer_norm", "--x", "x.npy", "--y", "y.npy")
        options = [(run, "eps", float), (run, "weight_offset", float), (run, "threads", int)]
        options += [(("check", "layer_norm"), name, float if name in ("eps", "weight-offset") else int)
                    for name in ("rows", "n", "first-row", "seed", "weight-offset", "eps", "threads")]
        options += [(("bench", "layer_norm"), name, int) for name in ("rows", "n", "reps", "threads")]
        options += [(("explain", "layer_norm"), name, int) for name in ("rows", "n")]
        for command, name, kind in options:
            bad = ["1.5x"] + (["1e999"] if kind is float else ["1.5", str(1 << 64)])
            if name in ("eps", "seed"):
                bad += [" ", "x", "1x", "0x", "1 ", " 1", "1,5", "1e", "{}"] + (["-1e999", "1e-999"] if kind is float else ["1e3", "0x10", "-1"])
            for text in bad:
                done = self.kilter(*command, f"--{name}", text, expect=USAGE)
                self.assertRegex(done.err, f"--{name.replace('-offset', '_offset')}: expected a (whole |whole, not negative )?number.*, got ")
            self.assertIn("expected a number, got an empty one", self.kilter(*command, f"--{name}", "", expect=USAGE).err)
            self.kilter(*command, f"--{name}=", expect=USAGE)
        for number in (1 << 31, -(1 << 31) - 1):
            self.assertIn("fits 32 bits", self.kilter(*run, "--threads", number, expect=USAGE).err)
        for text in ("1e-5", "0x1p-10", "1", ".5", "5e-324"):
            self.kilter(*run, "--eps", text)
        self.assertIn("--rows 9 ", self.kilter("check", "rms_norm", "--rows", "09", "--n", "3").out)  # decimal, not octal

    def test_names_are_not_empty(self):
        for command, names in ((("run", "layer_norm", "--x", "x.npy", "--y", "y.npy"), ("impl", "x-dtype", "rounding", "backend", "dweight-dtype")),
                               (("check", "layer_norm"), ("impl", "target", "x-dtype", "fill", "rounding", "residual")), (("bench", "layer_norm"), ("impl", "x-dtype")),
                               (("explain", "layer_norm"), ("impl", "x-dtype", "features", "activation", "output-kind", "backend"))):
            for name in names:
                self.kilter(*command, f"--{name}", "", expect=USAGE)
        for features in (",", "weight_offset,", ",weight_offset", "weight_offset,,round_then_multiply"):
            self.kilter("explain", "layer_norm", "--weight-dtype", "fp32", "--features", features, expect=USAGE)

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
        self.assertEqual(done.stderr, "kilter: rms_norm backward rows=3 n=37 dy=fp32: reference:f64\n")

    def test_missing_input_file(self):
        self.assertIn("none.npy", self.kilter("run", "layer_norm", "--x", "none.npy", "--y", "y.npy", expect=IO).err)
        self.kilter("run", "layer_norm", "--x", "no\x1bne.npy", "--y", "y.npy", expect=IO)

    def test_unsupported(self):
        self.kilter("run", "layer_norm", "--x", "x.npy", "--y", "y.npy", "--backend", "cuda", expect=UNSUPPORTED)
        self.put("h.npy", npy([0.5] * self.n, (self.n,), "<f2"))
        self.assertIn("weight", self.kilter("run", "layer_norm", "--x", "x.npy", "--weight", "h.npy", "--y", "y.npy", expect=UNSUPPORTED).err)
        self.kilter("explain", "layer_norm", "--output-kind", "int8", expect=UNSUPPORTED)
        self.assertIn("activation", self.kilter("run", "layer_norm", "--x", "x.npy", "--y", "y.npy", "--activation", "gelu-tanh", expect=UNSUPPORTED).err)
        self.kilter("check", "layer_norm", "--x-dtype", "bf16", "--weight-dtype", "fp16", expect=UNSUPPORTED)

    def test_invalid_argument(self):
        self.kilter("run", "layer_norm", "--x", "x.npy", "--y", "y.npy", "--weight_offset", "1", expect=INVALID)
        self.kilter("run", "layer_norm", "--x", "x.npy", "--y", "y.npy", "--threads", "-1", expect=INVALID)
        self.kilter("run", "layer_norm", "--x", "x.npy", "--y", "y.npy", "--x-dtype", "bf16", expect=INVALID)
        self.put("zero.npy", npy([1.0], ()))
        self.assertIn("x.shape: expected [..., n], got []", self.kilter("run", "layer_norm", "--x", "zero.npy", "--y", "y.npy", expect=INVALID).err)
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
        for command in ("run", "check", "bench", "support", "explain", "info", "schema"):
            text = self.kilter(command, "--help").out
            self.assertIn("Example:", text)
            self.assertIn(f"kilter {command}", text)
            self.assertIn("--json", text)
        text = self.kilter("run", "--help").out
        for word in ("<f4", "<V2", "--x-dtype bf16", "ml_dtypes", "Big-endian", "Fortran", "standard input", "--json", "--x - --y -"):
            self.assertIn(word, text)
        for command in ("run", "explain"):  # an op's tensors, and no others
            for op, mean in (("layer_norm", True), ("rms_norm", False)):
                text = self.kilter(command, op, "--help").out
                for word in ("--x", "--residual_out", "--dweight", "--weight_offset", "--rounding", "--activation", "--backward", "is added to the variance"):
                    self.assertIn(word, text)
                self.assertEqual("\n  --mean" in text, mean)
        self.assertRegex(self.kilter("run", "nonsense", expect=USAGE).err, "nonsense not in {.*layer_norm.*}")
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

    def test_check_asks_for_each_tensor(self):
        args = ("check", "layer_norm", "--backward", "--rows", 3, "--n", 9, "--x-dtype", "bf16", "--json")
        names = lambda *flags: [o["name"] for o in json.loads(self.kilter(*args, *flags).out)["outputs"]]
        self.assertEqual(names(), ["mean", "rstd", "dx", "dweight", "dbias"])
        self.assertEqual(names("--no-dx", "--dbias-dtype", "none", "--dresidual", "fp32"), ["mean", "rstd", "dresidual", "dweight"])
        for flags, types in ((["--weight", "--bias"], ("bf16", "bf16")), (["--weight-dtype", "fp32", "--bias"], ("fp32", "fp32")), (["--bias-dtype", "fp32"], (None, "fp32"))):
            command = json.loads(self.kilter(*args, *flags).out)["command"]
            for name, dtype in zip(("weight", "bias"), types):
                self.assertIn(f"--{name}_dtype {dtype} " if dtype else "check", command)
        for flag in ("--no-rstd", "--no-mean", "--no-y", "--residual_out"):  # a case has them, or not, as it must
            self.kilter(*args, flag, "fp32", expect=USAGE)

    def test_check_repeats_itself(self):
        first = json.loads(self.kilter("check", "rms_norm", "--rows", 20, "--n", 65, "--fill", "offset", "--seed", 11, "--json").out)
        again = json.loads(self.kilter(*first["command"].split()[1:], "--json").out)
        self.assertEqual(first, again)
        # A row by itself has the numbers that it had among others.
        y = first["outputs"][0]
        alone = json.loads(self.kilter("check", "rms_norm", "--rows", 1, "--n", 65, "--fill", "offset", "--seed", 11, "--first-row", y["row"], "--json").out)
        self.assertEqual({k: alone["outputs"][0][k] for k in ("row", "element", "error", "got")}, {k: y[k] for k in ("row", "element", "error", "got")})

    def test_running_statistics(self):
        args = ("check", "batch_norm", "--batch", 2, "--channels", 3, "--spatial", 5, "--json")
        names = lambda *flags: [o["name"] for o in json.loads(self.kilter(*args, *flags).out)["outputs"]]
        self.assertEqual(names(), ["y", "mean", "rstd", "running_mean_out", "running_var_out"])
        self.assertEqual(names("--no-training"), ["y", "mean", "rstd"])
        self.assertEqual(names("--running-mean-dtype", "none", "--running-var-dtype", "none"), ["y", "mean", "rstd"])
        for flags in (["--no-training", "--backward"], ["--averaging", "cumulative", "--batches-tracked", 7]):
            command = json.loads(self.kilter(*args, *flags).out)["command"]
            self.assertIn("--no_training " if flags[0] == "--no-training" else "--batches_tracked 7 ", command)
            self.assertEqual(json.loads(self.kilter(*command.split()[1:], "--json").out)["command"], command)
        self.assertTrue(json.loads(self.kilter("check", "instance_norm", *args[2:], "--inference").out)["passed"])
        for flags in ([], ["--backward"], ["--no-training"], ["--no-training", "--backward"]):
            self.assertTrue(json.loads(self.kilter("explain", "batch_norm", *flags, "--json").out)["chosen"])
        self.assertEqual(names("--activation", "relu"), ["y", "mask", "mean", "rstd", "running_mean_out", "running_var_out"])
        self.assertEqual(names("--activation", "relu", "--mask-dtype", "none")[1], "mean")
        self.assertTrue(json.loads(self.kilter("explain", "batch_norm", "--activation", "relu", "--mask-dtype", "uint8", "--json").out)["chosen"])
        for op in ("batch_norm", "instance_norm"):
            self.assertEqual(len(json.loads(self.kilter("bench", op, "--backward", *args[2:-1], "--reps", 1, "--json").out)["results"]), 1)
        one = self.kilter("schema", "--cpp", "batch_norm").out
        for member in ("bool training = false;", "averaging_kind averaging = averaging_kind::exponential;", "int64_t batches_tracked = 0;"):
            self.assertIn(member, one)

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
        ops = {path.parent.name for path in (pathlib.Path(__file__).resolve().parent.parent / "src/ops").glob("*/reference.cc")}
        self.assertEqual({(r["op"], r["direction"]) for r in cpu}, {(o, d) for o in ops for d in ("forward", "backward")})
        for r in cpu:  # statistics between ranks are fp64
            every = {"fp64"} if r["op"] == "batch_norm_combine" else {"fp64", "fp32", "fp16", "bf16"}
            self.assertEqual(set(r["types"]), every, r["op"])
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

    def test_schema(self):
        functions = json.loads(self.kilter("schema", "--json").out)["functions"]
        self.assertEqual({f["direction"] for f in functions}, {"forward", "backward"})
        text, cpp = self.kilter("schema").out, self.kilter("schema", "--cpp").out
        for f in functions:
            self.assertIn(f"{f['op']} {f['direction']}, function {f['function']}, {f['args_size']} bytes", text)
            self.assertIn(f"struct {f['op']}_{f['direction']}_args {{", cpp)
            self.assertIn(f["t"], [field["name"] for field in f["fields"] if field["required"]])
        headers = pathlib.Path(__file__).resolve().parent.parent / "include/kilter"
        headers = "".join(path.read_text() for path in headers.glob("*.hpp"))
        for struct in re.findall(r"^struct \w+ {$", cpp, re.MULTILINE):
            self.assertEqual(headers.count(struct), 1, struct)
        one = self.kilter("schema", "--cpp", "group_norm").out
        self.assertEqual(re.findall(r"^struct (\w+) {$", one, re.MULTILINE), ["group_norm_forward_args", "group_norm_backward_args"])
        self.assertNotIn("reserved", one)
        self.kilter("schema", "no_such", expect=USAGE)

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

"""The GPU bench's scripts, without a GPU: python3 bench_test.py [LIBRARY]."""
import collections
import contextlib
import ctypes
import io
import json
import math
import pathlib
import sys
import tempfile
import types
import unittest
import unittest.mock

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "bench/gpu"), str(ROOT / "bench")]
import abi  # noqa: E402
import errors  # noqa: E402
import figures as fig  # noqa: E402
import results  # noqa: E402
import rows  # noqa: E402
import table  # noqa: E402

LIBRARY = sys.argv.pop(1) if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else None
H100, H200 = "NVIDIA H100 80GB HBM3", "NVIDIA H200"
RECORDED, GATES = fig.recorded(H100), fig.load("gates.json")


def row(op="rms.fwd", shape="8192x4096", dtype="bf16", us=47.0, floor=46.0, spread=0.0, **more):
    reads, writes = {"fwd": (1, 1), "bwd": (2, 1)}.get(op.split(".")[1], (1, 1)) if not op.startswith("add") else (2, 2)
    size = (reads + writes) * math.prod(rows.sizes_of(shape)[0]) * (4 if dtype == "fp32" else 2)
    samples = [us * (1 + spread * (i - 2)) for i in range(5)]
    return dict({"op": op, "shape": shape, "dtype": dtype, "bytes": size, "reads": reads, "writes": writes, "samples": samples,
                 "floor_samples": [floor] * 6}, **more)


def report(*runs, sources="a" * 16, gpu=H100, complete=True):
    return {"gpu": gpu, "date": "2026-11-25", "commit": "c", "cuda_sources": sources, "complete": complete, "empty_us": 0.8, "nvidia_smi": "580",
            "runs": [{"rows": list(rows)} for rows in runs]}


def entry(**arguments):
    return next(iter(fig.figures(fig.runs_of(report([row(**arguments)]))).values()))


class Medians(unittest.TestCase):
    def test_percentile_is_linear_between_samples(self):
        self.assertEqual(fig.percentile([4, 1, 2, 3], 0.5), 2.5)
        self.assertEqual(fig.percentile([5], 0.9), 5)
        self.assertAlmostEqual(fig.percentile(range(11), 0.9), 9)

    def test_the_median_of_three_runs_counts(self):
        found = fig.figures(fig.runs_of(report([row(us=50.0)], [row(us=47.0)], [row(us=48.0)])))
        e = found["rms.fwd", "8192x4096", "bf16"]
        self.assertEqual(e["us"], 48.0)
        self.assertEqual(len(e["samples"]), 15)
        self.assertAlmostEqual(e["fraction"], 46 / 48)

    def test_an_error_in_one_run_does_not_hide_the_others(self):
        failed = row()
        del failed["samples"], failed["floor_samples"]
        failed["error"] = "KILTER_UNSUPPORTED: because"
        e = fig.figures(fig.runs_of(report([row(us=47.0)], [failed])))["rms.fwd", "8192x4096", "bf16"]
        self.assertEqual((e["us"], e["error"]), (47.0, None))
        self.assertIn("UNSUPPORTED", fig.figures(fig.runs_of(report([failed])))["rms.fwd", "8192x4096", "bf16"]["error"])

    def test_three_runs_of_the_newest_sources_are_kept(self):
        data = {"runs": []}
        fig.add_runs(data, fig.runs_of(report([row(us=1.0)], sources="old")))
        fig.add_runs(data, fig.runs_of(report(*[[row(us=float(us))] for us in (2, 3, 4, 5)], sources="new")))
        self.assertEqual([run["rows"][0]["samples"][2] for run in data["runs"]], [3, 4, 5])

    def test_runs_of_some_ops_take_no_place_of_others(self):
        data = {"runs": []}
        for ops, us in (("", 1), ("dyt", 2), ("dyt", 3), ("dyt", 4), ("dyt", 5)):
            fig.add_runs(data, fig.runs_of(dict(report([row(us=float(us))]), ops=ops)))
        self.assertEqual([run["rows"][0]["samples"][2] for run in data["runs"]], [1, 3, 4, 5])


class Floors(unittest.TestCase):
    def test_recorded_floors_are_interpolated(self):
        self.assertEqual(fig.recorded_floor(RECORDED, 1, 1, 128 << 20), 46.01)
        self.assertAlmostEqual(fig.recorded_floor(RECORDED, 1, 1, 96 << 20), (23.75 + 46.01) / 2, places=2)
        self.assertIsNone(fig.recorded_floor(RECORDED, 1, 1, 8))
        self.assertAlmostEqual(fig.recorded_floor(RECORDED, 2, 2, (2 << 30) + 1000), 712.03, places=1)

    def test_recorded_files_lie_in_the_folder_of_their_gpu(self):
        found = sorted(results.GPU_RESULTS.glob("*/recorded.json"))
        self.assertGreaterEqual(len(found), 2)
        for path in found:
            data = json.loads(path.read_text())
            self.assertEqual(results.file_name(data["gpu"]), path.parent.name)
            self.assertEqual(fig.recorded(data["gpu"]), data)

    def test_a_run_with_slow_floors_is_void(self):
        fast, slow = (fig.runs_of(report([row(floor=46.01 * f), row(shape="2048x4096", floor=12.15 * f)]))[0] for f in (1.02, 1.05))
        self.assertIsNone(fig.is_void(fast, RECORDED))
        self.assertIn("5.0 % slower", fig.is_void(slow, RECORDED))
        self.assertIsNone(fig.is_void(slow, fig.recorded("another GPU")))

    def test_small_rows_void_nothing_while_there_are_large_ones(self):
        run = fig.runs_of(report([row(floor=46.0)] + [row(shape="1024x768", us=5, floor=4.0, dtype=d) for d in ("bf16", "fp16")]))[0]
        self.assertLess(fig.floor_ratio(run, RECORDED), 1.01)


class Gates(unittest.TestCase):
    def verdicts(self, peer=None, **arguments):
        return fig.verdicts(entry(**arguments), peer, GATES)

    def test_fraction(self):
        self.assertEqual(self.verdicts(us=46.5, floor=46.0), [("fraction", 0.98, True, 1.0, False)])
        self.assertEqual(self.verdicts(us=48.0, floor=46.0), [("fraction", 0.98, False, 1.0, False)])

    def test_which_gate(self):
        for op, shape, gate in (("ln.fwd", "2048x4096", 0.90), ("rms.fwd", "262144x256", 0.96), ("ln.fwd", "4096x65536", 0.94), ("rms.fwd", "32768x256", 0.93),
                                ("ln.fwd", "2048x131072", 0.84), ("ln.bwd", "8192x4096", 0.90), ("rms.bwd", "2048x4096", 0.83), ("ln.bwd", "4096x32768", 0.86),
                                ("rms.bwd", "1024x262144", 0.65), ("ln.bwd", "524288x128", 0.85), ("addrms.fwd", "2048x4096", 0.95), ("dyt.bwd", "1024x768", None),
                                ("gn.fwd", "32x256x56x56:nhwc", 0.4), ("bn.bwd", "32x256x56x56", 0.4)):
            with self.subTest(op=op, shape=shape):
                self.assertEqual([v[1] for v in self.verdicts(op=op, shape=shape)], [gate])

    def test_only_bf16_has_gates_of_its_own(self):
        self.assertEqual(self.verdicts(dtype="fp32", shape="16384x8192"), [])

    def test_every_row_is_held_against_the_fastest_peer(self):
        for op, shape, ratio, limit, met in (("rms.fwd", "1024x8192", 0.985, 1.02, True), ("rms.fwd", "1024x8192", 0.97, 1.02, False),
                                             ("ln.bwd", "256x2048", 0.92, 1.1, True), ("addrms.fwd", "1x4096", 0.9, 1.1, False),
                                             ("derf.fwd", "1024x768", 0.97, 1.02, False)):
            with self.subTest(op=op, ratio=ratio):
                found = self.verdicts(peer=(ratio, 1, "p", "measured"), op=op, shape=shape, dtype="fp32")
                self.assertEqual([v[:3] for v in found if v[0] == "of_peer"], [("of_peer", limit, met)])
        self.assertEqual(self.verdicts(peer=(0.5, 1, "p", "measured"), op="other.fwd", shape="2x320x64x64"), [])
        small = self.verdicts(peer=(1.5, 1, "p", "measured"), op="rms.bwd", shape="1024x768")
        self.assertEqual(small, [("of_peer", 1.1, True, 0.5, False)])

    def test_a_goal_without_a_gate(self):
        self.assertEqual(self.verdicts(op="dyt.fwd", us=48.0, floor=46.0), [("fraction", None, True, 0.95, True)])
        self.assertEqual(self.verdicts(op="dyt.fwd", dtype="fp32", us=50.0, floor=46.0), [("fraction", None, True, 0.95, False)])
        self.assertEqual(table.verdict("fraction", None, True, 0.95, False), "goal 0.95 MISS")


class Peers(unittest.TestCase):
    def test_a_measured_peer_replaces_its_recorded_family(self):
        data = report([row(us=40.0)])
        data["peers"] = {"rows": [{"op": "rms.fwd", "shape": "8192x4096", "dtype": "bf16", "who": "liger", "samples": [60.0], "kilter_samples": [50.0]}]}
        found = fig.peers_of(data, RECORDED, fig.figures(fig.runs_of(data)))["rms.fwd", "8192x4096", "bf16"]
        self.assertIn((1.2, 60.0, "liger", "measured"), found)
        self.assertEqual([p for p in found if p[2] == "liger" and p[3] == "recorded"], [])
        self.assertEqual(found[0][2:], ("cudnn(infer)", "recorded"))

    def test_families(self):
        names = ("liger 0.8.5", "liger 0.8.5 cutedsl", "cudnn(best plan)", "torch.compile", "quack(w fp32)")
        self.assertEqual([fig.family(n) for n in names], ["liger", "liger cutedsl", "cudnn", "torch.compile", "quack"])

    def test_recorded_times_are_of_their_gpu(self):
        data = report([row()], gpu="another")
        self.assertEqual(fig.peers_of(data, fig.recorded(data["gpu"]), fig.figures(fig.runs_of(data))), {})


class Rows(unittest.TestCase):
    def test_the_table_is_read(self):
        found, fills = rows.parsed("# text\nfill weight 1 0.5\nop a.fwd an_op forward: x y flags=1 y->x\n  bf16 2x3 4x5\n  fp32 2x3\nop b.bwd an_op backward: x dx\n  fp32 1x1\n")
        self.assertEqual(fills, {"weight": (1.0, 0.5)})
        self.assertEqual([(r["op"], r["dtype"], r["shape"]) for r in found],
                         [("a.fwd", "bf16", "2x3"), ("a.fwd", "bf16", "4x5"), ("a.fwd", "fp32", "2x3"), ("b.bwd", "fp32", "1x1")])
        self.assertEqual((found[0]["function"], found[0]["tensors"], found[0]["numbers"], found[0]["chain"]), (("an_op", "forward"), ["x", "y"], {"flags": 1.0}, True))
        self.assertEqual((found[3]["function"], found[3]["numbers"], found[3]["chain"]), (("an_op", "backward"), {}, False))

    def test_ops_by_either_name(self):
        self.assertEqual({r["op"] for r in rows.ROWS if rows.is_of(r, ["dyt", "layer_norm"])},
                         {"dyt.fwd", "dyt.bwd", "ln.fwd", "ln.bwd", "ln.chain", "ln.dependent"})
        self.assertTrue(rows.is_of(rows.ROWS[0], []))

    def test_shapes_are_bound(self):
        self.assertEqual(rows.bound(["...", "n"], (2, 3, 4)), {"...": (2, 3), "n": 4})
        self.assertEqual(rows.bound(["batch", "channels", "..."], (2, 3, 4, 5)), {"batch": 2, "channels": 3, "...": (4, 5)})
        self.assertEqual(rows.bound(["n"], (7,)), {"n": 7})

    def test_types_follow_the_table(self):
        def field(kind, shape, types):
            return types_of(kind.encode(), shape.encode(), types.encode())
        types_of = collections.namedtuple("Field", "kind shape types")
        fields = {"x": field("input", "... n", "T|fp32"), "alpha": field("input", "1", "T|fp32"), "rstd": field("input", "...|... 1", "stat"),
                  "dy": field("input", "... n", "fp64|fp32|bf16"), "dx": field("output", "... n", "T"), "dalpha": field("output", "1", "alpha|fp32")}
        library = types.SimpleNamespace(fields={("op", "backward"): (fields, "dy")})
        found = rows.tensors_of(library, {"function": ("op", "backward"), "tensors": list(fields), "numbers": {}, "dtype": "bf16", "shape": "2x3x4"})
        self.assertEqual({name: (t.shape, t.dtype, t.output, t.large, t.bytes) for name, t in found.items()},
                         {"x": ([2, 3, 4], "bf16", False, True, 48), "alpha": ([1], "bf16", False, False, 2), "rstd": ([2, 3], "fp32", False, False, 24),
                          "dy": ([2, 3, 4], "bf16", False, True, 48), "dx": ([2, 3, 4], "bf16", True, True, 48), "dalpha": ([1], "bf16", True, False, 2)})


    def test_planes(self):
        field = collections.namedtuple("Field", "kind shape types")
        fields = {"x": field(b"input", b"batch channels ...", b"fp32|bf16"), "mean": field(b"output", b"batch groups", b"stat"), "y": field(b"output", b"batch channels ...", b"T")}
        row = {"function": ("op", "forward"), "tensors": list(fields), "numbers": {"groups": 2}, "dtype": "bf16", "shape": "3x4x5x6:nhwc"}
        found = rows.tensors_of(types.SimpleNamespace(fields={("op", "forward"): (fields, "x")}), row)
        self.assertEqual({name: (t.shape, t.dtype, t.channels_last) for name, t in found.items()},
                         {"x": ([3, 4, 5, 6], "bf16", True), "mean": ([3, 2], "fp32", False), "y": ([3, 4, 5, 6], "bf16", True)})
        self.assertEqual(rows.sizes_of("8192x4096"), ((8192, 4096), False))


class Compare(unittest.TestCase):
    def test_verdicts(self):
        old = entry(us=100.0, spread=0.005)
        for us, spread, verdict in ((100.5, 0.0, "SAME"), (102.0, 0.02, "UNSURE"), (103.0, 0.001, "SLOWER"), (90.0, 0.005, "FASTER"), (99.3, 0.0, "SAME")):
            with self.subTest(us=us):
                self.assertEqual(fig.compared(old, entry(us=us, spread=spread)), verdict)


class Table(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.kept, table.GPU_RESULTS = table.GPU_RESULTS, pathlib.Path(self.folder.name)
        self.addCleanup(setattr, table, "GPU_RESULTS", self.kept)

    def run_table(self, *arguments):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            table.main(list(arguments))
        return out.getvalue()

    def written(self, name, data):
        path = pathlib.Path(self.folder.name) / name
        path.write_text(json.dumps(data))
        return str(path)

    def test_add_then_print(self):
        text = self.run_table("--add", self.written("r.json", report([row(us=50.0), row(op="ln.bwd", shape="1024x768", us=3.2, floor=3.1)])))
        self.assertIn("written", text)
        self.assertRegex(text, r"rms\.fwd +8192x4096 +bf16 .*46\.14r liger .*0\.92x LOSS.*0\.98 MISS")
        self.assertRegex(text, r"ln\.bwd +1024x768 +bf16 .*2\.17x .*<= 1\.10 of peer pass, goal 0\.5 pass")
        again = self.run_table("--no-run")
        self.assertIn("nothing was measured now", again)
        self.assertIn("STALE", again)
        self.assertIn("geometric mean of 2 ratios", again)

    def test_every_gpu_has_its_own_recorded_figures(self):
        for gpu, text in ((H200, r"34\.13r liger .*0\.68x LOSS.*0\.98 MISS"), ("NVIDIA Fake 1", "nothing is recorded of this GPU")):
            self.assertRegex(self.run_table("--add", self.written("r.json", report([row(us=50.0)], gpu=gpu))), text)

    def test_a_row_with_an_error_meets_no_gate(self):
        failed = row()
        del failed["samples"], failed["floor_samples"]
        text = self.run_table("--add", self.written("r.json", report([dict(failed, error="KILTER_UNSUPPORTED"), row(us=45.0, shape="1024x768", dtype="fp16")])))
        self.assertIn("gates: 0 of 1 met", text)
        self.assertIn("1 rows gave an error", text)

    def test_fresh(self):
        text = self.run_table("--add", self.written("r.json", report([row()], sources=results.cuda_hash())))
        self.assertIn("fresh", text)

    def test_programs_that_were_carried_here_measure_some_ops(self):
        binaries, out = pathlib.Path(self.folder.name, "bin"), pathlib.Path(self.folder.name, "out")
        binaries.mkdir()
        self.written("r.json", dict(report([row(), row(op="ln.fwd", us=50.0)]), ops="rms"))
        program = binaries / "gpu_bench"
        program.write_text(f'#!/bin/sh\necho "$@" > {out}/arguments\ncp {self.folder.name}/r.json "$2"\n')
        program.chmod(0o755)
        with unittest.mock.patch.dict("os.environ", KILTER_GPU_BINARIES=str(binaries)):
            text = self.run_table("--ops", "rms", "--out", str(out))
        self.assertEqual((out / "arguments").read_text().split(), ["--json", f"{out}/gpu_bench.json", "--repeat", "1", "--ops", "rms"])
        self.assertIn("rms.fwd", text)
        self.assertNotIn("ln.fwd", text)
        self.assertIn("ln.fwd", self.run_table("--no-run"))

    def test_a_run_without_rows_is_not_kept(self):
        self.assertIn("not kept: no rows", self.run_table("--add", self.written("r.json", report([]))))
        self.assertEqual(list(pathlib.Path(self.folder.name).glob("*/bench.json")), [])

    def test_void_and_partial_runs_are_shown_but_not_kept(self):
        for data, reason in ((report([row(floor=50.0)]), "void"), (report([row()], complete=False), "some rows")):
            text = self.run_table("--add", self.written("r.json", data))
            self.assertIn(reason, text)
            self.assertIn("rms.fwd", text)
            self.assertEqual(self.run_table("--no-run").count("rms.fwd"), 0)

    def test_peers_measured_apart_are_merged(self):
        rows = [dict(op="rms.fwd", shape="8192x4096", dtype="bf16", who=who, samples=[us], kilter_samples=[46.0]) for who, us in (("torch", 90.0), ("quack", 60.0))]
        peers = [{"gpu": H100, "peers": {"date": "d", "cuda_sources": "s", "rows": [r]}} for r in rows]
        self.run_table("--add", self.written("r.json", report([row()])))
        self.run_table("--add", *[self.written(f"p{i}.json", p) for i, p in enumerate(peers)])
        data = json.loads(next(pathlib.Path(self.folder.name).glob("*/bench.json")).read_text())
        self.assertEqual([r["who"] for r in data["peers"]["rows"]], ["torch", "quack"])

    def test_accuracy_is_kept_apart(self):
        self.assertIn("not kept", self.run_table("--add", self.written("a.json", accuracy_report(accuracy_row(y=(1, 2)), filtered="ln"))))
        self.assertEqual(list(pathlib.Path(self.folder.name).glob("*/accuracy.json")), [])
        self.assertIn("1.00 / 2.00", self.run_table("--add", self.written("a.json", accuracy_report(accuracy_row(y=(1, 2))))))
        self.assertEqual(json.loads(next(pathlib.Path(self.folder.name).glob("*/accuracy.json")).read_text())["rows"][0]["op"], "ln")

    def test_compare(self):
        old, new = (self.written(f"{us}.json", report([row(us=us)])) for us in (50.0, 40.0))
        self.assertIn("FASTER", self.run_table("--compare", old, new))
        self.assertIn("1 SLOWER", self.run_table("--compare", new, old))


def accuracy_row(op="ln", dtype="fp32", fill="normal", shape="32768x256", lost=0, **worst):
    return {"op": op, "dtype": dtype, "fill": fill, "shape": shape,
            "errors": {output: {who: {"worst": w, "mean": w / 4, "lost": lost if who == "torch" else 0} for who, w in zip(("kilter", "torch"), pair)}
                       for output, pair in worst.items()}}


def accuracy_report(*rows, filtered=""):
    return {"gpu": H100, "date": "2026-11-25", "commit": "c", "cuda_sources": "a" * 16, "nvidia_smi": "580.1, 1980 MHz", "versions": {"torch": "2.11.0"},
            "filter": filtered, "rows": list(rows)}


class Errors(unittest.TestCase):
    def test_ulp_is_the_distance_to_the_next_number(self):
        import numpy as np
        for dtype, numpy_type in (("fp32", np.float32), ("fp16", np.float16)):
            highest = np.finfo(numpy_type).max / 2
            values = np.array([1, 1.5, 2, 0.1, 1e-3, 6e-5, 1e-7, 0, highest], dtype=numpy_type)
            steps = np.spacing(values).astype(np.float64)
            self.assertEqual(errors.ulp(values, dtype).tolist(), steps.tolist())
            self.assertEqual(errors.ulp(-values, dtype).tolist(), steps.tolist())
        self.assertEqual(errors.ulp([1.0, 255.0, 256.0, 3e38, 1e39], "bf16").tolist(), [2.0**-7, 1, 2, 2.0**120, 2.0**122])
        self.assertEqual(errors.ulp([float("inf"), float("nan")], "fp16").tolist(), [2.0**5, 2.0**-24])

    def test_the_unit_is_of_the_row(self):
        import numpy as np
        found = errors.measured("fp32", np.array([1.0, 1024.0]), np.array([2.0**-23, 2.0**-13]), np.array([2.0**-24, 0]), 3)
        self.assertEqual(found, {"worst": 1.0, "mean": 0.25, "lost": 3})

    def test_numbers(self):
        values = {0: "0.00", 0.4999: "0.50", 9.994: "9.99", 9.996: "10", 340.2: "340", 999.4: "999", 999.6: "1.0e3", 24567: "2.5e4", 9.96e7: "1.0e8", 1e30: "1.0e30"}
        self.assertEqual({v: errors.number(v) for v in values}, values)

    def test_the_worst_length_and_type_count(self):
        rows = [accuracy_row(y=(1.5, 2), mean=(0.5, 0.6)), accuracy_row(shape="512x16384", y=(1.25, 3), mean=(0.5, 0.5)),
                accuracy_row(dtype="bf16", y=(0.5, 0.502), mean=(0.75, 1234))]
        text = errors.text_of(accuracy_report(*rows))
        self.assertIn("Rows of 256, 16384 elements.", text)
        self.assertIn("| `layer_norm` | normal, deviation 0.5 to 2, mean within 1 | 1.50 / 3.00 | – | 0.50 / 0.50 | 0.75 / 1.2e3 | – |\n", text)
        self.assertNotIn("rms_norm", text)

    def test_what_is_not_finite_is_no_error_but_a_loss(self):
        text = errors.text_of(accuracy_report(accuracy_row("rms", fill="huge", lost=7, y=(1, 2), dx=(1, 2))))
        self.assertEqual(text.count("1.00 / lost"), 2)

    def test_many_rows_are_of_the_gradients_table(self):
        text = errors.text_of(accuracy_report(accuracy_row(y=(1, 1)), accuracy_row(fill="rows20", shape="1048576x256", y=(1, 1), dweight=(2, 30))))
        self.assertEqual(text.count("2²⁰ rows |"), 1)
        self.assertIn("| 2.00 / 30 |", text)


class Sources(unittest.TestCase):
    def test_the_hash_covers_kernels_and_what_they_include(self):
        files = {p.as_posix() for p in results.cuda_files()}
        self.assertIn("src/ops/rms_norm/rms_norm.cu", files)
        self.assertIn("cmake/cuda.cmake", files)
        self.assertTrue(any(f.startswith("src/core/") for f in files))
        self.assertFalse(any("_cpu" in f for f in files))
        self.assertRegex(results.cuda_hash(), "^[0-9a-f]{16}$")

    def test_what_travelled_says_what_it_was_built_from(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(results.built(f"{folder}/program")["cuda_sources"], results.cuda_hash())
            pathlib.Path(folder, "build.json").write_text('{"commit": "c", "cuda_sources": "s"}')
            self.assertEqual(results.built(f"{folder}/program"), {"commit": "c", "cuda_sources": "s"})


@unittest.skipUnless(LIBRARY, "no library given")
class Binding(unittest.TestCase):
    """On the CPU, whose tensors have the same description."""

    def setUp(self):
        self.library, self.memory = abi.Library(LIBRARY), {}

    def tensor(self, name, values, shape):
        self.memory[name] = (ctypes.c_float * len(values))(*values)
        return abi.tensor(ctypes.addressof(self.memory[name]), shape, "fp32", (abi.CPU, 0))

    def test_rms_forward_with_residual(self):
        t = {"x": self.tensor("x", [1, 2, 3, 4], [2, 2]), "residual": self.tensor("residual", [1, 1, 1, 1], [2, 2])}
        t.update({name: self.tensor(name, [0] * 4, [2, 2]) for name in ("y", "residual_out")}, weight=self.tensor("weight", [2, 1], [2]))
        abi.Call(self.library, "rms", "fwd", t)()
        self.assertEqual(list(self.memory["residual_out"]), [2, 3, 4, 5])
        self.assertAlmostEqual(self.memory["y"][0], 2 * 2 / math.sqrt(6.5 + 1e-5), places=5)

    def test_ln_backward(self):
        vectors = {name: self.tensor(name, [1, 1], [2]) for name in ("weight", "dweight", "dbias")}
        t = {name: self.tensor(name, values, [2, 2]) for name, values in (("x", [1, 3, 2, 6]), ("dy", [1, 2, 3, 4]), ("dx", [0] * 4))}
        t.update(vectors, mean=self.tensor("mean", [2, 4], [2]), rstd=self.tensor("rstd", [1, 0.5], [2]))
        call = abi.Call(self.library, "ln", "bwd", t)
        scratch = ctypes.create_string_buffer(max(1, call.workspace_size()))
        call.set_workspace(ctypes.addressof(scratch), call.workspace_size())
        call()
        self.assertEqual(list(self.memory["dbias"]), [4, 6])
        self.assertEqual(list(self.memory["dweight"]), [-4, 6])

    def test_every_row_is_a_call_of_the_library(self):
        known = [row for row in rows.ROWS if row["function"] in self.library.functions]
        self.assertGreater(len(known), 90)
        found = {(r["op"], r["shape"], r["dtype"]): rows.tensors_of(self.library, r) for r in known}
        size = {k: (sum(t.bytes for t in tensors.values()), [t.name for t in tensors.values() if t.large]) for k, tensors in found.items()}
        self.assertEqual(size["rms.fwd", "1024x768", "bf16"], (2 * 1024 * 768 * 2 + 768 * 2 + 1024 * 4, ["x", "y"]))
        self.assertEqual(size["ln.bwd", "1024x768", "fp32"], (3 * 1024 * 768 * 4 + 3 * 768 * 4 + 2 * 1024 * 4, ["x", "dy", "dx"]))
        self.assertEqual(size["addrms.bwd", "1024x768", "bf16"][1], ["x", "dy", "dresidual_out", "dx"])

    def test_errors_have_text(self):
        with self.assertRaisesRegex(RuntimeError, "KILTER_INVALID_ARGUMENT: .*y"):
            abi.Call(self.library, "rms", "fwd", {"x": self.tensor("x", [1, 2], [1, 2])})()


if __name__ == "__main__":
    unittest.main()
